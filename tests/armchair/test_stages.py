"""Stages that no command has by itself."""

import json

import numpy as np
import pytest

from armchair import stages
from datasets.predictions import write_predictions
from datasets.store import Store
from datasets.testing import make_episode
from pipeline.annotate.synthetic import AnnotatorConfig

MODEL, TASK = "model", "lift_green"


@pytest.fixture
def store(tmp_path):
    """Even episodes succeed, odd ones fail; those from 8 on are another policy's."""
    store = Store.create(tmp_path / "store")
    for seed in range(12):
        store.add(make_episode(seed, 10, policy_id="newest" if seed < 8 else "older"), "fake")
    store.publish()
    return store


@pytest.fixture
def model(tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "card.json").write_text(json.dumps({"kind": "reward_model", "model_id": MODEL, "task_id": TASK}))
    return folder


def predict(store, highest):
    path = store.prediction_path(MODEL, "part")
    values = {f"fake-{seed}": np.linspace(0, value, 10, dtype=np.float32) for seed, value in highest.items()}
    write_predictions(path, MODEL, "hash", TASK, values)
    store.add_predictions(MODEL, "hash", TASK, path)


def sketched(store):
    return {sketch.episode_id for sketch in store.sketches(TASK)}


def test_hunting_finds_where_the_reward_is_most_wrong(store, model):
    # failures 1, 3, 5, 7; successes 0, 2, 4, 6; 9 and 10 are as wrong, but another policy's
    predict(store, {1: 0.9, 3: 0.2, 5: 0.8, 7: 0.1, 0: 0.95, 2: 0.9, 4: 0.3, 6: 0.8, 9: 1.0, 10: 0.0})
    stages.hunt(store.root, model, "newest", 3, AnnotatorConfig())
    assert sketched(store) == {"fake-1", "fake-5", "fake-4"}
    stages.hunt(store.root, model, "newest", 3, AnnotatorConfig())  # again, as after a crash
    assert len(store.sketches(TASK)) == 3


def test_hunting_takes_all_where_there_are_few(store, model):
    predict(store, dict.fromkeys(range(8), 0.5))
    stages.hunt(store.root, model, "newest", 100, AnnotatorConfig())
    assert sketched(store) == {f"fake-{seed}" for seed in range(8)}
