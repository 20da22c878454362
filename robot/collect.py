"""Collecting: several actors, many episodes, recorded into one dataset.

```
collect(CollectConfig(out, plan=(PlanLine("lift_green", "expert:lift_green:0.3", episodes=50),), workers=2))
```
"""

import dataclasses
from pathlib import Path

from robot.campaign.operators import Operator
from robot.env import CellConfig, Safety
from robot.loop import EpisodeSummary
from robot.plan import PlanLine, Setting, play


@dataclasses.dataclass(frozen=True)
class CollectConfig:
    """What to record, and where. Other cameras or looks of the cell belong into a dataset of another name."""

    out: Path  # the dataset is out/dataset/1.0.0
    plan: tuple[PlanLine, ...]
    dataset: str = "recorded"  # small letters, digits and _; all its episodes have the same observations and actions
    workers: int = 1  # processes; 1: this one
    cell: CellConfig = dataclasses.field(default_factory=CellConfig)  # cameras and looks of the simulated cell
    safety: Safety = Safety.AUTO  # whether there is a safety filter between actor and arm
    interleave: bool = False  # whether the lines of the plan take turns, in random order
    arm: Path | None = None  # the file of a franka:HOST (`robot.drivers.arm_file`)


def collect(config: CollectConfig, operator: Operator | None = None) -> list[EpisodeSummary]:
    """Records every planned episode that is not on disk yet, under a progress bar; see `robot.plan.play`.

    Args:
      config: see there.
      operator: whoever stands beside a real arm; a simulated one needs nobody.
    """
    setting = Setting(
        config.out, config.dataset, config.cell, config.workers, config.safety, config.interleave, arm=config.arm
    )
    return play(config.plan, setting, "collecting", operator)
