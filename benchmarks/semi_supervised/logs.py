"""The logs of a study: for each task and seed a store of mixed episodes, few of them successes, and other tasks' data.

A store is made once and shared by the cells of its task and seed; each cell works on a copy of it, whose episodes are
links, so that its sketches and predictions are its own.
"""

import dataclasses
import os
import shutil
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from datasets import files
from datasets.query import Query
from datasets.store import EpisodeRow, Store
from robot.env import CellConfig
from robot.plan import PlanLine

DATASET = "recorded"
CAMERAS = ("basket_front_left", "wrist")  # as in the demo: one sees the lift, one the grasp
_OTHERS = {"lift_green": "stack_green_on_red", "stack_green_on_red": "lift_green", "insert_green": "lift_green"}
_GOOD = 0.1  # noise on a good expert's actions, of which 95 to 100 % succeed
# Noise on a clumsy and on a poor expert's: about half or fewer succeed, and about a tenth.
_NOISE = {"lift_green": (0.4, 0.5), "stack_green_on_red": (0.2, 0.3), "insert_green": (0.2, 0.25)}


@dataclasses.dataclass(frozen=True)
class Size:
    """How much of everything."""

    good: int  # episodes of a nearly perfect expert: the demonstrations, and little more
    clumsy: int  # of a clumsy one
    poor: int  # of a poor one
    watched: int  # of the random watcher
    others: int  # of other tasks, half of them failures
    policy_steps: int
    reward_steps: int
    evaluation_episodes: int


SIZES: Mapping[str, Size] = {
    "full": Size(40, 100, 180, 130, 150, 6_000, 1_000, 100),
    "quick": Size(30, 50, 70, 50, 50, 2_500, 500, 40),
    "smoke": Size(8, 3, 3, 4, 4, 200, 40, 4),
}


def make_store(folder: Path, task: str, seed: int, size: Size, workers: int = 2) -> Store:
    """Records and ingests the logs of a task and seed, or opens them if that is done."""
    from beam_jobs import ingest
    from beam_jobs.config import IngestConfig
    from robot.collect import CollectConfig, collect

    done = folder / "done"
    if not done.exists():
        lines = [
            *(
                PlanLine(task, f"expert:{task}:{noise:g}", count)
                for noise, count in zip((_GOOD, *_NOISE[task]), (size.good, size.clumsy, size.poor), strict=True)
            ),
            PlanLine(task, "random_watcher", size.watched),
            PlanLine("reach_green", "expert:reach_green:0.2", size.others // 3),
            PlanLine("reach_green", "random_watcher", size.others // 3),
            PlanLine(_OTHERS[task], f"expert:{_OTHERS[task]}:0.4", size.others - 2 * (size.others // 3)),
        ]
        plan = tuple(dataclasses.replace(line, seed=10_000 * seed + 1_000 * n) for n, line in enumerate(lines))
        collect(CollectConfig(folder / "logs", plan, DATASET, workers, CellConfig(cameras=CAMERAS)))
        ingest.ingest(IngestConfig((folder / "logs",), folder / "store"))
        shutil.rmtree(folder / "logs")
        files.write_atomically(done, "")
    return Store.open(folder / "store")


def copy_store(store: Store, folder: Path) -> Store:
    """A store of the same episodes, in which more can be written without the other one noticing."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(store.root / "episodes", folder / "episodes", copy_function=os.link)
    for path in store.root.glob("index*"):
        shutil.copy(path, folder)
    return Store.open(folder)


def demonstrations(store: Store, task: str, count: int) -> list[EpisodeRow]:
    """The first successes of the good expert, in the training split, in the order of their seeds."""
    rows = store.query(Query(task_id=task, verdict="success", split="train"))
    mine = sorted((row for row in rows if f"noise={_GOOD:.2f}" in row.policy_id), key=lambda row: row.seed)
    return mine[:count]


def unlabelled(store: Store, seed: int, count: int | None) -> list[EpisodeRow]:
    """So many episodes of the training split, at random; None: all."""
    rows = sorted(store.query(Query(split="train")), key=lambda row: (row.task_id, row.policy_id, row.seed))
    order = np.random.default_rng(seed).permutation(len(rows))
    return [rows[i] for i in order[: len(rows) if count is None else count]]
