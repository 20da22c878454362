"""Episodes as the builders of TFDS read them from foreign logs, against ours."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from datasets.episode import Episode


def differences(episode: Episode, steps: Mapping[str, Any]) -> dict[str, list[int]]:
    """The steps at which a field is not the same, by field; both must have the same fields and the same length.

    Args:
      episode: ours.
      steps: TFDS's: name -> [T, ...], or a dictionary of these.
    """
    ours, found = dict(episode.step_fields()), {}
    groups = {name: values if isinstance(values, Mapping) else {"": values} for name, values in steps.items()}
    theirs = {f"{group}/{name}".rstrip("/"): v for group, values in groups.items() for name, v in values.items()}
    assert theirs.keys() == ours.keys()
    for name, mine in ours.items():
        values = np.asarray(theirs[name]).astype(mine.dtype)  # some have float64, or 0 and 1 for truth
        assert values.shape == mine.shape, name
        if (unequal := (values != mine).reshape(len(mine), -1).any(1)).any():
            found[name] = np.flatnonzero(unequal).tolist()
    return found
