"""Early warnings of a training: what its metrics say, in a sentence with a remedy."""

import math
from collections.abc import Callable, Mapping

from datasets.console import console
from datasets.errors import ArmchairError

_SLACK = 0.05
"""Of the largest return: how far mean values may lie outside of what is possible, as a critic is never exact."""

_PATIENCE = 1_000
"""Steps before anything is said of what a fresh critic does not know yet."""

_WARNINGS: Mapping[str, tuple[float, str]] = {
    "weight_deviation": (
        1e-3,
        "all actions get the same weight, as in behaviour cloning: the critic tells none apart. Check rewards and beta",
    ),
    "action_gradient_norm": (
        1e-6,
        "the critic's values do not depend on the action, so the policy learns nothing. Check the rewards",
    ),
    "policy_gradient_norm": (1e-8, "the policy's gradient is dead. Lower its learning rate and begin again"),
    "critic_gradient_norm": (1e-8, "the critic's gradient is dead. Lower its learning rate and begin again"),
    "value_gradient_norm": (1e-8, "the state value's gradient is dead. Lower the critic's rate and begin again"),
}
"""Name of a metric -> what it should exceed, and what to think and do where it does not."""


class Sentinel:
    """Stops a training that has gone wrong, and warns of one that is going nowhere, with the reason."""

    def __init__(
        self, returns: tuple[float, float], tell: Callable[[str], None] = console.print, what: str = "training"
    ):
        """Watches a training.

        Args:
          returns: the lowest and the highest that are possible.
          tell: shows a warning; each is shown once.
          what: is trained; for messages.
        """
        self._lowest, self._highest = returns
        self._slack = _SLACK * max(map(abs, returns)) if all(map(math.isfinite, returns)) else 0.0
        self._first: float | None = None  # mean value: of a fresh critic the middle of its atoms, which may be outside
        self._tell, self._what = tell, what
        self._told: set[str] = set()

    def look(self, metrics: Mapping[str, float], step: int) -> None:
        """Raises ArmchairError if a metric is not finite, or values have left what rewards can give."""
        if bad := [name for name, value in metrics.items() if not math.isfinite(value)]:
            raise ArmchairError(
                f"{self._what} diverged: {bad[0]} is {metrics[bad[0]]} at step {step}; lower the learning rate, or "
                "look for extreme values in the data with `armchair store verify`"
            )
        if "q" in metrics:
            self._look_at_values(metrics["q"], step)
        for name, (least, diagnosis) in _WARNINGS.items():
            if step >= _PATIENCE and name not in self._told and metrics.get(name, math.inf) < least:
                self._told.add(name)
                self._tell(f"[yellow]{self._what}, step {step}: {name} is {metrics[name]:.2g}: {diagnosis}")

    def _look_at_values(self, value: float, step: int) -> None:
        if self._first is None:
            self._first = value
        lowest = min(self._lowest - self._slack, self._first - _SLACK * abs(self._first))
        highest = max(self._highest + self._slack, self._first + _SLACK * abs(self._first))
        if not lowest <= value <= highest:
            raise ArmchairError(
                f"{self._what} diverged: the mean value is {value:.3g} at step {step}, but returns lie between "
                f"{self._lowest:.3g} and {self._highest:.3g}; lower the critic's learning rate or raise target_period"
            )
