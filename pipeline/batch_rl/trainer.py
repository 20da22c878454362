"""The offline trainer: from a store to a policy folder, resumable to the bit.

```
OUT/config.json data.json       what is trained, on which episodes
OUT/metrics.jsonl tensorboard/  one line every `fused` steps
OUT/snapshots/00005000/         a policy (SavedModel and card) every `snapshot_every` steps
OUT/last/                       the policy of the last step
OUT/checkpoints/00001000/       all variables, for resuming; the newest only
```
Running the same command again goes on from the newest checkpoint and ends with the same numbers, bit for bit on a
CPU, as if it had never stopped.
"""

import dataclasses
import json
import math
import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import tensorflow as tf

from datasets import console, feeds, files, presets
from datasets.errors import ArmchairError, SpecMismatchError
from datasets.feeds import RewardSource, TransitionFeed
from datasets.query import Query
from datasets.store import EpisodeRow, Store
from pipeline import config as configs
from pipeline import export
from pipeline.batch_rl.bc import BcLearner
from pipeline.batch_rl.config import BcConfig, CrrConfig, D4pgConfig, Training
from pipeline.batch_rl.crr import CrrLearner
from pipeline.batch_rl.d4pg import D4pgLearner
from pipeline.batch_rl.learner import Learner
from pipeline.batch_rl.policy import ActionRange, save_policy
from pipeline.metrics import MetricsWriter
from pipeline.networks import Normaliser

_LEARNERS: Mapping[type, Callable[..., Learner]] = {
    BcConfig: BcLearner, CrrConfig: CrrLearner, D4pgConfig: D4pgLearner,
}  # fmt: skip


def train(config: Training) -> Path:
    """Trains, or goes on training, and returns the folder of the last policy.

    Raises:
      ArmchairError: if the data cannot be used as asked, the run folder holds another run, or training diverges.
    """
    data = Data(config)
    tf.random.set_seed(config.seed)  # of the initial weights
    learner = _LEARNERS[type(config.method)](
        config.method, data.feed, data.normaliser.mean.shape[0], len(data.actions.minimum), config.seed
    )
    sentinel = _Sentinel(learner.check_rewards(data.transitions.reward))
    configs.claim_run(config.out, config)
    _claim_data(config.out / "data.json", data.summary)
    if saved := sorted((config.out / "checkpoints").glob("[0-9]*")):
        learner.restore(saved[-1])

    with MetricsWriter(config.out, learner.step) as writer, console.progress_bar() as bar:
        shown = bar.add_task(f"{config.name} {config.task}", total=config.steps, completed=learner.step)
        while learner.step < config.steps:
            began = time.perf_counter()
            count = min(config.fused, config.steps - learner.step)
            metrics = learner.run(count)
            step = learner.step
            writer.write(step, metrics | {"steps_per_second": count / (time.perf_counter() - began)})
            sentinel.look(metrics, step)
            if step % config.snapshot_every == 0:
                _save_policy(config.out / "snapshots" / f"{step:08d}", config, data, learner)
            if step % config.checkpoint_every == 0 or step == config.steps:
                _save_checkpoint(config.out / "checkpoints", learner)
            bar.update(shown, completed=step)
    return _save_policy(config.out / "last", config, data, learner)


class Data:
    """What is trained on: transitions in the learner's units, and the feed of their batches."""

    def __init__(self, config: Training):
        """Loads the episodes. Raises ArmchairError as `datasets.feeds.load_transitions`."""
        store = Store.open(config.store)
        rows = store.query(Query.parse(config.query), require=True)
        self.rewards = _reward_source(config.rewards)
        keys = _observation_keys(store, rows, config)
        logged = feeds.load_transitions(store, rows, keys, self.rewards, config.task)
        self.actions = ActionRange.of(logged.action)
        self.transitions = dataclasses.replace(logged, action=self.actions.to_unit(logged.action))
        self.normaliser = Normaliser.fit(logged.observation)
        task_of = {row.episode_id: row.task_id for row in rows}
        own = [task_of[episode_id] == config.task for episode_id in logged.episode_ids]
        groups = feeds.mixture(logged, own, config.task_share, config.batch_size)
        frames = self.normaliser({k: tf.constant(v) for k, v in logged.observation.items()})  # [F, D]
        learned = self.transitions
        if isinstance(config.method, D4pgConfig):
            learned = feeds.n_step(learned, config.method.n_step, config.method.gamma)
        self.feed = TransitionFeed(frames, learned, groups, config.seed)

    @property
    def summary(self) -> dict[str, int | str]:
        """What a card and a run folder say of the data."""
        transitions = self.transitions
        return {
            "episodes": len(transitions.episode_ids), "transitions": len(transitions),
            "fingerprint": transitions.fingerprint,
        }  # fmt: skip


def _reward_source(text: str) -> RewardSource:
    """Also from `model:<folder of a reward model>`."""
    kind, _, name = text.partition(":")
    if kind == "model" and Path(name).is_dir():
        text = f"model:{export.load_card(Path(name), 'reward_model')['model_id']}"
    return RewardSource.parse(text)


def _observation_keys(store: Store, rows: list[EpisodeRow], config: Training) -> tuple[str, ...]:
    """The preset's observations that all datasets have, less those that are to be left out."""
    specs = [store.spec(name).observation for name in sorted({row.dataset for row in rows})]
    common = {k: v for k, v in specs[0].items() if all(k in other for other in specs)}
    keys = presets.select(common, config.observations, config.without)
    if not keys:
        raise SpecMismatchError(
            f"the selected datasets have no {config.observations} observation in common that is not left out: "
            "choose others"
        )
    return keys


def _claim_data(path: Path, summary: Mapping[str, int | str]) -> None:
    """Resuming on other episodes would be another training."""
    text = json.dumps(summary, indent=2)
    if path.exists() and path.read_text() != text:
        raise ArmchairError(
            f"the query selects other episodes than when this run began (see {path}): choose another folder"
        )
    files.write_atomically(path, text)


class _Sentinel:
    """Stops a training that has gone wrong, with the reason."""

    def __init__(self, largest_return: float):
        self._largest_return = largest_return
        self._first: float | None = None  # mean value: of a fresh critic the middle of its atoms, which may be high

    def look(self, metrics: Mapping[str, float], step: int) -> None:
        """Raises ArmchairError if a metric is not finite, or values have risen above what rewards can give."""
        if bad := [name for name, value in metrics.items() if not math.isfinite(value)]:
            raise ArmchairError(
                f"training diverged: {bad[0]} is {metrics[bad[0]]} at step {step}; lower the learning rate, or look "
                "for extreme values in the data with `armchair store verify`"
            )
        value = metrics.get("q", 0.0)
        if self._first is None:
            self._first = value
        if value > 1.05 * max(self._largest_return, self._first):
            raise ArmchairError(
                f"training diverged: the mean value is {value:.3g} at step {step}, but no return can exceed "
                f"{self._largest_return:.3g}; lower the critic's learning rate or raise target_period"
            )


def _save_checkpoint(directory: Path, learner: Learner) -> None:
    """Writes the newest checkpoint, then drops the older ones: there is a whole one at every moment."""
    older = list(directory.glob("[0-9]*"))
    learner.save(directory / f"{learner.step:08d}")
    for path in older:
        if path.name != f"{learner.step:08d}":
            shutil.rmtree(path)


def _save_policy(path: Path, config: Training, data: Data, learner: Learner) -> Path:
    card = {
        "task_id": config.task, "rewards": str(data.rewards), "dataset": data.summary, "step": learner.step,
        "config": configs.to_dict(config),
    }  # fmt: skip
    return save_policy(path, config.name, learner.policy, data.normaliser, data.actions, data.transitions.inputs, card)
