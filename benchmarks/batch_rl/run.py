"""Runs one cell: train a policy on learned rewards, judge its snapshots from the log, then try them all."""

import shutil
import time
from pathlib import Path
from typing import Any

from benchmarks import studies
from benchmarks.batch_rl.cells import VERSION, WIDER, Cell
from benchmarks.semi_supervised import logs
from benchmarks.semi_supervised.cells import HARDER_TASK
from benchmarks.semi_supervised.cells import Cell as RewardCell
from benchmarks.semi_supervised.run import WITHOUT, learn_reward, train_policy
from datasets import files
from datasets.presets import ObservationPreset
from datasets.query import Query
from datasets.store import Store
from pipeline.batch_rl.config import TRAININGS, BcConfig, SelectConfig, Training

SNAPSHOTS = 3  # of a training; each is tried
REWARD, REWARD_FROM_PIXELS = "tgr_i", "sup"
"""What teaches the reward, from 20 demonstrations or 20 sketched episodes: the best of the studies of rewards."""
_PICTURED = 64  # transitions in a batch from pictures: as many as two cores look at in a tenth of a second
_STRETCHES = 16  # in a batch for a memory, of 20 transitions each: about as many transitions as other learners get, 256
_EVALUATION_SEED = 2_000_000


def run(cell: Cell, runs: Path, results: Path, workers: int) -> dict[str, Any]:
    """A cell's result, which is also written to `results/KEY.json`; one that is there is not made again.

    Args:
      cell: what to do.
      runs: folder of the logs and of the rated stores, which are kept, and of what a cell writes, which is not.
      results: folder of the results.
      workers: processes that drive the simulator.
    """

    def make(work: Path) -> dict[str, Any]:
        began = time.monotonic()
        size = logs.SIZES[cell.size]
        store, model = _rated_store(cell, runs, size, workers)
        prepared = time.monotonic()
        told = {"snapshots": _run(cell, store, model, work, size, workers)}
        times = {"seconds": round(time.monotonic() - prepared), "seconds_for_the_store": round(prepared - began)}
        return told | times

    return studies.once(cell, VERSION, runs, results, make)


def _rated_store(cell: Cell, runs: Path, size: logs.Size, workers: int) -> tuple[Store, str]:
    """The store of a task and seed, with a learned reward of every episode, and the reward model's id."""
    from beam_jobs import annotate
    from beam_jobs.config import AnnotateConfig
    from pipeline import export

    name = f"{cell.size}-{cell.task}-{cell.seed}"
    work = runs / f"rated-{'pixels-' if cell.pixels else ''}{name}"
    done = work / "done"
    if not done.exists():
        shared = logs.make_store(runs / name, cell.task, cell.seed, size, workers)
        shutil.rmtree(work, ignore_errors=True)
        store = logs.copy_store(shared, work / "store")
        teacher = RewardCell(cell.task, REWARD_FROM_PIXELS if cell.pixels else REWARD, cell.seed, cell.pixels)
        model = studies.apart(learn_reward, teacher, store.root, work / "reward", size)
        annotate.annotate(AnnotateConfig(store.root, (model,)))
        files.write_atomically(done, export.load_card(model, "reward_model")["model_id"])
    return Store.open(work / "store"), done.read_text()


def _run(
    cell: Cell, store: Store, model: str, work: Path, size: logs.Size, workers: int
) -> list[dict[str, float | int | str]]:
    """What each snapshot promises and what it does, the last one last."""
    from robot.env import CellConfig
    from robot.evaluate import EvaluateConfig, evaluate

    studies.apart(train_policy, _training(cell, store, model, work / "policy", size))
    paths = tuple(sorted((work / "policy" / "snapshots").glob("[0-9]*")))
    judged = f"task_id={cell.task} dataset={logs.DATASET}"
    rewards, steps = f"model:{model}", size.policy_steps // 2
    select = SelectConfig(paths, store.root, cell.task, judged, rewards, steps=steps, seed=cell.seed)
    # An estimate from pictures takes longer than the training of the policy that it is of.
    promised = {} if cell.pixels else {score["step"]: score for score in studies.apart(judge, select)}
    told = []
    seed = _EVALUATION_SEED + 10_000 * cell.seed  # the same initial states for every row and snapshot
    for path in paths:
        setting = EvaluateConfig(
            cell.task,
            f"policy:{path}",
            size.evaluation_episodes,
            seed,
            workers=workers,
            cell=CellConfig(cameras=logs.CAMERAS if cell.pixels else ()),
        )
        evaluation = evaluate(setting)
        counts = {"successes": evaluation.successes or 0, "episodes": len(evaluation.episodes)}
        told.append({"step": int(path.name)} | promised.get(int(path.name), {}) | counts)
    return told


def judge(config: SelectConfig) -> list[dict[str, float | int]]:
    """What the log says of each policy, by the step of its training."""
    from pipeline import threads
    from pipeline.batch_rl import selection

    threads.for_dense_learners()
    names = ("step", "value", "low", "high", "td_error", "action_gap")
    return [{name: getattr(score, name) for name in names} for score in selection.rank(config)]


def _training(cell: Cell, store: Store, model: str, out: Path, size: logs.Size) -> Training:
    method = cell.method
    query = f"split=train dataset={logs.DATASET}"
    if cell.row not in WIDER:
        query += f" task_id={cell.task}"
    elif cell.row == "crr_no_watcher":
        rows = [row for row in store.query(Query.parse(query)) if "random_watcher" not in row.policy_id]
        query = f"ids={','.join(sorted(row.episode_id for row in rows))}"
    every = size.policy_steps // SNAPSHOTS
    options: dict[str, Any] = {
        "store": store.root, "out": out, "task": cell.task, "query": query,
        "observations": ObservationPreset.PIXELS if cell.pixels else ObservationPreset.STATES,
        "without": WITHOUT[HARDER_TASK if cell.pixels else cell.task], "steps": SNAPSHOTS * every,
        "rewards": "none" if isinstance(method, BcConfig) and not method.is_filtered else f"model:{model}",
        "fused": every, "checkpoint_every": every, "snapshot_every": every, "seed": cell.seed, "method": method,
    }  # fmt: skip
    if cell.pixels:
        options["batch_size"] = _PICTURED
    elif method.memory.size:
        options["batch_size"] = _STRETCHES
    return TRAININGS[type(method)](**options)
