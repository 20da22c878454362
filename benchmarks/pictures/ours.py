"""Ours: the reward model's encoder with one linear output, or a step of CRR from pictures; prints frames a second."""

import argparse
import os
import time
from collections.abc import Callable

os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")  # as `armchair` does for its users; before TensorFlow comes
import numpy as np
import sonnet as snt
import tensorflow as tf

from datasets.feeds import Group, TransitionFeed, Transitions
from pipeline import threads
from pipeline.batch_rl.config import CrrConfig
from pipeline.batch_rl.crr import CrrLearner
from pipeline.config import EncoderConfig
from pipeline.networks import ResidualEncoder
from pipeline.optimisers import Adam

SIDE, FRAMES = 64, 1024
VECTOR, ACTION = 24, 7  # numbers beside CRR's pictures, and its actions'
_FUSED = 10  # batches a call, as `reward_learning.fit`
THREADS: dict[str, Callable[[], None]] = {"our": threads.for_pictures, "TensorFlow's": lambda: None}
"""Settings by name; what a dense learner uses is on two cores the same as ours."""


class Model(snt.Module):
    """The encoder, and one linear output."""

    def __init__(self) -> None:
        super().__init__()
        config = EncoderConfig()
        self._encoder = ResidualEncoder(config.channels, config.blocks, config.keypoints)
        self._head = snt.Linear(1)

    def __call__(self, pictures: tf.Tensor) -> tf.Tensor:
        """uint8[B, H, W, C] to float32[B]."""
        return self._head(self._encoder(pictures))[:, 0]


def encoder(batch: int, seconds: float) -> None:
    """Trains on random labels, then infers."""
    rng = np.random.default_rng(0)
    pictures = tf.constant(rng.integers(0, 256, (FRAMES, SIDE, SIDE, 3), np.uint8))
    labels = tf.constant(rng.integers(0, 2, FRAMES), tf.float32)
    model = Model()
    model(pictures[:1])
    optimiser = Adam(model.trainable_variables)
    print("parameters", sum(v.shape.num_elements() for v in model.trainable_variables))

    @tf.function
    def train() -> None:
        for _ in tf.range(_FUSED):
            frames = tf.random.uniform((batch,), 0, FRAMES, tf.int32)
            with tf.GradientTape() as tape:
                logits = model(tf.gather(pictures, frames))
                losses = tf.nn.sigmoid_cross_entropy_with_logits(tf.gather(labels, frames), logits)
                loss = tf.reduce_mean(losses)
            optimiser.apply(tape.gradient(loss, model.trainable_variables), 1e-3)

    @tf.function
    def infer() -> tf.Tensor:
        total = tf.constant(0.0)
        for _ in tf.range(_FUSED):
            total += tf.reduce_sum(model(tf.gather(pictures, tf.random.uniform((batch,), 0, FRAMES, tf.int32))))
        return total

    _measure("training", train, _FUSED * batch, seconds)
    _measure("inference", infer, _FUSED * batch, seconds)


def crr(cameras: int, batch: int, seconds: float) -> None:
    """Updates of CRR with its default sizes; each transition has two pictures a camera, before and after."""
    rng = np.random.default_rng(0)
    frame = np.arange(FRAMES, dtype=np.int32)
    names = [f"pixels/{number}" for number in range(cameras)]
    pictures = {name: rng.integers(0, 256, (FRAMES + 1, SIDE, SIDE, 3), np.uint8) for name in names}
    action = rng.uniform(-1, 1, (FRAMES, ACTION)).astype(np.float32)
    transitions = Transitions(
        {}, frame, frame + 1, action, rng.random(FRAMES, np.float32), np.ones(FRAMES, np.float32),
        np.zeros(FRAMES, np.int32), ("e",), {}, pictures,
    )  # fmt: skip
    vectors = tf.constant(rng.standard_normal((FRAMES + 1, VECTOR)), tf.float32)
    feed = TransitionFeed(vectors, transitions, [Group(frame, batch)], 0)
    learner = CrrLearner(CrrConfig(), feed, VECTOR, ACTION, 0, dict.fromkeys(names, (SIDE, SIDE, 3)))
    _measure("training", lambda: learner.run(_FUSED), _FUSED * 2 * cameras * batch, seconds)


def _measure(name: str, run: Callable[[], object], frames: int, seconds: float) -> None:
    """Prints the rate over all calls, each of so many frames, and of the fastest one."""
    run()
    run()
    began, count, fastest = time.perf_counter(), 0, 0.0
    while time.perf_counter() - began < seconds:
        start = time.perf_counter()
        run()
        count += frames
        fastest = max(fastest, frames / (time.perf_counter() - start))
    print(name, count / (time.perf_counter() - began))
    print(f"{name}/fastest", fastest)


def main() -> None:
    """Measures one of them."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--threads", choices=THREADS, required=True)
    parser.add_argument("--cameras", type=int, default=0, help="of CRR; 0: the encoder alone")
    parser.add_argument("--batch", type=int, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    options = parser.parse_args()
    THREADS[options.threads]()
    if options.cameras:
        crr(options.cameras, options.batch, options.seconds)
    else:
        encoder(options.batch, options.seconds)


if __name__ == "__main__":
    main()
