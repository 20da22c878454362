"""Evaluation: how often does a policy succeed, with an interval that says how sure that is.

```
evaluation = evaluate(EvaluateConfig("lift_green", "policy:runs/crr/best", episodes=50))
print(evaluation)                                          # 84.0 % (42/50, 95 % Wilson 71.5-91.7)
```
`compare` does so for several, on the same initial conditions and, on a real arm, blindly (`robot.campaign`).
"""

import dataclasses
import itertools
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from datasets import files
from datasets.errors import ArmchairError
from robot.campaign.operators import Operator
from robot.env import CellConfig, Safety
from robot.intervals import difference, wilson
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
    initial: Path | None = None  # pictures of how episodes on an arm begin, by seed; None: out/campaign/initial
    arm: Path | None = None  # the file of a franka:HOST (`robot.drivers.arm_file`)


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
    def judged(self) -> int:
        """Of how many episodes it is known whether they solved the task."""
        return sum(episode.success is not None for episode in self.episodes)

    @property
    def successes(self) -> int | None:
        """How many of the judged episodes solved the task; None if none was judged."""
        return sum(bool(episode.success) for episode in self.episodes) if self.judged else None

    @property
    def success_rate(self) -> float | None:
        """In [0, 1], of the judged episodes; None if none was judged."""
        return None if self.successes is None else self.successes / self.judged

    @property
    def interval(self) -> tuple[float, float] | None:
        """The 95 % Wilson interval of the success rate; None if no episode was judged."""
        return None if self.successes is None else wilson(self.successes, self.judged)

    @property
    def mean_return(self) -> float:
        """Mean over episodes of the sum of the environment's rewards."""
        return sum(episode.return_ for episode in self.episodes) / len(self.episodes)

    def __str__(self) -> str:
        if self.success_rate is None or self.interval is None:
            return f"mean return {self.mean_return:.2f} (n={len(self.episodes)}; the environment tells no success)"
        low, high = (100 * bound for bound in self.interval)
        counts, unknown = f"{self.successes}/{self.judged}", len(self.episodes) - self.judged
        more = f"; {unknown} more not judged" if unknown else ""
        return f"{100 * self.success_rate:.1f} % ({counts}, 95 % Wilson {low:.1f}-{high:.1f}{more})"

    def to_dict(self) -> dict[str, Any]:
        """Everything as JSON values."""
        return {
            "env": self.env,
            "policy_id": self.policy_id,
            "n": len(self.episodes),
            "judged": self.judged,
            "successes": self.successes,
            "success_rate": self.success_rate,
            "wilson_95": self.interval,
            "mean_return": self.mean_return,
            "versions": dict(self.versions),
            "episodes": [dataclasses.asdict(episode) for episode in self.episodes],
        }

    def save(self, path: Path) -> None:
        """Writes everything as JSON, atomically."""
        files.write_atomically(path, json.dumps(self.to_dict(), indent=2))


class Difference(NamedTuple):
    """Of two success rates, the first minus the second, in [-1, 1], with its 95 % interval."""

    first: str  # policy ids
    second: str
    difference: float
    low: float
    high: float

    def __str__(self) -> str:
        gain, low, high = (100 * value for value in self[2:])
        return f"{self.first} - {self.second}: {gain:+.1f} points (95 % interval {low:+.1f} to {high:+.1f})"


def differences(evaluations: Sequence[Evaluation]) -> list[Difference]:
    """Of every pair whose episodes were judged."""
    judged = [evaluation for evaluation in evaluations if evaluation.judged]
    return [
        Difference(
            a.policy_id, b.policy_id, *difference(a.successes or 0, a.judged, b.successes or 0, b.judged)
        )
        for a, b in itertools.combinations(judged, 2)
    ]  # fmt: skip


def evaluate(config: EvaluateConfig, operator: Operator | None = None) -> Evaluation:
    """Plays the episodes, under a progress bar, and counts. Recorded ones are not played again.

    Args:
      config: see there.
      operator: whoever stands beside a real arm; a simulated one needs nobody.

    Raises:
      ArmchairError: no episodes are asked for, or as `robot.plan.play`.
    """
    (evaluation,) = compare(config, (), operator)
    return evaluation


def compare(config: EvaluateConfig, others: Sequence[str], operator: Operator | None = None) -> tuple[Evaluation, ...]:
    """Evaluates several actors in turns, all with the same seeds, that is, the same initial conditions.

    Args:
      config: its actor is the first.
      others: names of the others.
      operator: whoever stands beside a real arm; a simulated one needs nobody.

    Raises:
      ArmchairError: as `evaluate`.
    """
    if config.episodes < 1:
        raise ArmchairError(f"{config.episodes} episodes say nothing: ask for at least one")
    plan = [PlanLine(config.env, actor, config.episodes, config.seed) for actor in (config.actor, *others)]
    setting = Setting(
        config.out, config.dataset, config.cell, config.workers, config.safety,
        interleave=True, initial=config.initial, arm=config.arm,
    )  # fmt: skip
    summaries = play(plan, setting, "evaluating", operator)
    parts = [summaries[start : start + config.episodes] for start in range(0, len(summaries), config.episodes)]
    return tuple(Evaluation(config.env, tuple(part), versions()) for part in parts)
