"""The stages of the loop as the demo and the rounds of `armchair loop` run them: announced, timed, and done only once.

Each calls the same function as its command, and each goes on where it stopped.
"""

import contextlib
import dataclasses
import multiprocessing
import shlex
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

from datasets.console import console
from datasets.query import Query
from datasets.schema import Verdict
from pipeline import config as configs
from pipeline.annotate.synthetic import AnnotatorConfig
from pipeline.batch_rl.config import CrrConfig, PolicyConfig, Training
from pipeline.config import EncoderConfig
from pipeline.reward_learning.config import RankingConfig
from robot.env import CellConfig
from robot.evaluate import Evaluation
from robot.plan import PlanLine

# What the runs on the simulated cell have in common.
DATASET = "recorded"
WORKERS = 2  # processes that drive the simulator
EVALUATION_SEED = 1_000_000  # far from every seed of a recording
CAMERAS = ("basket_front_left", "wrist")  # one sees the lift, one the grasp; a third would only cost time
ENCODER = EncoderConfig((8, 16, 32), blocks=1)  # a quarter of the default's cost, and as accurate on these pictures
# What a policy does without: sensors that mostly tell how the arm shook under the expert's noise.
WITHOUT = ("sawyer/joints", "sawyer/tcp", "wrist")
# A few thousand updates on a few hundred episodes. With the usual 100 updates between copies of the target networks
# the critic hardly gets anywhere; with beta 1, weights stay near 1; and a larger policy learns the noise by heart.
CRR = CrrConfig(policy=PolicyConfig(layer_sizes=(128, 128)), target_period=25, beta=0.5)


@contextlib.contextmanager
def stage(title: str, *command: object) -> Iterator[None]:
    """Says what a stage does, a command that does the like, and how long it took."""
    console.rule(f"[bold]{title}", align="left")
    if command:
        console.print(f"[dim]$ armchair {shlex.join(map(str, command))}", soft_wrap=True)
    began = time.monotonic()
    yield
    console.print(f"[dim]{time.monotonic() - began:.0f} s")


def once(what: str, config: Any, make: Callable[[Path], Path]) -> Path:
    """Makes the report of a run in `config.out`, unless it is there; returns its path.

    Args:
      what: the run for people, e.g. "demo".
      config: with the folder `out`, which it claims.
      make: runs everything, writes the report to a path and returns that.

    Raises:
      ArmchairError: the folder holds a run of another config; or as `make`.
    """
    configs.claim_run(config.out, config)
    report: Path = config.out / "report.html"
    if report.exists():
        console.print(f"This {what} is done: look at {report} (if that is deleted, it is made again)", soft_wrap=True)
        return report
    began = time.monotonic()
    make(report)
    minutes = (time.monotonic() - began) / 60
    console.print(f"[bold green]Done in {minutes:.1f} minutes. Look at {report}", soft_wrap=True)
    return report


def policy_settings(store: Path, task: str, steps: int, seed: int) -> dict[str, Any]:
    """How the policies of these runs are trained, whatever the method, the rewards and the episodes."""
    return {
        "store": store, "task": task, "steps": steps, "seed": seed,
        "checkpoint_every": min(1_000, steps), "snapshot_every": steps,
        "task_share": 0.5,  # in a pool of which other tasks' short episodes are a fifth, most of a batch is the task's
    }  # fmt: skip


def collect(out: Path, plan: Sequence[PlanLine], seed: int) -> None:
    """Records a plan's episodes; each of its lines has seeds of its own, in every run."""
    from robot.collect import CollectConfig
    from robot.collect import collect as run

    example = plan[0]
    who = ("--robot", example.env, "--policies", example.actor, "--episodes", example.episodes)
    with stage("Record", "collect", "--out", out, *who):
        first = seed * 10_000
        lines = tuple(dataclasses.replace(line, seed=first + 1_000 * number) for number, line in enumerate(plan))
        run(CollectConfig(out, lines, DATASET, workers=WORKERS, cell=CellConfig(cameras=CAMERAS)))


def ingest(source: Path, store: Path, task: str = "") -> None:
    """Takes logs into the store; those that are there already are left alone."""
    from beam_jobs import ingest
    from beam_jobs.config import IngestConfig
    from datasets.readers.base import Defaults

    with stage("Ingest", "ingest", "--source", source, "--store", store):
        ingest.ingest(IngestConfig((source,), store, defaults=Defaults(task_id=task))).print()


def sketch(path: Path, query: Query, count: int, annotator: AnnotatorConfig) -> None:
    """Lets the simulated annotator sketch some of the episodes."""
    from datasets.store import Store
    from pipeline.annotate import sketch

    task = query.task_id or ""
    with stage("Sketch", "sketch", "simulate", "--store", path, "--task", task, "--count", count):
        store = Store.open(path)
        sketch.simulate(store, store.query(query, require=True), task, count, annotator)


def learn_reward(out: Path, path: Path, task: str, config: RankingConfig) -> Path:
    """Trains a reward model on every sketch of the task; returns its folder."""
    from datasets.store import Store
    from pipeline import threads
    from pipeline.reward_learning import train

    threads.for_pictures()
    with stage("Learn the reward", "reward", "train", "--store", path, "--task", task, "--out", out):
        if (out / "model").exists():
            return out / "model"
        return train.train(Store.open(path), task, out, config)


def annotate(store: Path, model: Path) -> None:
    """Rates every episode that the model has not rated."""
    from beam_jobs import annotate
    from beam_jobs.config import AnnotateConfig

    with stage("Annotate all history", "annotate", "--store", store, "--model", model):
        annotate.annotate(AnnotateConfig(store, (model,))).print()


def train(training: Training) -> Path:
    """Trains a policy and returns its folder; in a process of its own, which wants other thread settings than ours."""
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


def evaluate(out: Path, name: str, policy: Path, task: str, episodes: int, seed: int) -> Evaluation:
    """Evaluates a policy on the simulated cell, its episodes recorded into `out` and its result in out/NAME.json."""
    from robot.evaluate import EvaluateConfig
    from robot.evaluate import evaluate as run

    with stage(f"Evaluate {name}", "evaluate", "--policies", policy, "--robot", task, "--episodes", episodes):
        first = EVALUATION_SEED + seed * 10_000  # the same initial states for every policy
        cell = CellConfig(cameras=CAMERAS)
        evaluation = run(EvaluateConfig(task, f"policy:{policy}", episodes, first, out, workers=WORKERS, cell=cell))
        evaluation.save(out / f"{name}.json")
        console.print(str(evaluation))
        return evaluation


def hunt(path: Path, model: Path, policy_id: str, count: int, annotator: AnnotatorConfig) -> None:
    """Lets the simulated annotator sketch those episodes of a policy in which its reward was most wrong.

    That is, failures whose highest prediction is high ("delusions"), and successes whose highest prediction is low.
    """
    from datasets.store import Store
    from pipeline import export
    from pipeline.annotate import review, sketch

    store, card = Store.open(path), export.load_card(model, "reward_model")
    task = card["task_id"]
    newest = Query(task_id=task, policy_id=policy_id)
    with stage("Hunt delusions", "sketch", "--store", path, "--task", task, "--query", newest):
        rows = {row.episode_id: row for row in store.query(newest, require=True)}
        scores = review.Reviewer(store, task).scores(card["model_id"], review.Order.DELUSION)
        wrong = {
            score.episode_id: 1 - score.highest if rows[score.episode_id].verdict == Verdict.SUCCESS else score.highest
            for score in scores
            if score.episode_id in rows
        }
        worst = sorted(wrong, key=lambda episode_id: (-wrong[episode_id], episode_id))[:count]
        sketch.simulate(store, [rows[episode_id] for episode_id in worst], task, count, annotator)
