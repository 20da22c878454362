"""Actors by name, as they are written in plans and on the command line."""

from pathlib import Path

import dm_env
import numpy as np
from dm_env import specs

from datasets.errors import ArmchairError
from robot.adapters import resolve
from robot.types import Actor

FORMS = "the folder of a policy, expert:TASK, expert:TASK:NOISE, random_watcher, random or module:factory"


def make_actor(name: str, seed: int, env: dm_env.Environment) -> Actor:
    """Makes an actor.

    Args:
      name: one of
        `expert:TASK[:NOISE]`, a task's scripted expert with that standard deviation of noise on its actions;
        `random_watcher`, which goes to random places in the cell and opens and closes its gripper there;
        `random`, uniform within the action's bounds, for any environment;
        `policy:FOLDER`, a trained policy; `FOLDER` is short for it where it is there and no other of these names;
        `module:factory`, a callable `factory(seed)` that returns a `robot.types.Actor`.
      seed: of its random numbers; every `reset(seed)` sets them anew.
      env: where it is to act.

    Raises:
      ArmchairError: the name is none of these, or what it names is not there.
      SpecMismatchError: the policy is for other observations or actions.
    """
    kind, _, rest = name.partition(":")
    if kind == "expert":
        from robot.experts import make_expert

        task, _, noise = rest.partition(":")
        return make_expert(task, seed, noise=_number(noise or "0", name))
    if name == "random_watcher":
        from robot.experts import random_watcher

        return random_watcher(seed)
    if name == "random":
        return RandomActor(env.action_spec(), seed)
    if kind == "policy" and rest:
        from robot.policy import load_policy

        return load_policy(rest, env)
    if Path(name).is_dir():
        return make_actor(f"policy:{name}", seed, env)
    if rest:
        return resolve(name)(seed)
    raise ArmchairError(f"there is no actor {name!r}, and no such folder: write {FORMS}")


class RandomActor:
    """Uniform within the action's bounds, in any environment."""

    policy_id = "random"

    def __init__(self, spec: specs.Array, seed: int):
        """Raises ArmchairError if the actions have no finite bounds."""
        if not isinstance(spec, specs.BoundedArray) or not np.isfinite([spec.minimum, spec.maximum]).all():
            raise ArmchairError(f"{spec} has no finite bounds: a random actor cannot choose")
        self._spec = spec
        self.reset(seed)

    def reset(self, seed: int | None = None) -> None:
        """Starts an episode."""
        if seed is not None:
            self._rng = np.random.default_rng(seed)

    def act(self, observation: object) -> np.ndarray:
        """float32[A], whatever is observed."""
        del observation
        return self._rng.uniform(self._spec.minimum, self._spec.maximum, self._spec.shape).astype(np.float32)


def _number(text: str, name: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ArmchairError(
            f"the noise {text!r} of the actor {name!r} is not a number: write expert:TASK:0.3"
        ) from None
