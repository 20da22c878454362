"""How long the lists of the sketching page take: queries, counts and facets over many indexed episodes, no files.

python benchmarks/store_queries.py --episodes 10000 [--index-url postgresql+psycopg://USER@HOST/DATABASE]
"""

import dataclasses
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import tyro

from datasets import catalogue
from datasets.episode import EpisodeMetadata
from datasets.query import Query, split_of
from datasets.store import Store

_QUERIES = (
    "", "task_id=task_3", "tag=good", "source=log/3", "policy_id=policy-3", "dataset=set1 verdict=success",
    "text=LIFT-0000999", "text=nowhere", "text=goo", "not_sketched=task_1", "since=1700300000 until=1700400000",
)  # fmt: skip
_REPEATS = 9


@dataclasses.dataclass(frozen=True)
class Config:
    """What to measure."""

    episodes: int = 10_000
    """How many episodes to index."""
    index_url: str | None = None
    """An empty PostgreSQL database; without it, SQLite."""


def main(config: Config) -> None:
    """Prints the median and the longest of some repetitions, in milliseconds."""
    with tempfile.TemporaryDirectory() as folder:
        store = Store.create(Path(folder) / "store", index_url=config.index_url)
        _fill(store, config.episodes)
        for text in _QUERIES:
            query = dataclasses.replace(Query.parse(text), limit=100, order="newest")
            _measure(f"query {query}", lambda query=query: store.query(query))  # type: ignore[misc]
            _measure(f"count {text}", lambda query=query: store.count(query))  # type: ignore[misc]
        last = Query(order="newest", limit=100, offset=config.episodes - 100)
        _measure(f"query {last}", lambda: store.query(last))
        _measure("facets", store.facets)


def _fill(store: Store, episodes: int) -> None:
    with store._index.write() as connection:
        for i in range(episodes):
            metadata = EpisodeMetadata(
                f"sim-lift-{i:08d}", task_id=f"task_{i % 7}", policy_id=f"policy-{i % 40}", source=f"log/{i % 90}",
                timestamp=1_700_000_000 + (i * 7919) % episodes * 60, verdict=("success", "failure", "unknown")[i % 3],
                tags="good,rgb" if i % 5 == 0 else "night" if i % 3 == 0 else "",
            )  # fmt: skip
            dataset = f"set{i % 4}"
            row = catalogue.EpisodeRow(
                **dataclasses.asdict(metadata), dataset=dataset, shard=i // 4, num_steps=100, checksum="0" * 64,
                path=store.root / "episodes" / dataset / f"{i // 4:05d}", split=split_of(metadata.episode_id),
            )  # fmt: skip
            catalogue.insert_episode(connection, store.root, row)


def _measure(name: str, action: Callable[[], object]) -> None:
    action()
    took = []
    for _ in range(_REPEATS):
        start = time.perf_counter()
        action()
        took.append(1e3 * (time.perf_counter() - start))
    print(f"{statistics.median(took):7.1f} ms, at most {max(took):7.1f} ms: {name}")


if __name__ == "__main__":
    main(tyro.cli(Config))
