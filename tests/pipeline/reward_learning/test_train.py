"""Every method through one battery: it trains, exports, resumes bit for bit, learns, and fails with a sentence."""

import dataclasses
import shutil

import numpy as np
import pytest
import tensorflow as tf

from datasets.errors import ArmchairError
from datasets.presets import ObservationPreset
from datasets.query import Query
from datasets.store import Store
from datasets.testing import make_episode
from pipeline import export
from pipeline.annotate.synthetic import AnnotatorConfig, sketch
from pipeline.config import EncoderConfig
from pipeline.metrics import read_metrics
from pipeline.reward_learning import fit as fitting
from pipeline.reward_learning import train as training
from pipeline.reward_learning.config import (
    METHODS,
    FittedConfig,
    RankingConfig,
    RefinementConfig,
    Selection,
    SqilConfig,
    SuccessConfig,
    SupConfig,
)  # fmt: skip
from pipeline.reward_learning.data import observations
from pipeline.reward_learning.quality import roc_auc

TASK = "lift_green"
_SELECTION = Selection(demonstrations="verdict=success limit=8")
FITTED = [name for name, config in METHODS.items() if issubclass(config, FittedConfig)]
# Of the whole scale; demonstrations and flat labels are about success, and rank the frames on the way as they like.
_RANKING = ("ranking", "regression")


def make_config(name, **changes):
    """A small one of a method."""
    config = METHODS[name]
    fields = {f.name for f in dataclasses.fields(config)}
    small = {
        "observations": ObservationPreset.STATES, "image_size": (16, 16), "encoder": EncoderConfig((4, 8), 1, 8),
        "hidden": (32,), "steps": 20, "batch_pairs": 8, "batch_size": 16, "learning_rate": 3e-3,
        "refinement": RefinementConfig(rounds=1),
    }  # fmt: skip
    return config(**{k: v for k, v in (small | changes).items() if k in fields})


def train(store, directory, name, **changes):
    return training.train(store, TASK, directory, make_config(name, **changes), _SELECTION)


@pytest.fixture(name="store", scope="module")
def _store(tmp_path_factory):
    store = Store.create(tmp_path_factory.mktemp("store"))
    for seed in range(40):
        episode = make_episode(seed, num_steps=20)
        store.add(episode, "fake")
        if seed < 24:
            store.add_sketch(sketch(episode, TASK, AnnotatorConfig()))
    return store


def _predicted(path, episodes):
    """What a model folder says of each episode, and the episode."""
    model, card = export.load_model(path, "reward_model")
    for episode in episodes:
        inputs = {k: tf.constant(v) for k, v in observations(episode, export.card_inputs(card)).items()}
        yield model.predict(inputs).numpy(), episode


@pytest.mark.parametrize("name", METHODS)
def test_a_model_folder_comes_out(name, store, tmp_path):
    path = train(store, tmp_path, name)
    card = export.load_card(path, "reward_model")
    assert card["method"] == name and card["task_id"] == TASK
    assert card["model_id"] == f"{name}-{TASK}-{card['model_hash'][:8]}"
    assert sorted(card["inputs"]) == ["gripper/grasp", "objects/green/pose", "sawyer/joints/angle"]
    split = {row.episode_id: row.split for row in store.query(Query())}
    assert {split[i] for i in card["trained_on"]} == {"train"}
    assert set(card["supervision"]["teaching"]) <= set(card["trained_on"])
    uses = METHODS[name].uses_unlabelled
    asked = {"demonstrations": "verdict=success limit=8"} if METHODS[name].from_demonstrations else {"annotated": ""}
    asked |= {"unlabelled": ""} if uses else {}
    assert {field: told["asked"] for field, told in card["supervision"]["queries"].items()} == asked
    assert (len(card["trained_on"]) == sum(s == "train" for s in split.values())) == uses
    for predicted, episode in _predicted(path, [make_episode(seed, num_steps=7) for seed in (50, 51)]):
        assert predicted.shape == (episode.num_steps,) and predicted.dtype == np.float32
        assert np.isfinite(predicted).all() and predicted.min() >= 0 and predicted.max() <= 1


@pytest.mark.parametrize("pixels", [False, True], ids=["states", "pixels"])
@pytest.mark.parametrize("name", FITTED)
def test_success_is_rewarded_in_episodes_it_has_not_seen(name, pixels, store, tmp_path):
    changes = {"observations": ObservationPreset.PIXELS, "shift": 1} if pixels else {}
    if issubclass(METHODS[name], SupConfig):
        changes["success_above"] = 0.85  # progress is a ramp here: above the default there is hardly a frame
    path = train(store, tmp_path, name, steps=200, held_out=0.0, batch_size=64, **changes)
    unseen = [make_episode(seed, num_steps=20) for seed in range(100, 140)]
    rated = [(p, e.extras["progress"] > 0.85) for p, e in _predicted(path, unseen)]
    predicted, solved = (np.concatenate(part) for part in zip(*rated, strict=True))
    auc = roc_auc(predicted, solved)
    print(name, auc)
    assert auc > (0.7 if name == "success" else 0.85)  # all or nothing cannot rank the frames as finely


@pytest.mark.parametrize("name", _RANKING)
def test_sketches_teach_the_order_of_episodes_it_has_not_seen(name, store, tmp_path):
    path = train(store, tmp_path, name, steps=150)
    right = total = 0
    for predicted, episode in _predicted(path, store.read_many(store.query(Query(split="test")))):
        pairs = episode.extras["progress"][:, None] - episode.extras["progress"][None] > 0.2
        right, total = right + (predicted[:, None] > predicted[None])[pairs].sum(), total + pairs.sum()
    assert right / total > 0.95
    losses = [line["loss"] for line in read_metrics(tmp_path / "member-0")]
    assert np.mean(losses[-3:]) < 0.5 * losses[0]


@pytest.mark.parametrize("name", FITTED)
def test_resumes_bit_for_bit(name, store, tmp_path, monkeypatch):
    monkeypatch.setattr(fitting, "_CHECKPOINT_STEPS", 10)
    monkeypatch.setattr(fitting, "_CHECK_STEPS", 10)
    whole = train(store, tmp_path / "whole", name)
    made = 0

    def interrupted(trainer, steps, run=fitting.Trainer.run):
        nonlocal made
        made += 1
        if made == 2:
            raise KeyboardInterrupt
        return run(trainer, steps)

    with monkeypatch.context() as patch:
        patch.setattr(fitting.Trainer, "run", interrupted)
        with pytest.raises(KeyboardInterrupt):
            train(store, tmp_path / "halves", name)
    assert not (tmp_path / "halves" / "model").exists()
    halves = train(store, tmp_path / "halves", name)
    assert export.load_card(halves, "reward_model") == export.load_card(whole, "reward_model")  # with the weights' hash
    for folder in (tmp_path / "whole").rglob("metrics.jsonl"):
        other = tmp_path / "halves" / folder.relative_to(tmp_path / "whole")
        assert read_metrics(folder.parent) == read_metrics(other.parent)


@pytest.mark.parametrize("suffix", ["index", "data-00000-of-00001"])
def test_a_damaged_checkpoint_is_one_sentence(store, tmp_path, suffix):
    train(store, tmp_path, "sup", steps=2)
    shutil.rmtree(tmp_path / "model")
    (file,) = tmp_path.rglob(f"checkpoints/*.{suffix}")
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(ArmchairError, match=r"cannot go on from .*checkpoints.* damaged, or of another version"):
        train(store, tmp_path, "sup", steps=2)


def test_another_seed_is_another_model(store, tmp_path):
    paths = [train(store, tmp_path / str(seed), "sup", steps=2, seed=seed) for seed in (0, 1)]
    assert len({export.load_card(path, "reward_model")["model_hash"] for path in paths}) == 2


def test_sqil_rates_demonstrations_at_once_and_everything_else_nothing(store, tmp_path):
    path = train(store, tmp_path, "sqil")
    card = export.load_card(path, "reward_model")
    rated = store.predictions(card["model_id"])
    assert sorted(rated) == card["trained_on"] and len(rated) == 8
    assert all(values.tolist() == [1.0] * 20 for values in rated.values())
    for predicted, _ in _predicted(path, [make_episode(50)]):
        assert not predicted.any()
    assert train(store, tmp_path, "sqil") == path  # doing it again changes nothing
    assert len(store.predictions(card["model_id"])) == 8


def test_a_success_classifier_is_never_in_between(store, tmp_path):
    path = train(store, tmp_path, "success", steps=200, threshold=0.6)
    unseen = [make_episode(seed, num_steps=20) for seed in range(100, 110)]
    values = np.concatenate([predicted for predicted, _ in _predicted(path, unseen)])
    assert set(values) == {0.0, 1.0}
    assert METHODS["success"] is SuccessConfig


def test_members_are_averaged_and_their_deviation_is_told(store, tmp_path):
    both = export.load_model(train(store, tmp_path / "both", "sup", members=2), "reward_model")[0]
    alone = [
        export.load_model(train(store, tmp_path / str(seed), "sup", seed=seed), "reward_model")[0] for seed in (0, 1000)
    ]
    episode = store.read("fake-3")
    inputs = {k: tf.constant(v) for k, v in observations(episode, both_inputs(tmp_path)).items()}
    each = np.stack([model.predict(inputs).numpy() for model in alone])
    np.testing.assert_allclose(both.predict(inputs), each.mean(0), atol=1e-6)
    np.testing.assert_allclose(both.disagreement(inputs), each.std(0), atol=1e-6)
    assert each.std(0).max() > 0
    np.testing.assert_array_equal(alone[0].disagreement(inputs), np.zeros(20))


def both_inputs(tmp_path):
    return export.card_inputs(export.load_card(tmp_path / "both" / "model", "reward_model"))


def test_a_folder_belongs_to_one_run(store, tmp_path):
    train(store, tmp_path, "sup", steps=2)
    for name, changes in (("sup", {"steps": 3}), ("sup_and_flat", {"steps": 2})):
        with pytest.raises(ArmchairError, match="another config"):
            train(store, tmp_path, name, **changes)


@pytest.mark.parametrize("name", FITTED)
def test_divergence_names_loss_and_step(name, store, tmp_path):
    with pytest.raises(ArmchairError, match=r"diverged: loss is nan at step 2; lower the learning rate"):
        train(store, tmp_path, name, learning_rate=float("inf"))
    assert not (tmp_path / "model").exists()
    assert not list(tmp_path.rglob("checkpoints"))


def test_sketches_that_order_nothing_are_refused(tmp_path):
    store = Store.create(tmp_path / "store")
    for seed in range(3):
        episode = make_episode(seed)
        store.add(episode, "fake")
        flat = sketch(episode, TASK, AnnotatorConfig())
        store.add_sketch(dataclasses.replace(flat, values=np.full(5, 0.5, np.float32)))
    with pytest.raises(ArmchairError, match=r"two frames that differ by more than 0\.2"):
        train(store, tmp_path / "run", "ranking")


@pytest.mark.parametrize("wrong", [{"members": 0}, {"steps": 0}, {"held_out": 1.0}, {"patience": 0}])
def test_numbers_that_make_no_sense(wrong):
    with pytest.raises(ArmchairError, match=f"{next(iter(wrong))} is"):
        RankingConfig(**wrong)


def test_every_method_has_a_name_and_says_what_it_is():
    for name, config in METHODS.items():
        assert config.method == name and config.__doc__
    assert not issubclass(SqilConfig, FittedConfig)
