"""What a comparison says in numbers, against values worked by hand."""

import numpy as np
import pytest

from pipeline.reward_learning.comparison import (
    PHASES,
    Comparison,
    Contender,
    FalsePositive,
    disagreements,
    false_positives,
    phases,
    reference,
    solved,
)
from pipeline.reward_learning.quality import RatedEpisode, judge

_PROGRESS = np.float32([0, 0.1, 0.15, 0.5, 0.85, 0.95, 1])
_PREDICTED = np.float32([0, 0.6, 0.5, 0.7, 0.9, 0.4, 1])
_TRUE = RatedEpisode("true", _PREDICTED, (_PROGRESS[::-1],), _PROGRESS, _PROGRESS >= 1)
_UNKNOWN = RatedEpisode("unknown", _PREDICTED, (), None, None)


def _counts(episodes):
    return [(phase.frames, phase.above) for phase in phases(episodes)]


def test_phases_by_true_progress():
    assert tuple(phase.name for phase in phases([_TRUE])) == PHASES
    assert _counts([_TRUE]) == [(2, 1), (1, 0), (1, 1), (2, 1), (1, 1)]


def test_phases_by_the_mean_sketch_where_there_was_no_simulator():
    drawn = np.float32([0, 0.2, 0.3, 0.6, 0.8, 0.9, 1])
    episode = RatedEpisode("drawn", _PREDICTED, (drawn - 0.1, drawn + 0.1), None, None)
    np.testing.assert_allclose(reference(episode), drawn, atol=1e-6)
    assert solved(episode).tolist() == [False] * 5 + [True] * 2
    assert _counts([episode]) == [(1, 0), (2, 1), (2, 2), (0, 0), (2, 1)]


def test_phases_pool_episodes_and_leave_out_those_that_tell_nothing():
    assert _counts([_TRUE, _UNKNOWN, _TRUE]) == [(2 * n, 2 * above) for n, above in _counts([_TRUE])]
    assert _counts([_UNKNOWN]) == _counts([]) == [(0, 0)] * len(PHASES)
    outcome_only = RatedEpisode("a", _PREDICTED, (), None, _PROGRESS >= 1)  # how far the others are is not known
    assert _counts([outcome_only]) == [(0, 0)] * len(PHASES)


def test_false_positives_are_the_highest_unsolved_frames_one_an_episode():
    higher = RatedEpisode("higher", np.float32([0.2, 0.95, 0.95, 1]), (), None, np.array([False, False, False, True]))
    all_solved = RatedEpisode("solved", np.float32([1, 1]), (), None, np.array([True, True]))
    found = false_positives([_TRUE, all_solved, _UNKNOWN, higher], 5)
    assert found == (FalsePositive("higher", 1, pytest.approx(0.95)), FalsePositive("true", 4, pytest.approx(0.9)))
    assert false_positives([_TRUE, higher], 1) == found[:1]
    assert false_positives([_UNKNOWN], 5) == ()


def test_disagreements_are_means_over_frames_and_pairs_the_largest_first():
    def model(*values):
        return [RatedEpisode(f"e{n}", np.float32(v), (), None, None) for n, v in enumerate(values)]

    one, other, third = model([0, 0], [0, 1]), model([0, 0.5], [1, 1]), model([0, 0.5], [1, 0])
    two = disagreements([one, other])
    assert [(d.episode_id, d.difference) for d in two] == [("e1", 0.5), ("e0", 0.25)]
    assert disagreements([other, one]) == two
    three = {d.episode_id: d.difference for d in disagreements([one, other, third])}
    assert three == {"e0": pytest.approx((0.25 + 0.25 + 0) / 3), "e1": pytest.approx((0.5 + 1 + 0.5) / 3)}


def test_the_table_has_what_is_known_of_any_model():
    def contender(name, episodes):
        return Contender(name, f"runs/{name}", judge(episodes, name), phases(episodes), ())

    table = {row[0]: row[1:] for row in Comparison("t", (), (contender("a", [_TRUE]), contender("b", [])), ()).table()}
    assert table["success by simulator, ROC-AUC"] == ("1.000", "–")
    assert table["... 95 % interval"][1] == "–"
    assert "return, rank correlation" not in table  # of one episode nobody knows
    assert Comparison("t", (), (contender("a", [_UNKNOWN]), contender("b", [_UNKNOWN])), ()).table() == []
