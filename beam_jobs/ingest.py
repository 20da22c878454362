"""Takes recorded episodes into a store.

```
python -m beam_jobs.ingest --source runs/log --store runs/store
```
A source is a folder with RLDS/TFDS datasets (a recorder's, EnvLogger's, anybody's), with EnvLogger's Riegeli logs, with
RL Unplugged's shards of control-suite tasks, with LeRobot datasets, with HDF5 files of robomimic, robosuite, Minari or
D4RL, or with Sketchy's episode files or archives; its kind is found out. Episodes that are in the store already are
left alone, so the job can be repeated, and continued after a crash, at will; those whose steps are there under another
id are told. One that cannot be taken in goes to the store's quarantine with the reason, and the job goes on.
"""

import dataclasses
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions

from beam_jobs import journal
from beam_jobs.config import IngestConfig
from beam_jobs.options import beam_options, run_as_script
from datasets import features, validate
from datasets.console import print_facts
from datasets.errors import ArmchairError, BadEpisodeError, SameStepsError, SpecMismatchError, StoreError, blamed_on
from datasets.mapping import NO_MAPPING, LogMapping, apply, load_mapping, unmapped
from datasets.readers.base import Log, Reading
from datasets.readers.logs import open_logs
from datasets.shards import check_dataset_name
from datasets.store import Store

_ADDED, _DUPLICATE, _QUARANTINED = "added", "duplicate", "quarantined"
_READ = "files"


@dataclasses.dataclass(frozen=True)
class Summary:
    """What became of the episodes of a source."""

    added: int
    duplicates: int  # in the store already, under their own or another id
    repaired: int  # of the added ones
    quarantined: int
    sketches: int  # that came with the episodes
    remarks: Counter[str]  # repairs and warnings -> number of episodes
    problems: tuple[tuple[str, str], ...]  # (where, what) of everything that was left out
    copies: tuple[tuple[str, str], ...] = ()  # (where, id of the episode in the store that has the same steps)

    def print(self) -> None:
        """A table on standard output."""
        facts = [(f, f"{getattr(self, f):,}") for f in ("added", "duplicates", "repaired", "quarantined", "sketches")]
        facts += [("", f"{count:,} x {remark}") for remark, count in self.remarks.most_common()]
        facts += [("duplicate", f"{where}: the steps of episode {of}") for where, of in self.copies]
        facts += [("left out", f"{where}: {what}") for where, what in self.problems]
        print_facts(facts)


def ingest(config: IngestConfig, options: PipelineOptions | None = None) -> Summary:
    """Runs the job.

    Args:
      config: what, and where to.
      options: Beam's; by default FnApiRunner in this process.

    Raises:
      ArmchairError: if a source or the store cannot be used at all. Bad episodes do not raise: see the summary.
    """
    mapping = load_mapping(config.mapping) if config.mapping else NO_MAPPING
    logs = [log for source in config.source for log in open_logs(source.absolute(), config.defaults)]
    items = [(number, str(file)) for number, log in enumerate(logs) for file in log.files()]
    for log in logs:
        check_dataset_name(config.dataset or log.name)
        _check_fits(log, config, mapping)
    store = Store.create(config.store.absolute())
    total = sum(log.count(file) for log in logs for file in log.files())
    with journal.Journal(store.root) as notes:
        work = _IngestFile(logs, mapping, store.root, config, notes.directory)
        options = options or beam_options()
        with notes.progress("ingest", total, options), beam.Pipeline(options=options) as pipeline:
            _ = pipeline | "files" >> beam.Create(items, reshuffle=True) | "ingest" >> beam.ParDo(work)
        notes.require(_all_of(file) for _, file in items)
        store.publish()
        return _summarise(notes)


def _check_fits(log: Log, config: IngestConfig, mapping: LogMapping) -> None:
    """Looks whether the first readable episode fits the mapping, and the dataset that all of them are to go into."""
    dataset = config.dataset or log.name
    try:
        spec = Store.open(config.store).spec(dataset)
    except StoreError:
        spec = None  # no store, or no dataset of this name yet
    if spec is None and mapping == NO_MAPPING:
        return
    readable = (reading.episode for file in log.files() for reading in _read(log, file) if reading.episode)
    first = next(readable, None)
    if first is not None and features.step_spec(apply(mapping, first)) != spec and spec is not None:
        raise SpecMismatchError(
            f"{config.store} has a dataset {dataset!r} with other observations or actions than {log}: name another one "
            "with --dataset"
        )


def _read(log: Log, file: Path) -> Iterator[Reading]:
    """As the log reads. Where its reader meets what it did not foresee, the rest of the file is one bad episode."""
    rest = f"the rest of {file}"
    try:
        with blamed_on(rest):
            yield from log.read(file)
    except BadEpisodeError as error:
        yield Reading(rest, None, (str(error),))


class _IngestFile(beam.DoFn):
    """(number of the log, file) -> nothing; the store is the output."""

    def __init__(self, logs: Sequence[Log], mapping: LogMapping, store: Path, config: IngestConfig, notes: Path):
        self._logs, self._mapping, self._root = logs, mapping, store
        self._config, self._notes = config, notes

    def setup(self) -> None:
        self._store = Store.open(self._root)
        self._writer = journal.Writer(self._notes)

    def process(self, item: tuple[int, str]) -> None:
        log = self._logs[item[0]]
        with self._writer.tells_fatal():
            for reading in _read(log, Path(item[1])):
                self._take_in(reading, self._config.dataset or log.name)
            self._writer.write(_all_of(item[1]), _READ, 0)

    def _take_in(self, reading: Reading, dataset: str) -> None:
        problems = list(reading.problems)
        remarks: list[str] = []
        repairs: list[str] = []
        sketches, outcome, copy_of = 0, _QUARANTINED, ""
        if reading.episode is not None:
            try:
                with blamed_on(reading.where):
                    episode = apply(self._mapping, reading.episode)
                    if self._config.repair:
                        episode, repairs = validate.repair(episode)
                outcome = str(self._store.add(episode, dataset, self._config.keep_duplicates))
                if outcome == _ADDED:
                    remarks = [str(warning) for warning in validate.validate(episode).warnings]
                    if self._mapping != NO_MAPPING and (names := unmapped(reading.episode, self._mapping)):
                        remarks.append(f"not in the mapping, kept: {', '.join(names)}")
            except SameStepsError as error:
                outcome, copy_of = _DUPLICATE, error.episode_id
            except BadEpisodeError as error:
                problems.append(str(error))
        if outcome != _QUARANTINED and not copy_of:  # sketches name the episode, which is not there
            for sketch in reading.sketches:
                try:
                    self._store.add_sketch(sketch)
                    sketches += 1
                except StoreError as error:
                    problems.append(str(error))
        for problem in problems:
            self._store.quarantine(reading.where, problem, reading.record if outcome == _QUARANTINED else None)
        self._writer.write(
            reading.where, outcome, problems=problems, remarks=remarks, repairs=repairs, sketches=sketches,
            copy_of=copy_of,
        )  # fmt: skip


def _all_of(file: str) -> str:
    """How the journal calls a whole file; some readers call an episode like the file that it is in."""
    return f"all of {file}"


def _summarise(notes: journal.Journal) -> Summary:
    entries = [entry for entry in notes.entries.values() if entry["outcome"] != _READ]
    added = [entry for entry in entries if entry["outcome"] == _ADDED]
    outcomes = notes.outcomes()
    return Summary(
        added=len(added),
        duplicates=outcomes[_DUPLICATE],
        repaired=sum(bool(entry["repairs"]) for entry in added),
        quarantined=outcomes[_QUARANTINED],
        sketches=sum(entry["sketches"] for entry in entries),
        remarks=Counter(remark for entry in added for remark in entry["repairs"] + entry["remarks"]),
        problems=tuple(sorted((entry["item"], problem) for entry in entries for problem in entry["problems"])),
        copies=tuple(sorted((entry["item"], entry["copy_of"]) for entry in entries if entry["copy_of"])),
    )


def main(config: IngestConfig, options: PipelineOptions) -> None:
    """Runs the job, and prints what became of the episodes.

    Raises:
      ArmchairError: as `ingest`, and at the end if anything was left out.
    """
    summary = ingest(config, options)
    summary.print()
    if summary.problems:
        raise ArmchairError(
            f"{len(summary.problems)} things could not be taken in, everything else was: see {config.store}/quarantine"
        )


if __name__ == "__main__":
    run_as_script("ingest", IngestConfig)
