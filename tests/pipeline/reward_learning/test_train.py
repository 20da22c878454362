"""Training reward models: it learns, resumes bit for bit, exports what it trained, and fails with a sentence."""

import dataclasses

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
from pipeline.metrics import read_metrics
from pipeline.reward_learning import train as training
from pipeline.reward_learning.config import EncoderConfig, RewardConfig
from pipeline.reward_learning.data import load_sketched, observations

_PIXELS = RewardConfig(
    image_size=(16, 16), encoder=EncoderConfig((4, 8), 1, 8), hidden=(32,), steps=20, batch_pairs=4, learning_rate=3e-3
)
_STATES = dataclasses.replace(_PIXELS, observations=ObservationPreset.STATES)


@pytest.fixture(name="store", scope="module")
def _store(tmp_path_factory):
    store = Store.create(tmp_path_factory.mktemp("store"))
    for seed in range(24):
        episode = make_episode(seed, num_steps=20)
        store.add(episode, "fake")
        store.add_sketch(sketch(episode, "lift_green", AnnotatorConfig()))
    return store


def _pair_accuracy(model, store):
    right = total = 0
    for episode in store.read_many(store.query(Query(split="test"))):
        inputs = {k: tf.constant(v) for k, v in observations(episode, export.card_inputs(model[1])).items()}
        predicted, true = model[0].predict(inputs).numpy(), episode.extras["progress"]
        pairs = true[:, None] - true[None] > 0.2
        right, total = right + (predicted[:, None] > predicted[None])[pairs].sum(), total + pairs.sum()
    assert total
    return right / total


@pytest.mark.parametrize("config", [_PIXELS, _STATES], ids=["pixels", "states"])
def test_learns_the_order_of_episodes_it_has_not_seen(store, tmp_path, config):
    longer = dataclasses.replace(config, steps=150)
    path = training.train(store, "lift_green", tmp_path, longer)
    assert _pair_accuracy(export.load_model(path, "reward_model"), store) > 0.95
    losses = [line["loss"] for line in read_metrics(tmp_path)]
    assert np.mean(losses[-3:]) < 0.5 * losses[0]


def test_resumes_bit_for_bit(store, tmp_path, monkeypatch):
    whole = training.train(store, "lift_green", tmp_path / "whole", _PIXELS)

    def interrupted(trainer, steps, run=training.Trainer.run):
        if trainer.step >= 10:
            raise KeyboardInterrupt
        return run(trainer, steps)

    monkeypatch.setattr(training, "_CHECKPOINT_STEPS", 10)
    with monkeypatch.context() as patch:
        patch.setattr(training.Trainer, "run", interrupted)
        with pytest.raises(KeyboardInterrupt):
            training.train(store, "lift_green", tmp_path / "halves", _PIXELS)
    assert not (tmp_path / "halves" / "model").exists()
    halves = training.train(store, "lift_green", tmp_path / "halves", _PIXELS)
    assert export.load_card(halves, "reward_model") == export.load_card(whole, "reward_model")  # with the weights' hash
    assert read_metrics(tmp_path / "halves") == read_metrics(tmp_path / "whole")


def test_another_seed_is_another_model(store, tmp_path):
    hashes = set()
    for seed in (0, 1):
        config = dataclasses.replace(_PIXELS, seed=seed, steps=2)
        path = training.train(store, "lift_green", tmp_path / str(seed), config)
        hashes.add(export.load_card(path, "reward_model")["model_hash"])
    assert len(hashes) == 2


def test_exported_model_predicts_the_same_and_takes_raw_pictures(store, tmp_path):
    config = dataclasses.replace(_PIXELS, image_size=(8, 12))
    data = load_sketched(store, "lift_green", config)
    trainer = training.Trainer(data, config)
    trainer.run(3)
    path = export.save_model(tmp_path / "model", trainer.model.for_export(), {"kind": "reward_model"})
    restored, _ = export.load_model(path, "reward_model")
    episode = store.read("fake-3")
    raw = {k: tf.constant(v) for k, v in observations(episode, data.inputs).items()}  # 16 x 16
    sized = {k: tf.constant(v) for k, v in observations(episode, data.inputs, config.image_size).items()}
    predicted = restored.predict(raw)
    assert predicted.shape == (20,)
    assert predicted.dtype == tf.float32
    np.testing.assert_array_equal(predicted, trainer.model.for_export().predict(raw))
    np.testing.assert_allclose(predicted, trainer.model(sized), atol=1e-6)
    assert 0 < predicted.numpy().min() <= predicted.numpy().max() < 1


def test_card_says_where_the_model_comes_from(store, tmp_path):
    path = training.train(store, "lift_green", tmp_path, dataclasses.replace(_STATES, steps=2))
    card = export.load_card(path, "reward_model")
    assert card["model_id"] == f"reward-lift_green-{card['model_hash'][:8]}"
    assert sorted(card["inputs"]) == ["gripper/grasp", "objects/green/pose", "sawyer/joints/angle"]
    assert card["trained_on"] == sorted(row.episode_id for row in store.query(Query(split="train")))
    assert card["num_sketches"] == len(card["trained_on"])


def test_a_folder_belongs_to_one_run(store, tmp_path):
    training.train(store, "lift_green", tmp_path, dataclasses.replace(_STATES, steps=2))
    with pytest.raises(ArmchairError, match="another config"):
        training.train(store, "lift_green", tmp_path, dataclasses.replace(_STATES, steps=3))


def test_divergence_names_loss_and_step(store, tmp_path):
    config = dataclasses.replace(_STATES, learning_rate=float("inf"))
    with pytest.raises(ArmchairError, match=r"diverged: loss is nan at step 2; lower the learning rate"):
        training.train(store, "lift_green", tmp_path, config)
    assert not (tmp_path / "model").exists()
    assert not (tmp_path / "checkpoints").exists()


def test_sketches_that_order_nothing_are_refused(tmp_path):
    store = Store.create(tmp_path / "store")
    for seed in range(3):
        episode = make_episode(seed)
        store.add(episode, "fake")
        flat = sketch(episode, "lift_green", AnnotatorConfig())
        store.add_sketch(dataclasses.replace(flat, values=np.full(5, 0.5, np.float32)))
    with pytest.raises(ArmchairError, match=r"two frames that differ by more than 0\.2"):
        training.train(store, "lift_green", tmp_path / "run", _STATES)
