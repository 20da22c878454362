"""The demo: the whole loop on the simulated cell, or every offline stage of it on a log of one's own.

Each stage calls the same function as its command, and each goes on where it stopped; so a demo that was interrupted
goes on when it is started again with the same options.

```
OUT/logs/         recorded episodes           OUT/policies/NAME/   runs of the learners
OUT/store/        the store                   OUT/evaluation/      results; the episodes go to the store too
OUT/reward/       run of the reward model     OUT/report.html      what to look at; videos/ is in it, too
```
"""

import contextlib
import dataclasses
import enum
import multiprocessing
import shlex
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

from datasets.console import console
from datasets.presets import ObservationPreset
from datasets.query import Query
from pipeline import config as configs
from pipeline.annotate.synthetic import AnnotatorConfig
from pipeline.batch_rl.config import BcTraining, CrrConfig, CrrTraining, PolicyConfig, Training
from pipeline.config import EncoderConfig
from pipeline.reward_learning.config import RankingConfig
from robot.env import CellConfig
from robot.evaluate import Evaluation
from robot.plan import PlanLine

TASK = "lift_green"
DATASET = "recorded"
WORKERS = 2  # processes that drive the simulator
EVALUATION_SEED = 1_000_000  # far from every seed of a recording
CAMERAS = ("basket_front_left", "wrist")  # one sees the lift, one the grasp; a third would only cost time
CLOCK = AnnotatorConfig(by_time=True, distortion=0, tremble=0, lag=0, mistakes=0, user="clock")
ENCODER = EncoderConfig((8, 16, 32), blocks=1)  # a quarter of the default's cost, and as accurate on these pictures
# What a policy does without: sensors that mostly tell how the arm shook under the expert's noise.
WITHOUT = ("sawyer/joints", "sawyer/tcp", "wrist")
_LOOKED_AT = 20  # episodes of a log, to find out which cameras see


class Preset(enum.StrEnum):
    """How much of everything."""

    DEFAULT = "default"
    SMOKE = "smoke"


@dataclasses.dataclass(frozen=True)
class Sizes:
    """What a preset does. Episodes are per line: who acts, for which task, how well."""

    plan: tuple[PlanLine, ...]
    sketches: int
    reward: RankingConfig
    policy_steps: int
    evaluation_episodes: int


SIZES: Mapping[Preset, Sizes] = {
    Preset.DEFAULT: Sizes(
        # 400 episodes at the task, of which some two in five succeed, and 220 at other tasks. The noise on its actions
        # decides how often the expert succeeds: about 1.0 at 0.1, 0.4 at 0.3, 0.2 at 0.5.
        plan=(
            PlanLine(TASK, f"expert:{TASK}:0.1", 80),
            PlanLine(TASK, f"expert:{TASK}:0.3", 140),
            PlanLine(TASK, f"expert:{TASK}:0.5", 100),
            PlanLine(TASK, "random_watcher", 80),
            PlanLine("reach_green", "expert:reach_green:0.2", 100),
            PlanLine("reach_green", "random_watcher", 60),
            PlanLine("stack_green_on_red", "expert:stack_green_on_red:0.3", 60),
        ),
        sketches=40,
        reward=RankingConfig(encoder=ENCODER, steps=1_000),
        policy_steps=6_000,
        evaluation_episodes=50,
    ),
    Preset.SMOKE: Sizes(
        plan=(
            PlanLine(TASK, f"expert:{TASK}:0.1", 12),
            PlanLine(TASK, f"expert:{TASK}:0.5", 8),
            PlanLine("reach_green", "random_watcher", 4),
        ),
        sketches=10,
        reward=RankingConfig(encoder=ENCODER, steps=100),
        policy_steps=400,
        evaluation_episodes=4,
    ),
}


@dataclasses.dataclass(frozen=True)
class DemoConfig:
    """One run of the demo."""

    out: Path
    preset: Preset = Preset.DEFAULT
    seed: int = 0
    source: Path | None = None  # an RLDS folder to use instead of the simulator
    task: str = TASK  # with a source: what the robot does there


@dataclasses.dataclass(frozen=True)
class Contender:
    """A policy that the demo trains and compares with the others."""

    name: str  # of its folder
    label: str  # for people
    training: Training


@contextlib.contextmanager
def stage(title: str, *command: object) -> Iterator[None]:
    """Says what a stage does, a command that does the like, and how long it took."""
    console.rule(f"[bold]{title}", align="left")
    if command:
        console.print(f"[dim]$ armchair {shlex.join(map(str, command))}", soft_wrap=True)
    began = time.monotonic()
    yield
    console.print(f"[dim]{time.monotonic() - began:.0f} s")


def run(config: DemoConfig) -> Path:
    """Runs the demo and returns the report's path.

    Raises:
      ArmchairError: whatever a stage cannot do; or the folder holds a demo with other options.
    """
    configs.claim_run(config.out, config)
    report = config.out / "report.html"
    if report.exists():
        console.print(f"This demo is done: look at {report} (if that is deleted, it is made again)", soft_wrap=True)
        return report
    began = time.monotonic()
    report = _on_log(config, config.source) if config.source else _on_cell(config)
    console.print(
        f"[bold green]Done in {(time.monotonic() - began) / 60:.1f} minutes. Look at {report}", soft_wrap=True
    )
    return report


def _on_cell(config: DemoConfig) -> Path:
    """The whole loop, on the simulated cell."""
    from armchair import demo_report

    sizes, store = SIZES[config.preset], config.out / "store"
    _collect(config, sizes)
    _ingest(config.out / "logs", store)
    _sketch(store, Query(task_id=TASK, dataset=DATASET), sizes.sketches, AnnotatorConfig(seed=config.seed))
    model = _learn_reward(config, TASK, sizes.reward)
    _annotate(store, model)
    results = {}
    for contender in _contenders(config, TASK, model):
        policy = _train(contender.training)
        results[contender] = _evaluate(config, contender.name, policy)
    _ingest(config.out / "evaluation", store)  # the loop closes
    _annotate(store, model)
    with stage("Report"):
        return demo_report.simulated(config.out / "report.html", store, model, TASK, results)


def _on_log(config: DemoConfig, source: Path) -> Path:
    """The offline stages, on the log of a robot that is not here."""
    from armchair import demo_report
    from datasets.store import Store

    sizes, store = SIZES[config.preset], config.out / "store"
    _ingest(source, store, config.task)
    shown, kept = (Query(task_id=config.task, split=split) for split in ("train", "test"))
    _sketch(store, shown, sizes.sketches, AnnotatorConfig(config.seed, by_time=True))
    if Store.open(store).query(kept):
        _sketch(store, kept, sizes.sketches, CLOCK)  # the reward model is judged by these
    cameras = _seeing_cameras(store, shown)
    model = _learn_reward(config, config.task, dataclasses.replace(sizes.reward, cameras=cameras))
    _annotate(store, model)
    contenders = _contenders(config, config.task, model)
    policies = {contender: _train(contender.training) for contender in contenders}
    with stage("Report"):
        return demo_report.logged(config.out / "report.html", store, model, config.task, policies)


def _contenders(config: DemoConfig, task: str, model: Path) -> list[Contender]:
    """The policies to compare: trained equally long, on the same batches."""
    sizes, runs = SIZES[config.preset], config.out / "policies"
    shared: dict[str, Any] = {
        "store": config.out / "store", "task": task, "steps": sizes.policy_steps, "seed": config.seed,
        "checkpoint_every": min(1_000, sizes.policy_steps), "snapshot_every": sizes.policy_steps,
        "observations": ObservationPreset.PROPRIO if config.source else ObservationPreset.STATES,
        "without": () if config.source else WITHOUT,
        "task_share": 0.5,  # in a pool of which other tasks' short episodes are a fifth, most of a batch is the task's
    }  # fmt: skip
    # Some of a log is kept to judge by. The cell is its own judge; but what the demo evaluates is no log.
    logged = "split=train" if config.source else f"dataset={DATASET}"
    # A few thousand updates on a few hundred episodes. With the usual 100 updates between copies of the target networks
    # the critic hardly gets anywhere; with beta 1, weights stay near 1; and a larger policy learns the noise by heart.
    # BC was measured with both networks, does better with the larger one, and gets it.
    method = CrrConfig(policy=PolicyConfig(layer_sizes=(128, 128)), target_period=25, beta=0.5)
    learned = CrrTraining(out=runs / "crr_learned", query=logged, rewards=f"model:{model}", method=method, **shared)
    contenders = [
        Contender("bc", "BC", BcTraining(out=runs / "bc", query=logged, **shared)),
        Contender("crr_learned", "CRR, learned reward", learned),
    ]
    if config.source is None:  # only a simulator knows the true reward, and only of the task that was recorded
        query = f"{logged} task_id={task}"
        true = dataclasses.replace(learned, out=runs / "crr_true", query=query, rewards="true")
        contenders.append(Contender("crr_true", "CRR, true reward", true))
    return contenders


# Stages


def _collect(config: DemoConfig, sizes: Sizes) -> None:
    from robot.collect import CollectConfig, collect

    out, example = config.out / "logs", sizes.plan[0]
    who = ("--robot", example.env, "--policies", example.actor, "--episodes", example.episodes)
    with stage("Record", "collect", "--out", out, *who):
        first = config.seed * 10_000  # each line of a plan has seeds of its own, in every run of the demo
        plan = tuple(dataclasses.replace(line, seed=first + 1_000 * number) for number, line in enumerate(sizes.plan))
        cell = CellConfig(cameras=CAMERAS)
        collect(CollectConfig(out, plan, DATASET, workers=WORKERS, cell=cell))


def _ingest(source: Path, store: Path, task: str = "") -> None:
    from beam_jobs import ingest
    from beam_jobs.config import IngestConfig
    from datasets.readers.base import Defaults

    with stage("Ingest", "ingest", "--source", source, "--store", store):
        ingest.ingest(IngestConfig((source,), store, defaults=Defaults(task_id=task))).print()


def _sketch(path: Path, query: Query, count: int, annotator: AnnotatorConfig) -> None:
    from datasets.store import Store
    from pipeline.annotate import sketch

    task = query.task_id or ""
    with stage("Sketch", "sketch", "simulate", "--store", path, "--task", task, "--count", count):
        store = Store.open(path)
        sketch.simulate(store, store.query(query, require=True), task, count, annotator)


def _seeing_cameras(path: Path, query: Query) -> tuple[str, ...]:
    """Cameras that ever saw something: logs of many robots declare more than each of them has."""
    from datasets import features
    from datasets.store import Store

    store, seeing = Store.open(path), set[str]()
    for row in store.query(query)[:_LOOKED_AT]:
        episode = store.read(row)
        seeing |= {k for k in episode.image_keys if features.decode_image(episode.observation[k][0]).any()}
    return tuple(sorted(seeing))


def _learn_reward(config: DemoConfig, task: str, reward: RankingConfig) -> Path:
    from datasets.store import Store
    from pipeline import threads
    from pipeline.reward_learning import train

    threads.for_pictures()
    out, store = config.out / "reward", config.out / "store"
    with stage("Learn the reward", "reward", "train", "--store", store, "--task", task, "--out", out):
        if (out / "model").exists():
            return out / "model"
        return train.train(Store.open(store), task, out, dataclasses.replace(reward, seed=config.seed))


def _annotate(store: Path, model: Path) -> None:
    from beam_jobs import annotate
    from beam_jobs.config import AnnotateConfig

    with stage("Annotate all history", "annotate", "--store", store, "--model", model):
        annotate.annotate(AnnotateConfig(store, (model,))).print()


def _train(training: Training) -> Path:
    """In a process of its own: a learner wants other thread settings than everything else here."""
    method = ("train", training.name, "--store", training.store, "--task", training.task, "--rewards", training.rewards)
    with stage(f"Train {training.out.name}", *method, "--out", training.out):
        if not (training.out / "last").exists():
            with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
                pool.submit(train_alone, training).result()
        return training.out / "last"


def train_alone(training: Training) -> None:
    """What the process does that trains a policy."""
    from pipeline import threads
    from pipeline.batch_rl import trainer

    threads.for_dense_learners()
    trainer.train(training)


def _evaluate(config: DemoConfig, name: str, policy: Path) -> Evaluation:
    from robot.evaluate import EvaluateConfig, evaluate

    episodes, out = SIZES[config.preset].evaluation_episodes, config.out / "evaluation"
    with stage(f"Evaluate {name}", "evaluate", "--policy", policy, "--robot", TASK, "--episodes", episodes):
        seed = EVALUATION_SEED + config.seed * 10_000  # the same initial states for every policy
        cell = CellConfig(cameras=CAMERAS)
        evaluation = evaluate(EvaluateConfig(TASK, f"policy:{policy}", episodes, seed, out, workers=WORKERS, cell=cell))
        evaluation.save(config.out / "evaluation" / f"{name}.json")
        console.print(str(evaluation))
        return evaluation
