"""Any episode comes back from its bytes as it went in."""

import dataclasses
import itertools

import numpy as np
import pytest
import tensorflow_datasets as tfds
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from datasets import features
from datasets.episode import Episode, EpisodeMetadata
from datasets.errors import BadEpisodeError
from datasets.testing import make_episode

NAMES = ("state", "arm/joints/angle", "arm/joints/velocity", "arm/tool", "pixels/wrist/time", "Größe")
DTYPES = ("float32", "float64", "int64", "int32", "uint8", "bool")
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)


def assert_same(a: Episode, b: Episode) -> None:
    assert a.metadata == b.metadata
    assert {type(v) for v in vars(b.metadata).values()} == {str, int, float}
    ours, theirs = dict(a.step_fields()), dict(b.step_fields())
    assert ours.keys() == theirs.keys()
    for name, array in ours.items():
        assert array.dtype == theirs[name].dtype, name
        np.testing.assert_array_equal(array, theirs[name], err_msg=name)  # NaN equals NaN


@st.composite
def episodes(draw: st.DrawFn) -> Episode:
    steps = draw(st.integers(1, 5))

    def array(dtype: str, *shape: int) -> np.ndarray:
        return draw(hnp.arrays(dtype, (steps, *shape)))

    def field() -> np.ndarray:
        if draw(st.booleans()):
            return array(draw(st.sampled_from(DTYPES)), *draw(hnp.array_shapes(min_dims=0, max_dims=2, max_side=3)))
        return np.array(draw(st.lists(TEXT, min_size=steps, max_size=steps)), object)

    numbers = st.integers(-(2**63), 2**63 - 1)
    types = {str: TEXT, int: numbers, float: st.floats(allow_nan=False)}
    metadata = {f.name: draw(types[f.type]) for f in dataclasses.fields(EpisodeMetadata)}
    return Episode(
        EpisodeMetadata(**metadata),
        {name: field() for name in draw(st.lists(st.sampled_from(NAMES), min_size=1, unique=True))},
        action=array("float32", draw(st.integers(1, 4))),
        reward=array("float32"),
        discount=array("float32"),
        is_first=array("bool"),
        is_last=array("bool"),
        is_terminal=array("bool"),
        extras={name: field() for name in draw(st.lists(st.sampled_from(["progress", "note"]), unique=True))},
    )


@settings(deadline=None, max_examples=40)
@given(episodes())
def test_bytes_round_trip(episode):
    spec = features.step_spec(episode)
    connectors = features.episode_features(spec)
    assert features.spec_of(connectors) == spec
    restored = features.deserialize(features.serialize(episode, connectors), connectors)
    assert_same(episode, restored)
    assert features.step_spec(restored) == spec


def test_bytes_are_the_same_with_features_that_were_saved(tmp_path):
    """Only the first writer of a dataset has its features from elsewhere."""
    episode = make_episode(0)
    first = features.episode_features(features.step_spec(episode))
    first.save_config(str(tmp_path))
    again = tfds.features.FeatureConnector.from_config(str(tmp_path))
    assert features.serialize(episode, again) == features.serialize(episode, first)


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 99), steps=st.integers(1, 6), cameras=st.sampled_from([(), ("wrist",), ("wrist", "a")]))
def test_pictures_keep_their_bytes(seed, steps, cameras):
    episode = make_episode(seed, steps, cameras, image_size=(8, 12))
    connectors = features.episode_features(features.step_spec(episode))
    restored = features.deserialize(features.serialize(episode, connectors), connectors)
    assert_same(episode, restored)
    assert restored.image_keys == tuple(sorted(f"pixels/{camera}" for camera in cameras))


@given(st.dictionaries(st.from_regex(r"[a-c]{1,2}(/[d-f]{1,2}){0,2}", fullmatch=True), st.integers()))
def test_nest_and_flatten_are_inverse(flat):
    names = sorted(flat)
    flat = {k: flat[k] for k in names if not any(other.startswith(f"{k}/") for other in names)}
    assert features.flatten(features.nest(flat)) == flat


@pytest.mark.parametrize("names", list(itertools.permutations(["pixels/wrist", "pixels/wrist/time"])))
def test_a_field_within_a_field_is_refused(names):
    with pytest.raises(BadEpisodeError, match="'pixels/wrist/time' cannot lie within 'pixels/wrist'.* rename one"):
        features.nest(dict.fromkeys(names))
    number = features.ArraySpec((), "float32")
    with pytest.raises(BadEpisodeError, match="'observation/pixels/wrist/time' cannot lie within"):
        features.episode_features(features.StepSpec(dict.fromkeys(names, number), number))


def test_another_shape_is_refused():
    connectors = features.episode_features(features.step_spec(make_episode(0)))
    with pytest.raises(BadEpisodeError, match="fake-1 does not fit"):
        features.serialize(make_episode(1, action_size=4), connectors)


def test_garbage_is_refused():
    connectors = features.episode_features(features.step_spec(make_episode(0)))
    with pytest.raises(BadEpisodeError, match="not an example"):
        features.parse(b"\x01garbage", connectors)
    with pytest.raises(BadEpisodeError, match="neither JPEG nor PNG"):
        features.decode_image(make_episode(0).observation["pixels/basket_front_left"][0][:100])
