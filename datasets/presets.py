"""Which observations a learner gets: named groups instead of lists of keys."""

import enum
from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np

from datasets import schema
from datasets.errors import SpecMismatchError


class HasShape(Protocol):
    """What a preset looks at: `features.ArraySpec`, `dm_env.specs.Array` and NumPy arrays all have it."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Without time and batch axes."""

    @property
    def dtype(self) -> Any:
        """A NumPy dtype or its name; "str" and object are text."""


class ObservationPreset(enum.StrEnum):
    """A group of observations."""

    STATES = "states"  # every vector of numbers, privileged ones too: for experts and states-only learners
    PROPRIO = "proprio"  # every vector of numbers that a real robot has
    PIXELS = "pixels"  # pictures and PROPRIO


def select(specs: Mapping[str, HasShape], preset: ObservationPreset, without: tuple[str, ...] = ()) -> tuple[str, ...]:
    """Names of the observations that `preset` stands for, sorted: the order in which learners concatenate them.

    Names outside the vocabulary (foreign robots) are never privileged; text and depth maps are never selected.

    Args:
      specs: what there is, by name.
      preset: the group.
      without: none of it whose name begins with one of these.

    Raises:
      SpecMismatchError: if no name of the group begins so.
    """
    names = tuple(sorted(name for name, spec in specs.items() if _belongs(name, spec, preset)))
    if unknown := [prefix for prefix in without if not any(name.startswith(prefix) for name in names)]:
        raise SpecMismatchError(
            f"no {preset} observation begins with {unknown[0]!r}: leave out some of {', '.join(names)}"
        )
    return tuple(name for name in names if not name.startswith(without))


def _belongs(name: str, spec: HasShape, preset: ObservationPreset) -> bool:
    dtype = np.dtype(spec.dtype)
    if dtype == np.uint8 and len(spec.shape) == 3:
        return preset is ObservationPreset.PIXELS
    is_vector = dtype.kind in "biuf" and len(spec.shape) <= 1
    return is_vector and (preset is ObservationPreset.STATES or not schema.is_privileged(name))
