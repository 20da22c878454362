"""How far two annotators agree about one episode, and about many. Pure functions.

People agree on the *order* of an episode's frames, not on a scale (recalled of Cabi et al., arXiv 1909.12200,
unverified), so only order is compared. Two measures:

- *Order agreement*: of the frame pairs that at least one of the two curves separates by more than `SKETCH_GAP`, the
  share that both order alike. A pair that one curve separates and the other leaves level counts half, as a coin would:
  a flat curve agrees with anything by 0.5. Pairs that neither separates say nothing and are left out.
- *Kendall's tau-b* over all pairs, however close, corrected for ties: 1 same order, 0 unrelated, -1 reversed.

Between episodes, frames are not comparable and frames of one episode are not independent: each episode counts once,
and intervals are bootstrapped over episodes.
"""

import dataclasses
import functools
from collections.abc import Iterable, Sequence

import numpy as np
from scipy import stats

SKETCH_GAP = 0.2
"""mu_s: the gap in a sketch from which a pair of frames teaches the reward model (recalled of Cabi et al.)."""

MOST_FRAMES = 500
"""A longer episode is compared at so many evenly spaced frames: 125,000 pairs, about 1 ms."""

_RESAMPLES = 2000  # of the bootstrap: the ends of the interval wobble by about 1 % of its width
_CONFIDENCE = 0.95


@dataclasses.dataclass(frozen=True)
class Estimate:
    """A mean over episodes with its 95 % bootstrap interval."""

    value: float
    low: float | None  # None: a single episode has no interval
    high: float | None
    episodes: int  # that it rests on: of a few, even the interval says little


def order_agreement(first: np.ndarray, second: np.ndarray, gap: float = SKETCH_GAP) -> float | None:
    """Share of the separated frame pairs that two curves order alike (see the module's docstring).

    Args:
      first: float[T], one value a frame.
      second: float[T], another annotator's or a model's.
      gap: a pair counts if either curve separates it by more.

    Returns:
      0 (reversed) to 1 (alike); None if neither curve separates any pair.
    """
    a, b = _thinned(first), _thinned(second)
    earlier, later = _pairs(len(a))
    rise_a, rise_b = a[later] - a[earlier], b[later] - b[earlier]  # [P]
    together = (rise_a * rise_b)[np.maximum(np.abs(rise_a), np.abs(rise_b)) > gap]
    if not len(together):
        return None
    alike, opposite = np.count_nonzero(together > 0), np.count_nonzero(together < 0)  # the others: level in one
    return 0.5 + 0.5 * (alike - opposite) / len(together)


def kendall_tau(first: np.ndarray, second: np.ndarray) -> float | None:
    """Kendall's tau-b of two curves float[T]: -1 to 1; None if either is level throughout."""
    a, b = _thinned(first), _thinned(second)
    if np.ptp(a) == 0 or np.ptp(b) == 0:
        return None
    return float(stats.kendalltau(a, b).statistic)


def mean(values: Iterable[float | None]) -> float | None:
    """Mean of the values that tell something; None if none does."""
    told = [value for value in values if value is not None]
    return sum(told) / len(told) if told else None


def estimate(values: Sequence[float | None], seed: int = 0) -> Estimate | None:
    """Mean over episodes with its bootstrap interval; the same arguments give the same numbers.

    Args:
      values: one an episode; None: it does not tell, and is left out.
      seed: of the resampling.

    Returns:
      None if no episode tells.
    """
    told = np.array([v for v in values if v is not None])  # [N]
    if not len(told):
        return None
    value = float(np.mean(told))
    if len(told) == 1:
        return Estimate(value, None, None, 1)
    rng = np.random.default_rng(seed)
    # one resample at a time: all of them at once would be a gigabyte for 100,000 episodes
    means = [float(np.mean(told[rng.integers(len(told), size=len(told))])) for _ in range(_RESAMPLES)]
    tail = (1 - _CONFIDENCE) / 2
    low, high = np.quantile(means, (tail, 1 - tail))
    return Estimate(value, min(float(low), value), max(float(high), value), len(told))


def _thinned(values: np.ndarray) -> np.ndarray:
    """float32, at `MOST_FRAMES` evenly spaced frames where there are more."""
    values = np.asarray(values, np.float32)
    if len(values) <= MOST_FRAMES:
        return values
    return values[np.linspace(0, len(values) - 1, MOST_FRAMES).round().astype(int)]


@functools.lru_cache(maxsize=8)  # of some 2 MB each; the episodes of a store have a few lengths
def _pairs(length: int) -> tuple[np.ndarray, np.ndarray]:
    """Numbers of the earlier and the later frame of every pair, int[P] each."""
    earlier, later = np.triu_indices(length, 1)
    return earlier, later
