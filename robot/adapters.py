"""Anyone's environment by name: `module:factory` returns a dm_env or Gymnasium environment, adapted to our contract.

The contract is `dm_env.Environment` with flat observations `{"a/b": array}`, a float32 vector as action, `task_id` and
`robot`, and, where the environment has them, `is_success()` and `progress()`. One with `seed(int)`, after which the
next `reset` starts the episode of that seed, is kept from episode to episode (`robot.plan`): drivers want one.
"""

import functools
import importlib
import inspect
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import dm_env
import numpy as np
from dm_env import specs

from datasets.errors import ArmchairError
from robot.wrapper import Wrapper

_VERDICTS = ("is_success", "success")  # keys of Gymnasium's info: gymnasium-robotics' name, and Meta-World's


def resolve(name: str) -> Any:
    """What `module:attribute` names. Modules are found in the current folder, too.

    Raises:
      ArmchairError: there is no such module or attribute, or the module needs one that is not installed.
    """
    module_name, _, attribute = name.partition(":")
    here = os.fspath(Path.cwd())
    if here not in sys.path:  # an installed console script does not look there
        sys.path.append(here)
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name and (module_name == error.name or module_name.startswith(f"{error.name}.")):
            raise ArmchairError(
                f"there is no module {error.name!r} for {name!r}: install it, or mend the name"
            ) from error
        raise ArmchairError(f"{name!r} needs the module {error.name!r}, which is not installed: install it") from error
    try:
        return getattr(module, attribute)
    except AttributeError as error:
        raise ArmchairError(f"the module {module_name!r} has no {attribute!r}: mend the name {name!r}") from error


def make_external(name: str, seed: int) -> dm_env.Environment:
    """Makes the environment that `name` names.

    Args:
      name: `module:factory`, a callable that returns a `dm_env.Environment` or a `gymnasium.Env`; or
        `gym:ID`, for `gymnasium.make(ID)`, where ID may be `package:ID` as in `gym:gymnasium_robotics:FetchReach-v4`.
      seed: given to the factory if it takes an argument of that name, and to Gymnasium's `reset`. (Some Gymnasium
        environments, Meta-World's among them, need both. A dm_env factory that takes none sees to its own randomness.)

    Raises:
      ArmchairError: what `name` names is not there, or is not an environment that we can adapt.
    """
    task_id = name.rpartition(":")[2]
    factory: Callable[..., Any]
    if name.startswith("gym:"):
        factory = functools.partial(_make_gymnasium, name.removeprefix("gym:"))
    else:
        factory = resolve(name)
    if not callable(factory):
        raise ArmchairError(f"{name!r} is not a callable: give one that returns an environment")
    takes_seed = _takes_seed(factory)
    env = factory(seed=seed) if takes_seed else factory()
    if isinstance(env, dm_env.Environment):
        return DmEnvironment(env, task_id)
    if "gymnasium" in sys.modules and isinstance(env, sys.modules["gymnasium"].Env):
        return (GymnasiumEnvironment if takes_seed else SeedableGymnasiumEnvironment)(env, task_id, seed)
    raise ArmchairError(f"{name!r} returned a {type(env).__name__}: it must be a dm_env or Gymnasium environment")


class DmEnvironment(Wrapper):
    """A dm_env environment with whatever observations, made flat. What else it has shows through."""

    def __init__(self, env: dm_env.Environment, task_id: str):
        """`task_id` is used if the environment has none of its own."""
        super().__init__(env)
        self.task_id: str = getattr(env, "task_id", task_id)
        self.robot: str = getattr(env, "robot", type(env).__name__)
        action = env.action_spec()
        if len(action.shape) != 1 or not np.issubdtype(action.dtype, np.floating):
            raise ArmchairError(f"{task_id!r} has actions {action}: only a vector of real numbers can be recorded")
        self._action_dtype = action.dtype

    def reset(self) -> dm_env.TimeStep:
        """Starts an episode."""
        return self._flat(self._env.reset())

    def step(self, action: np.ndarray) -> dm_env.TimeStep:
        """Takes one step."""
        return self._flat(self._env.step(np.asarray(action, self._action_dtype)))

    def observation_spec(self) -> dict[str, specs.Array]:
        """Flat; an observation that is not in a mapping is called `observation`."""
        return dict(_flatten(self._env.observation_spec()))

    def action_spec(self) -> specs.Array:
        """The environment's own, in float32."""
        spec = self._env.action_spec()
        if isinstance(spec, specs.BoundedArray):
            return _action_spec(spec.minimum, spec.maximum, spec.shape)
        return spec.replace(dtype=np.float32)

    def _flat(self, timestep: dm_env.TimeStep) -> dm_env.TimeStep:
        return timestep._replace(observation={k: np.asarray(v) for k, v in _flatten(timestep.observation)})


class GymnasiumEnvironment(dm_env.Environment):
    """A Gymnasium environment as dm_env.

    Nested observations become flat, `{"a": {"b": x}}` -> `{"a/b": x}`, and a plain one is called `observation`; float64
    becomes float32. Actions keep their own bounds. `terminated` has discount 0; `truncated` has discount 1.
    """

    def __init__(self, env: Any, task_id: str, seed: int):
        """`env` is a `gymnasium.Env`."""
        self._env = env
        self._seed: int | None = seed
        self._over = True
        self._success: bool | None = None
        self._action = env.action_space
        self.task_id = task_id
        self.robot: str = type(env.unwrapped).__name__
        if frames := env.metadata.get("render_fps"):  # by Gymnasium's convention, 1 / the duration of a step
            self.control_rate_hz = float(frames)
        shape, dtype = self._action.shape, self._action.dtype
        if shape is None or len(shape) != 1 or not np.issubdtype(dtype, np.floating):
            raise ArmchairError(
                f"{task_id!r} has actions {self._action}: only a vector of real numbers can be recorded"
            )
        for name, space in _flatten(env.observation_space):
            if space.shape is None or space.dtype is None or space.dtype.kind not in "fiub":
                raise ArmchairError(f"{task_id!r} has an observation {name!r} of kind {space}: only arrays are taken")

    def reset(self) -> dm_env.TimeStep:
        """Starts an episode: the first one by the seed, later ones as the environment goes on."""
        observation, info = self._env.reset(seed=self._seed)
        self._seed, self._over, self._success = None, False, _success(info)
        return dm_env.restart(self._observation(observation))

    def step(self, action: np.ndarray) -> dm_env.TimeStep:
        """Takes one step."""
        if self._over:
            return self.reset()
        observation, reward, terminated, truncated, info = self._env.step(np.asarray(action, self._action.dtype))
        self._over, self._success = terminated or truncated, _success(info)
        reward, observation = float(reward), self._observation(observation)
        if terminated:
            return dm_env.termination(reward, observation)
        if truncated:
            return dm_env.truncation(reward, observation, discount=1.0)
        return dm_env.transition(reward, observation, discount=1.0)

    def is_success(self) -> bool | None:
        """What the last step's `info` says: whether the task is solved; None if it says nothing."""
        return self._success

    def observation_spec(self) -> dict[str, specs.Array]:
        """A spec for every array in the observation space."""
        return {
            name: specs.Array(space.shape or (1,), _dtype(space.dtype), name=name)
            for name, space in _flatten(self._env.observation_space)
        }

    def action_spec(self) -> specs.BoundedArray:
        """The action space, in float32."""
        return _action_spec(self._action.low, self._action.high, self._action.shape)

    def close(self) -> None:
        """Closes the environment."""
        self._env.close()

    def _observation(self, observation: Any) -> dict[str, np.ndarray]:
        arrays = {name: np.atleast_1d(value) for name, value in _flatten(observation)}
        return {name: array.astype(_dtype(array.dtype), copy=False) for name, array in arrays.items()}


class SeedableGymnasiumEnvironment(GymnasiumEnvironment):
    """One whose only seed is that of `reset`, so that it can be kept from episode to episode."""

    def seed(self, seed: int) -> None:
        """The next `reset` starts the episode of this seed."""
        self._seed = seed


def _make_gymnasium(environment_id: str) -> Any:
    make, error = resolve("gymnasium:make"), resolve("gymnasium:error")
    try:
        return make(environment_id)
    except (error.Error, ModuleNotFoundError) as reason:
        raise ArmchairError(f"Gymnasium cannot make {environment_id!r} ({reason}): mend the name") from reason


def _takes_seed(factory: Callable[..., Any]) -> bool:
    try:
        return "seed" in inspect.signature(factory).parameters
    except ValueError:  # builtins have no signature
        return False


def _flatten(node: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """(flat name, leaf) of nested mappings, Gymnasium's Dict spaces among them."""
    if not isinstance(node, Mapping):
        yield name or "observation", node
        return
    for key, child in node.items():
        yield from _flatten(child, f"{name}/{key}" if name else str(key))


def _dtype(dtype: np.dtype) -> np.dtype:
    return np.dtype(np.float32) if dtype == np.float64 else dtype


def _action_spec(low: Any, high: Any, shape: tuple[int, ...]) -> specs.BoundedArray:
    return specs.BoundedArray(shape, np.float32, np.float32(low), np.float32(high), name="action")


def _success(info: Mapping[str, Any]) -> bool | None:
    for key in _VERDICTS:
        if key in info:
            return bool(info[key])
    return None
