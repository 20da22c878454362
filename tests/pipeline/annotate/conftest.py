"""A large store, quickly; and a server with annotators before it."""

import contextlib
import shutil

import httpx
import pytest
import sqlalchemy as sql

from datasets.index import insert_new
from datasets.query import split_of
from datasets.schema import Verdict
from datasets.store import Store
from datasets.tables import EPISODE_TAGS, EPISODES, TAGS
from datasets.testing import make_episode
from pipeline.annotate import testing
from pipeline.annotate.server import create_app
from pipeline.annotate.state import ServerConfig


@pytest.fixture
def many_episodes():
    """`many_episodes(root, count, **make_episode's arguments)`: episodes `many-0`, ... that share one recording.

    Only the index has that many; the rows are as if each episode had a shard of its own. A third of the tasks is not
    `lift_green`, a fourth of the episodes failed, and there are seven policies.
    """

    def make(root, count, num_steps=50, **fields):
        store = Store.create(root)
        store.add(make_episode(0, num_steps, episode_id="many-0", **fields), "many")
        store.publish()
        with store._index.write() as connection:
            first = dict(connection.execute(sql.select(EPISODES)).mappings().one())
            rows = [
                first | {
                    "EpisodeId": f"many-{number}",
                    "Shard": number,
                    "Split": split_of(f"many-{number}"),
                    "TaskId": ("lift_green", "lift_green", "stack_green_on_red")[number % 3],
                    "PolicyId": f"policy-{number % 7}",
                    "Verdict": str(Verdict.FAILURE if number % 4 == 3 else Verdict.SUCCESS),
                    "Timestamp": first["Timestamp"] + 60 * number,
                }
                for number in range(1, count)
            ]  # fmt: skip
            tags = [{"EpisodeId": row["EpisodeId"], "Tag": f"batch-{row['Shard'] % 20}"} for row in rows]
            insert_new(connection, EPISODES, rows)
            insert_new(connection, TAGS, [{"Name": f"batch-{number}"} for number in range(20)])
            insert_new(connection, EPISODE_TAGS, tags)
        return store

    return make


class Clock:
    """Unix seconds that pass when a test says so."""

    def __init__(self):
        self.now = 1_800_000_000.0

    def __call__(self):
        return self.now


class Desk:
    """A server that runs, and browsers before it."""

    def __init__(self, store, url, state, clock, opened):
        self.store, self.url, self.state, self.clock = store, url, state, clock
        self._opened = opened

    def visitor(self, **headers):
        """A client of nobody's. It sends the Origin of our own page; a header that is None is left out."""
        headers = {k: v for k, v in {"origin": self.url, **headers}.items() if v is not None}
        return self._opened.enter_context(httpx.Client(base_url=self.url, headers=headers, timeout=60, verify=False))

    def client(self, user="ada", **headers):
        """A client that has signed in."""
        client = self.visitor(**headers)
        answer = client.post("/api/session", json={"token": self.state.sessions.tokens[user]})
        assert answer.status_code == 200, answer.text
        return client


@pytest.fixture(scope="session")
def four_episodes(tmp_path_factory):
    """A store to copy: `fake-0` to `fake-3`, of 5 frames and 2 cameras."""
    store = Store.create(tmp_path_factory.mktemp("four") / "store")
    for seed in range(4):
        store.add(make_episode(seed, cameras=("basket_front_left", "wrist")), "fake")
    store.publish()
    store._index.close()  # so that the write-ahead log is in the file
    return store.root


@pytest.fixture
def desk(tmp_path, four_episodes):
    """`desk(store=None, **ServerConfig's fields)` -> Desk; without a store, before a copy of `four_episodes`."""
    with contextlib.ExitStack() as opened:

        def make(store=None, annotators=("ada", "bob"), **fields):
            if store is None:
                store = Store.open(shutil.copytree(four_episodes, tmp_path / "store"))
            clock = Clock()
            app = create_app(store, ServerConfig("lift_green", annotators=annotators, **fields), clock)
            url = opened.enter_context(testing.serving(app))
            return Desk(store, url, app.state.armchair, clock, opened)

        yield make
