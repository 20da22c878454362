"""The simulated annotator: order is kept by the distortion, and nothing leaves [0, 1]."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from datasets.errors import ArmchairError
from datasets.schema import EpisodeType
from datasets.testing import make_episode
from pipeline.annotate.synthetic import AnnotatorConfig, choose_episodes, draw, sketch

_CURVES = hnp.arrays(np.float64, st.integers(1, 60), elements=st.floats(0, 1, width=32))
_HONEST = AnnotatorConfig(distortion=1.0, tremble=0, lag=0, mistakes=0)


@given(_CURVES, st.integers(0, 2**32))
def test_distortion_keeps_the_order_and_the_ends(progress, seed):
    values = draw(progress, _HONEST, np.random.default_rng(seed))
    order = np.argsort(progress, kind="stable")
    assert (np.diff(values[order]) >= 0).all()
    np.testing.assert_array_equal(values[progress == 0], 0)
    np.testing.assert_allclose(values[progress == 1], 1, atol=1e-6)


@given(_CURVES, st.integers(0, 2**32), st.integers(0, 5))
def test_a_sketch_is_one_number_in_0_1_a_frame(progress, seed, lag):
    config = AnnotatorConfig(distortion=1, tremble=0.5, lag=lag, mistakes=1)
    values = draw(progress, config, np.random.default_rng(seed))
    assert values.shape == progress.shape
    assert values.dtype == np.float32
    assert ((values >= 0) & (values <= 1)).all()


def test_distortion_differs_between_episodes_and_none_is_true_to_scale():
    progress = np.linspace(0, 1, 50)
    one, other = (draw(progress, _HONEST, np.random.default_rng(s)) for s in (1, 2))
    assert np.abs(one - other).max() > 0.1
    exact = draw(progress, dataclasses.replace(_HONEST, distortion=0.0), np.random.default_rng(1))
    np.testing.assert_allclose(exact, progress, atol=1e-6)


def test_lag_delays_and_mistakes_are_local():
    progress = np.linspace(0, 1, 100)
    rng = np.random.default_rng
    late = [draw(progress, dataclasses.replace(_HONEST, distortion=0.0, lag=3), rng(s)) for s in range(30)]
    delays = {int(np.flatnonzero(v)[0]) - 1 for v in late}
    assert delays == {0, 1, 2, 3}
    wrong = draw(progress, dataclasses.replace(_HONEST, distortion=0.0, mistakes=1.0), rng(0))
    touched = np.abs(wrong - progress) > 1e-6
    assert 0.05 < touched.mean() < 0.3
    assert np.abs(wrong - progress).max() > 0.2


def test_defaults_keep_solved_and_start_frames_recognisable():
    progress = np.concatenate([np.zeros(20), np.linspace(0, 1, 40), np.ones(20)])
    drawn = np.stack([draw(progress, AnnotatorConfig(), np.random.default_rng(s)) for s in range(200)])
    assert (drawn[:, :15] < 0.15).mean() > 0.95
    assert (drawn[:, -15:] > 0.85).mean() > 0.95


def test_a_sketch_depends_on_episode_task_and_seed_alone():
    episode = make_episode(3, num_steps=30)
    first, again = (sketch(episode, "lift_green", AnnotatorConfig()) for _ in range(2))
    np.testing.assert_array_equal(first.values, again.values)
    assert first.sequence_id == again.sequence_id
    other = sketch(episode, "lift_green", AnnotatorConfig(seed=1))
    assert not np.array_equal(first.values, other.values)
    assert first.sequence_id != other.sequence_id


def test_progress_is_of_the_recorded_task_only_unless_by_time():
    episode = make_episode(0, num_steps=20)
    with pytest.raises(ArmchairError, match=r"fake-0.*by time"):
        sketch(episode, "stack_green_on_red", AnnotatorConfig())
    by_time = sketch(episode, "stack_green_on_red", dataclasses.replace(_HONEST, by_time=True))
    assert by_time.values[0] == 0
    assert by_time.values[-1] == pytest.approx(1)


def test_choice_takes_demonstrations_first_then_every_policy_and_verdict():
    agents = [make_episode(s).metadata for s in range(60)]  # 3 policies x 2 verdicts
    demos = [make_episode(s, episode_type=str(EpisodeType.TELEOPERATION)).metadata for s in range(100, 103)]
    chosen = choose_episodes(agents + demos, 15, seed=0)
    assert set(chosen[:3]) == set(demos)
    groups = [(m.policy_id, m.verdict) for m in chosen[3:]]
    assert {groups.count(g) for g in groups} == {2}
    assert chosen == choose_episodes(list(reversed(agents + demos)), 15, seed=0)
    assert chosen != choose_episodes(agents + demos, 15, seed=1)
    assert len(choose_episodes(agents, 1000, seed=0)) == 60
