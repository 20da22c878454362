"""Where a reward model and people differ: which episodes to look at next.

- *Disagreement*: 1 minus the order agreement (`agreement.order_agreement`) of sketch and prediction; for several
  annotators the mean. 0: same order, 0.5: unrelated. None: nobody sketched it, or nothing in it is separated.
- *Delusion*: the highest predicted value of an episode whose verdict is failure; None for all others. *Highest* means
  after a running median over 3 frames, so that one frame's spike is not enough. A high one is either a wrong verdict or
  a reward that a policy has learnt to exploit (9 of the paper's workflow: sketch those episodes, train again).
"""

import dataclasses
import enum
import threading
from collections.abc import Iterable, Mapping

import numpy as np

from datasets.errors import ArmchairError
from datasets.notes import NoteKind
from datasets.query import Query
from datasets.schema import RewardType, Verdict
from datasets.store import Store
from pipeline.annotate.agreement import mean, order_agreement


class Order(enum.StrEnum):
    """What comes first in a list of episodes; those that have no such number come last, the highest predicted first."""

    DISAGREEMENT = "disagreement"
    DELUSION = "delusion"


class NotRatedError(ArmchairError):
    """A reward model that is not there, or that has not rated an episode."""


@dataclasses.dataclass(frozen=True)
class Score:
    """How one episode looks to a model, and how that compares with what people say."""

    episode_id: str
    disagreement: float | None
    delusion: float | None
    highest: float  # predicted, see the module's docstring
    last: float  # predicted of the last frame


@dataclasses.dataclass(frozen=True)
class ModelCount:
    """A reward model for the task, and how many episodes it has rated."""

    model_id: str
    task_id: str
    episodes: int


def highest(values: np.ndarray) -> float:
    """The highest of a prediction float[T] after a running median over 3 frames; of fewer frames, their median."""
    if len(values) < 3:
        return float(np.median(values))
    a, b, c = values[:-2], values[1:-1], values[2:]
    return float(np.max(np.maximum(np.minimum(a, b), np.minimum(np.maximum(a, b), c))))


def disagreement(sketches: Iterable[np.ndarray], predicted: np.ndarray) -> float | None:
    """Mean over annotators of 1 minus the order agreement with a prediction, float[T] each; None if none tells."""
    share = mean(order_agreement(sketch, predicted) for sketch in sketches)
    return None if share is None else 1 - share


def in_order(scores: Iterable[Score], order: Order) -> list[Score]:
    """The scores, the most telling first; equal ones by episode id."""

    def key(score: Score) -> tuple[bool, float, float, str]:
        value = score.disagreement if order == Order.DISAGREEMENT else score.delusion
        return value is None, -(value or 0.0), -score.highest, score.episode_id

    return sorted(scores, key=key)


class Reviewer:
    """The scores of a store's episodes for one task, kept until the store changes. Used by many threads at once.

    The store only ever grows, so equal counts mean an equal store, and what was compared once need not be again.
    """

    def __init__(self, store: Store, task_id: str):
        """Reads nothing yet."""
        self._store = store
        self._task_id = task_id
        self._lock = threading.Lock()
        self._model: str | None = None  # the one whose predictions are kept: people review one at a time
        self._predicted: dict[str, np.ndarray] = {}  # episode id -> float32[T]
        self._highest: dict[str, float] = {}
        self._compared: dict[str, tuple[tuple[str, ...], float | None]] = {}  # episode id -> sketches, disagreement
        self._judged: list[Score] = []
        self._ordered: dict[Order, list[Score]] = {}
        self._revision: tuple[int, ...] = ()

    def models(self) -> list[ModelCount]:
        """The reward models that have rated episodes for the task, by id."""
        return [
            ModelCount(count.model_id, count.task_id, count.episodes)
            for count in self._store.rewards()
            if count.type == RewardType.PREDICTION and count.task_id == self._task_id and count.model_id is not None
        ]

    def scores(self, model_id: str, order: Order) -> list[Score]:
        """Every episode that a model has rated, the most telling first.

        Raises:
          NotRatedError: if the model has rated nothing for the task.
        """
        with self._lock:
            self._refresh(model_id)
            if order not in self._ordered:
                self._judged = self._judged or self._judge()
                self._ordered[order] = in_order(self._judged, order)
            return self._ordered[order]

    def prediction(self, model_id: str, episode_id: str) -> np.ndarray:
        """A model's prediction for an episode, float32[T].

        Raises:
          NotRatedError: if the model has not rated the episode for the task.
        """
        with self._lock:
            self._refresh(model_id)
            values = self._predicted.get(episode_id)
        if values is None:
            raise NotRatedError(
                f"reward model {model_id!r} has not rated episode {episode_id!r}: run `armchair annotate` with it"
            )
        return values

    def _refresh(self, model_id: str) -> None:
        """Forgets what no longer holds, and reads the predictions that are new."""
        revision = self._store.revision()
        if model_id == self._model and revision == self._revision:
            return
        if model_id not in {model.model_id for model in self.models()}:
            raise NotRatedError(
                f"there is no reward model {model_id!r} for {self._task_id!r}: run `armchair annotate` first"
            )
        if model_id != self._model:
            self._model, self._predicted, self._highest, self._compared = model_id, {}, {}, {}
        if self._predicted.keys() != self._store.predicted_ids(model_id):
            # clipped: a model that has diverged predicts NaN, which is no JSON and can't be drawn
            predicted = self._store.predictions(model_id).items()
            self._predicted = {i: np.clip(np.nan_to_num(values), 0, 1) for i, values in predicted}
            self._highest = {i: highest(values) for i, values in self._predicted.items()}
        self._judged, self._ordered = [], {}
        self._revision = revision

    def _judge(self) -> list[Score]:
        sketches: dict[str, dict[str, np.ndarray]] = {}  # episode id -> sketch id -> float32[T]
        for sketch in self._store.sketches(self._task_id):
            sketches.setdefault(sketch.episode_id, {})[sketch.sequence_id] = sketch.values
        failed = self._failed()
        return [
            Score(
                episode_id,
                self._compare(episode_id, sketches.get(episode_id, {})),
                self._highest[episode_id] if episode_id in failed else None,
                self._highest[episode_id],
                float(values[-1]),
            )
            for episode_id, values in self._predicted.items()
        ]

    def _failed(self) -> set[str]:
        """Episodes that failed at the task: recorded for it and judged so, or recorded for another and looked at."""
        failed = {row.episode_id for row in self._store.query(Query(task_id=self._task_id, verdict=Verdict.FAILURE))}
        newest = {note.episode_id: note.text for note in self._store.notes(self._task_id, kind=NoteKind.VERDICT)}
        judged = {episode_id for episode_id, verdict in newest.items() if verdict == Verdict.FAILURE}
        return (failed - newest.keys()) | judged

    def _compare(self, episode_id: str, sketches: Mapping[str, np.ndarray]) -> float | None:
        """The disagreement over one episode, computed again only if its sketches have changed."""
        if not sketches:
            return None
        drawn = tuple(sketches)
        known = self._compared.get(episode_id)
        if known is None or known[0] != drawn:
            known = drawn, disagreement(sketches.values(), self._predicted[episode_id])
            self._compared[episode_id] = known
        return known[1]
