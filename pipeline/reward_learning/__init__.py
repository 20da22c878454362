"""Reward models from sketches."""
