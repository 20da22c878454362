"""Trains a reward model on the sketches of one task.

A run folder holds `config.json`, `metrics.jsonl`, `tensorboard/`, `checkpoints/` and, at the end, `model/`. Starting
again in the same folder resumes where the last checkpoint left off, with the same numbers as an uninterrupted run.
"""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from datasets.console import progress_bar
from datasets.errors import ArmchairError
from datasets.store import Store
from pipeline import config as configs
from pipeline import export
from pipeline.metrics import MetricsWriter
from pipeline.optimisers import Adam
from pipeline.reward_learning import augment, losses
from pipeline.reward_learning.config import RewardConfig
from pipeline.reward_learning.data import PairSampler, SketchedFrames, load_sketched
from pipeline.reward_learning.model import RewardModel, fit_normaliser

_FUSED_STEPS = 10  # updates a call: the call's own cost disappears, and progress still moves every second
_CHECKPOINT_STEPS = 200  # updates between checkpoints: half a minute's work on two cores
_PARTS = ("loss", "loss/ranking", "loss/threshold", "pair_accuracy")


@dataclasses.dataclass(frozen=True)
class RunConfig:
    """What decides a run: equal ones give equal models."""

    task_id: str
    sketches: str  # fingerprint of the data
    config: RewardConfig


class Trainer:
    """The model, its optimiser and the step, and how they go on from step to step."""

    def __init__(self, data: SketchedFrames, config: RewardConfig):
        """Makes a fresh model for the data.

        Raises:
          ArmchairError: if no sketch has two frames whose order it tells.
        """
        self._config = config
        self._sampler = PairSampler([s.values for s in data.sketches], data.first_frame, config.loss.sketch_gap)
        if not self._sampler.num_pairs:
            raise ArmchairError(
                f"none of the {len(data.sketches)} sketches has two frames that differ by more than "
                f"{config.loss.sketch_gap}: sketch episodes in which the task gets somewhere"
            )
        self.model = RewardModel(config, data.inputs, fit_normaliser(data.inputs, data.observation))
        self._optimiser = Adam(self.model.trainable_variables, config.weight_decay)
        self._frames = {name: tf.constant(array) for name, array in data.observation.items()}
        self._step = tf.Variable(0, dtype=tf.int64, trainable=False)
        self.checkpoint = tf.train.Checkpoint(model=self.model, optimiser=self._optimiser, step=self._step)

    @property
    def step(self) -> int:
        """Updates made so far."""
        return int(self._step)

    def run(self, steps: int) -> dict[str, float]:
        """Makes some updates at once; returns the means of the metrics.

        Raises:
          ArmchairError: if a loss is not finite, naming it and its step.
        """
        first = self.step
        batches = [self._sampler.sample(self._config.batch_pairs, self._config.seed, first + k) for k in range(steps)]
        frames, sketches = (tf.constant(np.stack(part)) for part in zip(*batches, strict=True))
        metrics = self._updates(frames, sketches).numpy()  # [steps, parts]
        for k, i in np.argwhere(~np.isfinite(metrics)):
            raise ArmchairError(
                f"training diverged: {_PARTS[i]} is {metrics[k, i]} at step {first + k + 1}; "
                "lower the learning rate, or look for broken sensors with `armchair store verify`"
            )
        return dict(zip(_PARTS, metrics.mean(0).tolist(), strict=True))

    @tf.function(reduce_retracing=True)
    def _updates(self, frames: tf.Tensor, sketches: tf.Tensor) -> tf.Tensor:
        """Frames int32[K, B, 2] and their sketches float32[K, B, 2] to metrics float32[K, parts]."""
        metrics = tf.TensorArray(tf.float32, size=tf.shape(frames)[0])
        for k in tf.range(tf.shape(frames)[0]):
            metrics = metrics.write(k, self._update(frames[k], sketches[k]))
        return metrics.stack()

    def _update(self, frames: tf.Tensor, sketches: tf.Tensor) -> tf.Tensor:
        observation = self._augmented(tf.reshape(frames, (-1,)))
        with tf.GradientTape() as tape:
            prediction = tf.reshape(self.model(observation), (-1, 2))  # [B, 2]
            loss, parts = losses.total_loss(prediction, sketches, self._config.loss)
        gradients = tape.gradient(loss, self.model.trainable_variables)
        done = tf.cast(self._step, tf.float32) / self._config.steps
        self._optimiser.apply(gradients, self._config.learning_rate * 0.5 * (1 + tf.cos(np.pi * done)))
        self._step.assign_add(1)
        is_pair = tf.cast(sketches[:, 0] - sketches[:, 1] > self._config.loss.sketch_gap, tf.float32)
        is_right = tf.cast(prediction[:, 0] > prediction[:, 1], tf.float32)
        accuracy = tf.math.divide_no_nan(tf.reduce_sum(is_pair * is_right), tf.reduce_sum(is_pair))
        return tf.stack([parts["loss"], parts["loss/ranking"], parts["loss/threshold"], accuracy])

    def _augmented(self, frames: tf.Tensor) -> dict[str, tf.Tensor]:
        """The observations of some frames int32[2 B], pictures augmented."""
        observation = {}
        for number, (name, array) in enumerate(self._frames.items()):
            observation[name] = tf.gather(array, frames)  # [2 B, ...]
            if self.model.inputs[name].is_image:
                observation[name] = tf.ensure_shape(observation[name], (2 * self._config.batch_pairs, *array.shape[1:]))
                seed = tf.stack([self._config.seed * 1000 + number, tf.cast(self._step, tf.int32)])
                shifted = augment.shift(observation[name], self._config.shift, seed)
                observation[name] = augment.jitter_colours(shifted, self._config.colour_jitter, seed)
        return observation


def train(store: Store, task_id: str, directory: Path, config: RewardConfig) -> Path:
    """Trains a reward model, or goes on with the one in `directory`; returns the model folder.

    Raises:
      ArmchairError: as `load_sketched` and `Trainer`; or if the folder holds a run of other sketches or another config.
    """
    data = load_sketched(store, task_id, config)
    configs.claim_run(directory, RunConfig(task_id, data.fingerprint, config))
    trainer = Trainer(data, config)
    checkpoints = tf.train.CheckpointManager(trainer.checkpoint, str(directory / "checkpoints"), max_to_keep=1)
    checkpoints.restore_or_initialize()
    metrics: dict[str, float] = {}
    with MetricsWriter(directory, trainer.step) as writer, progress_bar() as bar:
        task = bar.add_task("training the reward model", total=config.steps, completed=trainer.step)
        while trainer.step < config.steps:
            metrics = trainer.run(min(_FUSED_STEPS, config.steps - trainer.step))
            writer.write(trainer.step, metrics)
            bar.update(task, completed=trainer.step)
            if trainer.step % _CHECKPOINT_STEPS == 0 or trainer.step == config.steps:
                checkpoints.save()
    return export.save_model(
        directory / "model", trainer.model.for_export(), _card(trainer.model, data, task_id, config)
    )


def _card(model: RewardModel, data: SketchedFrames, task_id: str, config: RewardConfig) -> dict[str, Any]:
    model_hash = export.fingerprint(model.variables)
    return {
        "kind": "reward_model",
        "model_id": f"reward-{task_id}-{model_hash[:8]}",
        "model_hash": model_hash,
        "task_id": task_id,
        "inputs": export.inputs_card(model.inputs),
        "config": configs.to_dict(config),
        "sketches": data.fingerprint,
        "num_sketches": len(data.sketches),
        "trained_on": list(data.episode_ids),
    }
