"""Training one model: what is held out decides, exports take raw pictures, and ratings are the model's own."""

import numpy as np
import pytest
import tensorflow as tf

from datasets.features import ArraySpec
from datasets.query import Query
from datasets.store import Store
from datasets.testing import make_episode
from pipeline import export
from pipeline.config import EncoderConfig
from pipeline.metrics import read_metrics
from pipeline.reward_learning import fit as fitting
from pipeline.reward_learning.config import RankingConfig, SupConfig
from pipeline.reward_learning.data import Frames, load_frames, observations
from pipeline.reward_learning.fit import Trainer, fit, rate
from pipeline.reward_learning.model import Constant, Ensemble

SMALL = {"hidden": (16,), "learning_rate": 1e-2, "held_out": 0.2}


class Target:
    """Asks for one logit on every frame; what is held out may ask for another."""

    parts = ("loss",)

    def __init__(self, logit):
        self._logit = logit

    def batch(self, step):
        return {"frames": np.random.default_rng(step).integers(40, size=8).astype(np.int32)}

    def loss(self, logits, batch):
        return {"loss": tf.reduce_mean(tf.square(logits - self._logit))}


@pytest.fixture
def frames():
    state = np.random.default_rng(0).normal(size=(40, 2)).astype(np.float32)
    return Frames({"state": ArraySpec((2,), "float32")}, {"state": state}, {"a": range(15), "b": range(15, 40)})


def test_the_weights_that_do_best_on_what_is_held_out_are_kept(frames, tmp_path, monkeypatch):
    monkeypatch.setattr(fitting, "_CHECK_STEPS", 10)
    config = SupConfig(**SMALL, steps=1000, patience=4)
    trainer = Trainer(frames, Target(4.0), config, held_out=Target(1.0))  # on the way to 4 it comes by at 1
    model = fit(trainer, tmp_path, "test")
    checks = [line["loss/held_out"] for line in read_metrics(tmp_path) if "loss/held_out" in line]
    best = int(np.argmin(checks))
    assert len(checks) == best + 1 + config.patience  # it stopped when it had waited long enough
    assert trainer.step < config.steps
    logits = model.logits({"state": tf.constant(frames.observation["state"])}).numpy()
    assert np.mean(np.square(logits - 1)) == pytest.approx(checks[best], rel=0.3)
    assert np.mean(np.square(logits - 1)) < 0.5 * checks[-1]


def test_without_anything_held_out_the_last_weights_are_the_result(frames, tmp_path):
    config = SupConfig(**SMALL, steps=300)
    model = fit(Trainer(frames, Target(2.0), config), tmp_path, "test")
    logits = model.logits({"state": tf.constant(frames.observation["state"])}).numpy()
    np.testing.assert_allclose(logits, 2.0, atol=0.3)
    assert len(read_metrics(tmp_path)) == 30


def test_ratings_are_the_models_whatever_the_batches(frames, monkeypatch):
    model = Trainer(frames, Target(1.0), SupConfig(**SMALL)).model
    whole = model({"state": tf.constant(frames.observation["state"])}).numpy()
    monkeypatch.setattr(fitting, "_RATE_FRAMES", 7)
    rated = rate(model, frames, ("b", "a"))
    assert list(rated) == ["b", "a"]
    np.testing.assert_allclose(rated["a"], whole[:15], atol=1e-6)
    np.testing.assert_allclose(rated["b"], whole[15:], atol=1e-6)
    assert rate(model, frames, ()) == {}


def test_exported_model_predicts_the_same_and_takes_raw_pictures(tmp_path):
    store = Store.create(tmp_path / "store")
    store.add(make_episode(3, num_steps=20), "fake")
    config = RankingConfig(image_size=(8, 12), encoder=EncoderConfig((4, 8), 1, 8), hidden=(32,))
    frames = load_frames(store, store.query(Query()), config)
    model = Trainer(frames, Target(1.0), config).model
    path = export.save_model(tmp_path / "model", Ensemble([model]), {"kind": "reward_model"})
    restored, _ = export.load_model(path, "reward_model")
    raw = {k: tf.constant(v) for k, v in observations(store.read("fake-3"), frames.inputs).items()}  # 16 x 16
    sized = {k: tf.constant(v) for k, v in frames.observation.items()}
    predicted = restored.predict(raw)
    assert predicted.shape == (20,)
    assert predicted.dtype == tf.float32
    np.testing.assert_array_equal(predicted, Ensemble([model]).predict(raw))
    np.testing.assert_allclose(predicted, model(sized), atol=1e-6)
    assert 0 < predicted.numpy().min() <= predicted.numpy().max() < 1


def test_a_threshold_makes_all_or_nothing_of_the_mean(frames):
    models = [Trainer(frames, Target(1.0), SupConfig(**SMALL, seed=seed)).model for seed in (0, 1)]
    inputs = {"state": tf.constant(frames.observation["state"])}
    mean = Ensemble(models).predict(inputs).numpy()
    middle = float(np.median(mean))
    hard = Ensemble(models, threshold=middle).predict(inputs).numpy()
    np.testing.assert_array_equal(hard, (mean > middle).astype(np.float32))
    assert 0 < hard.mean() < 1


def test_the_constant_says_nothing_of_any_number_of_frames():
    model = Constant({"state": ArraySpec((2,), "float32")})
    for count in (1, 5):
        assert model.predict({"state": tf.ones((count, 2))}).numpy().tolist() == [0.0] * count
