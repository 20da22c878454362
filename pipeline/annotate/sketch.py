"""Sketches into a store and out of it: from a simulated annotator, or as JSON lines, one sketch a line:

    {"episode_id": "7", "task_id": "lift_green", "values": [0.0, 0.1, 0.4], "user": "ada", "sequence_id": "ada-1"}

`episode_id`, `task_id` and `values` (one number in [0, 1] for each frame) must be there; the rest may be left out.
"""

import hashlib
import json
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pydantic
from pydantic.dataclasses import dataclass

from datasets import files
from datasets.catalogue import EpisodeRow
from datasets.console import track
from datasets.errors import ArmchairError
from datasets.query import Query
from datasets.rewards import RewardSequence
from datasets.store import Store
from pipeline.annotate import synthetic

_MOST_PROBLEMS = 10  # of a bad file that are named


@dataclass(frozen=True, config=pydantic.ConfigDict(extra="forbid", strict=True))
class _Line:
    episode_id: str
    task_id: str
    values: list[float]
    sequence_id: str = ""  # by default made from the line itself: importing it twice is importing it once
    user: str = "imported"
    timestamp: int = 0  # Unix seconds
    tool: str = ""
    seconds_spent: float = 0.0


def export_sketches(sketches: Iterable[RewardSequence], path: Path) -> int:
    """Writes a JSON lines file, whole or not at all; returns how many sketches are in it."""
    lines = [
        json.dumps(
            {
                "episode_id": s.episode_id, "task_id": s.task_id, "user": s.user, "sequence_id": s.sequence_id,
                "timestamp": s.timestamp, "tool": s.tool, "seconds_spent": s.seconds_spent,
                "values": [float(str(value)) for value in s.values],  # the shortest text that is the same float32
            }
        )
        for s in sketches
    ]  # fmt: skip
    files.write_atomically(path, "".join(line + "\n" for line in lines))
    return len(lines)


def read_sketches(path: Path) -> list[RewardSequence]:
    """The sketches of a JSON lines file; empty lines are skipped.

    Raises:
      ArmchairError: if there is no such file, or naming every line that is not a sketch.
    """
    return list(_numbered(path).values())


def import_sketches(store: Store, path: Path) -> int:
    """Adds the sketches of a JSON lines file to a store; returns how many. All of them or, if one is bad, none.

    Raises:
      ArmchairError: as `read_sketches`, or naming every line whose episode is unknown or has another length.
    """
    numbered = _numbered(path)
    lengths = {
        row.episode_id: row.num_steps
        for row in store.query(Query(ids=tuple({s.episode_id for s in numbered.values()})))
    }
    problems = []
    for number, sketch in numbered.items():
        steps = lengths.get(sketch.episode_id)
        if steps is None:
            problems.append(f"line {number}: no episode {sketch.episode_id!r} in {store.root}")
        elif steps != len(sketch.values):
            problems.append(
                f"line {number}: {len(sketch.values)} values for the {steps} frames of episode {sketch.episode_id!r}"
            )
    _raise(path, problems)
    for sketch in numbered.values():
        store.add_sketch(sketch)
    return len(numbered)


def simulate(
    store: Store, rows: Sequence[EpisodeRow], task_id: str, count: int, config: synthetic.AnnotatorConfig
) -> list[RewardSequence]:
    """Chooses some of the episodes, sketches them and stores the sketches. Doing it again changes nothing.

    Raises:
      ArmchairError: if there are no episodes, or as `synthetic.sketch`; then nothing is stored.
    """
    if not rows:
        raise ArmchairError(f"there is no episode to sketch for {task_id!r} in {store.root}: widen the query")
    chosen = synthetic.choose_episodes(rows, count, config.seed)
    episodes = track(store.read_many(chosen), "sketching", len(chosen))
    sketches = [synthetic.sketch(episode, task_id, config) for episode in episodes]
    for sequence in sketches:
        store.add_sketch(sequence)
    return sketches


def _numbered(path: Path) -> dict[int, RewardSequence]:
    """Line number -> sketch."""
    if not path.is_file():
        raise ArmchairError(f"{path} is not there: give a JSON lines file of sketches")
    adapter = pydantic.TypeAdapter(_Line)
    sketches, problems = {}, []
    for number, text in enumerate(path.read_text().split("\n"), start=1):
        if not text.strip():
            continue
        try:
            line = adapter.validate_json(text)
            sketches[number] = RewardSequence(
                line.episode_id, line.task_id, np.array(line.values, np.float32),
                line.sequence_id or f"imported-{hashlib.sha256(text.strip().encode()).hexdigest()[:8]}",
                user=line.user, timestamp=line.timestamp, tool=line.tool, seconds_spent=line.seconds_spent,
            )  # fmt: skip
        except pydantic.ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"]))
            problems.append(f"line {number}: {f'{where}: ' if where else ''}{first['msg']}")
        except ArmchairError as error:
            problems.append(f"line {number}: {error}")
    _raise(path, problems)
    return sketches


def _raise(path: Path, problems: list[str]) -> None:
    if problems:
        more = f"; and {len(problems) - _MOST_PROBLEMS} more" if len(problems) > _MOST_PROBLEMS else ""
        raise ArmchairError(
            f"{path} was not imported, mend these lines first: {'; '.join(problems[:_MOST_PROBLEMS])}{more}"
        )
