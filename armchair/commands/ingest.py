"""`armchair ingest`: recorded episodes, or any known log, into a store; `ingest inspect`: a look into a log."""

import dataclasses
from pathlib import Path
from typing import Annotated

import tyro

from beam_jobs.config import IngestConfig
from beam_jobs.options import beam_options, parse
from datasets.readers.base import NO_DEFAULTS, Defaults


@dataclasses.dataclass(frozen=True)
class Inspect:
    """Prints what there is in a log, and a mapping to begin with: a file for `armchair ingest --mapping`."""

    source: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """Folders with episodes."""
    out: Path | None = None
    """Write the mapping to this file, instead of printing it; of several logs, that of the first."""
    defaults: Defaults = NO_DEFAULTS
    """What the source does not say of its episodes."""


def main(args: list[str]) -> None:
    """Runs the stage; prints what became of the episodes, or what there is."""
    if args[:1] == ["inspect"]:
        _inspect(tyro.cli(Inspect, args=args[1:], prog="armchair ingest inspect"))
        return
    config, flags = parse(IngestConfig, args, "armchair ingest")
    from beam_jobs import ingest
    from robot.record import adopt

    for source in config.source:
        adopt(source)
    ingest.main(config, beam_options(flags))


def _inspect(config: Inspect) -> None:
    from datasets import files, inspection
    from datasets.console import print_facts, print_table
    from datasets.readers.logs import open_logs

    texts = []
    for log in (log for source in config.source for log in open_logs(source.absolute(), config.defaults)):
        found = inspection.look(log)
        print_facts(inspection.report(found))
        episode = inspection.require(found)
        print_table(inspection.structure(episode))
        texts.append(inspection.proposal(episode))
        if config.out is None:
            print(f"\n{texts[-1]}")
    if config.out is not None:
        files.write_atomically(config.out, texts[0])
        print(f"wrote {config.out}: look at it, then `armchair ingest --mapping {config.out} ...`")
