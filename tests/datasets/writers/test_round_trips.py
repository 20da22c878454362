"""Whatever episode goes out comes back by our reader, equal but for what docs/formats.md says is lost."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from datasets import testing, video
from datasets.episode import Episode
from datasets.features import step_spec
from datasets.readers.logs import open_logs
from datasets.schema import EpisodeType, Verdict
from datasets.store import EpisodeRow
from datasets.validate import validate
from datasets.writers.base import parts_of
from datasets.writers.lerobot import LerobotWriter
from datasets.writers.rlds import RldsWriter
from datasets.writers.robomimic import RobomimicWriter
from tests.datasets.test_features import assert_same, episodes
from tests.datasets.writers.lerobot_exports import psnr

CAMERA = "pixels/front"

pytestmark = pytest.mark.slow


@st.composite
def stored(draw: st.DrawFn) -> Episode:
    """Any features, with flags, ids and finite numbers as a store wants them; perhaps with a camera."""
    episode = draw(episodes().filter(lambda episode: episode.num_steps > 1))
    times, terminal = np.arange(episode.num_steps), bool(episode.is_terminal[-1])
    discount = draw(st.sampled_from([0.9, 1.0])) * np.ones(len(times), np.float32)
    discount[-2:] *= not terminal
    observation = {name: _finite(array) for name, array in episode.observation.items()}
    if size := draw(st.none() | st.tuples(st.integers(16, 40), st.integers(16, 40))):
        seen = testing.make_episode(len(times), len(times), ("front",), size).observation
        observation[CAMERA] = seen[CAMERA]
    metadata = dataclasses.replace(
        episode.metadata,
        episode_id="one",
        episode_type=draw(st.sampled_from(list(EpisodeType))),
        verdict=draw(st.sampled_from(list(Verdict))),
        control_rate_hz=draw(st.sampled_from([5.0, 12.5, 20.0])),
    )
    return dataclasses.replace(
        episode,
        metadata=metadata,
        observation=observation,
        action=_finite(episode.action),
        reward=_finite(episode.reward),
        discount=discount,
        is_first=times == 0,
        is_last=times == len(times) - 1,
        is_terminal=(times == len(times) - 1) & terminal,
        extras={name: _finite(array) for name, array in episode.extras.items()},
    )


def _finite(array: np.ndarray) -> np.ndarray:
    """Numbers of which float32 can hold the squares; statistics want them."""
    return np.clip(np.nan_to_num(array), -1e9, 1e9) if array.dtype.kind == "f" else array


def write(writer, out: Path, *written: Episode) -> None:
    """As a job does, without Beam."""
    rows = [
        EpisodeRow(
            **dataclasses.asdict(episode.metadata), dataset="some", shard=number, path=Path(), split="train",
            num_steps=episode.num_steps, checksum="", content_hash=None,
        )
        for number, episode in enumerate(written)
    ]  # fmt: skip
    writer.check(rows)
    (part,) = parts_of(rows, None)
    fact = writer.write(out, part, 1, iter(written))
    writer.finish(out, [part], [json.loads(json.dumps(fact))])


def read(out: Path) -> list[Episode]:
    (log,) = open_logs(out)
    readings = [reading for file in log.files() for reading in log.read(file)]
    assert not [problem for reading in readings for problem in reading.problems]
    return [reading.episode for reading in readings]


def check_rlds(ours: Episode, theirs: Episode) -> None:
    assert_same(ours, theirs)


def check_robomimic(ours: Episode, theirs: Episode) -> None:
    """Lost: what the last step has besides the observation. Names have `_` for `/`; what is no RLDS field, a prefix."""
    assert theirs.observation.keys() == {name.replace("/", "_") for name in ours.observation}
    for name, array in ours.observation.items():
        _assert_equal(theirs.observation[name.replace("/", "_")], array, is_image=name == CAMERA)
    extras = {"discounts": ours.discount, **{f"extras/{name}": array for name, array in ours.extras.items()}}
    assert theirs.extras.keys() == extras.keys()
    for name, array in extras.items():
        _assert_equal(theirs.extras[name][:-1], array[:-1])
    _assert_equal(theirs.action[:-1], ours.action[:-1])
    _assert_equal(theirs.reward[:-1], ours.reward[:-1])
    _assert_equal(theirs.is_terminal, ours.is_terminal)
    for name in ("task_id", "robot", "control_rate_hz"):
        assert getattr(theirs.metadata, name) == getattr(ours.metadata, name)


def check_lerobot(ours: Episode, theirs: Episode) -> None:
    """Lost: the last frame; discounts; that the end is terminal, if it is a failure. [1] becomes a number."""
    names = {name: "images/front" if name == CAMERA else name for name in ours.observation}
    assert theirs.observation.keys() - {"state"} == {*names.values()} - {"state"}
    for name, array in ours.observation.items():
        _assert_equal(theirs.observation[names[name]], _unwrapped(array[:-1]), is_image=name == CAMERA)
    for name, array in ours.extras.items():
        _assert_equal(theirs.extras[name], _unwrapped(array[:-1]))
    _assert_equal(theirs.action, ours.action[:-1])
    _assert_equal(theirs.reward, ours.reward[:-1])
    failed = ours.metadata.verdict == Verdict.FAILURE
    assert theirs.is_terminal.tolist() == (ours.is_terminal[1:] & ~np.bool_(failed)).tolist()
    assert set(theirs.extras["language_instruction"]) == {ours.metadata.task_id}
    for name in ("robot", "control_rate_hz", "verdict"):
        assert getattr(theirs.metadata, name) == getattr(ours.metadata, name)


def _unwrapped(array: np.ndarray) -> np.ndarray:
    return array[:, 0] if array.shape[1:] == (1,) else array


def _assert_equal(theirs: np.ndarray, ours: np.ndarray, is_image: bool = False) -> None:
    if is_image:  # encoded anew, in a video of even sizes
        height, width, _ = video.decode_frames(ours).shape[1:]
        shown = video.decode_frames(theirs)[:, :height, :width]
        assert psnr(shown, video.decode_frames(ours)) > 28
        return
    assert theirs.dtype == ours.dtype
    np.testing.assert_array_equal(theirs, ours)


def has_nul(episode: Episode) -> bool:
    texts = [array for _, array in episode.step_fields() if array.dtype == object and isinstance(array[0], str)]
    return any("\0" in text for array in texts for text in array)


FORMATS = {
    "rlds": (lambda spec, episode: RldsWriter("mine", spec), check_rlds),
    "robomimic": (lambda spec, episode: RobomimicWriter("mine", spec), check_robomimic),
    "lerobot": (
        lambda spec, episode: LerobotWriter(spec, judged=episode.metadata.verdict != Verdict.UNKNOWN),
        check_lerobot,
    ),
}


@pytest.mark.parametrize("name", FORMATS)
@settings(max_examples=40)
@given(episode=stored())
def test_what_goes_out_comes_back(tmp_path_factory, name, episode):
    out, (make_writer, check) = tmp_path_factory.mktemp(name), FORMATS[name]
    assert not validate(episode).errors
    assume(name != "robomimic" or not has_nul(episode))  # an export leaves it out, and says so
    second = dataclasses.replace(episode, metadata=dataclasses.replace(episode.metadata, episode_id="two"))
    write(make_writer(step_spec(episode), episode), out, episode, second)
    for ours, theirs in zip((episode, second), read(out), strict=True):
        check(ours, theirs)
