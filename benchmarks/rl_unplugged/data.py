"""The data of a task: what an online agent saw while it learned, with few of its successes."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import studies
from benchmarks.rl_unplugged.online import OnlineConfig
from datasets import files
from datasets.episode import Episode
from datasets.store import Store

SOLVED = {"cartpole_swingup": 800.0, "walker_walk": 900.0}  # mean return at which an online agent stops
_SUCCESS = 0.7  # of the highest return: what RL Unplugged calls a success is not told; our choice
_KEPT = 1 / 3  # of the successes: RL Unplugged takes two thirds of them away
_SEED = 0


def thin(returns: Sequence[float], seed: int) -> list[int]:
    """Which episodes stay, in their order: all that are no success, and a third of the others, at random."""
    values = np.asarray(returns)
    successes = np.flatnonzero(values >= _SUCCESS * values.max())
    kept = np.random.default_rng(seed).permutation(successes)[: round(_KEPT * len(successes))]
    return sorted({*np.flatnonzero(values < _SUCCESS * values.max()).tolist(), *kept.tolist()})


def make(folder: Path, task: str, online_episodes: int) -> tuple[Store, dict[str, Any]]:
    """The store of a task's data, and what is to be said of them; made once.

    RL Unplugged takes samples of three online runs; one run, and all of it, has to do here.
    """
    facts = folder / "data.json"
    if not facts.exists():
        shutil.rmtree(folder, ignore_errors=True)
        seen = studies.apart(run_online, task, OnlineConfig(online_episodes, solved=SOLVED[task], seed=_SEED))
        files.write_atomically(facts, json.dumps(keep(seen, task, folder), indent=2) + "\n")
    return Store.open(folder / "store"), json.loads(facts.read_text())


def run_online(task: str, config: OnlineConfig) -> list[Episode]:
    """Every episode of an online agent."""
    from benchmarks.rl_unplugged import online
    from pipeline import threads

    threads.for_dense_learners()
    return online.learn(task, config)


def keep(seen: Sequence[Episode], task: str, folder: Path) -> dict[str, Any]:
    """Puts into a store what is not thinned out of a run; returns what is to be said of both."""
    returns = np.array([episode.reward.sum() for episode in seen])
    kept = thin(returns, _SEED)
    store = Store.create(folder / "store")
    for number in kept:
        store.add(seen[number], f"rlu_{task}")
    store.publish()
    low, middle, high = np.quantile(returns[kept], (0.25, 0.5, 0.75)).round(1).tolist()
    return {
        "online_episodes": len(seen), "online_return": round(float(returns[-20:].mean()), 1), "episodes": len(kept),
        "mean_return": round(float(returns[kept].mean()), 1), "quartiles": (low, middle, high),
        "highest_return": round(float(returns[kept].max()), 1),
    }  # fmt: skip
