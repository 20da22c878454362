"""A large store, quickly."""

import pytest
import sqlalchemy as sql

from datasets.index import insert_new
from datasets.query import split_of
from datasets.schema import Verdict
from datasets.store import Store
from datasets.tables import EPISODE_TAGS, EPISODES, TAGS
from datasets.testing import make_episode


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
