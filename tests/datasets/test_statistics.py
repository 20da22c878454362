import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from datasets.statistics import Moments, drawn

ROWS = npst.arrays(np.float32, st.tuples(st.integers(2, 30), st.just(3)), elements=st.floats(-1e3, 1e3, width=32))


@given(ROWS, st.data())
def test_parts_put_together_are_the_whole(rows, data):
    cut = data.draw(st.integers(1, len(rows) - 1))
    together, whole = Moments.of(rows[:cut]) + Moments.of(rows[cut:]), Moments.of(rows)
    assert together.count == len(rows)
    np.testing.assert_allclose(together.mean, rows.astype(float).mean(0), atol=1e-9)
    np.testing.assert_allclose(together.std, rows.astype(float).std(0), atol=1e-6)
    np.testing.assert_array_equal(together.low, whole.low)
    np.testing.assert_array_equal(together.high, whole.high)


def test_large_offsets_lose_nothing():
    rows = np.array([[1e9 + x] for x in (0.0, 1.0, 2.0, 3.0)])
    assert (Moments.of(rows[:1]) + Moments.of(rows[1:])).std == pytest.approx(np.sqrt(1.25))


@given(ROWS)
def test_json_keeps_every_bit(rows):
    moments = Moments.of(rows)
    back = Moments.from_json(json.loads(json.dumps(moments.to_json())))
    for name, value in vars(moments).items():
        np.testing.assert_array_equal(getattr(back, name), value)


def test_a_sample_has_its_share_and_depends_on_the_episode_alone():
    counts = [len(drawn(f"episode-{number}", 100, 0.25)) for number in range(200)]
    assert 4_700 < sum(counts) < 5_300  # 5,000 and 4.9 standard deviations
    np.testing.assert_array_equal(drawn("a", 100, 0.25), drawn("a", 100, 0.25))
    assert drawn("a", 100, 0.25).tolist() != drawn("b", 100, 0.25).tolist()
    assert len(drawn("a", 100, 1.0)) == 100
