"""A TFDS directory of one episode a file, that grows without ever being half-written.

```
DIR/features.json  dataset_info.json  NAME-train.tfrecord-00000  NAME-train.tfrecord-00001 ...
```
Each shard is written to a temporary file, synced, and then *linked* to the first free number: a name appears
whole or not at all, several writers never collide, and nothing is ever overwritten. In a bucket, which has no links, an
object appears whole, and writers queue for a lock of theirs (see `append`). `dataset_info.json` is derived:
it tells plain TFDS how many shards there are, and `publish` rewrites it atomically. If a writer is killed before that,
the directory is whole, and TFDS sees the newest shards after the next `publish`, with which every recorder begins; our
own reading never needs it.
"""

import functools
import json
import os
import re
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import tensorflow as tf
import tensorflow_datasets as tfds
from upath import UPath

from datasets import files
from datasets.errors import BadEpisodeError, StoreError
from datasets.features import StepSpec, episode_features

# 0.05 ms a file, where building a tf.data pipeline takes 17 ms; unwrapped, because TF advises against it at each start.
_records_of = tf.compat.v1.io.tf_record_iterator.__wrapped__
_VERSION = "1.0.0"  # of every dataset we write; TFDS wants one


class ShardDirectory:
    """One TFDS directory of episodes with the same features."""

    def __init__(self, path: Path | UPath | str):
        """Opens an existing directory. Raises StoreError if there is none at `path`."""
        self.path = Path(path) if isinstance(path, str) else path
        if not is_dataset(self.path):
            raise StoreError(f"{self.path} is not an RLDS dataset (no features.json): check the path")
        info = json.loads((self.path / "dataset_info.json").read_text())
        self.name: str = info["name"]
        self._count = self._bytes = 0

    @classmethod
    def create(cls, path: Path | UPath | str, name: str, spec: StepSpec) -> "ShardDirectory":
        """Opens the directory, making it first where it is missing."""
        path = Path(path) if isinstance(path, str) else path
        if not is_dataset(path):
            if isinstance(path, Path):
                with files.staged_directory(path, replace=False) as staged:
                    _describe(staged, name, spec)
            else:
                with tempfile.TemporaryDirectory() as folder:
                    _describe(Path(folder), name, spec)
                    for file in sorted(Path(folder).iterdir()):  # features.json last: it makes a dataset
                        files.write_atomically(path / file.name, file.read_bytes())
        return cls(path)

    @functools.cached_property
    def features(self) -> tfds.features.FeaturesDict:
        """The TFDS features of every episode here."""
        if isinstance(self.path, Path):
            return tfds.features.FeatureConnector.from_config(os.fspath(self.path))
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "features.json").write_bytes((self.path / "features.json").read_bytes())
            return tfds.features.FeatureConnector.from_config(folder)

    def shard_path(self, number: int) -> Path | UPath:
        """Path of one shard, whether it is there or not."""
        return self.path / f"{self.name}-train.tfrecord-{number:05d}"

    def __len__(self) -> int:
        """How many shards there are."""
        while (shard := self.shard_path(self._count)).exists():  # shards are never removed: counting on is enough
            self._bytes += shard.stat().st_size - 16  # 16: TFRecord framing
            self._count += 1
        return self._count

    def append(self, record: bytes) -> Path | UPath:
        """Makes one record durable as a shard of its own, and returns its path. `publish` when done.

        In a bucket, nobody else may append meanwhile.
        """
        if isinstance(self.path, Path):
            return self._link(self.path, record)
        shard = self.shard_path(len(self))
        with tempfile.NamedTemporaryFile() as staged:
            _write_record(Path(staged.name), record)
            files.write_atomically(shard, Path(staged.name).read_bytes())
        return shard

    def _link(self, folder: Path, record: bytes) -> Path:
        staged = folder / f".shard.{os.getpid()}.{os.urandom(4).hex()}.tmp"
        try:
            _write_record(staged, record)
            files.sync(staged)
            while True:
                shard = folder / self.shard_path(len(self)).name
                try:
                    os.link(staged, shard)
                    break
                except FileExistsError:
                    continue  # another writer took this number
            files.sync(folder)
        finally:
            staged.unlink(missing_ok=True)
        return shard

    def publish(self) -> None:
        """Tells plain TFDS how many shards there are; see the module's docstring."""
        told = -1
        while told < len(self):  # at first, and if another writer's count, which told of more, was replaced by ours
            told = len(self)
            files.write_atomically(self.path / "dataset_info.json", dataset_info(self.name, [1] * told, self._bytes))


def is_dataset(path: Path | UPath) -> bool:
    """Whether there is a whole TFDS directory at `path`."""
    return (path / "features.json").is_file()


def _describe(folder: Path, name: str, spec: StepSpec) -> None:
    episode_features(spec).save_config(os.fspath(folder))
    (folder / "dataset_info.json").write_text(dataset_info(name, [], 0))


def _write_record(path: Path, record: bytes) -> None:
    with tf.io.TFRecordWriter(os.fspath(path)) as writer:
        writer.write(record)


def check_dataset_name(name: str) -> None:
    """Raises StoreError for what TFDS does not take for a name."""
    if not re.fullmatch(r"[A-Za-z]\w*", name, re.ASCII):
        raise StoreError(f"{name!r} cannot name a dataset: use letters, digits and '_', a letter first")


def read_record(path: Path | UPath | str) -> bytes:
    """The one record of a shard.

    Raises:
      BadEpisodeError: if the file is absent, truncated, fails its checksum, or holds not exactly one record.
    """
    records = list(read_records([path]))
    if len(records) != 1:
        raise BadEpisodeError(f"{path} holds {len(records)} records instead of one episode: restore it from a copy")
    return records[0]


def read_records(paths: Iterable[Path | UPath | str]) -> Iterator[bytes]:
    """Every record of some TFRecord files, in order. Raises BadEpisodeError naming the file at the first bad one."""
    for path in (Path(p) if isinstance(p, str) else p for p in paths):
        if not path.is_file():
            raise BadEpisodeError(f"{path} is not there: restore it, or run `armchair store rebuild-index`")
        try:
            with files.on_this_machine(path) as file:
                yield from _records_of(os.fspath(file))
        except tf.errors.DataLossError as error:
            raise BadEpisodeError(f"{path} is corrupt ({error.message}): restore it from a copy") from error


def dataset_info(name: str, lengths: Sequence[int], size: int, shard: str = "{SHARD_INDEX}") -> str:
    """The text of `dataset_info.json`.

    Args:
      name: of the dataset.
      lengths: episodes in each shard.
      size: bytes of all records.
      shard: how a shard's name ends; TFDS's own is `{SHARD_X_OF_Y}`.
    """
    return json.dumps(
        {
            "name": name,
            "version": _VERSION,
            "fileFormat": "tfrecord",
            "moduleName": "datasets.shards",
            "releaseNotes": {_VERSION: "Recorded by Armchair."},
            "splits": [
                {
                    "name": "train",
                    "filepathTemplate": "{DATASET}-{SPLIT}.{FILEFORMAT}-" + shard,
                    "numBytes": str(size),
                    "shardLengths": [str(length) for length in lengths],
                }
            ],
        },
        indent=2,
    )
