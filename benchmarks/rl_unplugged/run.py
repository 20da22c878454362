"""Runs one cell: train a policy on the task's data, then try its snapshots."""

import functools
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import studies
from benchmarks.rl_unplugged import data, suite
from benchmarks.rl_unplugged.cells import METHODS, SIZES, VERSION, Cell, Size
from datasets.presets import ObservationPreset
from datasets.store import Store
from pipeline import export, threads
from pipeline.batch_rl import trainer
from pipeline.batch_rl.config import TRAININGS, BcConfig, Training

_EVALUATION_SEED = 2_000_000  # of the initial states; far from those of the data, the same for every row and snapshot


def run(cell: Cell, runs: Path, results: Path, workers: int) -> dict[str, Any]:
    """A cell's result, which is also written to `results/KEY.json`; one that is there is not made again.

    Args:
      cell: what to do.
      runs: folder of the data, which are kept, and of what a cell writes, which is not.
      results: folder of the results.
      workers: not used; a cell is a process.
    """
    del workers

    def make(work: Path) -> dict[str, Any]:
        size = SIZES[cell.size]
        store, facts = data.make(runs / f"data-{cell.size}-{cell.task}", cell.task, size.online_episodes)
        began = time.monotonic()
        _choose_threads()
        training = _training(cell, store, work / "policy", size)
        trainer.train(training)
        paths = sorted((training.out / "snapshots").glob("[0-9]*"))
        snapshots = [_try_out(cell.task, path, size.evaluation_episodes) for path in paths]
        return {"data": facts, "snapshots": snapshots, "seconds": round(time.monotonic() - began)}

    return studies.once(cell, VERSION, runs, results, make)


def _training(cell: Cell, store: Store, out: Path, size: Size) -> Training:
    method = METHODS[cell.row]
    every = size.steps // size.snapshots
    options: dict[str, Any] = {
        "store": store.root, "out": out, "task": cell.task, "observations": ObservationPreset.STATES,
        "rewards": "none" if isinstance(method, BcConfig) else "true",
        "steps": every * size.snapshots, "fused": every, "checkpoint_every": every, "snapshot_every": every,
        "seed": cell.seed, "method": method,
    }  # fmt: skip
    return TRAININGS[type(method)](**options)


@functools.cache
def _choose_threads() -> None:
    """Once a process."""
    threads.for_dense_learners()


def _try_out(task: str, path: Path, episodes: int) -> dict[str, float | int]:
    """A policy's mean return over so many episodes."""
    policy, card = export.load_model(path, "policy")
    envs = [suite.make(task, _EVALUATION_SEED + number) for number in range(episodes)]
    none = policy.initial_state(np.zeros(episodes, np.int64))  # these policies remember nothing
    played = suite.play(envs, lambda observation: policy.act(observation, none)[0].numpy(), card["policy_id"])
    returns = [float(episode.reward.sum()) for episode in played]
    return {"step": card["step"], "return": float(np.mean(returns)), "episodes": episodes}
