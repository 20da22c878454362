"""How good predicted rewards are: order within episodes, separation of success, calibration. Pure functions.

Every model is judged by the same constants, whatever its own training used, so that models can be compared.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np
from scipy import stats

from pipeline.reward_learning.config import LossConfig

JUDGED_BY = LossConfig()
"""What counts as a pair, as a success and as a failure in a sketch, the same for all models."""
ABOVE = 0.5
"""A frame that is predicted above is called solved."""
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
    average_precision: float | None  # of the same frames: area under precision over recall
    precision: float | None  # share of truly solved frames among those predicted above 0.5
    recall: float | None  # share of frames predicted above 0.5 among the truly solved ones
    mean_solved: float | None  # prediction on frames that truly solve the task
    mean_unsolved: float | None  # ... and on all others
    auc_episode_max: float | None  # ROC-AUC of an episode's highest prediction: solved at its last frame or not
    auc_episode_mean: float | None  # ... of its mean prediction
    return_correlation: float | None  # Spearman: sum of predictions, and number of solved frames, of an episode
    false_positive_mass: float | None  # share of all predicted reward that falls on truly unsolved frames
    calibration: tuple[CalibrationBin, ...]

    def numbers(self) -> dict[str, Interval | float | None]:
        """The metrics, each under its name for people."""
        return {
            "order as by held-out sketches": self.pair_accuracy_sketch,
            "order as by true progress": self.pair_accuracy_true,
            "success by sketch, ROC-AUC": self.auc_sketch,
            "success by simulator, ROC-AUC": self.auc_solved,
            "success by simulator, average precision": self.average_precision,
            f"precision of predictions above {ABOVE}": self.precision,
            f"recall of predictions above {ABOVE}": self.recall,
            "mean prediction on solved frames": self.mean_solved,
            "mean prediction on unsolved frames": self.mean_unsolved,
            "solved episodes by highest prediction, ROC-AUC": self.auc_episode_max,
            "solved episodes by mean prediction, ROC-AUC": self.auc_episode_mean,
            "return, rank correlation": self.return_correlation,
            "false-positive mass": self.false_positive_mass,
        }

    def summary(self) -> dict[str, str]:
        """One line a number, for people."""
        counts = {"episodes not trained on": str(self.episodes), "of these sketched": str(self.sketched)}
        return counts | {name: _text(value) for name, value in self.numbers().items()}


def _text(value: Interval | float | None) -> str:
    if value is None:
        return NOT_KNOWN
    return f"{value:.4f}" if isinstance(value, float) else str(value)


def judge(episodes: Sequence[RatedEpisode], model_id: str) -> Quality:
    """All numbers of some episodes that the model was not trained on."""
    sketched = [(e.predicted, s) for e in episodes for s in e.sketches]
    known = [(e.predicted, e.progress) for e in episodes if e.progress is not None]
    simulated = [(e.predicted, e.solved) for e in episodes if e.solved is not None]
    by_sketch, values = (_joined([pair[i] for pair in sketched], np.float32) for i in range(2))  # [F]
    clear = (values > JUDGED_BY.success_above) | (values < JUDGED_BY.failure_below)  # [F]
    predicted, solved = _joined([p for p, _ in simulated], np.float32), _joined([s for _, s in simulated], bool)
    precision, recall = precision_and_recall(predicted, solved)
    done = np.array([s[-1] for _, s in simulated], bool)  # [E]
    highest, mean, returns = (np.array([f(p) for p, _ in simulated]) for f in (np.max, np.mean, _return))  # [E]
    return Quality(
        model_id,
        len(episodes),
        sum(bool(e.sketches) for e in episodes),
        pair_accuracy(sketched, JUDGED_BY.sketch_gap),
        pair_accuracy(known, JUDGED_BY.sketch_gap),
        auc_sketch=roc_auc(by_sketch[clear], values[clear] > JUDGED_BY.success_above),
        auc_solved=roc_auc(predicted, solved),
        average_precision=average_precision(predicted, solved),
        precision=precision,
        recall=recall,
        mean_solved=_mean(predicted[solved]),
        mean_unsolved=_mean(predicted[~solved]),
        auc_episode_max=roc_auc(highest, done),
        auc_episode_mean=roc_auc(mean, done),
        return_correlation=rank_correlation(returns, np.array([_return(s) for _, s in simulated])),
        false_positive_mass=false_positive_mass(predicted, solved),
        calibration=calibration(predicted, solved),
    )


def _joined(parts: Sequence[np.ndarray], dtype: type) -> np.ndarray:
    """The frames of all episodes; none of no episodes."""
    return np.concatenate([np.zeros(0, dtype), *parts])


def _return(rewards: np.ndarray) -> float:
    return float(rewards.sum(dtype=np.float64))


def _mean(values: np.ndarray) -> float | None:
    return float(values.mean(dtype=np.float64)) if len(values) else None


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


def average_precision(scores: np.ndarray, positive: np.ndarray) -> float | None:
    """Precision at every threshold, weighted by the recall that it adds; None without a positive.

    Scores that tie share a threshold, so that their order does not matter.
    """
    if not positive.any():
        return None
    _, group = np.unique(-scores, return_inverse=True)  # [F]: 0 has the highest score
    added = np.bincount(group, positive)  # positives of each threshold, the strictest first
    precision = np.cumsum(added) / np.cumsum(np.bincount(group))
    return float((precision * added).sum() / positive.sum())


def precision_and_recall(predicted: np.ndarray, solved: np.ndarray) -> tuple[float | None, float | None]:
    """Of predictions above 0.5, which call a frame solved. None: no frame is called so, or none is solved."""
    called = predicted > ABOVE
    return _mean(solved[called]), _mean(called[solved])


def rank_correlation(one: np.ndarray, other: np.ndarray) -> float | None:
    """Spearman's correlation; None where it is not defined: fewer than two values, or all of one side the same."""
    if any(len(np.unique(side)) < 2 for side in (one, other)):
        return None
    return float(stats.spearmanr(one, other).statistic)


def false_positive_mass(predicted: np.ndarray, solved: np.ndarray) -> float | None:
    """Share of all predicted reward that falls on frames that do not solve the task; None if there is no reward."""
    total = _return(predicted)
    return _return(predicted[~solved]) / total if total > 0 else None


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
