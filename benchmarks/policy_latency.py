"""How long a policy takes to choose an action: milliseconds a call on one core, as a robot's program calls it.

    python benchmarks/policy_latency.py [--calls 1000] [--rounds 5]

CRR's policy of default sizes with random weights goes through training's own export, and is loaded as `armchair
evaluate` loads it, for the fake arm's observations: numbers alone, without and with a memory, and with three cameras of
64x64; weights and observations have the seed 0. The process keeps to one core, so TensorFlow has one thread. The clock
is the wall's; between two calls the process sleeps 2 ms, as it does on an arm, if longer. The project asks for a 99th
percentile of at most 10 ms from numbers and 40 ms from three cameras. Prints the table of `docs/results/costs.md`; five
minutes. Where other programs keep the cores busy, `chrt --fifo 1` in front of it lets none of them come between.
"""

import argparse
import os
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np

from robot.versions import onednn

POLICIES = {
    "numbers": (False, 0),
    "numbers, with a memory of 128 cells": (False, 128),
    "numbers and three 64x64 cameras": (True, 0),
    "numbers and three 64x64 cameras, with a memory of 128 cells": (True, 128),
}
"""Whether it sees pictures, and the cells of its memory (`--method.memory.size`)."""
WARM_UP = 50  # calls that nobody looks at
REST = 0.002  # s between two calls: caches cool down, and whoever else wants the core has had it


def export_policy(folder: Path, pictures: bool, memory: int) -> Path:
    """A policy that has learned nothing yet, as training writes it."""
    import tensorflow as tf

    from datasets.features import ArraySpec
    from pipeline.batch_rl.config import CrrConfig, MemoryConfig
    from pipeline.batch_rl.crr import CrrLearner
    from pipeline.batch_rl.saved_policy import ActionRange, save_policy
    from pipeline.networks import Normaliser
    from robot.drivers.fake import make_robot

    tf.random.set_seed(0)
    with make_robot() as arm:
        specs = arm.observation_spec()
        action_size = arm.action_spec().shape[0]
    inputs = {k: ArraySpec(s.shape, s.dtype.name) for k, s in specs.items() if pictures or s.dtype != np.uint8}
    numbers = {k: np.zeros((1, *spec.shape), np.float32) for k, spec in inputs.items() if not spec.is_image}
    normaliser = Normaliser.fit(numbers)
    shapes = {k: spec.shape for k, spec in inputs.items() if spec.is_image}
    config = CrrConfig(memory=MemoryConfig(size=memory))

    def nothing(step: tf.Tensor) -> object:
        raise AssertionError(f"nobody trains here, at {step}")

    learner = CrrLearner(config, nothing, normaliser.mean.shape[0], action_size, 0, shapes)
    limit = np.ones(action_size, np.float32)
    return save_policy(folder, "crr", learner.acting, learner.eye, normaliser, ActionRange(-limit, limit), inputs, {})


def time_calls(folder: Path, calls: int, rounds: int) -> np.ndarray:
    """Seconds of each call, float64[rounds, calls]."""
    from robot.drivers.fake import make_robot
    from robot.policy import load_policy

    rng = np.random.default_rng(0)
    with make_robot() as arm:
        observation = dict(arm.reset().observation)
        policy = load_policy(folder, arm)
    pictures = [k for k, v in observation.items() if v.dtype == np.uint8]
    seconds = np.empty((rounds, calls))
    for turn in seconds:
        policy.reset(0)
        for i in range(-WARM_UP, calls):
            observation |= {k: rng.integers(0, 256, observation[k].shape, np.uint8) for k in pictures}
            time.sleep(REST)
            start = time.perf_counter()
            policy.act(observation)
            if i >= 0:
                turn[i] = time.perf_counter() - start
    return seconds


def row(name: str, seconds: np.ndarray) -> str:
    """A line of the page's table: medians over the rounds, and how far rounds are apart; of all, the longest call."""
    fields = [f"{1e3 * seconds.max():.1f}"]
    for percentile in (99, 50):
        rounds = 1e3 * np.percentile(seconds, percentile, axis=1)
        fields.insert(0, f"{statistics.median(rounds):.2f} ({rounds.min():.2f} to {rounds.max():.2f})")
    return f"| {name} | {' | '.join(fields)} |"


def main() -> None:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=1000, help="of a round")
    parser.add_argument("--rounds", type=int, default=5, help="of each policy")
    options = parser.parse_args()

    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})  # before TensorFlow counts the cores
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")  # as `armchair` does for its users
    print(f"load average at the start: {os.getloadavg()[0]:.1f}; oneDNN: {onednn()}\n")
    print("| policy from | median, ms | 99th percentile, ms | longest, ms |\n|---|---|---|---|")
    for name, (pictures, memory) in POLICIES.items():
        with tempfile.TemporaryDirectory() as folder:
            path = export_policy(Path(folder) / "policy", pictures, memory)
            print(row(name, time_calls(path, options.calls, options.rounds)), flush=True)


if __name__ == "__main__":
    main()
