"""The command line: one entry point, `armchair <stage>`, over the rooms `datasets`, `robot`, `pipeline`, `beam_jobs`."""

__version__ = "0.1.0"
