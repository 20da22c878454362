"""A store on each of the databases that can keep its index."""

import pytest

from datasets.store import Store


@pytest.fixture(params=["sqlite", "postgres"])
def engine(request):
    """Tests that are about files of SQLite say `@pytest.mark.parametrize("engine", ["sqlite"], indirect=True)`."""
    return request.param


@pytest.fixture
def create_store(engine, tmp_path, request):
    """Makes the store of the test: call it once."""

    def create():
        url = request.getfixturevalue("postgres_url") if engine == "postgres" else None
        return Store.create(tmp_path / "store", index_url=url)

    return create
