"""Writers that are killed and writers that race lose nothing, overwrite nothing and store nothing twice.

And who reads meanwhile sees whole episodes only.
"""

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import tensorflow_datasets as tfds

from datasets.query import Query
from datasets.store import Added, Store
from datasets.testing import make_episode
from datasets.validate import Severity
from tests.datasets.stores import only_databases

SEEDS = 40


class Writers:
    """Writing processes, of which the first can be killed at a random moment; and reading ones beside them."""

    def __init__(self, root: Path):
        self.said: dict[int, list[str]] = {}  # process -> what it said since `run` was last called
        self._process = subprocess.Popen(
            [sys.executable, Path(__file__).with_name("killed_writer.py"), root],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            bufsize=1,
            env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
        )

    def run(
        self, *ranges: tuple[int, int], kill_after: int | None = None, delay: float = 0, readers: int = 0
    ) -> list[str]:
        """Ids that the writers of these ranges of seeds held to be safe, in the order in which they said so.

        Args:
          *ranges: of seeds, one a writer.
          kill_after: kills the first writer once so many episodes are safe, ...
          delay: ... so many seconds later.
          readers: how many processes read meanwhile.
        """
        print(readers, *(number for pair in ranges for number in pair), file=self._process.stdin)
        victim, safe = 0, []
        self.said = {}
        while (said := self._read())[1] != "dead":
            process, what = said
            self.said.setdefault(process, []).append(what)
            if what == f"ready-{ranges[0][0]}":
                victim = process
            elif what.startswith("fake"):
                safe.append(what)
            if victim and len(safe) == kill_after:
                time.sleep(delay)
                with contextlib.suppress(ProcessLookupError):  # it was faster
                    os.kill(victim, signal.SIGKILL)
                kill_after = None
        return safe

    def _read(self) -> tuple[int, str]:
        line = self._process.stdout.readline()
        assert line, "the writers' parent died"
        process, what = line.split()
        return int(process), what

    def close(self) -> None:
        self._process.communicate(timeout=20)


@pytest.fixture
def root(create_store):
    return create_store().root


@pytest.fixture
def writers(root):
    writers = Writers(root)
    yield writers
    writers.close()


def ids_by_plain_tfds(root):
    builder = tfds.builder_from_directory(os.fspath(root / "episodes" / "fake" / "1.0.0"))
    return sorted(e["episode_metadata"]["episode_id"].numpy().decode() for e in builder.as_dataset(split="train"))


def check(root, safe, seeds=SEEDS):
    """What was said to be safe is there, and when everything is written again, everything is there once."""
    store = Store.create(root)
    store.publish()  # takes in what was written but not indexed
    stored = {row.episode_id for row in store.query(Query())}
    assert set(safe) <= stored
    outcomes = {f"fake-{s}": store.add(make_episode(s, num_steps=3, cameras=()), "fake") for s in range(seeds)}
    assert {name for name, outcome in outcomes.items() if outcome is Added.DUPLICATE} == stored
    store.publish()
    assert ids_by_plain_tfds(root) == sorted(outcomes)
    assert sorted(e.metadata.episode_id for e in store.read_many(store.query(Query()))) == sorted(outcomes)
    assert not [problem for problem in store.verify() if problem.severity is Severity.ERROR]


@only_databases
@pytest.mark.parametrize("kills", [8, pytest.param(100, marks=pytest.mark.slow)])
def test_a_killed_writer_loses_at_most_the_episode_in_progress(root, writers, kills):
    rng = random.Random(kills)
    safe = []
    for _ in range(kills):  # each writer starts with the first seed again: what is there is a duplicate
        safe += writers.run((0, SEEDS), kill_after=rng.randrange(SEEDS // 2), delay=rng.uniform(0, 0.03))
    check(root, safe)


@only_databases
def test_racing_writers_one_of_which_is_killed(root, writers):
    safe = writers.run((0, 20), (10, 30), (15, 40), (39, 40), kill_after=25)
    assert {f"fake-{seed}" for seed in range(10, 40)} <= set(safe)
    check(root, safe)


@only_databases
@pytest.mark.parametrize("each", [4, pytest.param(40, marks=pytest.mark.slow)])
def test_ten_writers_at_once_lose_nothing_and_readers_see_whole_episodes(root, writers, each):
    total = 10 * each
    safe = writers.run(*((first, first + each) for first in range(0, total, each)), readers=2)
    assert sorted(safe) == sorted(f"fake-{seed}" for seed in range(total))
    readers = [said for said in writers.said.values() if said[0].startswith("saw-")]
    assert len(readers) == 2
    for said in readers:
        assert {what.partition("-")[0] for what in said} == {"saw"}  # nothing wrong, nothing gone again
        assert said[-1] == f"saw-{total}"
    assert any(said[1:-1] for said in readers)  # they looked while others wrote
    check(root, safe, total)
