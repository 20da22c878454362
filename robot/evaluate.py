"""Evaluation: how often does a policy succeed, with an interval that says how sure that is.

```
evaluation = evaluate(EvaluateConfig("lift_green", "policy:runs/crr/best", episodes=50))
print(evaluation)                                          # 84.0 % (42/50, 95 % Wilson 71.5-91.7)
```
"""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path

from datasets import files
from datasets.errors import ArmchairError
from robot.env import CellConfig, Safety
from robot.intervals import wilson
from robot.loop import EpisodeSummary
from robot.plan import PlanLine, Setting, play
from robot.versions import versions


@dataclasses.dataclass(frozen=True)
class EvaluateConfig:
    """Whom to evaluate, where and how often."""

    env: str  # a name for `robot.env.make_env`
    actor: str  # a name for `robot.actors.make_actor`
    episodes: int = 50  # the interval is then at most 27 points wide
    seed: int = 1_000_000  # episode i has seed + i; far from the seeds of recordings, which start at 0
    out: Path | None = None  # record the episodes to out/dataset/1.0.0; None: do not
    dataset: str = "evaluation"
    workers: int = 1  # processes; 1: this one
    cell: CellConfig = dataclasses.field(default_factory=CellConfig)  # cameras and looks of the simulated cell
    safety: Safety = Safety.AUTO  # whether there is a safety filter between actor and arm


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """What came out. Printed, it is one line."""

    env: str
    episodes: tuple[EpisodeSummary, ...]  # in the order of their seeds
    versions: Mapping[str, str]

    @property
    def policy_id(self) -> str:
        """Who acted."""
        return self.episodes[0].policy_id

    @property
    def successes(self) -> int | None:
        """How many episodes solved the task; None if the environment gives no verdict."""
        verdicts = [episode.success for episode in self.episodes]
        return None if None in verdicts else sum(map(bool, verdicts))

    @property
    def success_rate(self) -> float | None:
        """In [0, 1]; None if the environment gives no verdict."""
        return None if self.successes is None else self.successes / len(self.episodes)

    @property
    def interval(self) -> tuple[float, float] | None:
        """The 95 % Wilson interval of the success rate; None if the environment gives no verdict."""
        return None if self.successes is None else wilson(self.successes, len(self.episodes))

    @property
    def mean_return(self) -> float:
        """Mean over episodes of the sum of the environment's rewards."""
        return sum(episode.return_ for episode in self.episodes) / len(self.episodes)

    def __str__(self) -> str:
        if self.success_rate is None or self.interval is None:
            return f"mean return {self.mean_return:.2f} (n={len(self.episodes)}; the environment tells no success)"
        low, high = (100 * bound for bound in self.interval)
        counts = f"{self.successes}/{len(self.episodes)}"
        return f"{100 * self.success_rate:.1f} % ({counts}, 95 % Wilson {low:.1f}-{high:.1f})"

    def save(self, path: Path) -> None:
        """Writes everything as JSON, atomically."""
        result = {
            "env": self.env,
            "policy_id": self.policy_id,
            "n": len(self.episodes),
            "successes": self.successes,
            "success_rate": self.success_rate,
            "wilson_95": self.interval,
            "mean_return": self.mean_return,
            "versions": dict(self.versions),
            "episodes": [dataclasses.asdict(episode) for episode in self.episodes],
        }
        files.write_atomically(path, json.dumps(result, indent=2))


def evaluate(config: EvaluateConfig) -> Evaluation:
    """Plays the episodes, under a progress bar, and counts. Recorded ones are not played again.

    Raises:
      ArmchairError: no episodes are asked for, or as `robot.plan.play`.
    """
    if config.episodes < 1:
        raise ArmchairError(f"{config.episodes} episodes say nothing: ask for at least one")
    line = PlanLine(config.env, config.actor, config.episodes, config.seed)
    setting = Setting(config.out, config.dataset, config.cell, config.workers, config.safety)
    return Evaluation(config.env, tuple(play([line], setting, "evaluating")), versions())
