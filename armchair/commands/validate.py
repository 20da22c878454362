"""`armchair validate`: what is wrong with the episodes of a store."""

from beam_jobs.config import ValidateConfig
from beam_jobs.options import beam_options, parse


def main(args: list[str]) -> None:
    """Runs the stage; prints what was found."""
    config, flags = parse(ValidateConfig, args, "armchair validate")
    from beam_jobs import validate

    validate.main(config, beam_options(flags))
