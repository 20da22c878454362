"""`armchair ingest`: recorded episodes, or anybody's log of a known kind, into a store."""

from beam_jobs.config import IngestConfig
from beam_jobs.options import beam_options, parse


def main(args: list[str]) -> None:
    """Runs the stage; prints what became of the episodes."""
    config, flags = parse(IngestConfig, args, "armchair ingest")
    from beam_jobs import ingest

    ingest.main(config, beam_options(flags))
