"""Training on more pictures takes no more memory."""

import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from datasets import testing
from datasets.frames import DiskArray
from datasets.store import Store

READER = Path(__file__).with_name("frame_reader.py")
MB = 2**20


def _own_memory() -> int:
    """Bytes of this process that are no file's."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon"))


def test_reading_all_rows_leaves_none_in_memory(tmp_path):
    rows = 8_000  # 98 MB, of holes
    np.lib.format.open_memmap(tmp_path / "a.npy", "w+", np.uint8, (rows, 64, 64, 3))[::1000] = 1
    array, before, total = DiskArray(tmp_path / "a.npy"), _own_memory(), 0
    for start in range(0, rows, 100):
        total += int(array[np.arange(start, start + 100)].sum())
    assert total == 8 * 64 * 64 * 3
    assert _own_memory() - before < 10 * MB


def _fill(path: Path, episodes: int) -> Store:
    """Episodes of 100 frames from two cameras, 2.4 MB each once they are decoded."""
    store = Store.create(path)
    episode = testing.make_episode(0, 100, ("basket_front_left", "wrist"), (64, 64))
    for number in range(episodes):
        metadata = dataclasses.replace(episode.metadata, episode_id=f"copy-{number}")
        store.add(dataclasses.replace(episode, metadata=metadata), "fake", keep_duplicates=True)
    store.publish()
    return store


def _read(store: Store, memory: int) -> tuple[int, int]:
    """Bytes of pictures, and of the memory that another process needed to write them down and to read batches."""
    command = [sys.executable, os.fspath(READER), os.fspath(store.root), str(memory)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    pictures, peak = map(int, done.stdout.split())
    return pictures, peak


@pytest.mark.slow
def test_ten_times_the_pictures_take_no_more_memory(tmp_path):
    little, much = _fill(tmp_path / "1", 15), _fill(tmp_path / "10", 150)
    (size, peak), (ten_times, peak_of_much) = _read(little, memory=0), _read(much, memory=0)
    assert ten_times == 10 * size == 150 * 100 * 2 * 64 * 64 * 3
    assert peak_of_much - peak < 40 * MB  # of 316 more
    _, peak_in_memory = _read(much, memory=ten_times)
    assert 250 * MB < peak_in_memory - peak < 450 * MB  # the measurement sees what is held, once: 352
