"""Every defect is found where it is and named so that it can be mended; repairs mend only what has one answer."""

import dataclasses
import os
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from datasets.errors import BadEpisodeError
from datasets.readers.rlds import RldsLog
from datasets.testing import make_episode
from datasets.validate import Severity, is_name, repair, validate

CAMERA = "pixels/basket_front_left"


def replaced(array, index, value):
    array = np.array(array)
    array[index] = value
    return array


def with_observation(episode, name, array):
    return dataclasses.replace(episode, observation={**episode.observation, name: array})


def with_metadata(episode, **fields):
    return dataclasses.replace(episode, metadata=dataclasses.replace(episode.metadata, **fields))


EPISODE = make_episode(0, num_steps=6)
PICTURES = EPISODE.observation[CAMERA]
BLACK = tf.io.encode_jpeg(np.zeros((16, 16, 3), np.uint8)).numpy()
LARGER = make_episode(0, num_steps=6, image_size=(24, 24)).observation[CAMERA]


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 999), steps=st.integers(2, 9), terminal=st.booleans())
def test_a_good_episode_has_no_errors_and_no_repairs(seed, steps, terminal):
    episode = make_episode(seed, steps, terminal=terminal)
    report = validate(episode, every_picture=True)
    assert not report.errors and not report.warnings
    assert repair(episode) == (episode, [])


ERRORS = {
    "id with a slash": (with_metadata(EPISODE, episode_id="a/b"), "episode_id"),
    "no id": (with_metadata(EPISODE, episode_id=""), "episode_id"),
    "unknown type": (with_metadata(EPISODE, episode_type="DEMO"), "episode_type"),
    "unknown verdict": (with_metadata(EPISODE, verdict="good"), "verdict"),
    "no rate": (with_metadata(EPISODE, control_rate_hz=0.0), "control_rate_hz"),
    "NaN rate": (with_metadata(EPISODE, control_rate_hz=float("nan")), "control_rate_hz"),
    "NaN": (dataclasses.replace(EPISODE, action=replaced(EPISODE.action, (3, 2), np.nan)), "action"),
    "infinity": (
        with_observation(EPISODE, "state", replaced(np.zeros((6, 2), np.float32), (1, 0), np.inf)),
        "observation/state",
    ),
    "too short": (dataclasses.replace(EPISODE, reward=EPISODE.reward[:-1]), "reward"),
    "wrong dtype": (dataclasses.replace(EPISODE, action=EPISODE.action.astype(np.float64)), "action"),
    "action of rank 1": (dataclasses.replace(EPISODE, action=EPISODE.action[:, 0]), "action"),
    "known name, other shape": (
        with_observation(EPISODE, "sawyer/joints/angle", np.ones((6, 6), np.float32)),
        "observation/sawyer/joints/angle",
    ),
    "known name, other dtype": (
        with_observation(EPISODE, "gripper/grasp", np.ones((6, 1), np.float32)),
        "observation/gripper/grasp",
    ),
    "nothing observed": (dataclasses.replace(EPISODE, observation={}), "observation"),
    "raw pictures": (with_observation(EPISODE, "camera", np.zeros((6, 8, 8, 3), np.uint8)), "observation/camera"),
    "never first": (dataclasses.replace(EPISODE, is_first=np.zeros(6, bool)), "is_first"),
    "first twice": (dataclasses.replace(EPISODE, is_first=replaced(EPISODE.is_first, 3, True)), "is_first"),
    "never last": (dataclasses.replace(EPISODE, is_last=np.zeros(6, bool)), "is_last"),
    "last twice": (dataclasses.replace(EPISODE, is_last=replaced(EPISODE.is_last, 3, True)), "is_last"),
    "terminal early": (dataclasses.replace(EPISODE, is_terminal=replaced(EPISODE.is_terminal, 2, True)), "is_terminal"),
    "terminal without discount 0": (
        dataclasses.replace(EPISODE, is_terminal=replaced(EPISODE.is_terminal, -1, True)),
        "discount",
    ),
    "discount beyond 1": (dataclasses.replace(EPISODE, discount=np.full(6, 2, np.float32)), "discount"),
    "broken picture": (
        with_observation(EPISODE, CAMERA, replaced(PICTURES, 5, PICTURES[5][:200])),
        f"observation/{CAMERA}",
    ),
    "picture of another size": (
        with_observation(EPISODE, CAMERA, replaced(PICTURES, 3, LARGER[3])),
        f"observation/{CAMERA}",
    ),
}


@pytest.mark.parametrize("name", ERRORS)
def test_errors(name):
    episode, where = ERRORS[name]
    errors = validate(episode).errors
    assert [problem.where for problem in errors] == [where]
    with pytest.raises(BadEpisodeError) as caught:
        validate(episode).raise_errors()
    assert where in str(caught.value) and "\n" not in str(caught.value)


WARNINGS = {
    "black camera": (with_observation(EPISODE, CAMERA, np.array([BLACK] * 6, object)), "is black"),
    "frozen camera": (with_observation(EPISODE, CAMERA, np.array([PICTURES[3]] * 6, object)), "never changes"),
    "no terminal": (dataclasses.replace(EPISODE, discount=replaced(EPISODE.discount, -2, 0)), "is 0 on the last"),
    "one step": (make_episode(0, num_steps=1), "no transition"),
    "denied camera": (
        dataclasses.replace(EPISODE, extras={f"has_{CAMERA}": np.zeros(6, bool)}),
        "false throughout though",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", WARNINGS)
def test_warnings_are_no_errors(name):
    episode, what = WARNINGS[name]
    report = validate(episode)
    assert not report.errors
    assert [what in problem.what for problem in report.warnings] == [True]


def test_only_a_sample_of_pictures_is_decoded_unless_told():
    episode = with_observation(EPISODE, CAMERA, replaced(PICTURES, 1, b"broken"))
    assert not validate(episode).errors
    assert len(validate(episode, every_picture=True).errors) == 1


def test_information():
    still = with_observation(EPISODE, "state", np.ones((6, 2), np.float32))
    still = with_metadata(dataclasses.replace(still, reward=np.zeros(6, np.float32)), control_rate_hz=5.0)
    notes = {p.where for p in validate(still).problems if p.severity is Severity.INFO}
    assert notes == {"observation/state", "reward", "control_rate_hz"}


def test_no_steps_at_all():
    empty = dataclasses.replace(EPISODE, **{f: getattr(EPISODE, f)[:0] for f in ("is_first", "is_last", "reward")})
    assert [problem.where for problem in validate(empty).errors] == ["steps"]
    assert repair(empty) == (empty, [])


@settings(deadline=None, max_examples=40)
@given(
    defects=st.sets(st.sampled_from(["first", "last", "discount", "double", "terminal", "last action"]), min_size=1),
    steps=st.integers(2, 5),
)
def test_what_can_be_repaired_is_valid_afterwards(defects, steps):
    changes = {
        "first": {"is_first": np.zeros(steps, bool)},
        "last": {"is_last": np.zeros(steps, bool)},
        "discount": {"discount": np.full(steps, np.nan, np.float32)},
        "terminal": {"is_terminal": np.arange(steps) == steps - 1},
        "double": {"reward": np.ones(steps)},
        "last action": {"action": replaced(np.ones((steps, 7), np.float32), -1, np.nan)},
    }
    episode = make_episode(1, steps)
    for defect in defects:
        episode = dataclasses.replace(episode, **changes[defect])
    assert validate(episode).errors
    mended, repairs = repair(episode)
    assert not validate(mended).errors
    assert mended.metadata.repairs == " ".join(repairs) and repairs
    assert repair(mended) == (mended, [])
    assert mended.discount[-2] == (0 if "terminal" in defects else 1)


def test_two_episodes_in_one_are_not_repaired():
    episode = dataclasses.replace(EPISODE, is_last=replaced(np.zeros(6, bool), 2, True))
    mended, _ = repair(episode)
    assert validate(mended).errors


def test_the_original_is_not_touched():
    episode = dataclasses.replace(EPISODE, is_first=np.zeros(6, bool))
    repair(episode)
    assert not episode.is_first.any()


@pytest.mark.parametrize(
    ("text", "good"),
    [("10000313341320364033", True), ("a.b-c_d", True), ("", False), (".hidden", False), ("a/b", False), ("ü", False)],
)
def test_names(text, good):
    assert is_name(text) is good
    assert is_name("x" * 201) is False


def test_real_bridge_episode():
    """BridgeData V2: no end, no rewards, flags that deny all cameras, though only one is black."""
    if "ARMCHAIR_REAL_DATA" not in os.environ:
        pytest.skip("ARMCHAIR_REAL_DATA is not set: no real recording to look at")
    folder = Path(os.environ["ARMCHAIR_REAL_DATA"]) / "octo_bridge_debug" / "bridge_dataset" / "1.0.0"
    log = RldsLog(folder)
    episode = next(log.read(log.files()[0])).episode
    report = validate(episode, every_picture=True)
    assert {p.where for p in report.errors} == {"is_last"}
    assert {p.where for p in report.warnings} == {"observation/image_3"} | {f"has_image_{i}" for i in range(3)}
    assert "reward" in {p.where for p in report.problems if p.severity is Severity.INFO}
    mended, repairs = repair(episode)
    assert len(repairs) == 1
    assert not validate(mended).errors
