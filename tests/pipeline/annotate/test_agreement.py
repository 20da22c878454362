"""Agreement of annotators: against hand-worked numbers, and what must hold for any two curves."""

import itertools
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from pipeline.annotate import agreement
from pipeline.annotate.agreement import estimate, kendall_tau, order_agreement

# Hundredths: steps that float32 tells apart, and that are often equal, so that ties are met.
LEVELS = st.integers(0, 100)
CURVES = st.integers(2, 30).flatmap(
    lambda length: st.tuples(*2 * [hnp.arrays(np.int64, length, elements=LEVELS)])  # int64[T] twice
)


def curve(*values: float) -> np.ndarray:
    return np.array(values, np.float32)


def by_definition(a: np.ndarray, b: np.ndarray, gap: float) -> float | None:
    shares = []
    for i, j in itertools.combinations(range(len(a)), 2):
        if abs(a[i] - a[j]) > gap or abs(b[i] - b[j]) > gap:
            shares.append(0.5 + 0.5 * np.sign(a[i] - a[j]) * np.sign(b[i] - b[j]))
    return float(np.mean(shares)) if shares else None


def test_order_agreement_by_hand():
    # Pairs separated by either: 01 (alike), 02 (alike), 12 (separated by the second only, which falls; opposite).
    assert order_agreement(curve(0, 0.4, 0.5), curve(0, 0.9, 0.6)) == pytest.approx(2 / 3)
    # The pair 12 is closer than the gap in both, and is left out.
    assert order_agreement(curve(0, 0.4, 0.5), curve(0, 0.9, 0.8)) == 1
    # Level against rising: a coin's half.
    assert order_agreement(curve(0.3, 0.3, 0.3), curve(0, 0.5, 1)) == 0.5
    assert order_agreement(curve(0.3, 0.3), curve(0.9, 0.8)) is None
    assert order_agreement(curve(0.3), curve(0.9)) is None


def test_tau_by_hand():
    assert kendall_tau(curve(1, 2, 3, 4), curve(1, 2, 4, 3)) == pytest.approx((5 - 1) / 6)
    # Ties: 1 pair level in the first of 3, none in the second; 2 concordant: 2 / sqrt(2 * 3).
    assert kendall_tau(curve(1, 1, 2), curve(1, 2, 3)) == pytest.approx(2 / np.sqrt(6))
    assert kendall_tau(curve(1, 1, 1), curve(1, 2, 3)) is None
    assert kendall_tau(curve(1), curve(1)) is None


@given(CURVES)
def test_order_agreement_is_what_it_says(curves):
    a, b = (c.astype(np.float32) / 100 for c in curves)
    gap = 0.205  # between two levels: no rounding decides
    expected = by_definition(a, b, gap)
    assert order_agreement(a, b, gap) == (None if expected is None else pytest.approx(expected))


@given(CURVES, st.sampled_from([lambda x: x**3, np.exp, lambda x: 2 * x + 3]))
def test_only_order_counts(curves, stretch):
    a, b = (c.astype(np.float32) / 100 for c in curves)
    assert kendall_tau(stretch(a), b) == (None if (tau := kendall_tau(a, b)) is None else pytest.approx(tau))
    assert order_agreement(stretch(a), b, gap=0) == order_agreement(a, b, gap=0)


@given(CURVES)
def test_symmetric_and_bounded(curves):
    a, b = (c.astype(np.float32) / 100 for c in curves)
    assert order_agreement(a, b) == order_agreement(b, a)
    assert (share := order_agreement(a, b)) is None or 0 <= share <= 1
    # A curve agrees with the reverse of another as far as it disagrees with the other.
    assert order_agreement(a, 1 - b, 0.205) == (
        None if (share := order_agreement(a, b, 0.205)) is None else pytest.approx(1 - share)
    )
    assert (kendall_tau(a, b) or 0) == pytest.approx(kendall_tau(b, a) or 0)


@given(CURVES)
def test_itself_and_its_reverse(curves):
    a = curves[0].astype(np.float32) / 100
    assert order_agreement(a, a) in (None, 1)
    assert order_agreement(a, 1 - a) in (None, 0)
    if np.ptp(a):
        assert kendall_tau(a, a) == pytest.approx(1)
        assert kendall_tau(a, -a) == pytest.approx(-1)


def test_long_episodes_are_thinned():
    rng = np.random.default_rng(0)
    walk = np.cumsum(rng.normal(size=(2, 5000)), axis=1)
    a, b = (walk - walk.min()) / np.ptp(walk)
    whole = by_definition(a[::7], b[::7], agreement.SKETCH_GAP)  # another sample of the same two curves
    started = time.perf_counter()
    assert order_agreement(a, b) == pytest.approx(whole, abs=0.01)
    assert time.perf_counter() - started < 1  # 12 million pairs would take longer


def test_mean_of_what_tells():
    assert agreement.mean([0.5, None, 1.0]) == 0.75
    assert agreement.mean([None]) is None
    assert agreement.mean([]) is None


def test_estimate():
    assert estimate([]) is None
    assert estimate([None, None]) is None
    assert estimate([0.75, None]) == agreement.Estimate(0.75, None, None, 1)
    values = list(np.random.default_rng(1).normal(0.8, 0.1, 100))
    found = estimate([*values, None])
    assert found == estimate(values)  # same seed, same numbers
    assert found.value == pytest.approx(np.mean(values)) and found.episodes == 100
    error = np.std(values) / 10  # of the mean; the interval is +-1.96 of it, within the bootstrap's own noise
    assert found.low == pytest.approx(found.value - 1.96 * error, abs=0.25 * error)
    assert found.high == pytest.approx(found.value + 1.96 * error, abs=0.25 * error)
    certain = estimate([1.0, 1.0, 1.0])
    assert (certain.low, certain.high) == (1, 1)
