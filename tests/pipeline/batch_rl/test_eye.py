"""Policies from pixels: who teaches the encoder, and what comes of it."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from datasets import testing
from datasets.feeds import Batch, Group, TransitionFeed, Transitions
from datasets.presets import ObservationPreset
from datasets.query import Query
from datasets.sequences import SequenceBatch
from datasets.sight import Observation
from datasets.store import Store
from pipeline import export
from pipeline.batch_rl import offline, selection, trainer
from pipeline.batch_rl.config import (
    BcConfig,
    CriticConfig,
    CrrConfig,
    CrrTraining,
    D4pgConfig,
    EyeConfig,
    FqeConfig,
    IqlConfig,
    MemoryConfig,
    PolicyConfig,
    SelectConfig,
    Td3BcConfig,
    WeightMode,
)
from pipeline.batch_rl.eye import Eye
from pipeline.config import EncoderConfig

PICTURES = {"pixels/front": (12, 12, 3), "pixels/wrist": (8, 10, 3)}
EYE = EyeConfig(encoder=EncoderConfig((4,), blocks=1, keypoints=4), image_size=(12, 12), shift=1)
POLICY = PolicyConfig(layer_sizes=(16,), components=2)
CRITIC = CriticConfig((16,), distributional=False)
TWINS = dataclasses.replace(CRITIC, twin=True)
CRR = CrrConfig(policy=POLICY, critic=CRITIC, eye=EYE)
CONFIGS = {
    "bc": BcConfig(policy=POLICY, eye=EYE), "crr": CRR, "d4pg": D4pgConfig(layer_sizes=(16,), critic=CRITIC, eye=EYE),
    "td3_bc": Td3BcConfig(layer_sizes=(16,), critic=TWINS, eye=EYE),
    "iql": IqlConfig(policy=POLICY, critic=TWINS, eye=EYE),
}  # fmt: skip
MEMORY = MemoryConfig(size=4, sequence=2)
CONFIGS |= {  # the second is the agent of the reward-sketching paper
    "crr_memory": dataclasses.replace(CRR, memory=MEMORY),
    "d4pg_memory": dataclasses.replace(CONFIGS["d4pg"], memory=MEMORY),
}


def _observation(seed: int, lead: tuple[int, ...] = (8,)) -> Observation:
    rng = np.random.default_rng(seed)
    pictures = {k: tf.constant(rng.integers(0, 256, (*lead, *v)), tf.uint8) for k, v in PICTURES.items()}
    return Observation(tf.constant(rng.standard_normal((*lead, 3)), tf.float32), pictures)


def _feed(step: tf.Tensor) -> Batch:
    rng = np.random.default_rng(2)
    action, reward = (tf.constant(rng.uniform(0, 1, size), tf.float32) for size in ((8, 2), 8))
    return Batch(_observation(0), action, reward, tf.ones(8), _observation(1))


def _stretches(step: tf.Tensor) -> SequenceBatch:
    """Four stretches of two transitions, one of them of one."""
    rng = np.random.default_rng(2)
    mask = np.ones((2, 4), bool)
    mask[1, 1] = False
    action, reward = (tf.constant(rng.uniform(0, 1, size), tf.float32) for size in ((2, 4, 2), (2, 4)))
    reached = tf.constant(np.repeat([[1], [2]], 4, 1), tf.int32)
    inside = tf.constant(mask, tf.float32)
    return SequenceBatch(_observation(0, (3, 4)), action, reward * inside, inside, reached, tf.constant(mask))


def _learner(config):
    tf.random.set_seed(0)
    feed = _stretches if config.memory.size else _feed
    return trainer._LEARNERS[type(config)](config, feed, 3, 2, 0, PICTURES)


class TestEye:
    def test_adds_keypoints_of_every_camera_to_the_numbers(self):
        tf.random.set_seed(0)
        eye = Eye(EYE, PICTURES)
        assert eye.size == 16
        seen = _observation(0)
        vector = eye(seen)
        assert vector.shape == (8, 19)
        np.testing.assert_array_equal(vector[:, :3], seen.vector)
        changed = Observation(seen.vector, seen.pictures | {"pixels/wrist": 255 - seen.pictures["pixels/wrist"]})
        differs = (eye(changed).numpy() != vector.numpy()).any(0)
        assert not differs[:11].any() and differs[11:].any()  # one encoder a camera, sorted by name

    def test_sees_stretches_frame_by_frame(self):
        eye, seen = Eye(EYE, PICTURES), _observation(0, (5, 2))
        whole = eye(seen).numpy()
        assert whole.shape == (5, 2, 19)
        one = eye(tf.nest.map_structure(lambda part: part[3], seen))
        np.testing.assert_allclose(whole[3], one, atol=1e-5)

    def test_vectors_pass_through(self):
        eye, vector = Eye(EyeConfig(), {}), tf.ones((4, 7))
        assert eye(vector) is vector and eye.augment(vector, tf.constant([0, 1], tf.int64)) is vector
        assert eye.size == 0 and not eye.variables

    def test_shifts_each_picture_by_at_most_so_many_pixels_as_the_key_decides(self):
        eye, seen = Eye(EYE, PICTURES), _observation(0)
        key = tf.constant([0, 1], tf.int64)
        shifted, same = eye.augment(seen, key), eye.augment(seen, key)
        np.testing.assert_array_equal(shifted.vector, seen.vector)
        for camera in PICTURES:
            np.testing.assert_array_equal(shifted.pictures[camera], same.pictures[camera])
            before, after = (pictures.pictures[camera].numpy() for pictures in (seen, shifted))
            padded = np.pad(before, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="edge")
            height, width = before.shape[1:3]
            places = [
                [(padded[n, y : y + height, x : x + width] == after[n]).all() for y in range(3) for x in range(3)]
                for n in range(8)
            ]
            assert all(map(any, places)) and len({place.index(True) for place in places}) > 1


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] if "memory" in name else []) for name in CONFIGS]
)
class TestEveryLearner:
    def test_teaches_its_eye(self, name):
        learner = _learner(CONFIGS[name])
        before = export.fingerprint(learner.eye.variables)
        metrics = learner.run(3)
        assert metrics.keys() == learner.METRICS.keys() and np.isfinite(list(metrics.values())).all()
        assert export.fingerprint(learner.eye.variables) != before

    def test_resumes_bit_for_bit(self, name, tmp_path):
        learner, resumed = _learner(CONFIGS[name]), _learner(CONFIGS[name])
        learner.save(tmp_path / "start")
        learner.run(5)
        whole = export.fingerprint(learner.variables)
        learner.restore(tmp_path / "start")
        learner.run(2)
        learner.save(tmp_path / "saved")
        resumed.restore(tmp_path / "saved")
        resumed.run(3)
        assert export.fingerprint(resumed.variables) == whole


def test_the_critic_alone_teaches_the_eye():
    """Whatever the policy learns, the eye becomes the same."""
    fingerprints = set()
    for weight in WeightMode:
        learner = _learner(dataclasses.replace(CRR, weight=weight))
        learner.run(1)
        fingerprints.add(export.fingerprint(learner.eye.variables))
    assert len(fingerprints) == 1


def test_target_eyes_follow_every_period_and_rest_between():
    learner = _learner(dataclasses.replace(CRR, target_period=3))
    for step in range(7):
        before = [export.fingerprint(eye.variables) for eye in (learner.eye, learner._target_eye)]
        learner.run(1)
        assert export.fingerprint(learner._target_eye.variables) == before[0 if step % 3 == 0 else 1]


def test_learners_see_shifted_pictures():
    fingerprints = set()
    for shift in (0, 1, 1):
        learner = _learner(dataclasses.replace(CRR, eye=dataclasses.replace(EYE, shift=shift)))
        learner.run(2)
        fingerprints.add(export.fingerprint(learner.eye.variables))
    assert len(fingerprints) == 2


@pytest.mark.parametrize("name", [name for name in CONFIGS if name != "bc"])
def test_what_follows_is_seen_by_the_target_eye(name):
    """Whatever the eye that learns makes of the next pictures, targets do not change; with the other eye they do."""
    learner = _learner(dataclasses.replace(CONFIGS[name], target_period=10))
    batch = _stretches(tf.constant(0)) if name.endswith("memory") else SequenceBatch.of(_feed(tf.constant(0)))
    before = learner._foresee(batch).numpy()
    for variable in learner.eye.trainable_variables:
        variable.assign_add(tf.ones_like(variable))
    np.testing.assert_array_equal(learner._foresee(batch), before)
    told = []
    for change in (0.0, 1.0):
        learner = _learner(dataclasses.replace(CONFIGS[name], target_period=10))
        for variable in learner._target_eye.trainable_variables:
            variable.assign_add(change * tf.ones_like(variable))
        told.append(learner.update(batch, tf.constant(1, tf.int64), tf.constant([0, 1], tf.int64))["critic_loss"])
    assert float(told[0]) != float(told[1])


def test_what_only_pictures_tell_is_learned_from_pictures():
    """The bright half of the picture says where to go."""
    rng = np.random.default_rng(0)
    side = rng.choice([-1, 1], 400)
    pictures = rng.integers(0, 80, (401, 12, 12, 3)).astype(np.uint8)
    pictures[:400][side < 0, :, :6] += 120
    pictures[:400][side > 0, :, 6:] += 120
    frame = np.arange(400, dtype=np.int32)
    transitions = Transitions(
        {}, frame, frame + 1, np.float32(side)[:, None], np.zeros(400, np.float32), np.ones(400, np.float32),
        np.zeros(400, np.int32), ("e",), {}, {"pixels/front": pictures},
    )  # fmt: skip
    feed = TransitionFeed(tf.zeros((401, 1)), transitions, [Group(frame, 32)], 0)
    tf.random.set_seed(0)
    config = BcConfig(policy=POLICY, eye=EYE, learning_rate=3e-3)
    learner = trainer._LEARNERS[BcConfig](config, feed, 1, 1, 0, {"pixels/front": (12, 12, 3)})
    learner.run(200)
    made, _ = learner.policy(
        learner.eye(Observation(tf.zeros((400, 1)), {"pixels/front": tf.constant(pictures[:400])}))
    )
    assert (np.sign(learner.policy.best(made)[:, 0]) == side).mean() > 0.97


def test_from_a_store_to_a_policy_and_its_ranking(tmp_path):
    store = Store.create(tmp_path / "store")
    for seed in range(4):
        store.add(testing.make_episode(seed, 12, ("wrist",), (12, 12)), "fake")
    store.publish()
    config = CrrTraining(
        store=store.root, out=tmp_path / "run", task="lift_green", observations=ObservationPreset.PIXELS, steps=4,
        fused=2, checkpoint_every=2, snapshot_every=2, batch_size=8, method=CRR,
    )  # fmt: skip
    path = trainer.train(config)
    policy, card = export.load_model(path, "policy")
    assert export.card_inputs(card)["pixels/wrist"].dtype == "uint8"
    frames = {k: np.zeros((3, *v.shape), v.dtype) for k, v in export.card_inputs(card).items()}
    assert policy.follow(frames).shape == (3, 7)
    assert offline.action_error(store, store.query(Query()), path) > 0
    method = FqeConfig(critic=CRITIC, eye=EYE)
    ranked = selection.rank(
        SelectConfig((tmp_path / "run",), store.root, "lift_green", steps=4, batch_size=8, method=method)
    )
    assert {score.step for score in ranked} == {2, 4} and all(np.isfinite(score.value) for score in ranked)
