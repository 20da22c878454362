"""Learners whose batches hold pictures: from memory and from disk they learn the same, bit for bit."""

import numpy as np
import pytest
import tensorflow as tf

from datasets import feeds, testing
from datasets.errors import StoreError
from datasets.feeds import Group
from datasets.query import Query
from datasets.reward_source import RewardKind, RewardSource
from datasets.store import Store
from pipeline import export
from pipeline.batch_rl.bc import BcLearner
from pipeline.batch_rl.config import BcConfig, EyeConfig, MemoryConfig, PolicyConfig
from pipeline.batch_rl.data import make_feed
from pipeline.config import EncoderConfig

CAMERA, JOINTS = "pixels/wrist", "sawyer/joints/angle"


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Store:
    store = Store.create(tmp_path_factory.mktemp("store"))
    for seed in range(4):
        store.add(testing.make_episode(seed, 20, ("wrist",), (8, 8)), "fake")
    store.publish()
    return store


def _make(store: Store, memory: int | None, sequence: int) -> BcLearner:
    rewards = RewardSource(RewardKind.TRUE)
    transitions = feeds.load_transitions(store, store.query(Query()), (CAMERA, JOINTS), rewards, "lift_green", memory)
    group = Group(np.arange(len(transitions), dtype=np.int32), 16)
    config = BcConfig(
        policy=PolicyConfig(layer_sizes=(16, 16), components=2),
        memory=MemoryConfig(4, sequence) if sequence else MemoryConfig(),
        eye=EyeConfig(encoder=EncoderConfig((4,), 1, 4), image_size=(8, 8)),
    )
    frames = tf.constant(transitions.observation[JOINTS])
    tf.random.set_seed(0)
    feed = make_feed(config, frames, transitions, [group], 0)
    return BcLearner(config, feed, 7, 7, 0, {CAMERA: transitions.inputs[CAMERA].shape})


@pytest.mark.parametrize("sequence", [0, 5], ids=["transitions", "stretches"])
def test_memory_disk_and_a_resumed_training_from_disk_learn_the_same(store, tmp_path, sequence):
    in_memory, stopped, resumed = _make(store, None, sequence), _make(store, 0, sequence), _make(store, 0, sequence)
    in_memory.run(23)
    stopped.run(4)
    stopped.run(7)
    stopped.save(tmp_path / "saved")
    resumed.run(2)  # whatever it was before
    resumed.restore(tmp_path / "saved")
    resumed.run(12)
    assert resumed.step == 23
    assert export.fingerprint(resumed.variables) == export.fingerprint(in_memory.variables)


def test_a_file_that_is_cut_short_meanwhile_is_named(store):
    learner = _make(store, 0, 0)
    learner.run(2)
    (path,) = (store.root / "frames").glob(f"*/{CAMERA}.npy")
    whole = path.read_bytes()
    path.write_bytes(whole[:200])
    try:
        with pytest.raises(StoreError, match=r"wrist\.npy cannot be read .*: delete its folder"):
            learner.run(10)
    finally:
        path.write_bytes(whole)  # for the other tests
