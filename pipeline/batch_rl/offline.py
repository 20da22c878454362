"""What a log can tell of a policy where it cannot be tried out."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from datasets.errors import ArmchairError
from datasets.store import EpisodeRow, Store
from pipeline import export


def action_error(store: Store, rows: Iterable[EpisodeRow], path: Path) -> float:
    """How far a policy's actions are from the logged ones.

    Args:
      store: that holds the episodes.
      rows: which episodes.
      path: folder of the policy.

    Returns:
      The mean over action dimensions of mean squared error / variance of the logged actions: 0 repeats the log, 1 is no
      better than its mean action. Dimensions that never vary are left out.

    Raises:
      ArmchairError: if there are no episodes, or no dimension of their actions varies.
    """
    policy, card = export.load_model(path, "policy")
    wanted, given = [], []
    for episode in store.read_many(rows):
        inputs = {k: episode.observation[k][:-1] for k in card["inputs"]}  # the last action is not valid
        wanted.append(episode.action[:-1])
        given.append(policy.follow(inputs).numpy())
    if not wanted:
        raise ArmchairError(f"there is no episode to compare {path} with: select others")
    actions = np.concatenate(wanted)  # [N, A]
    variance = actions.var(0)  # [A]
    if not variance.any():
        raise ArmchairError("the logged actions never vary: there is nothing to compare with")
    error = np.square(np.concatenate(given) - actions).mean(0)  # [A]
    return float((error[variance > 0] / variance[variance > 0]).mean())
