"""RLDS in TFDS's own layout: what `tfds.builder_from_directory`, and so most of the field, reads."""

import dataclasses
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import tensorflow as tf

from datasets import features, files
from datasets.episode import Episode
from datasets.features import StepSpec
from datasets.shards import dataset_info
from datasets.store import EpisodeRow
from datasets.writers.base import Part


@dataclasses.dataclass(frozen=True)
class RldsWriter:
    """`OUT/features.json`, `dataset_info.json`, `NAME-train.tfrecord-00000-of-00012`. See `base.Writer`.

    Nothing is lost: metadata travel as `episode_metadata`.
    """

    name: str  # of the dataset
    spec: StepSpec
    episodes_a_part: int | None = 64  # some 100 MB of 64x64 pictures, which is what TFDS advises for a shard

    def check(self, rows: Sequence[EpisodeRow]) -> None:
        """Whatever we hold fits."""

    def write(self, out: Path, part: Part, parts: int, episodes: Iterable[Episode]) -> dict[str, Any]:
        """A shard of several records."""
        layout = features.episode_features(self.spec)
        size = 0
        with (
            files.staged_file(out / f"{self.name}-train.tfrecord-{part.number:05d}-of-{parts:05d}") as staged,
            tf.io.TFRecordWriter(os.fspath(staged)) as writer,
        ):
            for episode in episodes:
                record = features.serialize(episode, layout)
                writer.write(record)
                size += len(record)
        return {"bytes": size}

    def finish(self, out: Path, parts: Sequence[Part], facts: Sequence[Mapping[str, Any]]) -> None:
        """The description of features and of shards."""
        features.episode_features(self.spec).save_config(os.fspath(out))
        lengths, size = [len(part.rows) for part in parts], sum(fact["bytes"] for fact in facts)
        files.write_atomically(out / "dataset_info.json", dataset_info(self.name, lengths, size, "{SHARD_X_OF_Y}"))
