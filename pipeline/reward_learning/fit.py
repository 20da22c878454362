"""Trains one model on what a learner teaches, and keeps the weights that do best on what is held out.

A folder holds `metrics.jsonl`, `tensorboard/` and `checkpoints/`. Starting again in the same folder goes on from the
last checkpoint, with the same numbers, to the bit, as an uninterrupted run; one that is done gives its model at once.
"""

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

import numpy as np
import tensorflow as tf

from datasets.console import progress_bar
from datasets.errors import ArmchairError
from pipeline import augment, checkpoints
from pipeline.metrics import MetricsWriter
from pipeline.optimisers import Adam
from pipeline.reward_learning.config import FittedConfig, member_seed
from pipeline.reward_learning.data import Frames
from pipeline.reward_learning.learner import Batch, RewardLearner
from pipeline.reward_learning.model import RewardModel, fit_normaliser
from pipeline.reward_learning.supervision import Supervision

C = TypeVar("C", bound=FittedConfig)

_FUSED_STEPS = 10  # updates a call: the call's own cost disappears, and progress still moves every second
_CHECK_STEPS = 100  # updates between looks at what is held out; one costs as much as some five updates
_CHECK_BATCHES = 8  # that are looked at, always the same
_CHECKPOINT_STEPS = 200  # updates between checkpoints: half a minute's work on two cores from pixels
_RATE_FRAMES = 256  # that are rated at once


class Trainer:
    """The model, its optimiser and the step, and how they go on from step to step."""

    def __init__(
        self, frames: Frames, learner: RewardLearner, config: FittedConfig, held_out: RewardLearner | None = None
    ):
        """Makes a fresh model.

        Args:
          frames: that the learners' batches index.
          learner: what to train on.
          config: the network and its training; its seed decides the weights and the augmentation.
          held_out: what to choose the weights by; None: the last ones are the result.
        """
        self._config, self._learner, self._held_out = config, learner, held_out
        self.model = RewardModel(config, frames.inputs, fit_normaliser(frames.inputs, frames.observation))
        self._optimiser = Adam(self.model.trainable_variables, config.weight_decay)
        self._observation = {name: tf.constant(array) for name, array in frames.observation.items()}
        self._step = tf.Variable(0, dtype=tf.int64, trainable=False)
        self._best = [tf.Variable(v, trainable=False) for v in self.model.trainable_variables]
        self._best_loss = tf.Variable(np.inf, dtype=tf.float32, trainable=False)
        self._worse = tf.Variable(0, dtype=tf.int64, trainable=False)  # checks since the best one
        self.checkpoint = tf.train.Checkpoint(
            model=self.model, optimiser=self._optimiser, step=self._step, best=self._best, best_loss=self._best_loss,
            worse=self._worse,
        )  # fmt: skip

    @property
    def step(self) -> int:
        """Updates made so far."""
        return int(self._step)

    @property
    def steps(self) -> int:
        """Updates to make, at most."""
        return self._config.steps

    @property
    def done(self) -> bool:
        """Whether all updates are made, or no better weights have been found for too long."""
        return self.step >= self._config.steps or int(self._worse) >= self._config.patience

    def run(self, steps: int) -> dict[str, float]:
        """Makes some updates at once; returns the means of the metrics.

        Raises:
          ArmchairError: if a loss is not finite, naming it and its step.
        """
        first = self.step
        metrics = self._updates(_stacked([self._learner.batch(first + k) for k in range(steps)])).numpy()  # [K, parts]
        names = self._learner.parts
        for k, i in np.argwhere(~np.isfinite(metrics)):
            raise ArmchairError(
                f"training diverged: {names[i]} is {metrics[k, i]} at step {first + k + 1}; "
                "lower the learning rate, or look for broken sensors with `armchair store verify`"
            )
        return dict(zip(names, metrics.mean(0).tolist(), strict=True))

    def check(self) -> dict[str, float]:
        """Looks at what is held out, if anything is, and remembers the weights if they are the best so far."""
        if self._held_out is None:
            return {}
        batches = _stacked([self._held_out.batch(k) for k in range(_CHECK_BATCHES)])
        loss = float(self._held_out_loss(batches))
        self._worse.assign_add(1)
        if loss < float(self._best_loss):
            self._best_loss.assign(loss)
            self._worse.assign(0)
            for best, variable in zip(self._best, self.model.trainable_variables, strict=True):
                best.assign(variable)
        return {"loss/held_out": loss}

    def finish(self) -> RewardModel:
        """The model, with the weights that were best."""
        if self._held_out is not None:
            for best, variable in zip(self._best, self.model.trainable_variables, strict=True):
                variable.assign(best)
        return self.model

    @tf.function(reduce_retracing=True)
    def _updates(self, batches: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """K batches, `{name: [K, ...]}`, to metrics float32[K, parts]."""
        count = tf.shape(batches["frames"])[0]
        metrics = tf.TensorArray(tf.float32, size=count)
        for k in tf.range(count):
            metrics = metrics.write(k, self._update({name: array[k] for name, array in batches.items()}))
        return metrics.stack()

    @tf.autograph.experimental.do_not_convert  # there is nothing in it to convert, and looking takes time
    def _update(self, batch: Mapping[str, tf.Tensor]) -> tf.Tensor:
        frames = batch["frames"]
        observation = self._augmented(tf.reshape(frames, (-1,)))
        with tf.GradientTape() as tape:
            logits = tf.reshape(self.model.logits(observation), frames.shape)
            parts = self._learner.loss(logits, batch)
        gradients = tape.gradient(parts["loss"], self.model.trainable_variables)
        done = tf.cast(self._step, tf.float32) / self._config.steps
        self._optimiser.apply(gradients, self._config.learning_rate * 0.5 * (1 + tf.cos(np.pi * done)))
        self._step.assign_add(1)
        return tf.stack([parts[name] for name in self._learner.parts])

    @tf.function
    def _held_out_loss(self, batches: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """The mean loss float32[] of some batches that are not augmented."""
        assert self._held_out is not None
        total = tf.constant(0.0)
        for k in tf.range(_CHECK_BATCHES):
            batch = {name: array[k] for name, array in batches.items()}
            frames = tf.reshape(batch["frames"], (-1,))
            observation = {name: tf.gather(array, frames) for name, array in self._observation.items()}
            logits = tf.reshape(self.model.logits(observation), batch["frames"].shape)
            total += self._held_out.loss(logits, batch)["loss"]
        return total / _CHECK_BATCHES

    def _augmented(self, frames: tf.Tensor) -> dict[str, tf.Tensor]:
        """The observations of some frames int32[N], pictures augmented."""
        observation = {}
        for number, (name, array) in enumerate(self._observation.items()):
            observation[name] = tf.gather(array, frames)  # [N, ...]
            if self.model.inputs[name].is_image:
                observation[name] = tf.ensure_shape(observation[name], (frames.shape[0], *array.shape[1:]))
                seed = tf.stack([self._config.seed * 1000 + number, tf.cast(self._step, tf.int32)])
                shifted = augment.shift(observation[name], self._config.shift, seed)
                observation[name] = augment.jitter_colours(shifted, self._config.colour_jitter, seed)
        return observation


def fit_member(
    supervision: Supervision,
    config: C,
    number: int,
    make: Callable[[Supervision, C, bool], RewardLearner],
    directory: Path,
    title: str,
) -> RewardModel:
    """Trains one of a method's models by a seed of its own, and chooses its weights by what is held out.

    Args:
      supervision: what there is to learn from.
      config: of the method.
      number: of the model.
      make: gives the learner of a part of the supervision, of the config with the model's seed; and whether it judges.
      directory: of this one model.
      title: for the progress bar.

    Raises:
      ArmchairError: as `make` and `fit`.
    """
    own = dataclasses.replace(config, seed=member_seed(config.seed, number))
    trained_on, held_out = supervision.split(own.held_out, own.seed)
    judge = None if held_out is None else make(held_out, own, True)
    trainer = Trainer(supervision.frames, make(trained_on, own, False), own, judge)
    return fit(trainer, directory, f"{title}, model {number}")


def fit(trainer: Trainer, directory: Path, title: str) -> RewardModel:
    """Trains, or goes on with what is in `directory`.

    Args:
      trainer: a fresh one.
      directory: of this one model.
      title: for the progress bar.

    Raises:
      ArmchairError: if a loss is not finite, or the checkpoint is damaged or does not fit.
    """
    steps = trainer.steps
    manager = tf.train.CheckpointManager(trainer.checkpoint, str(directory / "checkpoints"), max_to_keep=1)
    if saved := manager.latest_checkpoint:
        with checkpoints.restoring(saved):
            trainer.checkpoint.restore(saved).assert_consumed()
    with MetricsWriter(directory, trainer.step) as writer, progress_bar() as bar:
        task = bar.add_task(title, total=steps, completed=trainer.step)
        while not trainer.done:
            metrics = trainer.run(min(_FUSED_STEPS, steps - trainer.step))
            if trainer.step % _CHECK_STEPS == 0 or trainer.step == steps:
                metrics |= trainer.check()
            writer.write(trainer.step, metrics)
            bar.update(task, completed=trainer.step)
            if trainer.step % _CHECKPOINT_STEPS == 0 or trainer.done:
                manager.save()
        bar.update(task, completed=steps)
    return trainer.finish()


def rate(model: RewardModel, frames: Frames, episode_ids: tuple[str, ...]) -> dict[str, np.ndarray]:
    """A model's rewards of every frame of some episodes: episode id -> float32[T]."""
    predict = tf.function(model, reduce_retracing=True)
    wanted = frames.of(episode_ids)  # [N]
    rated = [np.zeros(0, np.float32)]
    for start in range(0, len(wanted), _RATE_FRAMES):
        some = wanted[start : start + _RATE_FRAMES]
        rated.append(predict({name: tf.constant(array[some]) for name, array in frames.observation.items()}).numpy())
    lengths = [len(frames.episodes[i]) for i in episode_ids]
    parts = np.split(np.concatenate(rated), np.cumsum(lengths)[:-1]) if lengths else []
    return dict(zip(episode_ids, parts, strict=True))


def _stacked(batches: list[Batch]) -> dict[str, tf.Tensor]:
    """K batches as one, `{name: [K, ...]}`."""
    return {name: tf.constant(np.stack([batch[name] for batch in batches])) for name in batches[0]}
