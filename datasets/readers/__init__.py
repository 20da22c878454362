"""Readers of logs that others wrote; `logs.open_logs` finds out of what kind a folder is."""
