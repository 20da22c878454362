"""Ours, as a user runs it: `armchair train crr` on a store, with metrics, TensorBoard, snapshots and checkpoints."""

import argparse
import dataclasses
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks.learners.peers import common
from datasets import testing
from datasets.store import Store

STEPS = 5_000  # updates; the trainer's default is a checkpoint every 1,000, so four lie among those that count
CHECKPOINT = 1_000  # the first one
WARM_UP = 500  # updates that do not count
_KEYS = ("sawyer/joints/angle", "sawyer/joints/velocity", "sawyer/joints/torque", "gripper/opening", "gripper/command")


def make_store(root: Path) -> None:
    """The peers' synthetic data as episodes of a robot."""
    store = Store.create(root)
    for seed, parts in enumerate(zip(*common.episodes(), strict=True)):
        observation, action, reward = parts
        like = testing.make_episode(seed, common.STEPS, cameras=())
        columns = dict(zip(_KEYS, np.split(observation[:, 1:], [7, 14, 21, 22], axis=1), strict=True))
        columns["gripper/grasp"] = (observation[:, :1] > 0).astype(np.int64)
        store.add(dataclasses.replace(like, observation=columns, action=action, reward=reward), "synthetic")
    store.publish()


def events(out: Path, since: float) -> dict[int, float]:
    """Step -> time of each line of metrics that was written after a moment, from the files that TensorBoard reads."""
    from tensorboard.backend.event_processing.event_accumulator import TENSORS, EventAccumulator

    told = EventAccumulator(os.fspath(out / "tensorboard"), {TENSORS: 0}).Reload().Tensors("critic_loss")
    return {event.step: event.wall_time for event in told if event.wall_time > since}


def main() -> None:
    """Trains, is killed after the first checkpoint, and goes on to the end."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--critic", choices=("scalar", "c51"), required=True)
    parser.add_argument("--store", type=Path, required=True)
    options = parser.parse_args()
    if not options.store.exists():
        make_store(options.store)
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "run"
        command = [sys.executable, "-m", "armchair", "train", "crr", "--store", options.store, "--out", out,
                   "--task", "lift_green", "--steps", str(STEPS)]  # fmt: skip
        if options.critic == "scalar":
            command.append("--method.critic.no-distributional")
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        first = subprocess.Popen(command, **quiet)
        while not (out / "checkpoints" / f"{CHECKPOINT:08d}").exists():
            assert first.poll() is None, "training failed"
            time.sleep(0.1)
        first.kill()
        first.wait()
        began = time.time()
        subprocess.run(command, check=True, **quiet)
        times = events(out, began)
    warm = min(times) + WARM_UP
    print("steps_per_second", (STEPS - warm) / (times[STEPS] - times[warm]))
    print("seconds_to_resume", min(times.values()) - began)


if __name__ == "__main__":
    main()
