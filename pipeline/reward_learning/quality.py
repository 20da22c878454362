"""How good predicted rewards are: order within episodes, separation of success, calibration. Pure functions."""

import dataclasses
from collections.abc import Sequence

import numpy as np
from scipy import stats

from pipeline.reward_learning.config import LossConfig

NOT_KNOWN = "not known"  # in summaries: what the episodes do not tell
_BINS = 10  # of the calibration table
_RESAMPLES = 1000  # of the bootstrap


@dataclasses.dataclass(frozen=True, eq=False)
class RatedEpisode:
    """A model's prediction for an episode of T frames, beside what people and the simulator say."""

    episode_id: str
    predicted: np.ndarray  # float32[T]
    sketches: tuple[np.ndarray, ...]  # float32[T] each
    progress: np.ndarray | None  # float32[T], true and undistorted, where a simulator recorded it
    solved: np.ndarray | None  # bool[T], likewise


@dataclasses.dataclass(frozen=True)
class Interval:
    """An estimate with its 95 % bootstrap interval over episodes (frames of one episode are not independent)."""

    value: float
    low: float
    high: float
    episodes: int  # that it rests on: of a few, even the interval says little

    def __str__(self) -> str:
        return f"{self.value:.4f} (95 %: {self.low:.4f} to {self.high:.4f}; episodes: {self.episodes})"


@dataclasses.dataclass(frozen=True)
class CalibrationBin:
    """The frames that are predicted between `low` and `low + 0.1`."""

    low: float
    frames: int
    predicted: float  # mean
    solved: float  # share of frames that solve the task


@dataclasses.dataclass(frozen=True)
class Quality:
    """What the report says in numbers. None: the episodes do not tell."""

    model_id: str
    episodes: int
    sketched: int  # of them
    pair_accuracy_sketch: Interval | None  # share of pairs ordered as by the sketches, for gaps > mu_s
    pair_accuracy_true: Interval | None  # ... as by true progress
    auc_sketch: float | None  # ROC-AUC: frames sketched > tau_s against frames sketched < tau_u
    auc_solved: float | None  # ROC-AUC: frames that truly solve the task against all others
    calibration: tuple[CalibrationBin, ...]

    def summary(self) -> dict[str, str]:
        """One line a number, for people."""
        names = {
            "order as by held-out sketches": self.pair_accuracy_sketch,
            "order as by true progress": self.pair_accuracy_true,
            "success by sketch, ROC-AUC": None if self.auc_sketch is None else f"{self.auc_sketch:.4f}",
            "success by simulator, ROC-AUC": None if self.auc_solved is None else f"{self.auc_solved:.4f}",
        }
        counts = {"episodes not trained on": str(self.episodes), "of these sketched": str(self.sketched)}
        return counts | {name: NOT_KNOWN if value is None else str(value) for name, value in names.items()}


def judge(episodes: Sequence[RatedEpisode], model_id: str, config: LossConfig) -> Quality:
    """All numbers of some episodes that the model was not trained on."""
    sketched = [(e.predicted, s) for e in episodes for s in e.sketches]
    known = [(e.predicted, e.progress) for e in episodes if e.progress is not None]
    solved = [(e.predicted, e.solved) for e in episodes if e.solved is not None]
    if sketched:
        predicted, values = (np.concatenate(part) for part in zip(*sketched, strict=True))
        clear = (values > config.success_above) | (values < config.failure_below)
        auc_sketch = roc_auc(predicted[clear], values[clear] > config.success_above)
    else:
        auc_sketch = None
    everywhere = tuple(np.concatenate(part) for part in zip(*solved, strict=True)) if solved else None
    return Quality(
        model_id,
        len(episodes),
        sum(bool(e.sketches) for e in episodes),
        pair_accuracy(sketched, config.sketch_gap),
        pair_accuracy(known, config.sketch_gap),
        auc_sketch,
        roc_auc(*everywhere) if everywhere else None,
        calibration(*everywhere) if everywhere else (),
    )


def ordered_pairs(predicted: np.ndarray, reference: np.ndarray, gap: float) -> tuple[int, int]:
    """How many of an episode's frame pairs are predicted in the right order, and of how many.

    Args:
      predicted: float[T].
      reference: float[T], which tells the right order.
      gap: pairs count if the reference differs by more. Equal predictions are wrong.
    """
    pairs = reference[:, None] - reference[None] > gap  # [T, T]
    right = pairs & (predicted[:, None] > predicted[None])
    return int(right.sum()), int(pairs.sum())


def pair_accuracy(episodes: Sequence[tuple[np.ndarray, np.ndarray]], gap: float) -> Interval | None:
    """Share of rightly ordered pairs over all episodes, each `(predicted, reference)`; None without any pair."""
    counts = np.array([ordered_pairs(*episode, gap) for episode in episodes]).reshape(-1, 2)
    counts = counts[counts[:, 1] > 0]
    if not len(counts):
        return None
    drawn = np.random.default_rng(0).integers(len(counts), size=(_RESAMPLES, len(counts)))
    right, total = np.moveaxis(counts[drawn].sum(1), -1, 0)
    low, high = np.quantile(right / total, (0.025, 0.975))
    return Interval(float(counts[:, 0].sum() / counts[:, 1].sum()), float(low), float(high), len(counts))


def roc_auc(scores: np.ndarray, positive: np.ndarray) -> float | None:
    """Chance that a positive scores above a negative (ties count half); None if either is missing."""
    count, others = int(positive.sum()), int((~positive).sum())
    if not count or not others:
        return None
    ranks = stats.rankdata(scores)
    return float((ranks[positive].sum() - count * (count + 1) / 2) / (count * others))


def calibration(predicted: np.ndarray, solved: np.ndarray) -> tuple[CalibrationBin, ...]:
    """What share of the frames that are predicted alike solves the task; bins without frames are left out."""
    number = np.minimum((predicted * _BINS).astype(int), _BINS - 1)
    bins = []
    for b in np.unique(number):
        frames = number == b
        bins.append(
            CalibrationBin(
                float(b / _BINS), int(frames.sum()), float(predicted[frames].mean()), float(solved[frames].mean())
            )
        )
    return tuple(bins)
