"""Frames in memory: what the model sees, of its size, episode after episode; errors that say what to do."""

import numpy as np
import pytest

from datasets.errors import SpecMismatchError
from datasets.presets import ObservationPreset
from datasets.query import Query
from datasets.store import Store
from datasets.testing import make_episode
from pipeline.reward_learning.config import RankingConfig
from pipeline.reward_learning.data import load_frames, observations


def _load(tmp_path, episodes, config):
    store = Store.create(tmp_path / "store")
    for episode in episodes:
        store.add(episode, "fake")
    return load_frames(store, store.query(Query()), config)


def test_every_episode_has_its_own_frames(tmp_path):
    episodes = {e.metadata.episode_id: e for e in (make_episode(s, num_steps=4 + s % 3) for s in range(6))}
    frames = _load(tmp_path, episodes.values(), RankingConfig())
    assert sum(map(len, frames.episodes.values())) == len(frames.observation["sawyer/joints/angle"])
    for episode_id, episode in episodes.items():
        held = frames.observation["sawyer/joints/angle"][frames.episodes[episode_id]]
        np.testing.assert_array_equal(held, episode.observation["sawyer/joints/angle"])
    both = frames.of(["fake-3", "fake-1"])
    assert both.tolist() == [*frames.episodes["fake-3"], *frames.episodes["fake-1"]]
    assert both.dtype == np.int32 and len(frames.of([])) == 0


def test_presets_choose_what_the_model_sees(tmp_path):
    episodes = [make_episode(s, cameras=("wrist", "basket_front_left")) for s in range(3)]
    pixels = _load(tmp_path / "pixels", episodes, RankingConfig(cameras=("pixels/wrist",)))
    assert list(pixels.inputs) == ["gripper/grasp", "pixels/wrist", "sawyer/joints/angle"]
    assert pixels.observation["pixels/wrist"].shape[1:] == (64, 64, 3)  # resized
    states = _load(tmp_path / "states", episodes, RankingConfig(observations=ObservationPreset.STATES))
    assert list(states.inputs) == ["gripper/grasp", "objects/green/pose", "sawyer/joints/angle"]
    some = RankingConfig(observations=ObservationPreset.STATES, without=("sawyer", "gripper"))
    assert list(_load(tmp_path / "some", episodes, some).inputs) == ["objects/green/pose"]


def test_errors_say_what_is_missing(tmp_path):
    episodes = [make_episode(s) for s in range(3)]
    with pytest.raises(SpecMismatchError, match="no camera pixels/wrist"):
        _load(tmp_path / "a", episodes, RankingConfig(cameras=("pixels/wrist",)))
    with pytest.raises(SpecMismatchError, match="no pixels observation begins with 'wrist'"):
        _load(tmp_path / "c", episodes, RankingConfig(without=("wrist",)))
    inputs = _load(tmp_path / "b", episodes, RankingConfig()).inputs
    with pytest.raises(SpecMismatchError, match="fake-9 has no pixels/basket_front_left"):
        observations(make_episode(9, cameras=()), inputs)
    with pytest.raises(SpecMismatchError, match="shape"):
        observations(make_episode(9, image_size=(8, 8)), inputs)
