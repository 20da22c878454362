"""What goes over the wire: the bodies of requests and answers, as the OpenAPI description tells them."""

from collections.abc import Set
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from datasets.catalogue import EpisodeRow


def _plain(text: str) -> str:
    if "\0" in text:  # PostgreSQL keeps no such text
        raise ValueError("must not contain the character NUL")
    return text


Text = Annotated[str, Field(max_length=2000), AfterValidator(_plain)]
"""What a person types; as long as a note may be."""
Rating = Annotated[float, Field(strict=True, ge=0, le=1, allow_inf_nan=False)]


class _Request(BaseModel):
    model_config = ConfigDict(extra="forbid")


class SignIn(_Request):
    """The token of a link."""

    token: Annotated[str, Field(max_length=200)]


class Thresholds(BaseModel):
    """Where a sketch says success and failure."""

    success: float
    failure: float


class SessionAnswer(BaseModel):
    """Who is signed in, and what there is to do."""

    user: str
    task_id: str
    thresholds: Thresholds
    lease_seconds: float
    unusable_reasons: list[str]
    version: str


class EpisodeSummary(BaseModel):
    """An episode in a list."""

    episode_id: str
    task_id: str
    dataset: str
    policy_id: str
    episode_type: str
    robot: str
    verdict: str
    tags: list[str]
    source: str
    timestamp: int
    num_steps: int
    control_rate_hz: float
    sketched_by: list[str]
    unusable: bool


class EpisodeList(BaseModel):
    """Some of the episodes that match."""

    total: int
    episodes: list[EpisodeSummary]


class CameraAnswer(BaseModel):
    """The film of one camera; frame t has `byte_lengths[t]` bytes of it."""

    name: str
    width: int
    height: int
    mime: str
    byte_lengths: list[int]


class SketchAnswer(BaseModel):
    """One version of one person's sketch. `values[t]` rates frame t."""

    sequence_id: str
    user: str
    values: list[float]
    timestamp: int
    mine: bool
    latest: bool


class NoteAnswer(BaseModel):
    """What somebody noted about an episode."""

    kind: str
    user: str
    text: str
    timestamp: int


class EpisodeDetail(EpisodeSummary):
    """An episode with everything that a person may see while sketching: never a model's predictions."""

    cameras: list[CameraAnswer]
    sketches: list[SketchAnswer]
    notes: list[NoteAnswer]


class QueueItem(EpisodeSummary):
    """An episode that waits."""

    why: str


class Sketched(BaseModel):
    """How many episodes a person has sketched."""

    user: str
    sketched: int


class InProgress(BaseModel):
    """An episode that somebody has open."""

    user: str
    episode_id: str


class QueueAnswer(BaseModel):
    """How far the task is, and what comes next for whoever asks."""

    total: int
    sketched: int
    mine: int
    left: int
    second_opinions_left: int
    by: list[Sketched]
    upcoming: list[QueueItem]
    in_progress: list[InProgress]


class LeaseRequest(_Request):
    """Which episode to reserve; none: the next of the queue. `anyway`: though somebody else has it open."""

    episode_id: Annotated[str, Field(max_length=200)] | None = None
    anyway: bool = False


class LeaseAnswer(BaseModel):
    """An episode is reserved for so many seconds."""

    lease_id: str
    episode_id: str
    user: str
    seconds: float


class SketchRequest(_Request):
    """A finished sketch of the episode that the lease reserves: one value in [0, 1] for each frame."""

    lease_id: Annotated[str, Field(max_length=200)]
    values: list[Rating]
    seconds_spent: Annotated[float, Field(strict=True, ge=0, allow_inf_nan=False)] = 0.0
    comment: Text = ""


class SketchSaved(BaseModel):
    """The sketch is on the disk."""

    sequence_id: str
    episode_id: str
    user: str
    timestamp: int


class NoteRequest(_Request):
    """Something to note about an episode. The text: a verdict, the reason why it is unusable, or a comment."""

    episode_id: Annotated[str, Field(max_length=200)]
    kind: Literal["verdict", "unusable", "skip", "comment"]  # a NoteKind; one deletes at the command line only
    text: Text = ""


class NoteSaved(NoteAnswer):
    """The note is on the disk."""

    episode_id: str
    note_id: str


def summary(row: EpisodeRow, sketched_by: Set[str], unusable: bool) -> EpisodeSummary:
    """An episode's row as an answer."""
    return EpisodeSummary(
        episode_id=row.episode_id, task_id=row.task_id, dataset=row.dataset, policy_id=row.policy_id,
        episode_type=row.episode_type, robot=row.robot, verdict=row.verdict, tags=[t for t in row.tags.split(",") if t],
        source=row.source, timestamp=row.timestamp, num_steps=row.num_steps, control_rate_hz=row.control_rate_hz,
        sketched_by=sorted(sketched_by), unusable=unusable,
    )  # fmt: skip
