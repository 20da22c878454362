"""How long the lists of the sketching page take: queries, counts and facets over many indexed episodes, no files.

python benchmarks/store_queries.py --episodes 1000000 [--index-url postgresql+psycopg://USER@HOST/DATABASE]
"""

import dataclasses
import os
import random
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import sqlalchemy as sql
import tyro

from datasets import catalogue
from datasets.episode import EpisodeMetadata
from datasets.index import insert_new
from datasets.predictions import summary
from datasets.query import Query, split_of
from datasets.schema import RewardType
from datasets.store import Store
from datasets.tables import EPISODE_TAGS, EPISODES, REWARD_MODELS, REWARD_SEQUENCES

_THREE = (  # conditions; each time with other values
    "task_id=task_{task} verdict=success policy_id=policy-{policy}",
    "task_id=task_{task} verdict={verdict} split=train",
    "task_id=task_{task} verdict={verdict} min_steps=120",
    "task_id=task_{task} verdict=success tag={tag}",
    "task_id=task_{task} verdict=success min_return=m1:{percent}",
    "task_id=task_{task} verdict=failure min_final=m1:0.{percent}",
    "task_id=task_{task} verdict=success not_sketched=task_{task}",
    "dataset=set{dataset} verdict={verdict} source=log/{source}",
    "dataset=set{dataset} since=17{week}000000 until=17{week}600000",
    "robot=robot-{robot} verdict={verdict} split=test",
)
_OTHERS = (
    "", "task_id=task_{task}", "verdict={verdict}", "tag={tag}", "tag=rare", "min_return=m1:{percent}",
    "not_sketched=task_{task}", "text=LIFT-0000999", "text=nowhere",
)  # fmt: skip
_ORIGINALS = 50_000  # episodes that are made one by one


@dataclasses.dataclass(frozen=True)
class Config:
    """What to measure."""

    episodes: int = 10_000
    """How many episodes to index, each with a prediction."""
    index_url: str | None = None
    """An empty PostgreSQL database; without it, SQLite."""
    folder: Path | None = None
    """Of a store to fill, or one that was filled so before; without it, a temporary one."""


def main(config: Config) -> None:
    """Prints a table of the median and the 95th percentile of some repetitions, in milliseconds.

    The processor's time is this process's: of SQLite, what a query takes on a machine that does nothing else.
    """
    with tempfile.TemporaryDirectory() as folder:
        store = Store.create(config.folder or Path(folder) / "store", index_url=config.index_url)
        if not store.count(Query()):
            start = time.perf_counter()
            _fill(store, config.episodes)
            print(f"filled in {time.perf_counter() - start:.0f} s; ", end="")
        if config.index_url is None:
            print(
                f"the index takes {Path(store.index_name).stat().st_size / config.episodes / 1e3:.1f} kB an episode; "
            )
        print(f"load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} processors\n")
        print("| conditions | query: median | p95 | processor | p95 | count: median | p95 | processor | p95 |")
        print("|---|---|---|---|---|---|---|---|---|")
        values = random.Random(0)
        for template, repeats in [(text, 40) for text in _THREE] + [(text, 10) for text in _OTHERS]:
            texts = [_filled_in(template, values) for _ in range(repeats)]
            queries = [dataclasses.replace(Query.parse(text), limit=100, order="newest") for text in texts]
            query = _measure(store.query, queries)
            count = _measure(store.count, queries)
            print(f"| `{template or 'none'}` | {query} | {count} |", flush=True)
        last = Query(order="newest", limit=100, offset=config.episodes - 100)
        print(f"| none, the last page | {_measure(store.query, [last] * 5)} | | | | |")
        print(f"| facets | {_measure(lambda _: store.facets(), [last] * 5)} | | | | |")
        print(f"| revision | {_measure(lambda _: store.revision(), [last] * 5)} | | | | |")


def _filled_in(template: str, values: random.Random) -> str:
    return template.format(
        task=values.randrange(7), policy=values.randrange(40), source=values.randrange(90), dataset=values.randrange(4),
        verdict=values.choice(("success", "failure", "unknown")), robot=values.randrange(3),
        week=values.randrange(10, 60), tag=values.choice(("good", "night", "rgb")), percent=values.randrange(10, 99),
    )  # fmt: skip


def _fill(store: Store, episodes: int) -> None:
    """Some by our code, the others as copies of these, with other ids and times, by the database itself."""
    rng = np.random.default_rng(0)
    with store._index.write() as connection:
        indexes = [index for table in (EPISODES, EPISODE_TAGS, REWARD_SEQUENCES) for index in table.indexes]
        for index in indexes:  # made at the end, which is several times faster
            index.drop(connection)
        insert_new(connection, REWARD_MODELS, [{"ModelId": "m1", "ModelHash": "hash1", "TaskId": "task_1"}])
        originals = min(episodes, _ORIGINALS)
        rows = [_row(store.root, i, rng.random(9)) for i in range(originals)]
        catalogue.insert_episodes(connection, rows)
        insert_new(connection, REWARD_SEQUENCES, (_prediction(row.episode_id, rng) for row in rows))
        for number in range(1, episodes // originals):
            for table in (EPISODES, EPISODE_TAGS, REWARD_SEQUENCES):
                copied = {column.name: column for column in table.c} | {"EpisodeId": f"{number}-" + table.c.EpisodeId}
                if table is EPISODES:
                    copied |= {
                        "Shard": table.c.Shard + number * originals,
                        "Timestamp": table.c.Timestamp + 997 * number,
                    }
                of_originals = sql.select(*copied.values()).where(table.c.EpisodeId > "sim")
                connection.execute(sql.insert(table).from_select(list(copied), of_originals))
        for index in indexes:
            index.create(connection)
        store._index.analyze(connection)


def _row(root: Path, number: int, chosen: np.ndarray) -> catalogue.EpisodeRow:
    task, policy, source, dataset, verdict, robot, second, tag, steps = chosen
    metadata = EpisodeMetadata(
        f"sim-lift-{number:08d}", task_id=f"task_{int(7 * task)}", policy_id=f"policy-{int(40 * policy)}",
        source=f"log/{int(90 * source)}", timestamp=1_710_000_000 + int(50_000_000 * second),
        verdict=("success", "failure", "unknown")[int(3 * verdict)], robot=f"robot-{int(3 * robot)}",
        tags="rare" if tag > 0.9999 else "good,rgb" if tag < 0.2 else "night" if tag < 0.5 else "",
    )  # fmt: skip
    name = f"set{int(4 * dataset)}"
    return catalogue.EpisodeRow(
        **vars(metadata), dataset=name, shard=number, num_steps=100 + int(50 * steps), checksum=f"{number:064x}",
        content_hash=f"{number:064x}",
        path=root / "episodes" / name / "1.0.0" / f"{name}-train.tfrecord-{number:05d}",
        split=split_of(metadata.episode_id),
    )  # fmt: skip


def _prediction(episode_id: str, rng: np.random.Generator) -> dict[str, object]:
    return {
        "EpisodeId": episode_id, "RewardSequenceId": "@m1", "RewardTaskId": "task_1", "Type": RewardType.PREDICTION,
        "User": "", "Values": None, "ModelId": "m1", "DataPath": "rewards/predictions/m1/block.parquet", "Timestamp": 0,
        "Tool": "", "SecondsSpent": 0.0, **summary(np.array([0, 198, 1]) * rng.random() / 2),
    }  # fmt: skip


def _measure(action: Callable[[Query], object], queries: Iterable[Query]) -> str:
    took = []
    for query in queries:
        start = np.array([time.perf_counter(), time.process_time()])
        action(query)
        took.append(1e3 * (np.array([time.perf_counter(), time.process_time()]) - start))
    figures = np.percentile(took, [50, 95], axis=0).T.ravel()  # of the clock, of the processor
    return " | ".join(f"{number:.0f}" for number in figures)


if __name__ == "__main__":
    main(tyro.cli(Config))
