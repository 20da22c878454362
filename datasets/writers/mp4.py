"""A video an episode: its cameras side by side, and under them a curve for each sketch and each model."""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from datasets.episode import Episode
from datasets.errors import ArmchairError
from datasets.features import StepSpec
from datasets.store import EpisodeRow, Store
from datasets.video import episode_to_mp4, stored_curves
from datasets.writers.base import Part


@dataclasses.dataclass(frozen=True)
class Mp4Writer:
    """`OUT/EPISODE.mp4`. See `base.Writer`. Numbers other than rewards are lost, and pictures are compressed."""

    store: Path  # whose sketches and predictions are drawn
    spec: StepSpec
    episodes_a_part: int | None = 1

    def check(self, rows: Sequence[EpisodeRow]) -> None:
        """Raises ArmchairError if there are no cameras."""
        if not any(spec.is_image for spec in self.spec.observation.values()):
            raise ArmchairError("these episodes have no pictures: choose others, or another format")

    def write(self, out: Path, part: Part, parts: int, episodes: Iterable[Episode]) -> dict[str, Any]:
        """One video."""
        store = Store.open(self.store)
        for episode in episodes:
            name = episode.metadata.episode_id
            episode_to_mp4(episode, out / f"{name}.mp4", curves=stored_curves(store, name))
        return {}

    def finish(self, out: Path, parts: Sequence[Part], facts: Sequence[Mapping[str, Any]]) -> None:
        """Nothing more."""
