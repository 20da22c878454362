"""Shards that lie elsewhere; of indexes that do: see `test_postgres`. The store's tests run on such shards, too."""

import json
import shutil
import uuid
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from upath import UPath

from armchair import cli
from datasets.errors import BadEpisodeError, StoreError
from datasets.query import Query
from datasets.store import Store
from tests.datasets.stores import small


@pytest.fixture
def url():
    """An empty folder in memory."""
    return f"memory://{uuid.uuid4()}/shards"


def _fill(store, count=3):
    for seed in range(count):
        store.add(small(seed), "fake")
    store.publish()
    return store


def test_episodes_lie_at_the_url_and_nowhere_else(tmp_path, url):
    store = _fill(Store.create(tmp_path / "store", shards_url=url))
    assert not (tmp_path / "store" / "episodes").exists()
    names = {path.name for path in (UPath(url) / "fake" / "1.0.0").iterdir()}
    assert names == {"features.json", "dataset_info.json", *(f"fake-train.tfrecord-0000{n}" for n in range(3))}
    again = Store.open(tmp_path / "store")
    np.testing.assert_array_equal(again.read("fake-2").action, small(2).action)
    assert store.query(Query(ids=("fake-1",)))[0].path.name == "fake-train.tfrecord-00001"
    assert again.verify() == []


def test_a_flipped_bit_and_a_lost_object_are_found(tmp_path, url):
    store = _fill(Store.create(tmp_path / "store", shards_url=url))
    first, second, _ = store.query(Query())
    content = bytearray(first.path.read_bytes())
    content[40] ^= 1
    first.path.write_bytes(bytes(content))
    second.path.unlink()
    told = " ".join(map(str, store.verify()))
    assert "is not as it was written (episode 'fake-0')" in told and "is gone, and with it episode 'fake-1'" in told
    with pytest.raises(BadEpisodeError, match="memory://.*is corrupt"):
        store.read(first)
    with pytest.raises(BadEpisodeError, match="memory://.*is not there"):
        store.read(second)


def test_writers_at_once_take_numbers_of_their_own(tmp_path, url):
    """A bucket has no links: they queue for the index's lock."""
    Store.create(tmp_path / "store", shards_url=url)

    def write(writer):
        store = Store.open(tmp_path / "store")
        for number in range(5):
            store.add(small(10 * writer + number), "fake")

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(write, range(8)))
    store = Store.open(tmp_path / "store")
    store.publish()
    assert store.verify() == []
    assert {row.episode_id for row in store.query(Query())} == {
        f"fake-{10 * w + n}" for w in range(8) for n in range(5)
    }


def test_a_url_of_files_is_a_folder(tmp_path):
    store = _fill(Store.create(tmp_path / "store", shards_url=(tmp_path / "elsewhere").as_uri()))
    assert store.shards == tmp_path / "elsewhere"
    assert len(list((tmp_path / "elsewhere" / "fake" / "1.0.0").glob("*.tfrecord-*"))) == 3
    assert store.verify() == []


def test_shards_can_be_moved(tmp_path):
    store = _fill(Store.create(tmp_path / "store"))
    shutil.move(tmp_path / "store" / "episodes", tmp_path / "moved")
    (tmp_path / "store" / "shards.json").write_text(json.dumps({"url": str(tmp_path / "moved")}))
    moved = Store.open(store.root)
    assert moved.verify() == [] and moved.read("fake-1").metadata.episode_id == "fake-1"
    _fill(moved, 5)
    assert len(moved.query(Query())) == 5 and moved.rebuild_index().episodes == 5


def test_a_lost_index_is_made_anew_from_the_url(tmp_path, url):
    store = _fill(Store.create(tmp_path / "store", shards_url=url))
    (store.root / "index.sqlite").unlink()
    with pytest.raises(StoreError, match="has lost its index"):
        Store.open(store.root)
    assert Store(store.root).rebuild_index().episodes == 3


def test_mistakes_are_told(tmp_path, url, capsys):
    _fill(Store.create(tmp_path / "store", shards_url=url))
    Store.create(tmp_path / "store", shards_url=url)  # the same again is none
    with pytest.raises(StoreError, match="are at memory://.*: copy them, and change .*shards.json"):
        Store.create(tmp_path / "store", shards_url=url + "2")
    with pytest.raises(StoreError, match="is not empty: give this store a folder of its own"):
        Store.create(tmp_path / "other", shards_url=url)
    _fill(Store.create(tmp_path / "local"))
    with pytest.raises(StoreError, match="are at .*local/episodes: copy them"):
        Store.create(tmp_path / "local", shards_url=url + "3")
    command = ["store", "create", "--store", str(tmp_path / "new"), "--shards-url", "nonsense://bucket/x"]
    assert cli.main(command) == 2
    assert "nonsense://bucket/x cannot be used" in capsys.readouterr().err
    assert not (tmp_path / "new").exists()
    (tmp_path / "store" / "shards.json").write_text("{")
    with pytest.raises(StoreError, match="does not say where the shards are"):
        Store.open(tmp_path / "store")
