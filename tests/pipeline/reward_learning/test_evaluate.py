"""The reward-quality report: held-out episodes only, one self-contained page, clear errors."""

import dataclasses
import json

import pytest

from datasets.errors import ArmchairError, SpecMismatchError
from datasets.query import Query
from datasets.store import Store
from datasets.testing import make_episode
from pipeline import export
from pipeline.annotate.synthetic import AnnotatorConfig, sketch
from pipeline.config import EncoderConfig
from pipeline.reward_learning import evaluate
from pipeline.reward_learning.config import RankingConfig
from pipeline.reward_learning.train import train

_CONFIG = RankingConfig(
    image_size=(16, 16), encoder=EncoderConfig((4,), 1, 4), hidden=(32,), steps=60, batch_pairs=4, learning_rate=3e-3
)


@pytest.fixture(name="store", scope="module")
def _store(tmp_path_factory):
    store = Store.create(tmp_path_factory.mktemp("store"))
    for seed in range(30):
        episode = make_episode(seed, num_steps=12)
        store.add(episode, "fake")
        if seed < 24:
            store.add_sketch(sketch(episode, "lift_green", AnnotatorConfig()))
    return store


@pytest.fixture(name="model", scope="module")
def _model(store, tmp_path_factory):
    return train(store, "lift_green", tmp_path_factory.mktemp("run"), _CONFIG)


def test_report_is_one_page_and_its_numbers(store, model, tmp_path):
    quality = evaluate.report(store, model, tmp_path, max_episodes=20)
    written = json.loads((tmp_path / "metrics.json").read_text())
    assert written == json.loads(json.dumps(dataclasses.asdict(quality)))
    assert quality.pair_accuracy_true.value > 0.9
    assert quality.auc_solved > 0.9
    page = (tmp_path / "report.html").read_text()
    assert quality.model_id in page
    assert page.count("<img") >= 3  # calibration, curves, worst episodes
    assert 'src="http' not in page


def test_no_episode_of_the_training_is_judged_and_sketched_ones_come_first(store, model):
    card = export.load_card(model, "reward_model")
    rows = evaluate.held_out(store, [card], 100)
    assert not {row.episode_id for row in rows} & set(card["trained_on"])
    assert len(rows) == 30 - len(card["trained_on"])
    sketched = {row.episode_id for row in store.query(Query(has_sketch="lift_green"))}
    first = [row.episode_id in sketched for row in rows]
    assert first == sorted(first, reverse=True)
    assert any(first)
    assert evaluate.held_out(store, [card], 2) == rows[:2]
    other = card | {"trained_on": [rows[0].episode_id, rows[-1].episode_id]}  # then of several, none was trained on one
    assert evaluate.held_out(store, [card, other], 100) == evaluate.held_out(store, [other, card], 100) == rows[1:-1]


def test_errors(store, model, tmp_path):
    with pytest.raises(ArmchairError, match="not a model folder"):
        evaluate.report(store, tmp_path / "absent", tmp_path / "r", 5)
    with pytest.raises(ArmchairError, match="has no episode of 'lift_green'"):
        evaluate.report(Store.create(tmp_path / "empty"), model, tmp_path / "r", 5)
    blind = Store.create(tmp_path / "blind")
    blind.add(make_episode(100, cameras=()), "fake")
    with pytest.raises(SpecMismatchError, match="has no pixels/basket_front_left"):
        evaluate.report(blind, model, tmp_path / "r", 5)
    assert not (tmp_path / "r").exists()
