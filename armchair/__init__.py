"""The command line: one entry point, `armchair <stage>`, over `datasets`, `robot`, `pipeline` and `beam_jobs`."""

__version__ = "0.1.0"
