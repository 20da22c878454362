"""Trained policies: a SavedModel and its card, without the code that trained them.

The folder is what `pipeline.export` writes: `act({name: [B, ...]}, state) -> (float32[B, A], state)`, normalisation
inside, `initial_state(int64[B])`, and a `card.json` that says which observations it wants. They are compared with the
environment's before anything moves.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import dm_env
import numpy as np
from dm_env import specs

from datasets.errors import ArmchairError, SpecMismatchError

_ROUNDING = 1e-5  # of bounds that went through float32


def load_policy(path: Path | str, env: dm_env.Environment) -> "Policy":
    """Loads a policy that is to act in `env`.

    Raises:
      ArmchairError: there is no policy at `path`, or it is damaged.
      SpecMismatchError: it wants other observations than the environment gives, or gives other actions than it takes.
    """
    card = _load_card(Path(path))
    check(card, env.observation_spec(), env.action_spec())
    import tensorflow as tf  # seconds: only those who load a policy wait for it

    try:
        model = tf.saved_model.load(os.fspath(path))
    except (OSError, tf.errors.OpError) as error:
        raise ArmchairError(f"the policy in {path} cannot be read ({error}): export it again") from error
    if not hasattr(model, "initial_state"):
        raise ArmchairError(f"the policy in {path} keeps no state, as those of older versions: export it again")
    return Policy(model, card)


class Policy:
    """A loaded policy as an `Actor`: a function of the episode's seed and of what was observed since its beginning."""

    def __init__(self, model: Any, card: Mapping[str, Any]):
        """See `load_policy`."""
        self.policy_id: str = card["policy_id"]
        self._model = model
        self._dtypes = {key: np.dtype(spec["dtype"]) for key, spec in card["inputs"].items()}
        self.reset()

    def reset(self, seed: int | None = None) -> None:
        """Begins an episode: forgets the last one. The seed is for policies that draw."""
        self._state = self._model.initial_state(np.array([seed or 0], np.int64))

    def act(self, observation: Mapping[str, np.ndarray]) -> np.ndarray:
        """float32[A]. Raises ArmchairError if it is not finite: no such thing goes to a robot."""
        batch = {key: np.asarray(observation[key], dtype)[None] for key, dtype in self._dtypes.items()}  # [1, ...]
        actions, self._state = self._model.act(batch, self._state)
        action = actions.numpy()[0]  # [A]
        if not np.isfinite(action).all():
            bad = [key for key, value in batch.items() if not np.isfinite(value).all()]
            cause = f"of {', '.join(bad)}, which is not finite" if bad else "of finite observations: train it again"
            raise ArmchairError(f"the policy {self.policy_id} made the action {action} {cause}")
        return action


def check(card: Mapping[str, Any], observations: Mapping[str, specs.Array], action: specs.Array) -> None:
    """Raises SpecMismatchError unless the card's policy can act on these observations with these actions."""
    name = card["policy_id"]
    for key, wanted in card["inputs"].items():
        if key not in observations:
            raise SpecMismatchError(
                f"policy {name} wants {key}, which the environment does not have (it has "
                f"{', '.join(sorted(observations))}): configure the environment as it was recorded"
            )
        given = observations[key]
        if tuple(wanted["shape"]) != given.shape or not _convertible(given.dtype, np.dtype(wanted["dtype"])):
            raise SpecMismatchError(
                f"policy {name} wants {key} as {wanted['dtype']}{wanted['shape']} but the environment has "
                f"{given.dtype.name}{list(given.shape)}: configure the environment as it was recorded"
            )
    made = card["action"]
    if tuple(made["shape"]) != action.shape:
        raise SpecMismatchError(
            f"policy {name} makes actions of shape {made['shape']} but the environment takes {list(action.shape)}: "
            "use the environment that it was trained for"
        )
    # A policy keeps to the range of the actions that it was trained on, which may well be narrower.
    if isinstance(action, specs.BoundedArray) and (
        np.any(np.subtract(made["minimum"], action.minimum) < -_ROUNDING)
        or np.any(np.subtract(made["maximum"], action.maximum) > _ROUNDING)
    ):
        raise SpecMismatchError(
            f"policy {name} makes actions from {made['minimum']} to {made['maximum']} but the environment takes "
            f"{action.minimum} to {action.maximum}: use the environment that it was trained for"
        )


def _convertible(given: np.dtype, wanted: np.dtype) -> bool:
    """Numbers may change their width; pictures (uint8) are never taken for numbers, whose scale differs."""
    return given == wanted or (np.uint8 not in (given, wanted) and np.can_cast(given, wanted, "same_kind"))


def _load_card(path: Path) -> dict[str, Any]:
    try:
        card = json.loads((path / "card.json").read_text())
    except (FileNotFoundError, NotADirectoryError) as error:
        raise ArmchairError(f"{path} is not a policy (no card.json): give a folder written by training") from error
    except json.JSONDecodeError as error:
        raise ArmchairError(f"{path}/card.json is damaged ({error}): export the policy again") from error
    if card.get("kind") != "policy":
        raise ArmchairError(f"{path} holds a {card.get('kind')}, not a policy: give the other folder")
    return card
