"""What the studies consist of: cells, each an independent piece of work with a result of its own.

A cell is one row of a table for one seed. Equal cells of several studies are one cell and are run once. Its key is a
hash of everything that decides it; results are files named by key, so that they merge by being copied together.
"""

import dataclasses
import enum
from collections.abc import Iterator, Mapping
from typing import Any

from benchmarks import studies
from pipeline.reward_learning.config import METHODS, EarlyFrames, LossConfig

VERSION = 3
"""Of how a cell is run. Raise it when that changes: results of another version do not count."""

SEEDS = (0, 1, 2)
TASKS = ("lift_green", "stack_green_on_red")
REFERENCES = ("bc_all", "bc_demonstrations", "bc_successes", "truth")
"""Rows without a reward model: behaviour cloning of all episodes, of the demonstrations, of those with the verdict
success; and CRR on the simulator's own reward."""
VARIANTS: Mapping[str, tuple[str, dict[str, Any]]] = {
    "ranking_above_95": ("ranking", {"loss": LossConfig(success_above=0.95)}),
    "oril_eta_10": ("oril", {"eta": 0.1}),  # nearer to how many succeed in these logs than 0.5
    "oril_plain": ("oril", {"positive_unlabelled": False}),
    "oril_unregularised": ("oril", {"regulariser": EarlyFrames.NONE}),
    "oril_trail": ("oril", {"regulariser": EarlyFrames.TRAIL}),
}
"""Rows that are a method with another option."""
ROWS = (
    *REFERENCES,
    *(row for method in METHODS for row in (method, *(name for name, (of, _) in VARIANTS.items() if of == method))),
)
"""All, each method followed by its variants."""
PIXEL_ROWS = ("ranking", "sup", "ssr", "oril", "tgr_i")
BEST_FROM_PIXELS = "sup"
"""Of these; also on a harder task."""
HARDER_TASK = "insert_green"


class Trouble(enum.StrEnum):
    """What is wrong with the supervision."""

    NONE = "none"
    FLIPPED = "flipped"
    """A tenth of all sketched frames say the opposite."""
    LAGGING = "lagging"
    """The annotator's hand is three frames late, throughout."""
    WRONG = "wrong"
    """A tenth of the demonstrations are failures of a poor expert."""
    DISTRACTOR = "distractor"
    """A coloured patch is in every picture of the demonstrations, and in no other."""


@dataclasses.dataclass(frozen=True)
class Cell:
    """One row, for one task and seed."""

    task: str
    row: str
    """A method of `METHODS`, one of its `VARIANTS`, or one of `REFERENCES`."""
    seed: int
    """Decides logs, sketches, weights and batches."""
    pixels: bool = False
    """Whether the reward is learned from pictures; the policy never is."""
    teaching: int = 20
    """Episodes that are annotated, or demonstrations."""
    unlabelled: int | None = None
    """Episodes of which nothing is known; None: all of the log."""
    trouble: Trouble = Trouble.NONE
    """What is wrong with the supervision."""
    size: str = "full"
    """One of `logs.SIZES`."""

    @property
    def key(self) -> str:
        """16 hex digits."""
        return studies.key(self, VERSION)

    @property
    def method(self) -> str | None:
        """The reward method; None for a reference."""
        return None if self.row in REFERENCES else VARIANTS.get(self.row, (self.row, {}))[0]

    def __str__(self) -> str:
        extra = [f"seed {self.seed}", "from pixels" if self.pixels else "from states", f"{self.teaching} teach"]
        if self.unlabelled is not None:
            extra.append(f"{self.unlabelled} unlabelled")
        if self.trouble is not Trouble.NONE:
            extra.append(self.trouble)
        return f"{self.task} {self.row} ({', '.join(extra)})"


def main_table(seeds: tuple[int, ...] = SEEDS) -> Iterator[Cell]:
    """Study 1: every row from states on two tasks, the best-known ones from pixels on one, the best on a third."""
    for seed in seeds:
        for task in TASKS:
            yield from (Cell(task, row, seed) for row in ROWS)
        yield from (Cell(TASKS[0], row, seed, pixels=True) for row in PIXEL_ROWS)
        yield from (Cell(HARDER_TASK, row, seed) for row in REFERENCES)
        yield Cell(HARDER_TASK, BEST_FROM_PIXELS, seed, pixels=True)


def _bounds(seed: int) -> Iterator[Cell]:
    """Of the main table: what the rows of the other studies lie between."""
    yield from (Cell(TASKS[0], row, seed) for row in ("bc_all", "truth"))


def how_little(seeds: tuple[int, ...] = SEEDS) -> Iterator[Cell]:
    """Study 2: success against the number of annotated episodes."""
    for seed in seeds:
        yield from _bounds(seed)
        for row in ("sup", "ssr", "ranking"):
            yield from (Cell(TASKS[0], row, seed, teaching=count) for count in (2, 5, 10, 20, 50))


def more_unlabelled(seeds: tuple[int, ...] = SEEDS) -> Iterator[Cell]:
    """Study 3: success against the number of unlabelled episodes, demonstrations fixed."""
    for seed in seeds:
        yield from _bounds(seed)
        for row in ("oril", "oril_eta_10", "tgr_i"):
            yield from (Cell(TASKS[0], row, seed, unlabelled=count) for count in (30, 100, 300, None))


def robustness(seeds: tuple[int, ...] = SEEDS) -> Iterator[Cell]:
    """Study 5: what happens when the supervision is bad, beside what happens when it is not."""
    for seed in seeds:
        yield from _bounds(seed)
        yield from (Cell(TASKS[0], row, seed) for row in ("ranking", "sup", "ssr", "oril", "tgr", "tgr_i"))
        yield Cell(TASKS[0], "oril", seed, pixels=True)
        for trouble in (Trouble.FLIPPED, Trouble.LAGGING):
            yield from (Cell(TASKS[0], row, seed, trouble=trouble) for row in ("ranking", "sup", "ssr"))
        yield from (Cell(TASKS[0], row, seed, trouble=Trouble.WRONG) for row in ("oril", "tgr", "tgr_i"))
        for row in ("oril", "oril_unregularised"):
            yield Cell(TASKS[0], row, seed, pixels=True, trouble=Trouble.DISTRACTOR)


def quick() -> Iterator[Cell]:
    """Study 1 on one task, one seed, and reduced sizes."""
    return (Cell(TASKS[0], row, 0, size="quick") for row in ("bc_all", "truth", "sup", "ssr", "oril", "tgr_i"))


def smoke() -> Iterator[Cell]:
    """Two cells as small as they can be: whether the study runs at all."""
    return (Cell(TASKS[0], row, 0, teaching=5, size="smoke") for row in ("bc_all", "ssr"))


def reward_quality() -> Iterator[Cell]:
    """Study 4: every cell of the other studies once; their reward models are compared with their policies."""
    found = (*main_table(), *how_little(), *more_unlabelled(), *robustness())
    return iter(dict.fromkeys(found))


STUDIES = {
    "main": main_table, "how_little": how_little, "more_unlabelled": more_unlabelled, "robustness": robustness,
    "reward_quality": reward_quality, "quick": quick, "smoke": smoke,
}  # fmt: skip
"""The studies by name; each gives its cells in the order in which they are run."""
