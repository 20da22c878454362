"""Looks at every frame of the episodes that a query selects, and tells what is wrong with them.

```
python -m beam_jobs.validate --store runs/store --query dataset=bridge --out findings.jsonl
```
`armchair store verify` compares files with the index; this opens them: every checksum, every number, every picture.
Nothing is changed.
"""

import dataclasses
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions

from beam_jobs import journal
from beam_jobs.config import ValidateConfig
from beam_jobs.options import beam_options, run_as_script
from datasets import catalogue, files
from datasets import validate as rules
from datasets.console import print_facts
from datasets.errors import ArmchairError, BadEpisodeError, blamed_on
from datasets.store import EpisodeRow, Store
from datasets.validate import Problem, Severity

_SOUND, _DOUBTFUL, _BAD = "sound", "doubtful", "bad"


@dataclasses.dataclass(frozen=True)
class Finding:
    """One thing that is wrong with one episode."""

    episode_id: str
    problem: Problem


@dataclasses.dataclass(frozen=True)
class Summary:
    """What was found."""

    episodes: int
    frames: int
    bad: int  # episodes with an error
    findings: tuple[Finding, ...]  # by episode

    def print(self) -> None:
        """A table on standard output: errors one by one, what is less counted over episodes."""
        facts = [
            ("looked at", f"{self.episodes:,} episodes, {self.frames:,} frames"),
            ("bad", f"{self.bad:,} episodes"),
        ]
        facts += [("", f"{f.episode_id}: {f.problem}") for f in self.findings if f.problem.severity is Severity.ERROR]
        for severity in (Severity.WARNING, Severity.INFO):
            counts = Counter(str(f.problem) for f in self.findings if f.problem.severity is severity)
            facts += [(str(severity), f"{count:,} x {what}") for what, count in counts.most_common()]
        print_facts(facts)


def validate(config: ValidateConfig, options: PipelineOptions | None = None) -> Summary:
    """Runs the job.

    Args:
      config: which episodes, and where to write what is found.
      options: Beam's; by default FnApiRunner in this process.

    Raises:
      ArmchairError: if the store cannot be used at all or the query selects nothing. Bad episodes do not raise.
    """
    store = Store.open(config.store.absolute())
    rows = store.query(store.parse(config.query), require=True)
    frames = sum(row.num_steps for row in rows)
    with journal.Journal(store.root) as notes:
        options = options or beam_options()
        with notes.progress("validate", frames, options), beam.Pipeline(options=options) as pipeline:
            work = _Look(store.root, notes.directory)
            _ = pipeline | "episodes" >> beam.Create(rows, reshuffle=True) | "look" >> beam.ParDo(work)
        notes.require(row.episode_id for row in rows)
        findings = tuple(
            Finding(row.episode_id, Problem(Severity(severity), *told))
            for row in rows
            for severity, *told in notes.entries[row.episode_id]["problems"]
        )
        summary = Summary(len(rows), frames, notes.outcomes()[_BAD], findings)
    if config.out is not None:
        lines = (json.dumps({"episode_id": f.episode_id} | dataclasses.asdict(f.problem)) for f in findings)
        files.write_atomically(config.out, "".join(f"{line}\n" for line in lines))
    return summary


class _Look(beam.DoFn):
    """Row of an episode -> nothing; the journal is the output."""

    def __init__(self, store: Path, notes: Path):
        self._root, self._notes = store, notes

    def setup(self) -> None:
        self._store = Store.open(self._root)
        self._writer = journal.Writer(self._notes)

    def process(self, row: EpisodeRow) -> None:
        with self._writer.tells_fatal():
            problems = list(_problems(self._store, row))
        worst = {problem.severity for problem in problems}
        outcome = _BAD if Severity.ERROR in worst else _DOUBTFUL if Severity.WARNING in worst else _SOUND
        told = [dataclasses.astuple(problem) for problem in problems]
        self._writer.write(row.episode_id, outcome, row.num_steps, problems=told)


def _problems(store: Store, row: EpisodeRow) -> Iterator[Problem]:
    try:
        with blamed_on(row.path):
            if catalogue.checksum(row.path) != row.checksum:
                yield Problem(Severity.ERROR, str(row.path), "is not as it was written", "restore it from a copy")
            found = rules.validate(store.read(row), every_picture=True).problems
    except (OSError, BadEpisodeError) as error:
        yield Problem(Severity.ERROR, str(row.path), str(error).removeprefix(f"{row.path} "))
        return
    yield from found


def main(config: ValidateConfig, options: PipelineOptions) -> None:
    """Runs the job, and prints what was found.

    Raises:
      ArmchairError: as `validate`, and at the end if episodes are bad.
    """
    summary = validate(config, options)
    summary.print()
    if summary.bad:
        raise ArmchairError(
            f"{summary.bad} episodes are bad: restore them from a copy, or leave them out with exclude={_ids(summary)}"
        )


def _ids(summary: Summary, shown: int = 3) -> str:
    """The first bad episodes, as a condition of a query takes them."""
    bad = list(dict.fromkeys(f.episode_id for f in summary.findings if f.problem.severity is Severity.ERROR))
    return ",".join(bad[:shown]) + (",..." if len(bad) > shown else "")


if __name__ == "__main__":
    run_as_script("validate", ValidateConfig)
