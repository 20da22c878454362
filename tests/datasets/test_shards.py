"""A TFDS directory that grows: whole shards only, readable by plain TFDS, every damage noticed."""

import os

import pytest
import tensorflow_datasets as tfds

from datasets import features, files
from datasets.errors import BadEpisodeError, StoreError
from datasets.shards import ShardDirectory, read_record
from datasets.testing import make_episode


@pytest.fixture
def directory(tmp_path):
    spec = features.step_spec(make_episode(0, cameras=()))
    return ShardDirectory.create(tmp_path / "fake" / "1.0.0", "fake", spec)


def records(directory, *seeds):
    return [features.serialize(make_episode(seed, cameras=()), directory.features) for seed in seeds]


def test_plain_tfds_reads_what_was_published(directory):
    for record in records(directory, 0, 1, 2):
        directory.append(record)
    directory.publish()
    builder = tfds.builder_from_directory(os.fspath(directory.path))
    assert builder.info.splits["train"].num_examples == 3
    ids = [e["episode_metadata"]["episode_id"].numpy().decode() for e in builder.as_dataset(split="train")]
    assert sorted(ids) == ["fake-0", "fake-1", "fake-2"]


def test_an_empty_directory_is_a_dataset_too(directory):
    builder = tfds.builder_from_directory(os.fspath(directory.path))
    assert builder.info.splits["train"].num_examples == 0


def test_two_writers_never_take_the_same_number(directory):
    other = ShardDirectory(directory.path)
    written = [d.append(r) for d, r in zip([directory, other] * 3, records(directory, *range(6)), strict=True)]
    assert len(set(written)) == 6
    assert [read_record(path) for path in written] == records(directory, *range(6))
    assert len(directory) == len(other) == 6


def test_an_older_count_is_not_what_two_writers_publish_in_the_end(directory, monkeypatch):
    other, whole = ShardDirectory(directory.path), files.write_atomically

    def late(path, content):
        monkeypatch.setattr(files, "write_atomically", whole)
        other.append(records(directory, 1)[0])
        other.publish()
        whole(path, content)

    monkeypatch.setattr(files, "write_atomically", late)
    directory.append(records(directory, 0)[0])
    directory.publish()
    assert tfds.builder_from_directory(os.fspath(directory.path)).info.splits["train"].num_examples == 2


def test_an_append_that_fails_leaves_nothing(directory, monkeypatch):
    def no_space(source, target):
        raise OSError("no space left on device")

    monkeypatch.setattr(os, "link", no_space)
    with pytest.raises(OSError, match="no space"):
        directory.append(records(directory, 0)[0])
    assert len(directory) == 0
    assert sorted(path.name for path in directory.path.iterdir()) == ["dataset_info.json", "features.json"]


def test_every_flipped_bit_and_every_cut_is_noticed(directory):
    shard = directory.append(b"a record of an episode")
    content = shard.read_bytes()
    for position in range(len(content)):
        flipped = bytearray(content)
        flipped[position] ^= 1
        for damaged in (bytes(flipped), content[:position]):
            shard.write_bytes(damaged)
            with pytest.raises(BadEpisodeError, match="restore it"):
                read_record(shard)


def test_create_opens_what_is_there(directory):
    directory.append(records(directory, 0)[0])
    spec = features.step_spec(make_episode(0, cameras=("wrist",)))
    assert len(ShardDirectory.create(directory.path, "fake", spec)) == 1


def test_a_wrong_path_is_one_sentence(tmp_path):
    with pytest.raises(StoreError, match="not an RLDS dataset"):
        ShardDirectory(tmp_path)
    with pytest.raises(BadEpisodeError, match="is not there"):
        read_record(tmp_path / "absent")
