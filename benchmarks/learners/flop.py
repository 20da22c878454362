"""How many floating-point operations a step of CRR needs: those of its matrix products, and no others."""

import dataclasses
from collections.abc import Sequence

BATCH, OBSERVATION, ACTION = 256, 24, 7
HIDDEN = (256, 256, 256)  # of each network
COMPONENTS, SAMPLES = 5, 4  # of the policy's mixture; actions that the advantage is estimated from
ATOMS = {"scalar": 1, "c51": 51}
"""What a critic predicts -> its outputs."""


@dataclasses.dataclass(frozen=True)
class Dense:
    """Layers of these widths, the inputs' first."""

    sizes: Sequence[int]

    @property
    def forward(self) -> int:
        """A row's: a multiplication and an addition for each weight."""
        return sum(2 * rows * columns for rows, columns in zip(self.sizes, self.sizes[1:], strict=False))

    @property
    def backward(self) -> int:
        """A row's: as many for the gradient of each weight and of each layer's inputs, the first one's left out."""
        return 2 * self.forward - 2 * self.sizes[0] * self.sizes[1]


def step(critic: str) -> int:
    """Of one update of both networks."""
    policy = Dense((OBSERVATION, *HIDDEN, COMPONENTS * (1 + 2 * ACTION)))
    value = Dense((OBSERVATION + ACTION, *HIDDEN, ATOMS[critic]))
    targets = policy.forward + value.forward
    learned = policy.forward + policy.backward + value.forward + value.backward
    return BATCH * (targets + learned + SAMPLES * value.forward)
