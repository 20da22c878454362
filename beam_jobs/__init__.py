"""Passes over a whole store, as Apache Beam pipelines that run in memory, in several processes, or on a cluster."""

import logging

# Beam's import warns of Google Cloud libraries that no job here needs.
logging.getLogger().addFilter(lambda record: "apitools not found" not in record.getMessage())
