"""Which episodes a reviewer sees first: scores by hand, orders, what is remembered, and the routes."""

import time

import numpy as np
import pytest

from datasets.errors import ArmchairError
from datasets.notes import Note
from datasets.predictions import write_predictions
from datasets.query import Query
from datasets.rewards import RewardSequence
from datasets.store import Store
from datasets.testing import make_episode
from pipeline.annotate import agreement
from pipeline.annotate.review import NotRatedError, Order, Reviewer, Score, disagreement, highest, in_order

TASK = "lift_green"
UP = np.linspace(0, 1, 10, dtype=np.float32)


def predict(store, values, model_id="m", task_id=TASK, name="part"):
    path = store.prediction_path(model_id, name)
    write_predictions(path, model_id, f"hash-{model_id}", task_id, values)
    store.add_predictions(model_id, f"hash-{model_id}", task_id, path)


def sketch(store, episode_id, values, user="ada", number=0, task_id=TASK):
    store.add_sketch(
        RewardSequence(episode_id, task_id, values, f"{user}-{number}", user=user, timestamp=1_700_000_000 + number)
    )


@pytest.fixture
def store(tmp_path):
    """Even episodes succeed, odd ones fail; 4 was recorded for another task, where it failed."""
    store = Store.create(tmp_path / "store")
    for seed in range(4):
        store.add(make_episode(seed, 10), "fake")
    store.add(make_episode(4, 10, success=False, task_id="stack"), "fake")
    store.publish()
    return store


def test_highest_needs_more_than_a_spike():
    flat = np.full(10, 0.1, np.float32)
    spike, rise = flat.copy(), flat.copy()
    spike[5] = 1
    rise[5:7] = 0.9
    assert highest(spike) == pytest.approx(0.1)
    assert highest(rise) == pytest.approx(0.9)
    assert highest(UP) == pytest.approx(UP[-2])  # the last frame alone is a spike, too
    assert highest(np.float32([0.7])) == pytest.approx(0.7)
    assert highest(np.float32([0.2, 0.4])) == pytest.approx(0.3)


def test_disagreement():
    assert disagreement([UP], UP) == 0
    assert disagreement([UP], UP[::-1]) == 1
    assert disagreement([UP, UP[::-1]], UP) == 0.5
    assert disagreement([], UP) is None
    level = np.zeros(10, np.float32)
    assert disagreement([level], level) is None
    assert disagreement([level, UP], UP) == 0.25  # 0.5 and 0


def test_in_order():
    a, b = Score("a", 0.2, None, 0.9, 0.9), Score("b", 0.7, 0.3, 0.3, 0.1)
    c, d = Score("c", None, 0.8, 0.8, 0.8), Score("d", None, None, 0.95, 0.9)
    assert in_order([a, b, c, d], Order.DISAGREEMENT) == [b, a, d, c]
    assert in_order([a, b, c, d], Order.DELUSION) == [c, b, d, a]


def test_scores(store):
    predict(store, {"fake-0": UP, "fake-1": UP, "fake-2": UP[::-1], "fake-4": UP})
    predict(store, {"fake-0": UP}, "elsewhere", "stack")
    sketch(store, "fake-0", UP)
    sketch(store, "fake-2", UP)
    sketch(store, "fake-1", UP[::-1], task_id="stack")  # about another task: says nothing here
    reviewer = Reviewer(store, TASK)
    assert [(m.model_id, m.task_id, m.episodes) for m in reviewer.models()] == [("m", TASK, 4)]

    by_id = {score.episode_id: score for score in reviewer.scores("m", Order.DISAGREEMENT)}
    assert {i: score.disagreement for i, score in by_id.items()} == {
        "fake-0": 0, "fake-1": None, "fake-2": 1, "fake-4": None
    }  # fmt: skip
    # Only fake-1 has failed at this task: fake-4 failed at another one.
    assert {i for i, score in by_id.items() if score.delusion is not None} == {"fake-1"}
    assert by_id["fake-1"].delusion == by_id["fake-1"].highest == highest(UP)
    assert by_id["fake-2"].last == 0
    assert [score.episode_id for score in reviewer.scores("m", Order.DISAGREEMENT)][:2] == ["fake-2", "fake-0"]
    assert reviewer.scores("m", Order.DELUSION)[0].episode_id == "fake-1"
    np.testing.assert_array_equal(reviewer.prediction("m", "fake-2"), UP[::-1])


def test_what_is_not_rated(store):
    predict(store, {"fake-0": UP})
    predict(store, {"fake-0": UP}, "elsewhere", "stack")
    reviewer = Reviewer(store, TASK)
    for model in ("nobody", "elsewhere"):
        with pytest.raises(NotRatedError, match="armchair annotate"):
            reviewer.scores(model, Order.DELUSION)
    with pytest.raises(NotRatedError, match="fake-1"):
        reviewer.prediction("m", "fake-1")
    assert issubclass(NotRatedError, ArmchairError)


def test_a_model_that_has_diverged_is_shown_as_zero(store):
    predict(store, {"fake-0": np.full(10, np.nan, np.float32)})
    (score,) = Reviewer(store, TASK).scores("m", Order.DELUSION)
    assert (score.highest, score.last) == (0, 0)


def test_scores_follow_the_store(store):
    predict(store, {"fake-0": UP, "fake-1": UP})
    reviewer = Reviewer(store, TASK)

    def look(order=Order.DISAGREEMENT):
        return {score.episode_id: score for score in reviewer.scores("m", order)}

    assert look()["fake-0"].disagreement is None
    sketch(store, "fake-0", UP[::-1])
    assert look()["fake-0"].disagreement == 1
    sketch(store, "fake-0", UP, number=1)  # ada corrects herself: the newer one counts
    assert look()["fake-0"].disagreement == 0
    sketch(store, "fake-0", UP[::-1], user="bo")
    assert look()["fake-0"].disagreement == 0.5
    store.add_note(Note("fake-0", "n1", "verdict", "ada", "failure", TASK, 1_700_000_000))
    store.add_note(Note("fake-1", "n2", "verdict", "ada", "success", TASK, 1_700_000_000))
    scores = look(Order.DELUSION)
    assert scores["fake-0"].delusion == highest(UP) and scores["fake-1"].delusion is None
    predict(store, {"fake-2": UP}, name="later")
    assert "fake-2" in look()


def test_a_deleted_episode_is_not_reviewed(store):
    predict(store, {f"fake-{seed}": UP for seed in range(3)})
    reviewer = Reviewer(store, TASK)
    assert len(reviewer.scores("m", Order.DISAGREEMENT)) == 3
    store.delete(["fake-1"], "ada", "dark")
    predict(store, {"fake-3": UP}, name="more")  # as many as before
    assert {score.episode_id for score in reviewer.scores("m", Order.DISAGREEMENT)} == {"fake-0", "fake-2", "fake-3"}


def test_what_was_compared_is_not_compared_again(store, monkeypatch):
    predict(store, {"fake-0": UP, "fake-1": UP})
    sketch(store, "fake-0", UP)
    reviewer = Reviewer(store, TASK)
    reviewer.scores("m", Order.DISAGREEMENT)
    compared = []

    def watched(first, second):
        compared.append(len(first))
        return agreement.order_agreement(first, second)

    monkeypatch.setattr("pipeline.annotate.review.order_agreement", watched)
    sketch(store, "fake-1", UP)
    reviewer.scores("m", Order.DISAGREEMENT)
    assert compared == [10]
    monkeypatch.setattr(store, "sketches", lambda *_: pytest.fail("an unchanged store was read again"))
    reviewer.scores("m", Order.DISAGREEMENT)


def test_ten_thousand_episodes(tmp_path, many_episodes):
    store = many_episodes(tmp_path / "store", 10_000, num_steps=10)
    predict(store, {row.episode_id: UP for row in store.query(Query())})
    sketch(store, "many-0", UP)
    reviewer = Reviewer(store, TASK)
    reviewer.scores("m", Order.DISAGREEMENT)
    reviewer.scores("m", Order.DELUSION)
    started = time.perf_counter()
    assert len(reviewer.scores("m", Order.DISAGREEMENT)) == 10_000
    assert len(reviewer.scores("m", Order.DELUSION)) == 10_000
    assert time.perf_counter() - started < 0.2
