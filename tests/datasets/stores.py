"""What tests put into a store, and how they look at its index without our code."""

import contextlib
import json
import sqlite3

import numpy as np
import psycopg
import pytest

from datasets.predictions import write_predictions
from datasets.rewards import RewardSequence
from datasets.tables import tables
from datasets.testing import make_episode

only_sqlite = pytest.mark.parametrize("engine", ["sqlite"], indirect=True)  # tests about its file
# Tests with several processes, which do not share what is in memory.
only_databases = pytest.mark.parametrize("engine", ["sqlite", "postgres"], indirect=True)
MODEL = ("m1", "hash1", "lift_green")
CARD = {"kind": "reward_model", "model_id": "m1", "model_hash": "hash1", "task_id": "lift_green", "inputs": {}}


def small(seed, **changes):
    return make_episode(seed, **({"num_steps": 3, "cameras": ()} | changes))


def sketch(seed, sequence_id="s1", values=(0, 0.5, 1), **changes):
    return RewardSequence(f"fake-{seed}", "lift_green", np.array(values, np.float32), sequence_id, **changes)


def add_predictions(store, name, values, model=MODEL):
    path = store.prediction_path(model[0], name)
    write_predictions(path, *model, values)
    return store.add_predictions(*model, path)


def index_rows(root):
    """Everything that the index holds, read without our code."""
    with connect(root) as connection:
        return {name: sorted(map(repr, connection.execute(f'SELECT * FROM "{name}"'))) for name in tables.tables}


def connect(root):
    """A connection to the index without our code."""
    if (root / "index.json").exists():
        url = json.loads((root / "index.json").read_text())["url"]
        return psycopg.connect(url.replace("+psycopg", ""), autocommit=True)
    return contextlib.closing(sqlite3.connect(root / "index.sqlite"))
