"""Rewards from almost nothing: studies of the semi-supervised methods on the simulated arm. See `__main__`."""
