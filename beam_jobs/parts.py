"""A folder that a job writes part by part, each whole or not at all, from the episodes of a query.

The parts do not depend on each other (see `datasets.writers.base`). So a job can be interrupted, continued and repeated
at will: what is there is not written again. An episode that cannot be read is left out, and told.
"""

import dataclasses
import hashlib
import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import apache_beam as beam
import numpy as np
from apache_beam.options.pipeline_options import PipelineOptions

from beam_jobs import journal
from beam_jobs.options import beam_options
from datasets import files
from datasets.console import print_facts
from datasets.episode import Episode
from datasets.errors import ArmchairError, BadEpisodeError, blamed_on
from datasets.features import StepSpec
from datasets.reward_source import RewardKind, RewardSource, reward_function
from datasets.store import EpisodeRow, Store
from datasets.writers.base import Part, Writer, parts_of, spec_of

_CARD, _WORK = "armchair.json", ".parts"
_WRITTEN, _BAD = "written", "bad"
_LOGGED = "logged"  # rewards as they are in the episodes


@dataclasses.dataclass(frozen=True)
class Job:
    """What is done, and where."""

    name: str  # for the progress bar
    store: Path  # of the store, absolute
    out: Path  # folder to write, absolute
    plan: Mapping[str, str]  # what decides the output, besides the episodes
    rewards: str  # that episodes come with: logged, none, sketch or model:<model id>
    task: str  # that sketches rate


class Config(Protocol):
    """What all jobs of this kind are told."""

    @property
    def store(self) -> Path:
        """Folder of the store."""

    @property
    def out(self) -> Path:
        """Folder to write."""

    @property
    def query(self) -> str:
        """Which episodes."""

    @property
    def rewards(self) -> str:
        """That episodes come with."""

    @property
    def task(self) -> str:
        """That sketches rate."""


@dataclasses.dataclass(frozen=True)
class Summary:
    """What was written."""

    episodes: int
    frames: int
    problems: tuple[tuple[str, str], ...]  # (episode id, why it was left out)

    def print(self) -> None:
        """A table on standard output."""
        facts = [("written", f"{self.episodes:,} episodes, {self.frames:,} frames")]
        print_facts(facts + [("left out", f"{episode_id}: {what}") for episode_id, what in self.problems])

    def raise_problems(self, store: Path) -> None:
        """Raises ArmchairError if episodes were left out."""
        if self.problems:
            raise ArmchairError(
                f"{len(self.problems)} episodes could not be written, all others were: `armchair store verify "
                f"--store {store}` tells whether the store is damaged"
            )


def run(
    name: str,
    config: Config,
    make_writer: Callable[[StepSpec, Sequence[EpisodeRow]], Writer],
    options: PipelineOptions | None,
    decides: Mapping[str, str],
) -> tuple[Summary, list[EpisodeRow]]:
    """Writes all parts, and what describes the whole.

    Args:
      name: of the job.
      config: which episodes, and where to.
      make_writer: how: from what all episodes have, and their rows, in order.
      options: Beam's; by default FnApiRunner in this process.
      decides: what decides the output besides the fields of `Config`.

    Returns:
      What was written, and the rows of the episodes in it.

    Raises:
      ArmchairError: if the query selects nothing or episodes of several kinds, the writer cannot hold them, rewards are
        missing, the folder holds something else, or no episode can be read. Single bad episodes do not raise.
    """
    store = Store.open(config.store.absolute())
    query = store.parse(config.query)
    rows = store.query(query, require=True)
    plan = {**decides, "query": str(query), "rewards": config.rewards, "task": config.task}
    job = Job(name, store.root, config.out.absolute(), plan, config.rewards, config.task)
    summary = _run(job, make_writer(spec_of(store, rows), rows), rows, options or beam_options())
    left_out = {episode_id for episode_id, _ in summary.problems}
    return summary, [row for row in rows if row.episode_id not in left_out]


def _run(job: Job, writer: Writer, rows: Sequence[EpisodeRow], options: PipelineOptions) -> Summary:
    writer.check(rows)
    _rewards(Store.open(job.store), rows, job)  # whether all are there
    ids = hashlib.sha256("\n".join(row.episode_id for row in rows).encode()).hexdigest()
    plan = {"job": job.name, **job.plan, "ids": ids}
    bad = _begin(job.out, plan)
    if bad is None:
        return _summary(json.loads((job.out / _CARD).read_text()))
    while True:
        chosen = [row for row in rows if row.episode_id not in bad]
        if not chosen:
            raise ArmchairError(f"none of {len(rows)} episodes can be read: run `armchair store verify`")
        parts = parts_of(chosen, writer.episodes_a_part)
        found = _write(job, writer, parts, options)
        if not found:
            break
        # The others move up, so everything is written anew.
        bad |= found
        shutil.rmtree(job.out)
        _begin(job.out, plan)
        files.write_atomically(job.out / _WORK / "bad.json", json.dumps(bad))
    facts = [json.loads(_done(job.out, part).read_text()) for part in parts]
    writer.finish(job.out, parts, facts)
    files.remove_staged(job.out)
    card = plan | {"count": len(chosen), "frames": sum(row.num_steps for row in chosen), "left_out": bad}
    files.write_atomically(job.out / _CARD, json.dumps(card, indent=2) + "\n")
    shutil.rmtree(job.out / _WORK)
    return _summary(card)


def _begin(out: Path, plan: Mapping[str, Any]) -> dict[str, str] | None:
    """What is known to be bad so far: episode id -> why; None if everything is done.

    Raises:
      ArmchairError: if the folder holds anything else.
    """
    for path in (out / _CARD, out / _WORK / "plan.json"):
        if path.exists():
            there = json.loads(path.read_text())
            if plan.items() <= there.items():
                known = out / _WORK / "bad.json"
                return None if path.name == _CARD else json.loads(known.read_text()) if known.exists() else {}
            raise ArmchairError(
                f"{out} holds something else ({there['job']} of {there['query']!r}): choose another folder"
            )
    if out.exists() and any(out.iterdir()):
        raise ArmchairError(f"{out} is not empty: choose another folder")
    files.write_atomically(out / _WORK / "plan.json", json.dumps(plan))
    return {}


def _done(out: Path, part: Part) -> Path:
    """The file that says that a part is there."""
    return out / _WORK / f"{part.number:05d}.json"


def _write(job: Job, writer: Writer, parts: Sequence[Part], options: PipelineOptions) -> dict[str, str]:
    """Writes the parts that lack; returns the episodes that cannot be read, and why."""
    todo = [part for part in parts if not _done(job.out, part).exists()]
    if not todo:
        return {}
    frames = sum(row.num_steps for part in todo for row in part.rows)
    with journal.Journal(job.out / _WORK) as notes:
        work = _WritePart(job, writer, len(parts), notes.directory)
        with notes.progress(job.name, frames, options), beam.Pipeline(options=options) as pipeline:
            _ = pipeline | "parts" >> beam.Create(todo, reshuffle=True) | "write" >> beam.ParDo(work)
        notes.require(row.episode_id for part in todo for row in part.rows)
        return {item: entry["problem"] for item, entry in notes.entries.items() if entry["outcome"] == _BAD}


class _WritePart(beam.DoFn):
    """Part -> nothing; files are the output."""

    def __init__(self, job: Job, writer: Writer, parts: int, notes: Path):
        self._job, self._writer, self._parts, self._notes = job, writer, parts, notes

    def setup(self) -> None:
        self._store = Store.open(self._job.store)
        self._journal = journal.Writer(self._notes)

    def process(self, part: Part) -> None:
        with self._journal.tells_fatal():
            reader = _Reader(self._store, part.rows, self._job, self._journal)
            try:
                facts = self._writer.write(self._job.out, part, self._parts, reader)
            except BadEpisodeError as error:
                reader.drain(error)  # to tell of every bad one at once
                return
            files.write_atomically(_done(self._job.out, part), json.dumps(facts))


class _Reader:
    """Episodes of some rows with their rewards, one after the other; tells the journal what became of each."""

    def __init__(self, store: Store, rows: Sequence[EpisodeRow], job: Job, notes: journal.Writer):
        self._store, self._rows, self._notes = store, rows, notes
        self._rewards = _rewards(store, rows, job)
        self._next = 0

    def __iter__(self) -> Iterator[Episode]:
        while self._next < len(self._rows):
            yield self._read()

    def drain(self, error: BadEpisodeError) -> None:
        """Tells the journal what is wrong with the episode that came last, and reads what is left."""
        self._tell(error)
        while self._next < len(self._rows):
            try:
                self._read()
            except BadEpisodeError as another:
                self._tell(another)

    def _read(self) -> Episode:
        number, row = self._next, self._rows[self._next]
        self._next += 1
        with blamed_on(row.path):
            episode = self._store.read(row)
        self._notes.write(row.episode_id, _WRITTEN, row.num_steps)
        if self._rewards is None:
            return episode
        values = np.append(self._rewards(number, episode), 0)  # the last step has no reward
        return dataclasses.replace(episode, reward=values.astype(np.float32))

    def _tell(self, error: BadEpisodeError) -> None:
        row = self._rows[self._next - 1]
        self._notes.write(row.episode_id, _BAD, row.num_steps, problem=str(error))


def _rewards(store: Store, rows: Sequence[EpisodeRow], job: Job) -> Any:
    """As `reward_function`; None for those that are in the episodes."""
    if job.rewards == _LOGGED:
        return None
    source = RewardSource.parse(job.rewards)
    if source.kind == RewardKind.SKETCH and not job.task:
        raise ArmchairError("sketches rate a task: say which with --task")
    return reward_function(store, rows, source, job.task)


def _summary(card: Mapping[str, Any]) -> Summary:
    return Summary(card["count"], card["frames"], tuple(sorted(card["left_out"].items())))
