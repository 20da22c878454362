"""Many annotators at once: how long saving a sketch takes, and whether anything is lost.

    python benchmarks/sketching_load.py                 # 20 annotators, 50 sketches each, SQLite
    python benchmarks/sketching_load.py --index-url postgresql+psycopg://user@host/db      # an empty database

Takes a minute: it makes a store, starts `armchair sketch`, and lets the annotators take and save episodes by HTTP as
fast as they are answered, without a pause to draw. Then it compares what they were told is saved with the store. They
share this machine's processor with the server.
"""

import dataclasses
import os
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import tyro

from datasets.query import Query
from datasets.store import Store
from datasets.testing import make_episode
from pipeline.annotate import load

_TASK = "lift_green"  # of fake episodes
_SPARE = 1.1  # episodes for each sketch: the queue does not run dry


@dataclasses.dataclass(frozen=True)
class Config:
    """What to measure."""

    annotators: int = 20
    """How many."""
    sketches: int = 50
    """How many each of them saves."""
    frames: int = 100
    """Frames of an episode: 10 s at 10 Hz."""
    index_url: str | None = None
    """An empty PostgreSQL database for the store's index; by default a SQLite file."""


def measure(config: Config, root: Path) -> None:
    """Prints the distribution of the seconds from sending a sketch until it was said to be saved."""
    store = Store.create(root, index_url=config.index_url)
    for seed in range(round(_SPARE * config.annotators * config.sketches)):
        store.add(make_episode(seed, config.frames, cameras=()), "fake")
    store.publish()
    lengths = {row.episode_id: row.num_steps for row in store.query(Query())}
    names = [f"annotator-{number}" for number in range(config.annotators)]
    with load.server_process(root, _TASK, names) as (_, links):
        start = time.perf_counter()
        saved = load.annotate_at_once(links, config.sketches, lengths)
        seconds = time.perf_counter() - start
    problems = load.missing(Store.open(root), _TASK, saved)
    kept = len(Store.open(root).all_sketches(_TASK))
    took = 1000 * np.array([sketch.seconds for sketch in saved])  # [N]
    p50, p95, highest = np.quantile(took, (0.5, 0.95, 1))
    print(f"index in {store.index_name}")
    print(f"{len(saved)} sketches by {config.annotators} annotators in {seconds:.1f} s; in the store: {kept}")
    print(f"a save: p50 {p50:.0f} ms, p95 {p95:.0f} ms, max {highest:.0f} ms")
    busy, cores = os.getloadavg()[0], os.cpu_count()
    print(f"load of the machine at the end: {busy:.1f} on {cores} cores")
    print("\n".join(problems) or "nothing is lost, nothing is overwritten")
    if problems or kept != len(saved):
        sys.exit(1)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="armchair-sketching-") as folder:
        measure(tyro.cli(Config, description=__doc__), Path(folder) / "store")
