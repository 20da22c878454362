"""The store: every episode, sketch and prediction that there is, append-only, on disk, with an index.

```
ROOT/index.sqlite                                                what there is; can be rebuilt from the rest
ROOT/index.json                                                  or: the URL of the PostgreSQL database that holds it
ROOT/episodes/DATASET/1.0.0/DATASET-train.tfrecord-00000         one episode a shard, plain RLDS/TFDS
ROOT/shards.json                                                 or: the URL of the folder with the datasets
ROOT/rewards/sketches/EPISODE/SEQUENCE.json                      one reward sequence drawn by a person
ROOT/rewards/predictions/MODEL/card.json  NAME.parquet           reward sequences of a model, many episodes a file
ROOT/notes/EPISODE/NOTE.json                                     what a person said of an episode
ROOT/queries/NAME/0001.json                                      a query with a name; see `datasets.saved_queries`
ROOT/quarantine/ID.json  ID.record                               what could not be taken in, and why
ROOT/frames/                                                     decoded pictures, may be deleted; see `datasets.frames`
```
Files are written first and whole, index rows last, so a killed process loses at most what it was writing. All writers
queue for the index's one lock while they link a shard and commit its row; so the only shards without a row are those
past the last row of their dataset, left by a writer killed in between, and the next `add` finds and adopts them.
"""

import enum
import hashlib
import json
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence, Set
from pathlib import Path
from typing import Any

import numpy as np
import sqlalchemy as sql
import tensorflow_datasets as tfds
from upath import UPath

from datasets import catalogue, curves, features, files, leases, location, notes, saved_queries, upkeep, validate
from datasets.catalogue import EpisodeRow
from datasets.curves import RewardCount
from datasets.episode import Episode
from datasets.errors import BadEpisodeError, IdTakenError, SameStepsError, StoreError
from datasets.leases import Lease
from datasets.notes import Note, NoteKind
from datasets.predictions import read_origin, read_predictions
from datasets.query import Query
from datasets.rewards import RewardSequence
from datasets.shards import ShardDirectory, check_dataset_name, is_dataset, read_record
from datasets.sqlite import SqliteIndex

_BATCH = 500  # notes that share a commit: others wait for some 0.3 s


class Added(enum.StrEnum):
    """What became of an episode given to `Store.add`."""

    ADDED = "added"
    DUPLICATE = "duplicate"  # an episode of this id is there already; nothing was written


class Store:
    """Episodes, sketches and predictions under one folder. Safe to use from several processes at once."""

    def __init__(self, root: Path | str):
        """Names a store without opening it; `open` and `create` are what you want."""
        self.root = Path(root)
        self._index = location.index_of(self.root)
        self.shards = location.shards_of(self.root)
        self._directories: dict[str, ShardDirectory] = {}

    @classmethod
    def create(cls, root: Path | str, index_url: str | None = None, shards_url: str | None = None) -> "Store":
        """Opens the store at `root`, making it first where there is none, and its index where that is lost.

        Args:
          root: folder of the store.
          index_url: of a PostgreSQL database to keep the index in from now on, `postgresql+psycopg://user@host/db`;
            without it, the index is where it was, or in a file of the store. See `datasets.location`.
          shards_url: of an empty folder for the episodes, such as `gs://bucket/folder`; without it, they are where they
            were, or in the store's folder.

        Raises:
          StoreError: if one of them cannot be reached, or what is there cannot be moved there.
        """
        if shards_url is not None:
            location.remember_shards(Path(root), shards_url)
        if index_url is not None:
            location.remember_index(Path(root), index_url)
        store = cls(root)
        if not store._index.exists() and store.shards.is_dir():
            store.rebuild_index()
        store._index.create()
        if index_url is not None:
            SqliteIndex(store.root).remove()  # if there was one: from the next write on it would be out of date
        return store

    @classmethod
    def open(cls, root: Path | str) -> "Store":
        """Opens the store at `root`. Raises StoreError if there is none."""
        store = cls(root)
        if not store._index.exists():
            if store.shards.is_dir():
                raise StoreError(f"{root} has lost its index: run `armchair store rebuild-index --store {root}`")
            raise StoreError(f"{root} is not a store (no index.sqlite): check the path, or `armchair ingest` into it")
        return store

    @property
    def index_name(self) -> str:
        """Where the index is: the path of a file, or a URL."""
        return self._index.name

    # Episodes

    def add(self, episode: Episode, dataset: str, keep_duplicates: bool = True) -> Added:
        """Stores an episode for ever. `publish` after the last one of a batch.

        Args:
          episode: a new one; if its id is in the store already, nothing is written.
          dataset: name of the TFDS dataset to put it in; made if it is new. All episodes of one have the same features.
          keep_duplicates: whether to store it though an episode of another id has the same steps.

        Raises:
          SameStepsError: if one has, deleted or not, and it is not to be kept; nothing was written.
          BadEpisodeError: if `validate` finds errors, or the episode has other features than the dataset.
        """
        episode_id = episode.metadata.episode_id
        with self._index.read() as connection:
            if catalogue.is_indexed(connection, episode_id):
                return Added.DUPLICATE
        validate.validate(episode).raise_errors()
        record = features.serialize(episode, self._features_for(episode, dataset))
        content_hash = features.content_hash(record)
        with self._index.write() as connection:
            if is_dataset(self._dataset_path(dataset)):
                catalogue.adopt(connection, self._directory(dataset))
            if catalogue.is_indexed(connection, episode_id):  # by another process meanwhile, or just adopted
                return Added.DUPLICATE
            if not keep_duplicates and (same := catalogue.find_content(connection, content_hash)):
                raise SameStepsError(f"episode {episode_id!r} has the steps of episode {same!r} in {self.root}", same)
            directory = self._directory_for(episode, dataset)
            shard = directory.append(record)
            row = catalogue.describe(episode, content_hash, directory, shard)
            catalogue.insert_episode(connection, row)
        return Added.ADDED

    def publish(self) -> None:
        """Adopts shards that a killed writer left, and tells plain TFDS how many shards each dataset has."""
        for directory in upkeep.directories(self.shards):
            with self._index.write() as connection:
                catalogue.adopt(connection, directory)
                directory.publish()  # under the lock: an older count never replaces a newer one
        with self._index.write() as connection:
            self._index.analyze(connection)

    def quarantine(self, source: str, reason: str, record: bytes | None = None) -> Path:
        """Keeps what could not be taken in, with the reason; the same thing twice is kept once.

        Returns:
          The path of the JSON file that says why; the bytes, if given, lie beside it.
        """
        name = hashlib.sha256(b"\0".join([source.encode(), reason.encode(), record or b""])).hexdigest()[:16]
        path = self.root / "quarantine" / f"{name}.json"
        if record is not None:
            files.write_atomically(path.with_suffix(".record"), record)
        files.write_atomically(path, json.dumps({"source": source, "reason": reason}, indent=2))
        return path

    def parse(self, text: str) -> Query:
        """`Query.parse`, with `saved=NAME` for conditions that are saved here. Raises StoreError."""
        return Query.parse(saved_queries.expand(self.root, text))

    def query(self, query: Query, require: bool = False, deleted: bool | None = False) -> list[EpisodeRow]:
        """Rows of the episodes that match, in the query's order.

        Args:
          query: which.
          require: whether there must be any.
          deleted: whether to look among the deleted episodes instead, or, if None, among all.

        Raises:
          StoreError: if `require` and there are none.
        """
        with self._index.read() as connection:
            rows = catalogue.select_episodes(connection, self.shards, query, deleted)
        if require and not rows:
            conditions = str(query) or "an empty query"
            which = "deleted episode" if deleted else "episode"
            raise StoreError(
                f"no {which} in {self.root} matches {conditions}: see `armchair store ls --store {self.root}`"
            )
        return rows

    def count(self, query: Query, deleted: bool | None = False) -> int:
        """How many episodes match, whatever the query's `limit` and `offset`; `deleted` as in `query`."""
        with self._index.read() as connection:
            return connection.execute(query.count(connection, deleted)).scalar_one()

    def facets(self) -> dict[str, dict[str, int]]:
        """Each of `catalogue.FACETS` -> its values but the empty one, the most frequent first -> how many episodes."""
        with self._index.read() as connection:
            return catalogue.count_facets(connection)

    def groups(self) -> list[catalogue.Group]:
        """What there is: the episodes of each dataset and task counted, in the order of their names."""
        with self._index.read() as connection:
            return catalogue.count_groups(connection)

    def revision(self) -> tuple[int, ...]:
        """How many episodes, reward sequences and notes there are; none is ever lost, so it changes with the store."""
        with self._index.read() as connection:
            return catalogue.count_rows(connection)

    def read(self, episode: EpisodeRow | str) -> Episode:
        """An episode by its row or id. Raises StoreError for an unknown id, BadEpisodeError for a damaged shard."""
        if isinstance(episode, str):
            rows = self.query(Query(ids=(episode,)))
            if not rows and self.count(Query(ids=(episode,)), deleted=True):
                raise StoreError(f"episode {episode!r} is deleted: see `armchair store restore --store {self.root}`")
            if not rows:
                raise StoreError(
                    f"no episode {episode!r} in {self.root}: see `armchair store query --store {self.root}`"
                )
            episode = rows[0]
        return features.deserialize(read_record(episode.path), self._directory(episode.dataset).features)

    def read_many(self, rows: Iterable[EpisodeRow]) -> Iterator[Episode]:
        """The episodes of some rows, in order, one at a time."""
        return map(self.read, rows)

    def datasets(self) -> tuple[str, ...]:
        """Names of the datasets, sorted."""
        return tuple(directory.name for directory in upkeep.directories(self.shards))

    def spec(self, dataset: str) -> features.StepSpec:
        """Names, shapes and dtypes of a dataset's steps. Raises StoreError if there is no such dataset."""
        return features.spec_of(self._directory(dataset).features)

    # Reward sequences

    def add_sketch(self, sequence: RewardSequence) -> None:
        """Stores a person's (or simulated person's) reward sequence; the same one again changes nothing.

        The lease it was drawn under, which has the sequence's id, ends in the same moment.

        Raises:
          LengthError: if the sequence has not one value for each frame of the episode.
          IdTakenError: if there is another sequence of this id.
          StoreError: if the episode is unknown.
        """
        if not validate.is_name(sequence.sequence_id):
            raise StoreError(f"a sketch has the id {sequence.sequence_id!r}: use letters, digits, '.', '_' and '-'")
        path = self.root / "rewards" / "sketches" / sequence.episode_id / f"{sequence.sequence_id}.json"
        with self._index.read() as connection:  # before the lock: an episode that is there stays as it is
            curves.check_lengths(connection, path, {sequence.episode_id: sequence.values})

        def insert(connection: sql.Connection, root: Path, path: Path) -> None:
            curves.insert_sketch(connection, root, path)
            leases.release(connection, sequence.sequence_id)

        self._add_file(path, curves.sketch_text(sequence), insert, "sketch")

    def sketches(self, task_id: str, episode_ids: Collection[str] | None = None) -> list[RewardSequence]:
        """The newest sketch of each (episode, user) for a task, by episode and user."""
        newest = {(sketch.episode_id, sketch.user): sketch for sketch in self.all_sketches(task_id, episode_ids)}
        return [newest[key] for key in sorted(newest)]

    def all_sketches(self, task_id: str, episode_ids: Collection[str] | None = None) -> list[RewardSequence]:
        """Every version of every sketch for a task, oldest first."""
        with self._index.read() as connection:
            return curves.select_sketches(connection, task_id, episode_ids)

    def sketched(self, task_id: str, episode_ids: Collection[str] | None = None) -> dict[str, Set[str]]:
        """Who has sketched what for a task, of some episodes or of all: episode id -> users. Reads no curve."""
        with self._index.read() as connection:
            return curves.select_sketched(connection, task_id, episode_ids)

    def register_model(self, card: Mapping[str, Any]) -> None:
        """Notes a reward model (its card: `model_id`, `model_hash`, `task_id`, ...); the same one again is fine.

        Raises:
          StoreError: if the store knows a model of this id with other weights.
        """
        with self._index.write() as connection:
            curves.insert_card(connection, dict(card))
            path = self._model_directory(card["model_id"]) / "card.json"
            files.write_atomically(path, json.dumps(card, indent=2, sort_keys=True))

    def models(self) -> list[dict[str, Any]]:
        """Cards of the registered reward models, by id."""
        with self._index.read() as connection:
            return curves.select_cards(connection)

    def prediction_path(self, model_id: str, name: str) -> Path:
        """Where to write a side shard with `predictions.write_predictions`; `name` without a suffix."""
        return self._model_directory(model_id) / f"{name}.parquet"

    def add_predictions(self, model_id: str, model_hash: str, task_id: str, path: Path) -> int:
        """Indexes a side shard; returns how many of its episodes had no prediction of this model before.

        Raises:
          StoreError: if it is damaged, comes from another model, names an unknown episode or has a wrong length.
        """
        if read_origin(path) != (model_id, model_hash, task_id):
            raise StoreError(
                f"{path} does not come from model {model_id!r} ({model_hash}) for {task_id!r}: annotate again"
            )
        with self._index.write() as connection:
            return curves.insert_predictions(connection, self.root, path)

    def predictions(self, model_id: str, episode_ids: Collection[str] | None = None) -> dict[str, np.ndarray]:
        """A model's predictions: episode id -> float32[T]; `values[t]` rates `o_t`."""
        with self._index.read() as connection:
            ids_of = curves.select_predicted(connection, model_id, episode_ids)
        predicted: dict[str, np.ndarray] = {}
        for data_path, ids in sorted(ids_of.items()):
            values = read_predictions(self.root / data_path)
            predicted |= {i: values[i] for i in ids}
        return predicted

    def predicted_ids(self, model_id: str) -> set[str]:
        """Ids of the episodes that have a prediction of this model."""
        with self._index.read() as connection:
            return {i for ids in curves.select_predicted(connection, model_id).values() for i in ids}

    def rewards(self) -> list[RewardCount]:
        """How much is rated: one entry a (type, task, model), sketches first."""
        with self._index.read() as connection:
            return curves.count_rewards(connection)

    # People

    def add_note(self, note: Note) -> None:
        """Stores what a person says of an episode; the same note again changes nothing. See `datasets.notes`.

        Raises:
          StoreError: if the episode is unknown or has another note of this id.
        """
        with self._index.read() as connection:
            if not catalogue.is_indexed(connection, note.episode_id):
                raise StoreError(f"no episode {note.episode_id!r} in {self.root}: ingest it before noting anything")
        self._add_file(notes.note_path(self.root, note), notes.note_text(note), notes.insert_note, "note")

    def delete(self, episode_ids: Collection[str], user: str, reason: str) -> None:
        """Marks episodes as deleted: no query finds them any more. Their files stay, and `restore` undoes it.

        Raises:
          StoreError: if an episode is unknown.
          ArmchairError: if there is no reason, or it is too long.
        """
        self._note_all(notes.make_notes(episode_ids, NoteKind.DELETED, user, reason))

    def restore(self, episode_ids: Collection[str], user: str, reason: str = "") -> None:
        """Lets queries find deleted episodes again.

        Raises:
          StoreError: if an episode is unknown.
          ArmchairError: if the reason is too long.
        """
        self._note_all(notes.make_notes(episode_ids, NoteKind.RESTORED, user, reason))

    def notes(
        self, task_id: str | None = None, episode_ids: Collection[str] | None = None, kind: str | None = None
    ) -> list[Note]:
        """The notes for which every condition that is not None holds, oldest first."""
        with self._index.read() as connection:
            return notes.select_notes(connection, task_id, episode_ids, kind)

    def lease(
        self,
        episode_ids: Sequence[str],
        task_id: str,
        user: str,
        lease_id: str,
        seconds: float,
        now: float,
        shared: bool = False,
    ) -> Lease | None:
        """Leases to `user` the first of some episodes that nobody else holds, for drawing it; see `leases.grant`.

        Args:
          episode_ids: the candidates, the most wanted first.
          task_id: the task that is to be rated; leases for different tasks do not meet.
          user: who is going to draw. Their earlier lease on the same episode is replaced.
          lease_id: of the new lease; unique for ever.
          seconds: how long it lasts unless it is renewed.
          now: Unix seconds.
          shared: lease the first candidate even if others hold it.

        Returns:
          The lease; None if others hold every candidate.
        """
        with self._index.write() as connection:
            return leases.grant(connection, episode_ids, task_id, user, lease_id, seconds, now, shared)

    def renew_lease(self, lease_id: str, seconds: float, now: float) -> Lease | None:
        """The lease, running out `seconds` from `now`; None if somebody else got the episode, or another tab."""
        with self._index.write() as connection:
            return leases.renew(connection, lease_id, seconds, now)

    def find_lease(self, lease_id: str) -> Lease | None:
        """The lease of this id, run out or not; None if it was replaced or released."""
        with self._index.read() as connection:
            return leases.find(connection, lease_id)

    def release_lease(self, lease_id: str) -> None:
        """Ends a lease; nothing happens if it is gone already."""
        with self._index.write() as connection:
            leases.release(connection, lease_id)

    def leases(self, task_id: str, now: float) -> list[Lease]:
        """The leases for a task that have not run out by `now` (Unix seconds), by episode and user."""
        with self._index.read() as connection:
            return leases.current(connection, task_id, now)

    # Upkeep

    def backup(self, path: Path) -> None:
        """Copies the index, as it is at one moment, to a new file, while others read and write.

        Raises:
          StoreError: if the file is there already, or the index is in a database that has its own tool for that.
        """
        if path.exists():
            raise StoreError(f"{path} is there already: choose another file for the copy")
        with self._index.plain_errors():
            self._index.backup(path)

    def verify(self) -> list[validate.Problem]:
        """Compares every file of the store with the index. Reads everything, changes nothing."""
        return upkeep.verify(self.root, self.shards, self._index)

    def rebuild_index(self) -> upkeep.Counts:
        """Makes the index anew from the files; works on `Store(root)` even if the index is lost or damaged.

        Raises:
          StoreError: if there are no episodes at the root.
        """
        if not self.shards.is_dir():
            raise StoreError(f"{self.root} is not a store (no folder {self.shards}): check the path")
        return upkeep.rebuild(self.root, self.shards, self._index)

    def _add_file(
        self, path: Path, content: str, insert: Callable[[sql.Connection, Path, Path], None], what: str
    ) -> None:
        """Makes a small file durable, then its row; raises IdTakenError if `path` holds something else.

        The slow part, waiting for the disk, comes before the index's lock. A file that is there may lack its row,
        because its writer was killed between the two: it gets one before we complain.
        """
        is_new = files.write_new(path, content)
        with self._index.write() as connection:
            insert(connection, self.root, path)
        if not is_new and path.read_text() != content:
            raise IdTakenError(f"{path} holds another {what}: give each its own id, they are never overwritten")

    def _note_all(self, said: Sequence[Note]) -> None:
        """As `add_note` for each; raises StoreError, and writes nothing, if an episode is unknown."""
        with self._index.read() as connection:
            if unknown := catalogue.unknown_among(connection, {note.episode_id for note in said}):
                raise StoreError(f"no episode {min(unknown)!r} in {self.root}: name those that are there")
        for start in range(0, len(said), _BATCH):
            batch = said[start : start + _BATCH]
            for note in batch:
                files.write_new(notes.note_path(self.root, note), notes.note_text(note))
            with self._index.write() as connection:
                for note in batch:
                    notes.insert_note(connection, self.root, notes.note_path(self.root, note))

    def _directory(self, dataset: str) -> ShardDirectory:
        if dataset not in self._directories:
            path = self._dataset_path(dataset)
            if not is_dataset(path):
                known = ", ".join(self.datasets()) or "none"
                raise StoreError(f"{self.root} has no dataset {dataset!r}: it has {known}")
            self._directories[dataset] = ShardDirectory(path)
        return self._directories[dataset]

    def _features_for(self, episode: Episode, dataset: str) -> tfds.features.FeaturesDict:
        """Of `dataset`, or what they will be if it is new; raises BadEpisodeError if the episode does not fit."""
        check_dataset_name(dataset)
        if is_dataset(self._dataset_path(dataset)):
            return self._directory_for(episode, dataset).features
        return features.episode_features(features.step_spec(episode))

    def _directory_for(self, episode: Episode, dataset: str) -> ShardDirectory:
        """The directory of `dataset`, made, under the lock, if it is new; raises BadEpisodeError if it is another's."""
        spec = features.step_spec(episode)
        if not is_dataset(self._dataset_path(dataset)):
            ShardDirectory.create(self._dataset_path(dataset), dataset, spec)
        directory = self._directory(dataset)
        there = features.spec_of(directory.features)
        if spec != there:
            raise BadEpisodeError(
                f"episode {episode.metadata.episode_id!r} does not fit dataset {dataset!r}: "
                f"{features.difference(spec, there)}; put it into a dataset of another name"
            )
        return directory

    def _dataset_path(self, dataset: str) -> Path | UPath:
        return self.shards / dataset / "1.0.0"

    def _model_directory(self, model_id: str) -> Path:
        if not validate.is_name(model_id):
            raise StoreError(f"a reward model has the id {model_id!r}: use letters, digits, '.', '_' and '-'")
        return self.root / "rewards" / "predictions" / model_id
