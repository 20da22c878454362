"""Passes over a whole store, as Apache Beam pipelines that run in memory, in several processes, or on a cluster."""

import logging

# A runner reports every error, with two tracebacks, and then raises it: once is enough.
logging.getLogger("apache_beam").setLevel(logging.CRITICAL)
# Beam warns, through the root logger, of optional libraries that no job here needs.
_NOT_NEEDED = ("apitools not found", "Resource module is not available")
logging.getLogger().addFilter(lambda record: not record.getMessage().startswith(_NOT_NEEDED))
