"""What the study of offline learners consists of: cells, each a row of the table for one task and seed."""

import dataclasses
from collections.abc import Iterator, Mapping

from benchmarks import studies
from pipeline.batch_rl.config import (
    AdvantageMode,
    BcConfig,
    CriticConfig,
    CrrConfig,
    D4pgConfig,
    IqlConfig,
    MemoryConfig,
    PolicyConfig,
    Td3BcConfig,
    WeightMode,
)

VERSION = 1
"""Of how a cell is run. Raise it when that changes: results of another version do not count."""

SEEDS = (0, 1, 2)
TASKS = ("lift_green", "stack_green_on_red")

_LAYERS = (128, 128)
_POLICY = PolicyConfig(layer_sizes=_LAYERS)
_CRR = CrrConfig(policy=_POLICY, target_period=25, beta=0.5)  # as in the demo and the studies of rewards
_RATES = {"policy_learning_rate": 3e-4, "critic_learning_rate": 3e-4}  # all alike: a few thousand steps is little
_MEAN = CriticConfig(distributional=False)

METHODS: Mapping[str, BcConfig | CrrConfig | D4pgConfig | IqlConfig | Td3BcConfig] = {
    "bc": BcConfig(policy=_POLICY),
    "bc_best": BcConfig(policy=_POLICY, best=0.2),
    "crr": _CRR,
    "crr_binary": dataclasses.replace(_CRR, weight=WeightMode.BINARY),
    "crr_binary_max": dataclasses.replace(_CRR, weight=WeightMode.BINARY, advantage=AdvantageMode.MAX),
    "crr_scalar": dataclasses.replace(_CRR, critic=_MEAN),
    "crr_memory": dataclasses.replace(_CRR, memory=MemoryConfig(128)),
    "crr_plus": dataclasses.replace(
        _CRR, critic=dataclasses.replace(_MEAN, twin=True, expectile=0.7), samples=50, target_period=1,
        target_rate=0.005,
    ),
    "iql": IqlConfig(policy=_POLICY),
    "td3_bc": Td3BcConfig(layer_sizes=_LAYERS),
    "d4pg": D4pgConfig(layer_sizes=_LAYERS, target_period=25, **_RATES),
}  # fmt: skip
"""Learners, on the task's own episodes."""
WIDER = ("crr_all_data", "crr_no_watcher")
"""Rows of CRR that also learn from other tasks' episodes, rated by the same reward; the second leaves the random
watcher's out."""
PIXELS = ("bc_pixels", "bc_best_pixels", "crr_pixels")
"""Rows of the learners of that name from pixels and proprioception alone, with a reward that is learned from pixels."""
ROWS = (*METHODS, *WIDER, *PIXELS)


@dataclasses.dataclass(frozen=True)
class Cell:
    """One row, for one task and seed."""

    task: str
    row: str
    """One of `ROWS`."""
    seed: int
    """Decides logs, demonstrations, weights and batches."""
    size: str = "full"
    """One of `SIZES`."""

    @property
    def method(self) -> BcConfig | CrrConfig | D4pgConfig | IqlConfig | Td3BcConfig:
        """The learner."""
        return METHODS["crr" if self.row in WIDER else self.row.removesuffix("_pixels")]

    @property
    def pixels(self) -> bool:
        """Whether everything is learned from pictures."""
        return self.row in PIXELS

    @property
    def key(self) -> str:
        """16 hex digits."""
        return studies.key(self, VERSION)

    def __str__(self) -> str:
        return f"{self.task} {self.row} (seed {self.seed})"


def learners() -> Iterator[Cell]:
    """Every learner from states, on both tasks."""
    return (Cell(task, row, seed) for seed in SEEDS for task in TASKS for row in (*METHODS, *WIDER))


def pixels() -> Iterator[Cell]:
    """Policies from pictures, on lifting."""
    return (Cell(TASKS[0], row, seed) for seed in SEEDS for row in PIXELS)


def smoke() -> Iterator[Cell]:
    """Two cells as small as they can be: whether the study runs at all."""
    return (Cell(TASKS[0], row, 0, "smoke") for row in ("crr", "crr_memory"))


def smoke_pixels() -> Iterator[Cell]:
    """The same from pictures, which takes minutes anyway."""
    return (Cell(TASKS[0], row, 0, "smoke") for row in ("bc_pixels", "crr_pixels"))


STUDIES = {"learners": learners, "pixels": pixels, "smoke": smoke, "smoke_pixels": smoke_pixels}
