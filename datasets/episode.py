"""An episode in memory: metadata and steps as arrays with a leading time axis."""

import dataclasses
import time
from collections.abc import Iterator, Mapping

import numpy as np

from datasets import schema


@dataclasses.dataclass(frozen=True)
class EpisodeMetadata:
    """What is known of an episode besides its steps. Travels inside the shard, so that an index can be rebuilt."""

    episode_id: str  # text, unique for ever (Sketchy's decimal ids exceed 64 bits)
    task_id: str = ""  # the task that the acting policy was for
    episode_type: str = schema.EpisodeType.AGENT
    policy_id: str = ""  # who acted: unique per policy, for provenance
    robot: str = ""  # e.g. "sim_sawyer", "widowx"
    verdict: str = schema.Verdict.UNKNOWN
    seed: int = -1  # of the environment and the policy; -1: not known
    timestamp: int = 0  # Unix seconds at the first step
    control_rate_hz: float = schema.CONTROL_RATE_HZ
    operator: str = ""  # the person in charge
    object_set: str = ""
    initial_condition: str = ""
    software_version: str = ""
    source: str = ""  # where a foreign log came from
    repairs: str = ""  # what ingest had to mend, one sentence each
    tags: str = ""  # comma-separated

    @staticmethod
    def now() -> int:
        """The current Unix time in whole seconds."""
        return int(time.time())


@dataclasses.dataclass(frozen=True, eq=False)
class Episode:
    """One episode of T steps, aligned as `datasets.schema` says.

    Images are kept as they are stored: an object array of T encoded byte strings (JPEG or PNG), which
    `datasets.video.decode_frames` turns into uint8[T, H, W, C].
    """

    metadata: EpisodeMetadata
    observation: Mapping[str, np.ndarray]  # name -> [T, ...]; an image is object[T] of encoded bytes
    action: np.ndarray  # float32[T, A]; the last one is not valid
    reward: np.ndarray  # float32[T]; of the transition that starts at t
    discount: np.ndarray  # float32[T]
    is_first: np.ndarray  # bool[T]
    is_last: np.ndarray  # bool[T]
    is_terminal: np.ndarray  # bool[T]
    extras: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)  # further step fields, [T, ...]

    @property
    def num_steps(self) -> int:
        """T: the number of frames, that is, of observations."""
        return len(self.is_first)

    @property
    def image_keys(self) -> tuple[str, ...]:
        """Names of the observations that are pictures, sorted."""
        return tuple(sorted(k for k, v in self.observation.items() if v.dtype == object and isinstance(v[0], bytes)))

    def step_fields(self) -> Iterator[tuple[str, np.ndarray]]:
        """Every array of the episode with its flat RLDS name, sorted: `action`, `observation/<name>`, ..."""
        fields = {
            "action": self.action, "reward": self.reward, "discount": self.discount,
            "is_first": self.is_first, "is_last": self.is_last, "is_terminal": self.is_terminal,
        }  # fmt: skip
        fields |= {f"observation/{k}": v for k, v in self.observation.items()}
        fields |= dict(self.extras)
        yield from sorted(fields.items())
