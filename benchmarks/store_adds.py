"""What the hash of an episode's content costs beside the rest of `Store.add`.

python benchmarks/store_adds.py
"""

import dataclasses
import statistics
import tempfile
import time
from pathlib import Path
from unittest import mock

import tyro

from datasets import features
from datasets.episode import Episode
from datasets.store import Store
from datasets.testing import make_episode


@dataclasses.dataclass(frozen=True)
class Config:
    """What to measure."""

    episodes: int = 100
    """How many to store of each kind."""
    steps: int = 100
    """Of an episode."""
    size: int = 128
    """Of a picture, in pixels."""


def main(config: Config) -> None:
    """Prints a table: milliseconds of the clock an episode."""
    print("| episode | `Store.add`, ms: median (10 % to 90 %) | of that, the hash |")
    print("|---|---|---|")
    size = (config.size, config.size)
    for what, cameras in (("states alone", ()), ("two cameras", ("basket_front_left", "wrist"))):
        episodes = [make_episode(seed, config.steps, cameras, size) for seed in range(config.episodes)]
        adds, hashes = _measure(episodes)
        print(f"| {config.steps} steps, {what} | {_spread(adds)} | {_spread(hashes)} |", flush=True)


def _measure(episodes: list[Episode]) -> tuple[list[float], list[float]]:
    """Milliseconds of each `add`, and of each hash."""
    adds, hashes = [], []
    plain = features.content_hash

    def timed(record: bytes) -> str:
        start = time.perf_counter()
        digest = plain(record)
        hashes.append(1e3 * (time.perf_counter() - start))
        return digest

    with tempfile.TemporaryDirectory() as folder, mock.patch.object(features, "content_hash", timed):
        store = Store.create(Path(folder) / "store")
        for episode in episodes:
            start = time.perf_counter()
            store.add(episode, "fake")
            adds.append(1e3 * (time.perf_counter() - start))
    return adds, hashes


def _spread(numbers: list[float]) -> str:
    tenths = statistics.quantiles(numbers, n=10)
    return f"{statistics.median(numbers):.2f} ({tenths[0]:.2f} to {tenths[-1]:.2f})"


if __name__ == "__main__":
    main(tyro.cli(Config))
