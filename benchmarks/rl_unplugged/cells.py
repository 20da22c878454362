"""What the study consists of: cells, each a row of the table for one task and seed."""

import dataclasses
import functools
from collections.abc import Callable, Iterator, Mapping

from benchmarks import studies
from pipeline.batch_rl.config import (
    AdvantageMode,
    BcConfig,
    CriticConfig,
    CrrConfig,
    D4pgConfig,
    PolicyConfig,
    WeightMode,
)

VERSION = 1
"""Of how a cell is run. Raise it when that changes: results of another version do not count."""

SEEDS = (0, 1, 2)
TASKS = ("cartpole_swingup", "walker_walk")
"""Two of RL Unplugged's nine that an online D4PG learns in some ten minutes of a core."""

_LAYERS = (128, 128)  # for two cores
_CRITIC = CriticConfig(layer_sizes=_LAYERS)
# A few thousand steps have to do: targets are brought up four times as often as in the papers, and CRR's transitions
# reach five steps ahead, too, as D4PG's do (RL Unplugged's own records hold one).
_SOON = {
    "critic": _CRITIC, "target_period": 25, "n_step": 5, "policy_learning_rate": 3e-4, "critic_learning_rate": 3e-4,
}  # fmt: skip
_CRR = CrrConfig(policy=PolicyConfig(layer_sizes=_LAYERS), **_SOON)

METHODS: Mapping[str, BcConfig | CrrConfig | D4pgConfig] = {
    "bc": BcConfig(policy=PolicyConfig(layer_sizes=_LAYERS)),
    "d4pg": D4pgConfig(layer_sizes=_LAYERS, **_SOON),
    "crr_exp": _CRR,
    "crr_binary": dataclasses.replace(_CRR, weight=WeightMode.BINARY),
    "crr_binary_max": dataclasses.replace(_CRR, weight=WeightMode.BINARY, advantage=AdvantageMode.MAX),
    "crr_scalar": dataclasses.replace(_CRR, critic=dataclasses.replace(_CRITIC, distributional=False)),
}
"""The rows of the table."""


@dataclasses.dataclass(frozen=True)
class Size:
    """How much of everything."""

    online_episodes: int  # at most
    steps: int  # of a training
    snapshots: int  # of it; each is tried
    evaluation_episodes: int  # of a snapshot


SIZES: Mapping[str, Size] = {"full": Size(400, 6_000, 3, 20), "smoke": Size(4, 200, 2, 2)}


@dataclasses.dataclass(frozen=True)
class Cell:
    """One row, for one task and seed."""

    task: str
    row: str
    """One of `METHODS`."""
    seed: int
    """Decides weights and batches. The data are the same for all."""
    size: str = "full"
    """One of `SIZES`."""

    @property
    def key(self) -> str:
        """16 hex digits."""
        return studies.key(self, VERSION)

    def __str__(self) -> str:
        return f"{self.task} {self.row} (seed {self.seed})"


def of_task(task: str) -> Iterator[Cell]:
    """All rows."""
    return (Cell(task, row, seed) for seed in SEEDS for row in METHODS)


def smoke() -> Iterator[Cell]:
    """Two cells as small as they can be: whether the study runs at all."""
    return (Cell(TASKS[0], row, 0, "smoke") for row in ("bc", "crr_exp"))


STUDIES: Mapping[str, Callable[[], Iterator[Cell]]] = {task: functools.partial(of_task, task) for task in TASKS} | {
    "smoke": smoke
}
