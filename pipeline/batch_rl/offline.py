"""What a log can tell of a policy where it cannot be tried out."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from datasets import video
from datasets.episode import Episode
from datasets.errors import ArmchairError
from datasets.store import EpisodeRow, Store
from pipeline import export


def actions_along(policy: Any, card: Mapping[str, Any], episode: Episode) -> np.ndarray:
    """float32[T, A]: what a policy, as `export.load_model` gives it, would have done in every frame of an episode."""
    inputs = export.card_inputs(dict(card))
    logged = {k: episode.observation[k] for k in inputs}
    frames = {k: video.decode_frames(v) if inputs[k].is_image else v.astype(inputs[k].dtype) for k, v in logged.items()}
    return policy.follow(frames).numpy()


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
        wanted.append(episode.action[:-1])  # the last one is not valid
        given.append(actions_along(policy, card, episode)[:-1])
    if not wanted:
        raise ArmchairError(f"there is no episode to compare {path} with: select others")
    actions = np.concatenate(wanted)  # [N, A]
    variance = actions.var(0)  # [A]
    if not variance.any():
        raise ArmchairError("the logged actions never vary: there is nothing to compare with")
    error = np.square(np.concatenate(given) - actions).mean(0)  # [A]
    return float((error[variance > 0] / variance[variance > 0]).mean())
