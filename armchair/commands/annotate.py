"""`armchair annotate`: reward models' predictions for every episode of a store."""

from beam_jobs.config import AnnotateConfig
from beam_jobs.options import beam_options, parse


def main(args: list[str]) -> None:
    """Runs the stage; prints what became of the episodes."""
    config, flags = parse(AnnotateConfig, args, "armchair annotate")
    from beam_jobs import annotate

    annotate.main(config, beam_options(flags))
