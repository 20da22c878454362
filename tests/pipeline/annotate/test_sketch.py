"""Sketches as JSON lines: exact round trips, and each bad line named."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from datasets.errors import ArmchairError
from datasets.query import Query
from datasets.rewards import RewardSequence
from datasets.store import Store
from datasets.testing import make_episode
from pipeline.annotate.sketch import export_sketches, import_sketches, read_sketches, simulate
from pipeline.annotate.synthetic import AnnotatorConfig


@pytest.fixture(name="store")
def _store(tmp_path):
    store = Store.create(tmp_path / "store")
    for seed in range(4):
        store.add(make_episode(seed), "fake")
    return store


def _line(**fields):
    return json.dumps({"episode_id": "fake-1", "task_id": "lift_green", "values": [0, 0.25, 0.5, 0.75, 1]} | fields)


@given(hnp.arrays(np.float32, st.integers(1, 50), elements=st.floats(0, 1, width=32)), st.text(max_size=5))
def test_a_sketch_survives_the_file_bit_for_bit(tmp_path_factory, values, user):
    path = tmp_path_factory.mktemp("sketch") / "sketches.jsonl"
    sketch = RewardSequence("7", "lift_green", values, "a-1", user=user, timestamp=5, tool="pen", seconds_spent=2.5)
    assert export_sketches([sketch], path) == 1
    (read,) = read_sketches(path)
    assert read.values.tobytes() == values.tobytes()
    for field in ("episode_id", "task_id", "sequence_id", "user", "timestamp", "tool", "seconds_spent", "type"):
        assert getattr(read, field) == getattr(sketch, field)


def test_from_store_to_store(store, tmp_path):
    drawn = simulate(store, store.query(Query(task_id="lift_green")), "lift_green", 3, AnnotatorConfig())
    assert len(drawn) == 3
    export_sketches(store.sketches("lift_green"), tmp_path / "s.jsonl")
    other = Store.create(tmp_path / "other")
    for seed in range(4):
        other.add(make_episode(seed), "fake")
    for _ in range(2):  # twice is once
        assert import_sketches(other, tmp_path / "s.jsonl") == 3
    for a, b in zip(store.sketches("lift_green"), other.sketches("lift_green"), strict=True):
        assert (a.episode_id, a.sequence_id) == (b.episode_id, b.sequence_id)
        np.testing.assert_array_equal(a.values, b.values)


def test_three_fields_are_enough_and_empty_lines_are_skipped(store, tmp_path):
    path = tmp_path / "s.jsonl"
    path.write_text(f"\n{_line()}\n\n")
    assert import_sketches(store, path) == import_sketches(store, path) == 1
    (sketch,) = store.sketches("lift_green")
    np.testing.assert_array_equal(sketch.values, [0, 0.25, 0.5, 0.75, 1])


def test_every_bad_line_is_named_and_nothing_is_imported(store, tmp_path):
    path = tmp_path / "s.jsonl"
    bad = ["{", _line(values="high"), _line(values=[0, 2]), _line(colour="red"), json.dumps({"episode_id": "x"})]
    path.write_text("\n".join([_line(), *bad]))
    with pytest.raises(ArmchairError) as error:
        import_sketches(store, path)
    for number in range(2, 7):
        assert f"line {number}:" in str(error.value)
    assert "line 1:" not in str(error.value)
    assert "colour" in str(error.value)
    assert store.sketches("lift_green") == []


def test_unknown_episodes_and_wrong_lengths_are_named(store, tmp_path):
    path = tmp_path / "s.jsonl"
    path.write_text("\n".join([_line(), _line(episode_id="nobody"), _line(values=[0, 1])]))
    with pytest.raises(ArmchairError, match=r"line 2: no episode 'nobody'.*line 3: 2 values for the 5 frames"):
        import_sketches(store, path)
    assert store.sketches("lift_green") == []
    with pytest.raises(ArmchairError, match="is not there"):
        import_sketches(store, tmp_path / "absent.jsonl")


def test_simulating_twice_changes_nothing_and_needs_episodes(store):
    rows = store.query(Query(task_id="lift_green"))
    first = simulate(store, rows, "lift_green", 2, AnnotatorConfig())
    again = simulate(store, rows, "lift_green", 2, AnnotatorConfig())
    assert [s.episode_id for s in first] == [s.episode_id for s in again]
    assert len(store.sketches("lift_green")) == 2
    with pytest.raises(ArmchairError, match="no episode to sketch"):
        simulate(store, [], "lift_green", 2, AnnotatorConfig())
