"""What LeRobot says of each feature, of an episode and of a whole dataset: ends, mean, deviation and quantiles."""

import dataclasses
from collections.abc import Mapping
from typing import Any, Self

import numpy as np
import pyarrow as pa

from datasets.statistics import Moments

_QUANTILES = {"q01": 0.01, "q10": 0.1, "q50": 0.5, "q90": 0.9, "q99": 0.99}
_BRIGHTNESS = np.arange(256) / 255  # LeRobot's policies get pictures in [0, 1]


@dataclasses.dataclass(frozen=True, eq=False)
class Levels:
    """How often each level of each colour is in some frames: all that there is to know, and small."""

    frames: int
    counts: np.ndarray  # int64[3, 256]

    @classmethod
    def of(cls, frames: np.ndarray) -> Self:
        """Of pictures uint8[N, H, W, 3]."""
        return cls(len(frames), np.stack([np.bincount(frames[..., c].ravel(), minlength=256) for c in range(3)]))

    def __add__(self, other: "Levels") -> "Levels":
        """Of both together."""
        return Levels(self.frames + other.frames, self.counts + other.counts)

    def to_json(self) -> dict[str, Any]:
        """JSON values."""
        return {"frames": self.frames, "counts": self.counts.tolist()}

    @classmethod
    def from_json(cls, told: Mapping[str, Any]) -> Self:
        """The inverse of `to_json`."""
        return cls(told["frames"], np.array(told["counts"], np.int64))

    def describe(self) -> dict[str, Any]:
        """As LeRobot does, [3, 1, 1] each."""
        shares = self.counts / self.counts.sum(axis=1, keepdims=True)  # [3, 256]
        mean = shares @ _BRIGHTNESS  # [3]
        std = np.sqrt((shares * np.square(_BRIGHTNESS - mean[:, None])).sum(axis=1))  # [3]
        told = {"min": self._quantile(0), "max": self._quantile(1), "mean": mean, "std": std}
        told |= {name: self._quantile(q) for name, q in _QUANTILES.items()}
        return {**{k: v.reshape(3, 1, 1).tolist() for k, v in told.items()}, "count": [self.frames]}

    def _quantile(self, q: float) -> np.ndarray:
        """[3]: the lowest level that so many pixels do not exceed."""
        up_to = self.counts.cumsum(axis=1)  # [3, 256]
        return _BRIGHTNESS[(up_to >= np.maximum(1, q * up_to[:, -1:])).argmax(axis=1)]


class Tally:
    """Gathers what there is of an episode, or of all."""

    def __init__(self, declared: Mapping[str, Mapping[str, Any]]):
        """Of features as `meta/info.json` declares them."""
        self._declared = declared
        self._moments: dict[str, Moments] = {}
        self._sample: dict[str, list[np.ndarray]] = {}
        self._levels: dict[str, Levels] = {}

    def add(self, table: pa.Table, sample: np.ndarray | slice = slice(None)) -> None:
        """Takes in the numbers of rows, of which a sample decides the quantiles."""
        for name in table.column_names:
            if self._declared[name]["dtype"] == "string":
                continue
            column = table[name].combine_chunks()
            while pa.types.is_list(column.type):
                column = column.flatten()
            rows = column.to_numpy(zero_copy_only=False).reshape(len(table), -1).astype(np.float64)  # [N, D]
            found = Moments.of(rows)
            self._moments[name] = self._moments[name] + found if name in self._moments else found
            self._sample.setdefault(name, []).append(rows[sample])

    def add_pictures(self, name: str, levels: Levels) -> None:
        """Takes in the frames of a camera."""
        self._levels[name] = self._levels[name] + levels if name in self._levels else levels

    def describe(self) -> dict[str, dict[str, Any]]:
        """Feature -> statistic -> numbers in the feature's shape."""
        told = {}
        for name, moments in self._moments.items():
            numbers = {"min": moments.low, "max": moments.high, "mean": moments.mean, "std": moments.std}
            quantiles = np.quantile(np.concatenate(self._sample[name]), list(_QUANTILES.values()), axis=0)  # [5, D]
            numbers |= dict(zip(_QUANTILES, quantiles, strict=True))
            shape = self._declared[name]["shape"]
            told[name] = {**{k: v.reshape(shape).tolist() for k, v in numbers.items()}, "count": [moments.count]}
        return told | {name: levels.describe() for name, levels in self._levels.items()}
