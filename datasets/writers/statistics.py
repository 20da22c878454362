"""What the numbers of a data set look like: for normalising, and for people who want to know what they have."""

import dataclasses
import functools
import json
import operator
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from datasets import files
from datasets.episode import Episode
from datasets.features import StepSpec
from datasets.statistics import QUANTILES, Moments, drawn
from datasets.store import EpisodeRow
from datasets.writers.base import Part

_SAMPLE = 20_000  # frames for quantiles: that of 1 % is then off by 0.07 points
_STATISTICS, _SAMPLED = "stats.json", "sample.npz"


@dataclasses.dataclass(frozen=True)
class StatisticsWriter:
    """`OUT/stats.json`, and `OUT/sample.npz`, a sample of frames. See `base.Writer`.

    The action and the reward of a last step mean nothing, and do not count.
    """

    spec: StepSpec
    frames: int  # of all episodes
    episodes_a_part: int | None = 64  # seconds of work

    @property
    def names(self) -> tuple[str, ...]:
        """Step fields that are vectors of numbers, or one number, sorted."""
        named = {f"observation/{k}": v for k, v in self.spec.observation.items()} | dict(self.spec.extras)
        numeric = [k for k, v in named.items() if not v.is_image and v.dtype != "str" and len(v.shape) < 2]
        return tuple(sorted([*numeric, "action", "reward"]))

    def check(self, rows: Sequence[EpisodeRow]) -> None:
        """Whatever we hold fits."""

    def write(self, out: Path, part: Part, parts: int, episodes: Iterable[Episode]) -> dict[str, Any]:
        """Moments of the part, and its share of the sample."""
        share = min(1.0, _SAMPLE / self.frames)
        moments: dict[str, Moments] = {}
        sample: dict[str, list[np.ndarray]] = {name: [] for name in self.names}
        for episode in episodes:
            fields = dict(episode.step_fields())
            chosen = drawn(episode.metadata.episode_id, episode.num_steps, share)
            for name in self.names:
                rows = fields[name].reshape(episode.num_steps, -1).astype(np.float64)  # [T, D]
                frames = chosen
                if name in ("action", "reward"):
                    rows, frames = rows[:-1], chosen[chosen < episode.num_steps - 1]
                if len(rows):
                    found = Moments.of(rows)
                    moments[name] = moments[name] + found if name in moments else found
                sample[name].append(rows[frames])
        with files.staged_file(_sample_path(out, part)) as staged, staged.open("wb") as file:
            np.savez(file, **{name: np.concatenate(taken) for name, taken in sample.items()})
        return {name: found.to_json() for name, found in moments.items()}

    def finish(self, out: Path, parts: Sequence[Part], facts: Sequence[Mapping[str, Any]]) -> None:
        """Puts the parts together, in their order."""
        sample = self._gather(out, parts)
        rows = [row for part in parts for row in part.rows]
        told: dict[str, Any] = {
            "episodes": len(rows),
            "frames": sum(row.num_steps for row in rows),
            "hours": sum(row.num_steps / row.control_rate_hz for row in rows) / 3600,
            **{
                plural: dict(Counter(getattr(row, name) or "unknown" for row in rows).most_common())
                for plural, name in {"tasks": "task_id", "verdicts": "verdict", "policies": "policy_id",
                                     "robots": "robot", "splits": "split", "types": "episode_type"}.items()
            },
            "num_steps": np.quantile([row.num_steps for row in rows], (0, *QUANTILES, 1)).tolist(),
            "quantiles": QUANTILES,
            "fields": {},
        }  # fmt: skip
        for name in self.names:
            known = [Moments.from_json(fact[name]) for fact in facts if name in fact]
            if known:
                moments = functools.reduce(operator.add, known)
                told["fields"][name] = moments.to_json() | {
                    "std": moments.std.tolist(),
                    "quantiles": np.quantile(sample[name], QUANTILES, axis=0).tolist() if len(sample[name]) else [],
                }
        with files.staged_file(out / _SAMPLED) as staged, staged.open("wb") as file:
            np.savez_compressed(file, **sample)
        files.write_atomically(out / _STATISTICS, json.dumps(told, indent=2) + "\n")
        for part in parts:
            _sample_path(out, part).unlink()

    def _gather(self, out: Path, parts: Sequence[Part]) -> dict[str, np.ndarray]:
        """name -> [n, D], in the parts' order."""
        taken: dict[str, list[np.ndarray]] = {name: [] for name in self.names}
        for part in parts:
            with np.load(_sample_path(out, part)) as arrays:
                for name in self.names:
                    taken[name].append(arrays[name])
        return {name: np.concatenate(arrays) for name, arrays in taken.items()}


def read_statistics(out: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """What `finish` wrote: the numbers, and the sample, name -> [n, D]."""
    with np.load(out / _SAMPLED) as arrays:
        return json.loads((out / _STATISTICS).read_text()), dict(arrays)


def _sample_path(out: Path, part: Part) -> Path:
    return out / f"sample-{part.number:05d}.npz"
