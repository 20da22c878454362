"""Learners whose batches hold pictures: from memory and from disk they learn the same, bit for bit."""

import numpy as np
import pytest
import tensorflow as tf

from datasets import feeds, testing
from datasets.feeds import Batch, Group, Observation, RewardKind, RewardSource, TransitionFeed
from datasets.query import Query
from datasets.store import Store
from pipeline import export
from pipeline.batch_rl.bc import BcLearner
from pipeline.batch_rl.config import BcConfig, PolicyConfig

CAMERA, JOINTS = "pixels/wrist", "sawyer/joints/angle"


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Store:
    store = Store.create(tmp_path_factory.mktemp("store"))
    for seed in range(4):
        store.add(testing.make_episode(seed, 20, ("wrist",), (8, 8)), "fake")
    store.publish()
    return store


def _make(store: Store, memory: int | None) -> BcLearner:
    """A learner that sees how bright each colour of the picture is, beside the joints."""
    rewards = RewardSource(RewardKind.TRUE)
    transitions = feeds.load_transitions(store, store.query(Query()), (CAMERA, JOINTS), rewards, "lift_green", memory)
    group = Group(np.arange(len(transitions), dtype=np.int32), 16)
    feed = TransitionFeed(transitions.observation[JOINTS], transitions, [group], 0)

    def look(seen: Observation) -> tf.Tensor:
        return tf.concat([seen.vector, tf.reduce_mean(tf.cast(seen.pictures[CAMERA], tf.float32) / 255, (1, 2))], -1)

    def vectors(step: tf.Tensor) -> Batch:
        batch = feed(step)
        return batch._replace(observation=look(batch.observation), next_observation=look(batch.next_observation))

    tf.random.set_seed(0)
    return BcLearner(BcConfig(PolicyConfig(layer_sizes=(16, 16), components=2)), vectors, 10, 7, 0)


def test_memory_disk_and_a_resumed_training_from_disk_learn_the_same(store, tmp_path):
    in_memory, stopped, resumed = _make(store, None), _make(store, 0), _make(store, 0)
    in_memory.run(23)
    stopped.run(4)
    stopped.run(7)
    stopped.save(tmp_path / "saved")
    resumed.run(2)  # whatever it was before
    resumed.restore(tmp_path / "saved")
    resumed.run(12)
    assert resumed.step == 23
    assert export.fingerprint(resumed.variables) == export.fingerprint(in_memory.variables)
