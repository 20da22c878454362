"""`armchair stats`: what the numbers of a data set look like, for machines and for people."""

from beam_jobs.config import StatsConfig
from beam_jobs.options import beam_options, parse


def main(args: list[str]) -> None:
    """Runs the stage; prints where the page is."""
    config, flags = parse(StatsConfig, args, "armchair stats")
    from beam_jobs import stats

    stats.main(config, beam_options(flags))
