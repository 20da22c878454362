"""`armchair export`: episodes of a store in a format that others read."""

from beam_jobs.config import ExportConfig
from beam_jobs.options import beam_options, parse


def main(args: list[str]) -> None:
    """Runs the stage; prints what was written."""
    config, flags = parse(ExportConfig, args, "armchair export")
    from beam_jobs import export

    export.main(config, beam_options(flags))
