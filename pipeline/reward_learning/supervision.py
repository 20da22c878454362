"""What there is to learn a reward from: a few episodes that people annotated or demonstrated, and many others."""

import dataclasses
import hashlib
from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import Any

import numpy as np

from datasets import saved_queries
from datasets.catalogue import EpisodeRow
from datasets.errors import ArmchairError
from datasets.rewards import RewardSequence
from datasets.store import Store
from pipeline.reward_learning.config import RewardConfig, Selection
from pipeline.reward_learning.data import Frames, load_frames

_FEWEST_TO_SPLIT = 5  # episodes that teach: of fewer, each one that is held out is missed more than it helps


@dataclasses.dataclass(frozen=True, eq=False)
class Supervision:
    """Which episodes teach, by sketches or by being demonstrations, and of which nothing is known."""

    frames: Frames  # of all of them
    sketches: tuple[RewardSequence, ...]  # several people may sketch one episode; none for methods of demonstrations
    demonstrations: tuple[str, ...]  # episode ids; none for methods of sketches
    unlabelled: tuple[str, ...]  # episode ids
    # Field of `Selection` -> what was asked and found, see `saved_queries.describe`; of those that the method looks at.
    queries: Mapping[str, Mapping[str, int | str]] = dataclasses.field(default_factory=dict)

    @cached_property
    def teaching(self) -> tuple[str, ...]:
        """Ids of the episodes that teach (D_E in the papers), sorted."""
        return tuple(sorted({*self.demonstrations, *(sketch.episode_id for sketch in self.sketches)}))

    @property
    def episode_ids(self) -> tuple[str, ...]:
        """Every episode that is looked at, sorted."""
        return tuple(sorted({*self.teaching, *self.unlabelled}))

    @property
    def fingerprint(self) -> str:
        """16 hex digits that change with any sketch, and with which episodes teach or are unlabelled."""
        digest = hashlib.sha256()
        for sketch in self.sketches:
            digest.update(f"{sketch.episode_id}/{sketch.sequence_id}".encode() + sketch.values.tobytes())
        digest.update(repr((self.demonstrations, self.unlabelled)).encode())
        return digest.hexdigest()[:16]

    def __str__(self) -> str:
        taught = f"{len(self.sketches)} sketches of {len(self.teaching)} episodes" if self.sketches else ""
        shown = f"{len(self.demonstrations)} demonstrations" if self.demonstrations else ""
        rest = f"{len(self.unlabelled)} unlabelled episodes" if self.unlabelled else ""
        return ", ".join(part for part in (taught, shown, rest) if part)

    def mean_sketches(self) -> dict[str, np.ndarray]:
        """Episode id -> float32[T], the mean over annotators."""
        drawn: dict[str, list[np.ndarray]] = {}
        for sketch in self.sketches:
            drawn.setdefault(sketch.episode_id, []).append(sketch.values)
        return {episode_id: np.mean(values, axis=0, dtype=np.float32) for episode_id, values in drawn.items()}

    def only(self, unlabelled: Iterable[str]) -> "Supervision":
        """With these unlabelled episodes and no others."""
        return dataclasses.replace(self, unlabelled=tuple(unlabelled))

    def split(self, share: float, seed: int) -> "tuple[Supervision, Supervision | None]":
        """What to train on, and what to hold out: the same share of the episodes that teach and of the unlabelled.

        No episode is in both. None is held out if the share is 0, or if so few episodes teach that each counts.
        """
        if not share or len(self.teaching) < _FEWEST_TO_SPLIT:
            return self, None
        kept = {*_choose(self.teaching, share, seed), *_choose(self.unlabelled, share, seed)}

        def part(held_out: bool) -> Supervision:
            return dataclasses.replace(
                self,
                sketches=tuple(s for s in self.sketches if (s.episode_id in kept) == held_out),
                demonstrations=tuple(i for i in self.demonstrations if (i in kept) == held_out),
                unlabelled=tuple(i for i in self.unlabelled if (i in kept) == held_out),
            )

        return part(False), part(True)


def load_supervision(
    store: Store, task_id: str, config: RewardConfig, selection: Selection | None = None
) -> Supervision:
    """Reads what a method learns from. Only the store's training split: no frame of a test episode is ever seen.

    Raises:
      ArmchairError: if nothing teaches, or a query selects nothing.
      SpecMismatchError: if a camera is missing, or the episodes differ in their observations.
    """
    selection = selection or Selection()
    queries = {}

    def find(field: str, require: bool, **conditions: Any) -> dict[str, EpisodeRow]:
        asked = getattr(selection, field)
        query = dataclasses.replace(store.parse(asked), **conditions, split="train")
        found = {row.episode_id: row for row in store.query(query, require)}
        queries[field] = saved_queries.describe(asked, query, found)
        return found

    sketches: tuple[RewardSequence, ...] = ()
    if config.from_demonstrations:
        if not selection.demonstrations:
            raise ArmchairError(
                f"{config.method} learns from demonstrations: say which episodes these are, for example "
                "--demonstrations 'verdict=success episode_type=EPISODE_ROBOT_TELEOPERATION'"
            )
        teaching = find("demonstrations", require=True)
    else:
        teaching = find("annotated", require=False, has_sketch=task_id)
        if not teaching:
            raise ArmchairError(
                f"{store.root} has no sketches for the task {task_id!r} in its training split: "
                "draw some, or `armchair sketch import` or `simulate` them"
            )
        sketches = tuple(store.sketches(task_id, sorted(teaching)))
    others: dict[str, EpisodeRow] = {}
    if config.uses_unlabelled:
        others = {i: row for i, row in find("unlabelled", require=True).items() if i not in teaching}
        if not others:
            raise ArmchairError(
                f"{config.method} wants unlabelled episodes, but every selected one teaches: ingest or select more"
            )
    frames = load_frames(store, list((teaching | others).values()), config)
    shown = tuple(sorted(teaching)) if config.from_demonstrations else ()
    return Supervision(frames, sketches, shown, tuple(sorted(others)), queries)


def _choose(episode_ids: Iterable[str], share: float, seed: int) -> list[str]:
    """A share of the ids, at random; at least one of one or more."""

    def shuffled(episode_id: str) -> bytes:
        return hashlib.sha256(f"held out/{seed}/{episode_id}".encode()).digest()

    ids = sorted(episode_ids, key=shuffled)
    return ids[: max(1, round(share * len(ids)))] if ids else []
