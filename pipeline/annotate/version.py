"""Which page a sketch was drawn on."""

import importlib.metadata

VERSION = importlib.metadata.version("armchair")
TOOL = f"armchair page {VERSION}"
"""What is noted with every sketch."""
