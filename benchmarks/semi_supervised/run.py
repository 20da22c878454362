"""Runs one cell: learn a reward, judge it, rate the log, train a policy offline, evaluate it."""

import dataclasses
import time
from pathlib import Path
from typing import Any

from benchmarks import studies
from benchmarks.semi_supervised import logs, troubles
from benchmarks.semi_supervised.cells import HARDER_TASK, TASKS, VARIANTS, VERSION, Cell
from datasets.presets import ObservationPreset
from datasets.query import Query
from datasets.store import Store
from pipeline.batch_rl.config import BcTraining, CrrConfig, CrrTraining, PolicyConfig
from pipeline.config import EncoderConfig
from pipeline.reward_learning.config import METHODS, RewardConfig, Selection

_EVALUATION_SEED = 1_000_000
# What rewards and policies do without: all that is not relative to the gripper. The rest tells where on the table the
# objects lay and how the arm shook under the expert's noise, which a reward of 20 episodes learns by heart. Inserting
# needs to know how the socket is turned.
_POSES = ("objects/green/pose", "objects/red/pose")
WITHOUT = {
    **dict.fromkeys(TASKS, ("sawyer", "wrist", *_POSES)),
    HARDER_TASK: ("sawyer/joints", "sawyer/tcp", "wrist"),
}


def run(cell: Cell, runs: Path, results: Path, workers: int) -> dict[str, Any]:
    """A cell's result, which is also written to `results/KEY.json`; one that is there is not made again.

    Args:
      cell: what to do.
      runs: folder of the logs, which are kept, and of what a cell writes, which is not.
      results: folder of the results.
      workers: processes that drive the simulator.
    """

    def make(work: Path) -> dict[str, Any]:
        began = time.monotonic()
        size = logs.SIZES[cell.size]
        shared = logs.make_store(runs / f"{cell.size}-{cell.task}-{cell.seed}", cell.task, cell.seed, size, workers)
        prepared = time.monotonic()
        store = logs.copy_store(shared, work / "store")
        told = {"reward": None, **_run(cell, store, work, size, workers)}
        times = {"seconds": round(time.monotonic() - prepared), "seconds_for_the_logs": round(prepared - began)}
        return told | times

    return studies.once(cell, VERSION, runs, results, make)


def _run(cell: Cell, store: Store, work: Path, size: logs.Size, workers: int) -> dict[str, Any]:
    from beam_jobs import annotate
    from beam_jobs.config import AnnotateConfig
    from robot.env import CellConfig
    from robot.evaluate import EvaluateConfig, evaluate

    told: dict[str, Any] = {}
    model = None
    if cell.method:
        model = studies.apart(learn_reward, cell, store.root, work / "reward", size)
        told["reward"] = studies.apart(judge, store.root, model, cell.task)
        annotate.annotate(AnnotateConfig(store.root, (model,)))
    policy = studies.apart(train_policy, _training(cell, store, work, size, model))
    seed = _EVALUATION_SEED + 10_000 * cell.seed  # the same initial states for every row
    evaluation = evaluate(
        EvaluateConfig(
            cell.task, f"policy:{policy}", size.evaluation_episodes, seed, workers=workers, cell=CellConfig(cameras=())
        )
    )
    return told | {"successes": evaluation.successes, "episodes": len(evaluation.episodes)}


def learn_reward(cell: Cell, root: Path, out: Path, size: logs.Size) -> Path:
    """Sketches or demonstrations and unlabelled episodes to a reward model; returns its folder."""
    from pipeline.annotate import synthetic
    from pipeline.annotate.synthetic import AnnotatorConfig
    from pipeline.reward_learning import train

    store = Store.open(root)
    config = reward_config(cell, size)
    others = logs.unlabelled(store, cell.seed, cell.unlabelled)
    selection = Selection(unlabelled=_ids(others))
    if config.from_demonstrations:
        shown = troubles.demonstrations(store, cell)
        kept = [row for row in others if row.episode_id not in shown.replaced]
        selection = Selection(demonstrations=_ids(shown.rows), unlabelled=_ids(kept))
    else:
        rows = [row for row in logs.unlabelled(store, cell.seed, None) if row.task_id == cell.task]
        chosen = synthetic.choose_episodes(rows, cell.teaching, cell.seed)
        for episode in store.read_many(chosen):
            drawn = synthetic.sketch(episode, cell.task, AnnotatorConfig(seed=cell.seed))
            store.add_sketch(troubles.spoiled(drawn, cell))
    return train.train(store, cell.task, out, config, selection)


def reward_config(cell: Cell, size: logs.Size) -> RewardConfig:
    """The method's own defaults, but for the number of updates and, from pixels, a smaller encoder."""
    assert cell.method
    config = METHODS[cell.method]
    fields = {f.name for f in dataclasses.fields(config)}
    unseen = set(_POSES) if cell.pixels else set()  # nobody tells these beside pictures anyway
    wanted: dict[str, Any] = {
        "observations": ObservationPreset.PIXELS if cell.pixels else ObservationPreset.STATES,
        "without": tuple(name for name in WITHOUT[cell.task] if name not in unseen), "seed": cell.seed,
        "steps": size.reward_steps,
        "encoder": EncoderConfig((8, 16, 32), blocks=1),
    }  # fmt: skip
    _, options = VARIANTS.get(cell.row, ("", {}))
    return config(**{name: value for name, value in wanted.items() if name in fields}, **options)


def judge(root: Path, model: Path, task: str) -> dict[str, float | None]:
    """The numbers of a reward model on the task's episodes of the test split: the same ones for every row.

    None, if a small log has no such episode.
    """
    from pipeline import export
    from pipeline.reward_learning import evaluate, quality

    store = Store.open(root)
    loaded, card = export.load_model(model, "reward_model")
    rows = store.query(Query(task_id=task, split="test", dataset=logs.DATASET))
    if not rows:
        return {}
    rated = evaluate.rate(store, rows, loaded, card)
    told = dataclasses.asdict(quality.judge(rated, card["model_id"]))
    numbers = {name: value["value"] if isinstance(value, dict) else value for name, value in told.items()}
    return {name: value for name, value in numbers.items() if isinstance(value, float | int | None)}


def train_policy(training: BcTraining | CrrTraining) -> Path:
    """A policy's folder."""
    from pipeline import threads
    from pipeline.batch_rl import trainer

    threads.for_policies(training.observations)
    return trainer.train(training)


def _training(cell: Cell, store: Store, work: Path, size: logs.Size, model: Path | None) -> BcTraining | CrrTraining:
    """The policy's training: every row of a task equally long, on the task's own episodes.

    Other tasks' episodes are for rewards to learn from. The simulator knows no true reward of them, so a row whose
    policy was trained on them, too, could not be compared with the true reward's.
    """
    queries = {
        "bc_demonstrations": _ids(logs.demonstrations(store, cell.task, cell.teaching)),
        "bc_successes": f"task_id={cell.task} verdict=success",
    }
    hard = cell.task == HARDER_TASK
    steps = size.policy_steps * (2 if hard else 1)
    shared: dict[str, Any] = {
        "store": store.root, "out": work / "policy", "task": cell.task,
        "query": queries.get(cell.row, f"task_id={cell.task} dataset={logs.DATASET}"), "steps": steps,
        "observations": ObservationPreset.STATES, "without": WITHOUT[cell.task], "seed": cell.seed,
        "checkpoint_every": steps, "snapshot_every": steps,
    }  # fmt: skip
    if cell.row.startswith("bc"):
        return BcTraining(**shared)
    # As in the demo, which on seed 0 and the true reward is enough to insert in 20 of 100 episodes; this in 30 of 50.
    policy = PolicyConfig() if hard else PolicyConfig(layer_sizes=(128, 128))
    method = CrrConfig(policy=policy, target_period=25, beta=0.5)
    return CrrTraining(rewards="true" if model is None else f"model:{model}", method=method, **shared)


def _ids(rows: list[Any]) -> str:
    return f"ids={','.join(sorted(row.episode_id for row in rows))}"
