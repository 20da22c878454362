"""What a comparison of reward models says in numbers: by phase of the task, by episode, by frame. Pure functions."""

import dataclasses
import itertools
from collections.abc import Sequence

import numpy as np

from pipeline.reward_learning.quality import ABOVE, JUDGED_BY, Interval, Quality, RatedEpisode

PHASES = ("not begun", "under way", "past half", "nearly", "solved")
"""How far the task has got in a frame; the last one is the only one that a reward should call solved."""
PHASES_BEGIN = (0.0, JUDGED_BY.failure_below, 0.5, JUDGED_BY.success_above)
"""Where the phases before the last begin, in true progress or else in the mean sketch. Our choice."""


@dataclasses.dataclass(frozen=True)
class Phase:
    """The frames of one phase of the task, and how many of them a model calls solved."""

    name: str
    frames: int
    above: int  # predicted above 0.5


@dataclasses.dataclass(frozen=True)
class FalsePositive:
    """The unsolved frame that a model rates highest in an episode."""

    episode_id: str
    frame: int
    predicted: float


@dataclasses.dataclass(frozen=True)
class Contender:
    """One of the models, and what came out for it."""

    name: str  # by which a reader tells it from the others
    folder: str
    quality: Quality
    phases: tuple[Phase, ...]  # one for each of PHASES
    false_positives: tuple[FalsePositive, ...]  # the highest predictions first


@dataclasses.dataclass(frozen=True)
class Disagreement:
    """How far models are apart over an episode: the mean over its frames and over pairs of models."""

    episode_id: str
    difference: float


@dataclasses.dataclass(frozen=True)
class Comparison:
    """Everything that the comparison says in numbers."""

    task_id: str
    episodes: tuple[str, ...]  # ids, sketched ones first
    models: tuple[Contender, ...]
    disagreements: tuple[Disagreement, ...]  # of all episodes, the largest first

    def table(self) -> list[tuple[str, ...]]:
        """The metrics that are known of any model: rows of a name and each model's number, and rows of intervals."""
        numbers = [model.quality.numbers() for model in self.models]
        rows: list[tuple[str, ...]] = []
        for name in numbers[0]:
            values = [each[name] for each in numbers]
            if any(value is not None for value in values):
                rows.append((name, *map(_number, values)))
            if any(isinstance(value, Interval) for value in values):
                rows.append(("... 95 % interval", *map(_bounds, values)))
        return rows


def reference(episode: RatedEpisode) -> np.ndarray | None:
    """How far the task has got in each frame, float[T]: true progress, or else the mean sketch, or None."""
    if episode.progress is not None:
        return episode.progress
    return np.mean(episode.sketches, axis=0) if episode.sketches else None


def solved(episode: RatedEpisode) -> np.ndarray | None:
    """Which frames solve the task, bool[T]: as the simulator says, else where `reference` is above tau_s, or None."""
    if episode.solved is not None:
        return episode.solved
    values = reference(episode)
    return None if values is None else values > JUDGED_BY.success_above


def phases(episodes: Sequence[RatedEpisode]) -> tuple[Phase, ...]:
    """Frames, and those of them that are predicted above 0.5, by phase; episodes that tell nothing are left out."""
    frames, above = np.zeros((2, len(PHASES)), int)
    for episode in episodes:
        values, is_solved = reference(episode), solved(episode)
        if values is None or is_solved is None:
            continue
        phase = np.where(is_solved, len(PHASES) - 1, np.digitize(values, PHASES_BEGIN[1:]))  # [T]
        frames += np.bincount(phase, minlength=len(PHASES))
        above += np.bincount(phase[episode.predicted > ABOVE], minlength=len(PHASES))
    return tuple(Phase(*counts) for counts in zip(PHASES, frames.tolist(), above.tolist(), strict=True))


def false_positives(episodes: Sequence[RatedEpisode], count: int) -> tuple[FalsePositive, ...]:
    """The unsolved frames with the highest predictions, the first of each episode's, the highest first."""
    found = []
    for episode in episodes:
        is_solved = solved(episode)
        if is_solved is not None and not is_solved.all():
            frame = int(np.argmax(np.where(is_solved, -np.inf, episode.predicted)))
            found.append(FalsePositive(episode.episode_id, frame, float(episode.predicted[frame])))
    return tuple(sorted(found, key=lambda each: -each.predicted)[:count])


def disagreements(models: Sequence[Sequence[RatedEpisode]]) -> tuple[Disagreement, ...]:
    """Episodes by how far the models' predictions are apart, the farthest first.

    Args:
      models: for each model the same episodes in the same order.
    """
    found = []
    for rated in zip(*models, strict=True):
        pairs = itertools.combinations([each.predicted for each in rated], 2)
        difference = float(np.mean([np.abs(one - other).mean() for one, other in pairs]))
        found.append(Disagreement(rated[0].episode_id, difference))
    return tuple(sorted(found, key=lambda each: -each.difference))


def _number(value: Interval | float | None) -> str:
    if value is None:
        return "–"
    return f"{value.value if isinstance(value, Interval) else value:.3f}"


def _bounds(value: Interval | float | None) -> str:
    return f"{value.low:.3f} to {value.high:.3f}" if isinstance(value, Interval) else "–"
