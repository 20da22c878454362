"""Policies from annotated logs, offline."""
