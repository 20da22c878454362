"""A store on each of the databases that can keep its index; and one whose shards are elsewhere."""

import uuid

import numpy as np
import pytest

from datasets.store import Store
from tests.datasets.stores import CARD, add_predictions, sketch, small


@pytest.fixture(params=["sqlite", "postgres", "memory"])
def engine(request):
    """Tests that are about files of SQLite say `@pytest.mark.parametrize("engine", ["sqlite"], indirect=True)`."""
    return request.param


@pytest.fixture
def create_store(engine, tmp_path, request):
    """Makes the store of the test: call it once."""

    def create():
        url = request.getfixturevalue("postgres_url") if engine == "postgres" else None
        shards = f"memory://{uuid.uuid4()}" if engine == "memory" else None
        return Store.create(tmp_path / "store", url, shards)

    return create


@pytest.fixture
def store(create_store):
    return create_store()


@pytest.fixture
def full(store):
    """A store with something of everything."""
    for seed in range(5):
        store.add(small(seed, tags="good,rgb" if seed % 2 else "", source=f"log-{seed}"), "odd" if seed % 2 else "even")
    store.publish()
    store.add_sketch(sketch(0, user="ann", timestamp=7, tool="page 1", seconds_spent=1.5))
    store.add_sketch(sketch(3, user="bob"))
    store.register_model(CARD)
    add_predictions(store, "block-0", {f"fake-{seed}": np.full(3, seed / 8, np.float32) for seed in range(5)})
    return store
