"""The offline trainer: from a store to a policy folder, resumable to the bit.

```
OUT/config.json data.json       what is trained, on which episodes
OUT/metrics.jsonl tensorboard/  one line every `fused` steps
OUT/snapshots/00005000/         a policy (SavedModel and card) every `snapshot_every` steps
OUT/last/                       the policy of the last step
OUT/best/                       the policy that `armchair select` found best, once it was asked
OUT/checkpoints/00001000/       all variables, for resuming; the newest only
```
Running the same command again goes on from the newest checkpoint and ends with the same numbers, bit for bit on a
CPU, as if it had never stopped.
"""

import json
import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import tensorflow as tf

from datasets import console, files
from datasets.errors import ArmchairError
from pipeline import config as configs
from pipeline.batch_rl.bc import BcLearner
from pipeline.batch_rl.config import (
    BcConfig,
    CrrConfig,
    D4pgConfig,
    IqlConfig,
    Td3BcConfig,
    Training,
)
from pipeline.batch_rl.crr import CrrLearner
from pipeline.batch_rl.d4pg import D4pgLearner
from pipeline.batch_rl.data import Data
from pipeline.batch_rl.iql import IqlLearner
from pipeline.batch_rl.learner import Learner
from pipeline.batch_rl.saved_policy import save_policy
from pipeline.batch_rl.sentinel import Sentinel
from pipeline.batch_rl.td3_bc import Td3BcLearner
from pipeline.metrics import MetricsWriter

_LEARNERS: Mapping[type, Callable[..., Learner]] = {
    BcConfig: BcLearner, CrrConfig: CrrLearner, D4pgConfig: D4pgLearner, Td3BcConfig: Td3BcLearner,
    IqlConfig: IqlLearner,
}  # fmt: skip


def train(config: Training) -> Path:
    """Trains, or goes on training, and returns the folder of the last policy.

    Raises:
      ArmchairError: if the data cannot be used as asked, the run folder holds another run, or training diverges.
    """
    data = Data(config)
    tf.random.set_seed(config.seed)  # of the initial weights
    learner = _LEARNERS[type(config.method)](
        config.method,
        data.feed,
        data.normaliser.mean.shape[0],
        len(data.actions.minimum),
        config.seed,
        data.transitions.picture_shapes,
    )
    sentinel = Sentinel(learner.check_rewards(data.transitions.reward))
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


def _claim_data(path: Path, summary: Mapping[str, Any]) -> None:
    """Resuming on other episodes would be another training."""
    text = json.dumps(summary, indent=2)
    if path.exists() and path.read_text() != text:
        raise ArmchairError(
            f"the query selects other episodes than when this run began, or an older Armchair began it (see {path}): "
            "choose another folder"
        )
    files.write_atomically(path, text)


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
    return save_policy(
        path, config.name, learner.acting, learner.eye, data.normaliser, data.actions, data.transitions.inputs, card
    )
