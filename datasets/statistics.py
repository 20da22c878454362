"""Numbers about many numbers, that can be found out in parts and put together."""

import dataclasses
import hashlib
from typing import Any, Self

import numpy as np

QUANTILES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)


@dataclasses.dataclass(frozen=True, eq=False)
class Moments:
    """How many rows, and of each column the mean, the sum of squared deviations from it, and the ends."""

    count: int
    mean: np.ndarray  # float64[D]
    squares: np.ndarray  # float64[D]
    low: np.ndarray  # float64[D]
    high: np.ndarray  # float64[D]

    @classmethod
    def of(cls, rows: np.ndarray) -> Self:
        """Of numbers [N, D], N >= 1."""
        numbers = np.asarray(rows, np.float64)
        mean = numbers.mean(0)
        return cls(len(numbers), mean, np.square(numbers - mean).sum(0), numbers.min(0), numbers.max(0))

    def __add__(self, other: "Moments") -> "Moments":
        """Of both together (Chan, Golub and LeVeque 1979; for single rows it is Welford's)."""
        count = self.count + other.count
        apart = other.mean - self.mean
        return Moments(
            count,
            self.mean + apart * other.count / count,
            self.squares + other.squares + np.square(apart) * self.count * other.count / count,
            np.minimum(self.low, other.low),
            np.maximum(self.high, other.high),
        )

    @property
    def std(self) -> np.ndarray:
        """float64[D], of the population."""
        return np.sqrt(self.squares / self.count)

    def to_json(self) -> dict[str, Any]:
        """JSON values that say it to the last bit."""
        return {k: v.tolist() if isinstance(v, np.ndarray) else v for k, v in vars(self).items()}

    @classmethod
    def from_json(cls, told: dict[str, Any]) -> Self:
        """The inverse of `to_json`."""
        names = ("mean", "squares", "low", "high")
        return cls(told["count"], *(np.array(told[name], np.float64) for name in names))


def drawn(episode_id: str, count: int, share: float) -> np.ndarray:
    """Which of an episode's frames are in a sample of all frames: int[n], sorted.

    Args:
      episode_id: decides the draw, so that it is the same in whatever order, and on whatever machine.
      count: T, frames of the episode.
      share: of all frames that the sample has.
    """
    seed = int.from_bytes(hashlib.sha256(episode_id.encode()).digest()[:8], "big")
    return np.flatnonzero(np.random.default_rng(seed).random(count) < share)
