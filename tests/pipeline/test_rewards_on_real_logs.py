"""Sketches and reward models on recordings of real robots."""

import os
from pathlib import Path

import numpy as np
import pytest

from datasets.query import Query
from datasets.readers.base import Defaults
from datasets.readers.logs import open_logs
from datasets.store import Store
from datasets.validate import repair
from pipeline import export
from pipeline.annotate.sketch import export_sketches, read_sketches, simulate
from pipeline.annotate.synthetic import AnnotatorConfig
from pipeline.config import EncoderConfig
from pipeline.reward_learning import evaluate
from pipeline.reward_learning.config import RankingConfig
from pipeline.reward_learning.train import train


@pytest.fixture(name="real")
def _real():
    if "ARMCHAIR_REAL_DATA" not in os.environ:
        pytest.skip("real recordings are read only where ARMCHAIR_REAL_DATA says where they are")
    return Path(os.environ["ARMCHAIR_REAL_DATA"])


def _ingested(source: Path, root: Path, limit: int) -> Store:
    store = Store.create(root)
    for log in open_logs(source, Defaults(task_id="tidy")):
        for reading in [reading for file in log.files() for reading in log.read(file)][:limit]:
            episode, _ = repair(reading.episode)
            store.add(episode, log.name)
    return store


@pytest.mark.parametrize("source", ["octo_bridge_debug", "sketchy"])
def test_real_episodes_are_sketched_by_time_and_sketches_travel(real, tmp_path, source):
    store = _ingested(real / source, tmp_path / "store", 5)
    rows = store.query(Query())
    drawn = simulate(store, rows, "tidy", len(rows), AnnotatorConfig(by_time=True))
    assert {len(s.values) for s in drawn} == {row.num_steps for row in rows}
    export_sketches(store.sketches("tidy"), tmp_path / "s.jsonl")
    for before, after in zip(store.sketches("tidy"), read_sketches(tmp_path / "s.jsonl"), strict=True):
        assert before.episode_id == after.episode_id
        np.testing.assert_array_equal(before.values, after.values)


def test_a_reward_model_learns_from_a_real_arm(real, tmp_path):
    store = _ingested(real / "octo_bridge_debug", tmp_path / "store", 25)
    simulate(store, store.query(Query()), "tidy", 25, AnnotatorConfig(by_time=True))
    config = RankingConfig(
        cameras=("image_0",),
        image_size=(32, 32),
        encoder=EncoderConfig((8, 16), 1, 8),
        hidden=(64,),
        steps=120,
        shift=2,
    )
    path = train(store, "tidy", tmp_path / "run", config)
    card = export.load_card(path, "reward_model")
    assert export.card_inputs(card)["image_0"] == store.spec(store.datasets()[0]).observation["image_0"]
    quality = evaluate.report(store, path, tmp_path / "report", 5)
    assert quality.pair_accuracy_sketch.value > 0.7
