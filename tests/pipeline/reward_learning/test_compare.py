"""Comparing reward models: the same held-out episodes for all, one self-contained page, clear errors."""

import dataclasses
import json
import shutil

import pytest

from datasets.errors import ArmchairError, SpecMismatchError
from datasets.presets import ObservationPreset
from datasets.store import Store
from datasets.testing import make_episode
from pipeline import export
from pipeline.annotate.synthetic import AnnotatorConfig, sketch
from pipeline.config import EncoderConfig
from pipeline.reward_learning.compare import compare, name_models
from pipeline.reward_learning.config import RankingConfig
from pipeline.reward_learning.train import train

_STATES = RankingConfig(
    observations=ObservationPreset.STATES, image_size=(16, 16), encoder=EncoderConfig((4,), 1, 4), hidden=(16,),
    steps=30, batch_pairs=4, learning_rate=3e-3,
)  # fmt: skip


@pytest.fixture(name="store", scope="module")
def _store(tmp_path_factory):
    store = Store.create(tmp_path_factory.mktemp("store"))
    for seed in range(24):
        episode = make_episode(seed, num_steps=12, cameras=("basket_front_left", "wrist"))
        store.add(episode, "fake")
        if seed < 18:
            store.add_sketch(sketch(episode, "lift_green", AnnotatorConfig()))
    return store


@pytest.fixture(name="models", scope="module")
def _models(store, tmp_path_factory):
    runs = tmp_path_factory.mktemp("runs")
    configs = {
        "short": dataclasses.replace(_STATES, steps=2),
        "states": _STATES,
        "pixels": dataclasses.replace(_STATES, observations=ObservationPreset.PIXELS),
    }
    return [train(store, "lift_green", runs / name, config) for name, config in configs.items()]


def _copy(model, folder, **changes):
    """The same model under another card."""
    shutil.copytree(model, folder)
    card = json.loads((folder / "card.json").read_text()) | changes
    (folder / "card.json").write_text(json.dumps(card))
    return folder


def test_one_page_and_its_numbers(store, models, tmp_path):
    comparison = compare(store, models, tmp_path, max_episodes=20)
    written = json.loads((tmp_path / "compare.json").read_text())
    assert written == json.loads(json.dumps(dataclasses.asdict(comparison)))
    assert [model.name for model in comparison.models] == ["short", "states", "pixels"]
    assert written["models"][1]["folder"] == str(models[1])
    trained_on = set(export.load_card(models[0], "reward_model")["trained_on"])
    assert len(comparison.episodes) == 24 - len(trained_on)
    assert not set(comparison.episodes) & trained_on
    assert {d.episode_id for d in comparison.disagreements} == set(comparison.episodes)
    for model in comparison.models:
        assert sum(phase.frames for phase in model.phases) == 12 * len(comparison.episodes)
        assert {each.episode_id for each in model.false_positives} <= set(comparison.episodes)
    page = (tmp_path / "compare.html").read_text()
    for said in ("Calibration", "Phases of the task", "Where the models disagree", "False positives", "numbers only"):
        assert said in page
    assert page.count("<img") == 7  # calibration, phases, two of curves, and stills of each model
    assert "basket_front_left, wrist" in page
    assert 'src="http' not in page


def test_no_model_was_trained_on_what_they_are_judged_by(store, models, tmp_path):
    before = compare(store, models[:2], tmp_path / "before", max_episodes=20).episodes
    knowing = _copy(models[1], tmp_path / "knowing", trained_on=[before[0]])
    after = compare(store, [models[0], knowing], tmp_path / "after", max_episodes=20).episodes
    assert after == before[1:]


def test_without_pictures_there_are_no_stills(models, tmp_path):
    blind = Store.create(tmp_path / "blind")
    for seed in range(100, 104):
        blind.add(make_episode(seed, num_steps=12, cameras=()), "fake")
    comparison = compare(blind, models[:2], tmp_path, max_episodes=20)
    assert comparison.models[0].false_positives  # the numbers stay
    page = (tmp_path / "compare.html").read_text()
    assert "False positives" not in page
    assert page.count("<img") == 4
    with pytest.raises(SpecMismatchError, match="has no pixels/basket_front_left"):
        compare(blind, models, tmp_path / "with pixels", max_episodes=20)


def test_without_truth_or_sketches_curves_are_left(models, tmp_path):
    untold = Store.create(tmp_path / "untold")
    for seed in range(100, 103):
        untold.add(dataclasses.replace(make_episode(seed, num_steps=12), extras={}), "real")
    comparison = compare(untold, models[:2], tmp_path, max_episodes=20)
    assert comparison.table() == []
    assert len(comparison.disagreements) == 3
    assert (tmp_path / "compare.html").read_text().count("<img") == 2


def test_models_are_called_by_their_runs_or_else_by_their_ids(models, tmp_path):
    assert name_models(models) == ["short", "states", "pixels"]
    copy = _copy(models[1], tmp_path / "short", model_id="another")
    assert name_models([copy, models[2]]) == ["short", "pixels"]
    ids = [export.load_card(model, "reward_model")["model_id"] for model in models]
    assert name_models([copy, models[0]]) == ["another", ids[0]]


def test_errors(store, models, tmp_path):
    out = tmp_path / "out"
    with pytest.raises(ArmchairError, match="at least two reward models"):
        compare(store, models[:1], out, 5)
    with pytest.raises(ArmchairError, match="absent is not a model folder"):
        compare(store, [models[0], tmp_path / "absent"], out, 5)
    with pytest.raises(ArmchairError, match="is given twice"):
        compare(store, [models[0], _copy(models[0], tmp_path / "copy")], out, 5)
    other = _copy(models[1], tmp_path / "other", task_id="juggle")
    with pytest.raises(ArmchairError, match="for the task 'lift_green' but .*other for 'juggle'"):
        compare(store, [models[0], other], out, 5)
    with pytest.raises(ArmchairError, match="has no episode of 'lift_green' that was held out"):
        compare(Store.create(tmp_path / "empty"), models, out, 5)
    assert not out.exists()
