"""What every writer of a foreign format has in common.

An export is a folder of *parts*, files that do not depend on each other, and of a few files that are written when all
parts are there. So parts can be written by many processes, and a job that was stopped goes on with those that lack.
"""

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from datasets.episode import Episode
from datasets.errors import ArmchairError
from datasets.features import StepSpec
from datasets.store import EpisodeRow, Store


@dataclasses.dataclass(frozen=True)
class Part:
    """Some episodes that go into a file, or a few files, together."""

    number: int  # from 0
    first_episode: int  # numbers in the whole export, from 0
    first_frame: int
    rows: tuple[EpisodeRow, ...]


class Writer(Protocol):
    """A format, for episodes of one spec. Picklable: workers get it whole, and a part at a time."""

    @property
    def episodes_a_part(self) -> int | None:
        """How many episodes go into a part; None: all of them."""

    def check(self, rows: Sequence[EpisodeRow]) -> None:
        """Raises ArmchairError, before anything is written, if the format cannot hold such episodes."""

    def write(self, out: Path, part: Part, parts: int, episodes: Iterable[Episode]) -> dict[str, Any]:
        """Writes a part, whole or not at all.

        Args:
          out: folder of the export.
          part: which one.
          parts: how many there are.
          episodes: those of its rows, in order, with the rewards that they are exported with.

        Returns:
          JSON values that `finish` wants to know.
        """

    def finish(self, out: Path, parts: Sequence[Part], facts: Sequence[Mapping[str, Any]]) -> None:
        """Writes what describes the whole, when all parts are there; `facts` are what `write` returned of each."""


def parts_of(rows: Sequence[EpisodeRow], episodes_a_part: int | None) -> list[Part]:
    """Rows, in order, as parts."""
    size = episodes_a_part or max(1, len(rows))
    parts, frames = [], 0
    for number, begin in enumerate(range(0, len(rows), size)):
        chosen = tuple(rows[begin : begin + size])
        parts.append(Part(number, begin, frames, chosen))
        frames += sum(row.num_steps for row in chosen)
    return parts


def spec_of(store: Store, rows: Iterable[EpisodeRow]) -> StepSpec:
    """The features that all these episodes have.

    Raises:
      ArmchairError: if they come from datasets of different ones.
    """
    names = sorted({row.dataset for row in rows})
    specs = {name: store.spec(name) for name in names}
    first = specs[names[0]]
    for name, spec in specs.items():
        if spec != first:
            raise ArmchairError(
                f"datasets {names[0]} and {name} have different observations or actions, which one export cannot hold: "
                f"export them one by one, with dataset={name} in the query"
            )
    return first


def flat_names(names: Iterable[str], separator: str) -> Iterator[tuple[str, str]]:
    """Each name with the one that a format gets which knows no `/`.

    Raises:
      ArmchairError: if two would become the same.
    """
    made: dict[str, str] = {}
    for name in names:
        flat = name.replace("/", separator)
        if flat in made:
            raise ArmchairError(f"{made[flat]!r} and {name!r} would both be called {flat!r}: rename one by a mapping")
        made[flat] = name
        yield name, flat
