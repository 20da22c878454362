"""Writes episodes of a store in a format that others read.

```
python -m beam_jobs.export --store runs/store --out runs/rlds --format rlds --rewards model:tgr_i-1a2b3c4d
```
The parts of an export do not depend on each other (see `datasets.writers.base`), and appear whole or not at all. So the
job can be interrupted, continued and repeated at will: what is there is not written again. An episode that cannot be
read is left out, and told.
"""

import dataclasses
import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import apache_beam as beam
import numpy as np
from apache_beam.options.pipeline_options import PipelineOptions

from beam_jobs import journal
from beam_jobs.config import ExportConfig, Format
from beam_jobs.options import beam_options, run_as_script
from datasets import files
from datasets.console import print_facts
from datasets.episode import Episode
from datasets.errors import ArmchairError, BadEpisodeError
from datasets.reward_source import RewardKind, RewardSource, reward_function
from datasets.store import EpisodeRow, Store
from datasets.writers import base
from datasets.writers.base import Part, Writer
from datasets.writers.mp4 import Mp4Writer
from datasets.writers.rlds import RldsWriter
from datasets.writers.robomimic import RobomimicWriter

_CARD, _WORK = "armchair.json", ".export"
_WRITTEN, _BAD = "written", "bad"
_LOGGED = "logged"


@dataclasses.dataclass(frozen=True)
class Summary:
    """What an export holds."""

    episodes: int
    frames: int
    problems: tuple[tuple[str, str], ...]  # (episode id, why it was left out)

    def print(self) -> None:
        """A table on standard output."""
        facts = [("written", f"{self.episodes:,} episodes, {self.frames:,} frames")]
        print_facts(facts + [("left out", f"{episode_id}: {what}") for episode_id, what in self.problems])


def export(config: ExportConfig, options: PipelineOptions | None = None) -> Summary:
    """Runs the job.

    Args:
      config: what, how, and where to.
      options: Beam's; by default FnApiRunner in this process.

    Raises:
      ArmchairError: if the query selects nothing, the format cannot hold it, rewards are missing, or the folder holds
        something else. Single bad episodes do not raise: see the summary.
    """
    config = dataclasses.replace(config, store=config.store.absolute(), out=config.out.absolute())
    store = Store.open(config.store)
    rows = store.query(store.parse(config.query), require=True)
    writer = _writer(config, store, rows)
    writer.check(rows)
    _rewards(store, rows, config)  # whether all are there
    plan = {name: getattr(config, name) for name in ("format", "query", "rewards", "task", "name")}
    plan["episodes"] = hashlib.sha256("\n".join(row.episode_id for row in rows).encode()).hexdigest()
    bad = _begin(config.out, plan)
    if bad is None:
        return _summary(json.loads((config.out / _CARD).read_text()))
    while True:
        chosen = [row for row in rows if row.episode_id not in bad]
        if not chosen:
            raise ArmchairError(f"none of {len(rows)} episodes can be read: run `armchair store verify`")
        parts = base.parts_of(chosen, writer.episodes_a_part)
        found = _write(config, writer, parts, options or beam_options())
        if not found:
            break
        # The others move up, so everything is written anew.
        bad |= found
        shutil.rmtree(config.out)
        _begin(config.out, plan)
        files.write_atomically(config.out / _WORK / "bad.json", json.dumps(bad))
    facts = [json.loads(_done(config.out, part).read_text()) for part in parts]
    writer.finish(config.out, parts, facts)
    card = plan | {"count": len(chosen), "frames": sum(row.num_steps for row in chosen), "left_out": bad}
    files.write_atomically(config.out / _CARD, json.dumps(card, indent=2) + "\n")
    shutil.rmtree(config.out / _WORK)
    return _summary(card)


def _writer(config: ExportConfig, store: Store, rows: Sequence[EpisodeRow]) -> Writer:
    spec = base.spec_of(store, rows)
    match config.format:
        case Format.RLDS:
            return RldsWriter(config.name, spec)
        case Format.ROBOMIMIC:
            return RobomimicWriter(config.name, spec)
        case Format.MP4:
            return Mp4Writer(config.store, spec)


def _begin(out: Path, plan: Mapping[str, Any]) -> dict[str, str] | None:
    """What is known to be bad so far: episode id -> why; None if the export is done.

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
                f"{out} holds another export ({there['format']} of {there['query']!r}): choose another folder"
            )
    if out.exists() and any(out.iterdir()):
        raise ArmchairError(f"{out} is not empty, and no export: choose another folder")
    files.write_atomically(out / _WORK / "plan.json", json.dumps(plan))
    return {}


def _done(out: Path, part: Part) -> Path:
    """The file that says that a part is there."""
    return out / _WORK / f"{part.number:05d}.json"


def _write(config: ExportConfig, writer: Writer, parts: Sequence[Part], options: PipelineOptions) -> dict[str, str]:
    """Writes the parts that lack; returns the episodes that cannot be read, and why."""
    todo = [part for part in parts if not _done(config.out, part).exists()]
    if not todo:
        return {}
    frames = sum(row.num_steps for part in todo for row in part.rows)
    with journal.Journal(config.out / _WORK) as notes:
        work = _WritePart(config, writer, len(parts), notes.directory)
        with notes.progress("export", frames, options), beam.Pipeline(options=options) as pipeline:
            _ = pipeline | "parts" >> beam.Create(todo, reshuffle=True) | "write" >> beam.ParDo(work)
        return {item: entry["problem"] for item, entry in notes.entries.items() if entry["outcome"] == _BAD}


class _WritePart(beam.DoFn):
    """Part -> nothing; files are the output."""

    def __init__(self, config: ExportConfig, writer: Writer, parts: int, notes: Path):
        self._config, self._writer, self._parts, self._notes = config, writer, parts, notes

    def setup(self) -> None:
        self._store = Store.open(self._config.store)
        self._journal = journal.Writer(self._notes)

    def process(self, part: Part) -> None:
        with self._journal.tells_fatal():
            reader = _Reader(self._store, part.rows, self._config, self._journal)
            try:
                facts = self._writer.write(self._config.out, part, self._parts, reader)
            except BadEpisodeError:
                reader.drain()  # to tell of every bad one at once
                return
            files.write_atomically(_done(self._config.out, part), json.dumps(facts))


class _Reader:
    """Episodes of some rows with their rewards, one after the other; tells the journal what became of each."""

    def __init__(self, store: Store, rows: Sequence[EpisodeRow], config: ExportConfig, notes: journal.Writer):
        self._store, self._rows, self._notes = store, rows, notes
        self._rewards = _rewards(store, rows, config)
        self._next = 0

    def __iter__(self) -> Iterator[Episode]:
        while self._next < len(self._rows):
            yield self._read()

    def drain(self) -> None:
        """Reads what is left, for the journal."""
        while self._next < len(self._rows):
            try:
                self._read()
            except BadEpisodeError:
                continue

    def _read(self) -> Episode:
        number, row = self._next, self._rows[self._next]
        self._next += 1
        try:
            episode = self._store.read(row)
        except BadEpisodeError as error:
            self._notes.write(row.episode_id, _BAD, row.num_steps, problem=str(error))
            raise
        self._notes.write(row.episode_id, _WRITTEN, row.num_steps)
        if self._rewards is None:
            return episode
        values = np.append(self._rewards(number, episode), 0)  # the last step has no reward
        return dataclasses.replace(episode, reward=values.astype(np.float32))


def _rewards(store: Store, rows: Sequence[EpisodeRow], config: ExportConfig) -> Any:
    """As `reward_function`; None for those that are in the episodes."""
    if config.rewards == _LOGGED:
        return None
    source = RewardSource.parse(config.rewards)
    if source.kind == RewardKind.SKETCH and not config.task:
        raise ArmchairError("sketches rate a task: say which with --task")
    return reward_function(store, rows, source, config.task)


def _summary(card: Mapping[str, Any]) -> Summary:
    return Summary(card["count"], card["frames"], tuple(sorted(card["left_out"].items())))


def main(config: ExportConfig, options: PipelineOptions) -> None:
    """Runs the job, and prints what was written.

    Raises:
      ArmchairError: as `export`, and at the end if episodes were left out.
    """
    summary = export(config, options)
    summary.print()
    if summary.problems:
        raise ArmchairError(
            f"{len(summary.problems)} episodes could not be read, all others were written: run `armchair store verify "
            f"--store {config.store}`"
        )


if __name__ == "__main__":
    run_as_script("export", ExportConfig)
