"""`kill -9` at any moment loses at most the episode in progress, and never the dataset."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import tensorflow_datasets as tfds

from datasets import features
from datasets.shards import ShardDirectory, read_record
from robot.record import record
from robot.testing import FakeArm, FakeExpert

_STARTING = 0.2  # seconds that a recorder needs until its first episode is safe, about
_EPISODE = 0.04  # seconds of an episode, about


class Recorders:
    """Starts recorders one after the other, and kills each at a random moment."""

    def __init__(self, directory: Path):
        victim = Path(__file__).with_name("killed_recorder.py")
        environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
        self._process = subprocess.Popen(
            [sys.executable, victim, directory],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            bufsize=1,
            env=environment,
        )

    def run_and_kill(self, seed: int) -> list[str]:
        """Ids of the episodes that the recorder held to be safe before it was killed."""
        rng = random.Random(seed)
        print(seed, file=self._process.stdin)
        process = int(self._line())
        safe = [self._line() for _ in range(rng.choice([0, 0, 1, 2, 4]))]
        time.sleep(rng.uniform(0, _EPISODE if safe else _STARTING))
        os.kill(process, signal.SIGKILL)
        while (line := self._line()) != "dead":
            safe.append(line)
        return safe

    def _line(self) -> str:
        line = self._process.stdout.readline()
        assert line, "the recorder's parent died"
        return line.strip()

    def __enter__(self) -> "Recorders":
        return self

    def __exit__(self, *exception: object) -> None:
        self._process.communicate(timeout=10)


def ids_from(shards: ShardDirectory, first: int) -> list[str]:
    """Ids of the episodes from shard number `first` on; every one is read whole."""
    records = (read_record(shards.shard_path(number)) for number in range(first, len(shards)))
    return [features.deserialize(record, shards.features).metadata.episode_id for record in records]


@pytest.mark.parametrize("kills", [10, pytest.param(100, marks=pytest.mark.slow)])
def test_kill_loses_at_most_the_episode_in_progress(tmp_path, kills):
    path = tmp_path / "fake" / "1.0.0"
    found, in_the_middle = [], 0
    with Recorders(tmp_path) as recorders:
        for seed in range(kills):
            safe = recorders.run_and_kill(seed)
            if not path.exists():
                assert not safe
                continue
            new = ids_from(ShardDirectory(path), first=len(found))
            assert set(safe) <= set(new)
            assert len(new) <= len(safe) + 1  # one may have become safe before it could be told
            found += new
            published = json.loads((path / "dataset_info.json").read_text())["splits"][0]["shardLengths"]
            assert len(published) in (len(found), len(found) - 1)  # every recorder begins by publishing
            in_the_middle = len(list(path.glob(".*.tmp")))  # files that were being written when their writer was killed
    print(f"{kills} kills, {in_the_middle} of them in the middle of a file; {len(found)} episodes, all whole")

    with record(FakeArm(image_size=(16, 16)), tmp_path, "fake") as env:  # and it is recorded into as ever
        timestep, expert = env.reset(), FakeExpert()
        while not timestep.last():
            timestep = env.step(expert.act(timestep.observation))
        found += env.episode_ids
    dataset = tfds.builder_from_directory(path).as_dataset(split="train")
    assert sorted(e["episode_metadata"]["episode_id"].numpy().decode() for e in dataset) == sorted(set(found))
