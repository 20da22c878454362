"""Looking after a store: is everything still as it was written, and the index again from the files."""

import dataclasses
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import sqlalchemy as sql
from upath import UPath

from datasets import catalogue, curves
from datasets.console import track
from datasets.errors import ArmchairError, BadEpisodeError, StoreError
from datasets.index import Index
from datasets.notes import Note, insert_note, note_path, read_note, select_notes
from datasets.predictions import read_predictions, summary
from datasets.query import Query
from datasets.schema import RewardType
from datasets.shards import ShardDirectory
from datasets.tables import EPISODES, LEASES, NOTES, REWARD_SEQUENCES, SCHEMA_VERSION, tables
from datasets.validate import Problem, Severity


@dataclasses.dataclass(frozen=True)
class Counts:
    """What `rebuild` found."""

    episodes: int
    sketches: int
    predictions: int
    notes: int
    problems: tuple[Problem, ...]  # files that could not be indexed


def directories(shards: Path | UPath) -> list[ShardDirectory]:
    """The TFDS directories of a store, by name."""
    found: list[Path | UPath] = [path.parent for path in shards.glob("*/1.0.0/features.json")]
    return [ShardDirectory(path) for path in sorted(found, key=str)]


def sketch_paths(root: Path) -> list[Path]:
    """The JSON file of every sketch."""
    return sorted(root.glob("rewards/sketches/*/*.json"))


def note_paths(root: Path) -> list[Path]:
    """The JSON file of every note."""
    return sorted(root.glob("notes/*/*.json"))


def side_shard_paths(root: Path) -> list[Path]:
    """The Parquet file of every side shard."""
    return sorted(root.glob("rewards/predictions/*/*.parquet"))


def rebuild(root: Path, shards: Path | UPath, index: Index) -> Counts:
    """Replaces the index by what the files say. A lost or damaged index file is made anew.

    Episodes are read before the index is locked, so that writers wait only for the sketches and side shards; an episode
    that is added meanwhile is found by its place after the last one read. Plain TFDS is told how many shards there are.
    """
    index.make_usable()
    problems: list[Problem] = []
    found = list(_describe_all(shards, problems))
    with index.write() as connection:
        for table in reversed(tables.sorted_tables):
            if table not in (LEASES, SCHEMA_VERSION):  # leases are in no file, and people are drawing
                connection.execute(sql.delete(table))
        first = {row.episode_id: row for row in reversed(found)}
        catalogue.insert_episodes(connection, [row for row in found if first[row.episode_id] is row])
        problems += [
            _error(row.path, f"holds episode {row.episode_id!r} again", "delete one of the two")
            for row in found
            if first[row.episode_id] is not row
        ]
        for directory in directories(shards):
            try:
                catalogue.adopt(connection, directory)
                directory.publish()
            except StoreError as error:  # shards are missing
                problems.append(_error(directory.path, str(error)))
        for insert, paths in (
            (_insert_card_file, sorted(root.glob("rewards/predictions/*/card.json"))),
            (curves.insert_sketch, sketch_paths(root)),
            (curves.insert_predictions, side_shard_paths(root)),
            (insert_note, note_paths(root)),
        ):
            for path in paths:
                try:
                    insert(connection, root, path)
                except ArmchairError as error:
                    problems.append(_error(path, str(error)))
        index.analyze(connection)
        return Counts(
            episodes=_count(connection, EPISODES),
            sketches=_count(connection, REWARD_SEQUENCES, REWARD_SEQUENCES.c.Type == RewardType.SKETCH),
            predictions=_count(connection, REWARD_SEQUENCES, REWARD_SEQUENCES.c.Type == RewardType.PREDICTION),
            notes=_count(connection, NOTES),
            problems=tuple(problems),
        )


def _insert_card_file(connection: sql.Connection, _root: Path, path: Path) -> None:
    try:
        curves.insert_card(connection, json.loads(path.read_text()))
    except (ValueError, KeyError) as error:
        raise StoreError(f"{path} is no card of a reward model ({error}): restore it from a copy") from error


def _count(connection: sql.Connection, table: sql.Table, *conditions: sql.ColumnElement[bool]) -> int:
    return connection.execute(sql.select(sql.func.count()).select_from(table).where(*conditions)).scalar_one()


def _shard_paths(directory: ShardDirectory) -> list[Path | UPath]:
    """Every shard that is there, those after a missing one too."""
    return sorted(directory.path.glob(f"{directory.name}-train.tfrecord-*"))


def _describe_all(shards: Path | UPath, problems: list[Problem]) -> Iterator[catalogue.EpisodeRow]:
    found = [(d, shard) for d in directories(shards) for shard in _shard_paths(d)]
    for directory, shard in track(found, "Reading episodes"):
        try:
            yield catalogue.describe_shard(directory, shard)
        except BadEpisodeError as error:
            problems.append(_error(shard, str(error)))


def verify(root: Path, shards: Path | UPath, index: Index) -> list[Problem]:
    """Compares every file of the store with the index; see `Problem`. Reads everything, changes nothing."""
    with index.read() as connection:
        rows = catalogue.select_episodes(connection, shards, Query(), deleted=None)
        sequences = connection.execute(sql.select(REWARD_SEQUENCES)).mappings().all()
        notes = {note_path(root, note): note for note in select_notes(connection)}
    problems = list(_verify_episodes(track(rows, "Verifying episodes")))
    problems += _verify_directories(shards, {row.path for row in rows})
    problems += _verify_sequences(root, sequences, {row.episode_id: row.num_steps for row in rows})
    problems += _verify_notes(root, notes)
    if unknown := sum(row.content_hash is None for row in rows):
        what = f"does not know the steps of {unknown} episodes, so copies of them are taken in"
        problems.append(Problem(Severity.WARNING, index.name, what, "`armchair store rebuild-index` reads them"))
    killed = "was left by a writer that was killed"
    problems += [_warning(path, killed, "delete it if no writer is running") for path in sorted(root.rglob("*.tmp"))]
    return problems


def _verify_episodes(rows: Iterable[catalogue.EpisodeRow]) -> Iterator[Problem]:
    for row in rows:
        if not row.path.is_file():
            yield _error(row.path, f"is gone, and with it episode {row.episode_id!r}", _RESTORE)
        elif catalogue.checksum(row.path) != row.checksum:
            yield _error(row.path, f"is not as it was written (episode {row.episode_id!r})", _RESTORE)


def _verify_directories(shards: Path | UPath, indexed: set[Path | UPath]) -> Iterator[Problem]:
    for directory in directories(shards):
        paths = _shard_paths(directory)
        for shard in paths:
            if shard not in indexed:
                yield _warning(shard, "is not in the index", "`armchair store rebuild-index` takes it in")
        info = json.loads((directory.path / "dataset_info.json").read_text())
        published = len(info["splits"][0]["shardLengths"])
        if published != len(paths):
            yield _warning(
                directory.path / "dataset_info.json",
                f"tells plain TFDS of {published} of {len(paths)} episodes",
                "the next ingest, or `armchair store rebuild-index`, brings it up to date",
            )


def _verify_sequences(
    root: Path, sequences: Sequence[sql.RowMapping], num_steps: Mapping[str, int]
) -> Iterator[Problem]:
    indexed = {root / row["DataPath"] for row in sequences}
    for path in sketch_paths(root) + side_shard_paths(root):
        if path not in indexed:
            yield _warning(path, "is not in the index", "`armchair store rebuild-index` takes it in")
    for row in sequences:
        if row["Type"] == RewardType.SKETCH:
            try:
                values = curves.read_sketch(root / row["DataPath"]).values
            except StoreError as error:
                yield _error(root / row["DataPath"], str(error))
                continue
            if values.astype("<f4").tobytes() != row["Values"]:
                yield _error(
                    root / row["DataPath"], "differs from the index", "restore it, or rebuild the index from it"
                )
    predicted: dict[Path, dict[str, sql.RowMapping]] = {}
    for row in sequences:
        if row["Type"] == RewardType.PREDICTION:
            predicted.setdefault(root / row["DataPath"], {})[row["EpisodeId"]] = row
    for path, rows in track(sorted(predicted.items()), "Verifying predictions"):
        try:
            values_of = read_predictions(path)
        except StoreError as error:
            yield _error(path, str(error))
            continue
        bad = [i for i in rows if i not in values_of or len(values_of[i]) != num_steps[i]]
        if bad:
            yield _error(
                path, f"has no value a frame for episodes {', '.join(bad[:3])}", "delete it and annotate again"
            )
        elif any(summary(values_of[i]).items() - row.items() for i, row in rows.items()):
            yield _warning(
                path, "has other returns than the index", "`armchair store rebuild-index` brings it up to date"
            )


def _verify_notes(root: Path, notes: Mapping[Path, Note]) -> Iterator[Problem]:
    for path in note_paths(root):
        if path not in notes:
            yield _warning(path, "is not in the index", "`armchair store rebuild-index` takes it in")
    for path, note in notes.items():
        try:
            if read_note(path) != note:
                yield _error(path, "differs from the index", "restore it, or rebuild the index from it")
        except StoreError as error:
            yield _error(path, str(error))


_RESTORE = "restore it from a copy"


def _error(path: Path | UPath, what: str, fix: str = "") -> Problem:
    return Problem(Severity.ERROR, str(path), what.removeprefix(f"{path} "), fix)  # the path is said once


def _warning(path: Path | UPath, what: str, fix: str) -> Problem:
    return Problem(Severity.WARNING, str(path), what, fix)
