"""The demo: the whole loop on the simulated cell, or every offline stage of it on a log of one's own.

Each stage calls the same function as its command, and each goes on where it stopped; so a demo that was interrupted
goes on when it is started again with the same options.

```
OUT/logs/         recorded episodes           OUT/policies/NAME/   runs of the learners
OUT/store/        the store                   OUT/evaluation/      results; the episodes go to the store too
OUT/reward/       run of the reward model     OUT/report.html      what to look at; videos/ is in it, too
```
"""

import dataclasses
import enum
import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from armchair import stages
from armchair.stages import DATASET, ENCODER, WITHOUT
from datasets.errors import ArmchairError
from datasets.presets import ObservationPreset
from datasets.query import Query
from pipeline.annotate.synthetic import AnnotatorConfig
from pipeline.batch_rl.config import BcTraining, CrrTraining, Training
from pipeline.reward_learning.config import RankingConfig
from robot.plan import PlanLine

TASK = "lift_green"
CLOCK = AnnotatorConfig(by_time=True, distortion=0, tremble=0, lag=0, mistakes=0, user="clock")
_LOOKED_AT = 20  # episodes of a log, to find out which cameras see


class Preset(enum.StrEnum):
    """How much of everything."""

    DEFAULT = "default"
    SMOKE = "smoke"

    @classmethod
    def named(cls, name: str) -> "Preset":
        """Raises ArmchairError if there is none of that name."""
        if name not in set(cls):
            raise ArmchairError(f"there is no preset {name!r}: choose {' or '.join(cls)}")
        return cls(name)


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


def run(config: DemoConfig) -> Path:
    """Runs the demo and returns the report's path.

    Raises:
      ArmchairError: whatever a stage cannot do; or the folder holds a demo with other options.
    """
    return stages.once("demo", config, functools.partial(_on_log if config.source else _on_cell, config))


def _on_cell(config: DemoConfig, report: Path) -> Path:
    """The whole loop, on the simulated cell."""
    from armchair import demo_report

    sizes, store, evaluated = SIZES[config.preset], config.out / "store", config.out / "evaluation"
    stages.collect(config.out / "logs", sizes.plan, config.seed)
    stages.ingest(config.out / "logs", store)
    stages.sketch(store, Query(task_id=TASK, dataset=DATASET), sizes.sketches, AnnotatorConfig(seed=config.seed))
    reward = dataclasses.replace(sizes.reward, seed=config.seed)
    model = stages.learn_reward(config.out / "reward", store, TASK, reward)
    stages.annotate(store, model)
    results = {}
    for contender in _contenders(config, TASK, model):
        policy = stages.train(contender.training)
        results[contender] = stages.evaluate(
            evaluated, contender.name, policy, TASK, sizes.evaluation_episodes, config.seed
        )
    stages.ingest(evaluated, store)  # the loop closes
    stages.annotate(store, model)
    with stages.stage("Report"):
        return demo_report.simulated(report, store, model, TASK, results)


def _on_log(config: DemoConfig, report: Path) -> Path:
    """The offline stages, on the log of a robot that is not here."""
    from armchair import demo_report
    from datasets.store import Store

    sizes, store = SIZES[config.preset], config.out / "store"
    assert config.source is not None
    stages.ingest(config.source, store, config.task)
    shown, kept = (Query(task_id=config.task, split=split) for split in ("train", "test"))
    stages.sketch(store, shown, sizes.sketches, AnnotatorConfig(config.seed, by_time=True))
    if Store.open(store).query(kept):
        stages.sketch(store, kept, sizes.sketches, CLOCK)  # the reward model is judged by these
    reward = dataclasses.replace(sizes.reward, seed=config.seed, cameras=_seeing_cameras(store, shown))
    model = stages.learn_reward(config.out / "reward", store, config.task, reward)
    stages.annotate(store, model)
    contenders = _contenders(config, config.task, model)
    policies = {contender: stages.train(contender.training) for contender in contenders}
    with stages.stage("Report"):
        return demo_report.logged(report, store, model, config.task, policies)


def _contenders(config: DemoConfig, task: str, model: Path) -> list[Contender]:
    """The policies to compare: trained equally long, on the same batches."""
    sizes, runs = SIZES[config.preset], config.out / "policies"
    shared: dict[str, Any] = stages.policy_settings(config.out / "store", task, sizes.policy_steps, config.seed) | {
        "observations": ObservationPreset.PROPRIO if config.source else ObservationPreset.STATES,
        "without": () if config.source else WITHOUT,
    }
    # Some of a log is kept to judge by. The cell is its own judge; but what the demo evaluates is no log.
    logged = "split=train" if config.source else f"dataset={DATASET}"
    crr: dict[str, Any] = {**shared, "query": logged, "method": stages.CRR}
    learned = CrrTraining(out=runs / "crr_learned", rewards=f"model:{model}", **crr)
    # BC was measured with CRR's smaller network too, does better with the larger one, and gets it.
    contenders = [
        Contender("bc", "BC", BcTraining(out=runs / "bc", query=logged, **shared)),
        Contender("crr_learned", "CRR, learned reward", learned),
    ]
    if config.source is None:  # only a simulator knows the true reward, and only of the task that was recorded
        query = f"{logged} task_id={task}"
        true = dataclasses.replace(learned, out=runs / "crr_true", query=query, rewards="true")
        contenders.append(Contender("crr_true", "CRR, true reward", true))
    return contenders


def _seeing_cameras(path: Path, query: Query) -> tuple[str, ...]:
    """Cameras that ever saw something: logs of many robots declare more than each of them has."""
    from datasets import features
    from datasets.store import Store

    store, seeing = Store.open(path), set[str]()
    for row in store.query(query)[:_LOOKED_AT]:
        episode = store.read(row)
        seeing |= {k for k in episode.image_keys if features.decode_image(episode.observation[k][0]).any()}
    return tuple(sorted(seeing))
