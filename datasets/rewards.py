"""A reward sequence: one number a frame, drawn by a person or predicted by a model."""

import dataclasses

import numpy as np

from datasets.errors import ArmchairError, LengthError
from datasets.schema import RewardType


@dataclasses.dataclass(frozen=True, eq=False)
class RewardSequence:
    """float32[num_steps] in [0, 1] over the frames of one episode: `values[t]` rates `o_t` (see `datasets.schema`).

    Append-only: correcting a sketch makes a new sequence; the newest (by `timestamp`, then id) counts.
    """

    episode_id: str
    task_id: str  # the task that is rated; may differ from the task that the episode was recorded for
    values: np.ndarray  # float32[num_steps]
    sequence_id: str  # unique within the episode
    type: str = RewardType.SKETCH
    user: str = ""  # the annotator; empty for a model
    model_id: str = ""  # the reward model; empty for a person
    timestamp: int = 0  # Unix seconds
    tool: str = ""  # what drew it, with its version
    seconds_spent: float = 0.0

    def __post_init__(self) -> None:
        """Raises LengthError unless the values are a vector, ArmchairError unless all are finite and in [0, 1]."""
        values = np.asarray(self.values, np.float32)
        where = f"reward sequence {self.sequence_id!r} of episode {self.episode_id!r}"
        if values.ndim != 1 or not len(values):
            raise LengthError(f"{where} has shape {values.shape}: give one number per frame")
        bad = np.flatnonzero(~(np.isfinite(values) & (values >= 0) & (values <= 1)))
        if len(bad):
            raise ArmchairError(
                f"{where} has {len(bad)} values outside [0, 1], the first {values[bad[0]]} at frame {bad[0]}: redraw it"
            )
        object.__setattr__(self, "values", values)
