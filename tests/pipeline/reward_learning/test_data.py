"""Sketched episodes in memory: pairs as the loss wants them, split by episode, errors that say what to do."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from datasets.episode import Episode
from datasets.errors import ArmchairError, SpecMismatchError
from datasets.presets import ObservationPreset
from datasets.query import split_of
from datasets.store import Store
from datasets.testing import make_episode
from pipeline.annotate.synthetic import AnnotatorConfig, sketch
from pipeline.reward_learning.config import RewardConfig
from pipeline.reward_learning.data import PairSampler, load_sketched, observations

_SKETCHES = st.lists(
    hnp.arrays(np.float32, st.integers(1, 12), elements=st.floats(0, 1, width=16)), min_size=1, max_size=5
)


def _store(tmp_path, episodes: list[Episode], sketched: int | None = None) -> Store:
    store = Store.create(tmp_path / "store")
    for episode in episodes:
        store.add(episode, "fake")
    for episode in episodes[:sketched]:
        store.add_sketch(sketch(episode, "lift_green", AnnotatorConfig()))
    return store


@given(_SKETCHES, st.integers(0, 1000))
def test_pairs_are_of_one_episode_ordered_and_far_enough_apart(sketches, step):
    first_frame = np.cumsum([0] + [len(s) for s in sketches])[:-1]
    values = np.concatenate(sketches)
    sampler = PairSampler(sketches, first_frame, gap=0.2)
    frames, sketched = sampler.sample(32, seed=1, step=step)
    np.testing.assert_array_equal(sketched, values[frames])
    episode = np.searchsorted(first_frame, frames, side="right") - 1
    np.testing.assert_array_equal(episode[:, 0], episode[:, 1])
    for e, (better, worse) in zip(episode[:, 0], sketched, strict=True):
        possible = (sketches[e][:, None] - sketches[e][None] > 0.2).any()
        assert better - worse > np.float32(0.2) or not possible


def test_pairs_are_uniform_over_sketches_then_over_pairs():
    sketches = [np.float32([0, 0.5, 1.0]), np.float32([0.1, 0.9]), np.float32([0.5, 0.5])]  # 3, 1 and no pairs
    sampler = PairSampler(sketches, [0, 3, 5], gap=0.2)
    assert sampler.num_pairs == 4
    frames, _ = sampler.sample(30000, seed=0, step=0)
    pairs, counts = np.unique(frames, axis=0, return_counts=True)
    shares = {tuple(p): c / 30000 for p, c in zip(pairs.tolist(), counts, strict=True)}
    expected = {(1, 0): 1 / 9, (2, 0): 1 / 9, (2, 1): 1 / 9, (4, 3): 1 / 3}
    expected |= {(i, j): 1 / 12 for i in (5, 6) for j in (5, 6)}
    assert shares == pytest.approx(expected, abs=0.01)


def test_a_batch_depends_on_seed_and_step_alone():
    def draw(seed, step):
        return PairSampler([np.linspace(0, 1, 50, dtype=np.float32)], [0], 0.2).sample(16, seed, step)[0]

    np.testing.assert_array_equal(draw(1, 7), draw(1, 7))
    assert not np.array_equal(draw(1, 7), draw(1, 8))
    assert not np.array_equal(draw(1, 7), draw(2, 7))


def test_loads_train_episodes_only_with_all_their_sketches(tmp_path):
    episodes = [make_episode(s, num_steps=4 + s % 3) for s in range(30)]
    store = _store(tmp_path, episodes)
    second = dataclasses.replace(AnnotatorConfig(), user="other")
    extra = next(e for e in episodes if split_of(e.metadata.episode_id) == "train")
    store.add_sketch(sketch(extra, "lift_green", second))
    data = load_sketched(store, "lift_green", RewardConfig())
    train = {e.metadata.episode_id: e for e in episodes if split_of(e.metadata.episode_id) == "train"}
    assert data.episode_ids == tuple(sorted(train))
    assert 0 < len(train) < 30
    assert len(data.sketches) == len(train) + 1
    for drawn, start in zip(data.sketches, data.first_frame, strict=True):
        own = train[drawn.episode_id].observation["sawyer/joints/angle"]
        held = data.observation["sawyer/joints/angle"][start : start + len(drawn.values)]
        np.testing.assert_array_equal(own, held)


def test_presets_choose_what_the_model_sees(tmp_path):
    store = _store(tmp_path, [make_episode(s, cameras=("wrist", "basket_front_left")) for s in range(3)])
    pixels = load_sketched(store, "lift_green", RewardConfig(cameras=("pixels/wrist",)))
    assert list(pixels.inputs) == ["gripper/grasp", "pixels/wrist", "sawyer/joints/angle"]
    assert pixels.observation["pixels/wrist"].shape[1:] == (64, 64, 3)  # resized
    states = load_sketched(store, "lift_green", RewardConfig(observations=ObservationPreset.STATES))
    assert list(states.inputs) == ["gripper/grasp", "objects/green/pose", "sawyer/joints/angle"]


def test_fingerprint_changes_with_the_sketches(tmp_path):
    episodes = [make_episode(s) for s in range(4)]
    store = _store(tmp_path, episodes, sketched=2)
    before = load_sketched(store, "lift_green", RewardConfig()).fingerprint
    assert before == load_sketched(store, "lift_green", RewardConfig()).fingerprint
    for episode in episodes[2:]:
        store.add_sketch(sketch(episode, "lift_green", AnnotatorConfig()))
    assert before != load_sketched(store, "lift_green", RewardConfig()).fingerprint


def test_errors_say_what_is_missing(tmp_path):
    store = _store(tmp_path, [make_episode(s) for s in range(3)])
    with pytest.raises(ArmchairError, match="no sketches for the task 'stack'"):
        load_sketched(store, "stack", RewardConfig())
    with pytest.raises(SpecMismatchError, match="no camera pixels/wrist"):
        load_sketched(store, "lift_green", RewardConfig(cameras=("pixels/wrist",)))
    inputs = load_sketched(store, "lift_green", RewardConfig()).inputs
    with pytest.raises(SpecMismatchError, match="fake-9 has no pixels/basket_front_left"):
        observations(make_episode(9, cameras=()), inputs)
    with pytest.raises(SpecMismatchError, match="shape"):
        observations(make_episode(9, image_size=(8, 8)), inputs)
