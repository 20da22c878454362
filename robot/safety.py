"""The safety filter: what stands between whoever acts and an arm, simulated or real.

```
env = SafeEnvironment(arm, SafetyConfig(workspace=Box((0.4, -0.2, 0.02), (0.7, 0.2, 0.4))))
timestep = env.step(action)      # or something slower: see env.executed
env.emergency_stop("the cup fell over")
env.clear("ada")                 # nothing moves before a person has had a look
```
What an actor wants is first held to `robot.limits`; then the arm's answer is watched. Whatever is wrong stops the arm,
ends the episode and is latched: `reset` refuses until a person clears it. Nothing here goes on by itself.

`robot.record` keeps what was executed as the episode's actions, so that learning sees what really moved the arm, beside
what was commanded and why they differ.
"""

import enum
import logging
import math
from typing import Any, NamedTuple

import dm_env
import numpy as np

from datasets import schema
from datasets.errors import ArmchairError, SpecMismatchError
from robot.limits import Box, Limiter, Reason, SafetyConfig
from robot.wrapper import Wrapper

__all__ = ["Box", "EmergencyStopError", "Executed", "Reason", "SafeEnvironment", "Safety", "SafetyConfig", "protect"]

_log = logging.getLogger(__name__)

_SHAPE = (len(schema.ACTION_NAMES),)
_POSE, _FORCE, _TORQUE = "sawyer/pinch/pose", "wrist/force", "wrist/torque"
_MOVING = 0.1  # of an action's unit: slower than 15 mm/s, a pose may well stay the same


class EmergencyStopError(ArmchairError):
    """The arm was stopped, and nobody has cleared it yet."""


class Safety(enum.StrEnum):
    """Whether there is a filter between an actor and an arm."""

    AUTO = "auto"  # for real arms, not in simulation
    ON = "on"
    OFF = "off"


class Executed(NamedTuple):
    """What became of an action."""

    commanded: np.ndarray  # float32[7]; 0 if it was malformed
    action: np.ndarray  # float32[7], what the arm was made to do
    reasons: tuple[Reason, ...]  # why they differ, or why the arm was stopped


class SafeEnvironment(Wrapper):
    """An arm behind the filter. What else the arm's environment has shows through.

    Of the environment it wants the actions of the vocabulary (`schema.ACTION_NAMES`), the pinch point's pose and the
    wrist's force and torque. Where it has them, it uses `control_rate_hz`, `halt()`, which stops the arm at once,
    `set_point_expired`, whether the arm has stopped by itself since the last step because no set-point came, and
    `recover()`, which makes an arm that was stopped ready again.
    """

    def __init__(self, env: dm_env.Environment, config: SafetyConfig):
        """Raises SpecMismatchError if the environment has other actions, or lacks an observation that a limit needs."""
        sensors = {_POSE: 0.0, _FORCE: config.max_force, _TORQUE: config.max_torque}
        observed = env.observation_spec()
        for name, limit in sensors.items():
            if math.isfinite(limit) and name not in observed:
                raise SpecMismatchError(
                    f"without the observation {name!r} the arm cannot be kept safe: let it be measured"
                )
        if tuple(env.action_spec().shape) != _SHAPE:
            raise SpecMismatchError(
                f"the safety filter knows the {_SHAPE[0]} actions {', '.join(schema.ACTION_NAMES)}, "
                f"not {env.action_spec()}: convert them in your environment"
            )
        super().__init__(env)
        self._config = config
        self._limiter = Limiter(config, 1 / getattr(env, "control_rate_hz", schema.CONTROL_RATE_HZ))
        self._watch = _Watch(config)
        self._latched = ""
        self._pressed = False
        self._over = True
        self._pose = np.zeros(7)
        self.executed: Executed | None = None  # of the last step; None at an episode's start

    @property
    def latched(self) -> str:
        """Why the arm was stopped; empty if it was not, or a person has cleared it."""
        return self._latched

    @property
    def tags(self) -> str:
        """Tags of the episode that has just ended: the environment's own, and `stopped` if it was."""
        tags = [getattr(self._env, "tags", ""), "stopped" if self._latched else ""]
        return ",".join(filter(None, tags))

    def emergency_stop(self, why: str) -> None:
        """The button: stops the arm now, and latches. To be called from any thread, at any moment, ever again."""
        self._pressed = True
        self._stop(f"{Reason.PERSON}: {why}")

    def clear(self, person: str) -> None:
        """Lets the arm move again from the next `reset` on.

        Args:
          person: the name of whoever has looked at the arm and says that it may move; it is logged.

        Raises:
          ArmchairError: nobody is named, or the arm cannot recover.
        """
        if not person.strip():
            raise ArmchairError("who has looked at the arm? only a person can clear an emergency stop")
        if hasattr(self._env, "recover"):
            self._env.recover()
        _log.warning("%s cleared the stop: %s", person, self._latched or "there was none")
        self._latched, self._pressed, self._over = "", False, True

    def reset(self) -> dm_env.TimeStep:
        """Begins an episode.

        Raises:
          EmergencyStopError: the arm was stopped, and nobody has cleared that.
        """
        if self._latched:
            raise EmergencyStopError(f"the arm was stopped ({self._latched}): look after it, and start again")
        try:
            timestep = self._env.reset()
        except BaseException as error:
            self._stop(f"{Reason.FAILURE}: {error}")
            raise
        self.executed, self._over = None, False
        self._pose = np.asarray(timestep.observation[_POSE], float)
        self._watch.begin(timestep.observation)
        return timestep

    def step(self, action: np.ndarray) -> dm_env.TimeStep:
        """Does what is asked for, as far as that is safe; the episode's last step if the arm had to be stopped.

        Raises:
          EmergencyStopError: as `reset`, which a step after the episode's last one is.
          Exception: the environment's own; the arm has been stopped.
        """
        if self._over:
            return self.reset()
        executed = self._filter(action)
        try:
            timestep = self._env.step(executed.action)
        except BaseException as error:
            self._over = True
            self._stop(f"{Reason.FAILURE}: {error}")
            raise
        if trouble := self._watch.trouble(timestep.observation, executed.action):
            reason, why = trouble
            self._stop(f"{reason}: {why}")
            executed = executed._replace(reasons=(*executed.reasons, reason))
        if self._pressed and Reason.PERSON not in executed.reasons:
            executed = executed._replace(reasons=(*executed.reasons, Reason.PERSON))
        self.executed = executed
        self._pose = np.asarray(timestep.observation[_POSE], float)
        if self._latched:
            timestep = timestep._replace(step_type=dm_env.StepType.LAST)
        self._over = timestep.last()
        return timestep

    def _filter(self, action: Any) -> Executed:
        nothing = np.zeros(_SHAPE, np.float32)
        try:
            commanded = np.asarray(action, np.float32)
            well_formed = commanded.shape == _SHAPE and bool(np.isfinite(commanded).all())
        except (TypeError, ValueError):  # no numbers at all
            well_formed = False
        if not well_formed:
            self._stop(f"{Reason.MALFORMED}: {action!r} is not {_SHAPE[0]} finite numbers")
            return Executed(nothing, nothing, (Reason.MALFORMED,))
        if self._latched:  # the button was pressed since the last step
            return Executed(commanded, nothing, (Reason.PERSON,))
        expired = getattr(self._env, "set_point_expired", False)
        previous = nothing if expired or self.executed is None else self.executed.action
        limited = self._limiter.limit(commanded, previous, self._pose)
        return Executed(commanded, limited.action, (*([Reason.EXPIRED] if expired else []), *limited.reasons))

    def _stop(self, why: str) -> None:
        """Stops the arm and latches; the first reason is the one that counts."""
        if not self._latched:
            self._latched = why
            _log.error("emergency stop: %s", why)
        if hasattr(self._env, "halt"):
            try:
                self._env.halt()
            except Exception:  # of an arm that cannot be reached; its dead man's rule stops it
                _log.exception("the arm did not answer to the stop")


class _Watch:
    """The rules that need memory: what the sensors have told in a row."""

    def __init__(self, config: SafetyConfig):
        self._config = config
        self._wrenches = ((_FORCE, config.max_force, "N"), (_TORQUE, config.max_torque, "N m"))

    def begin(self, observation: Any) -> None:
        """An episode begins: what the wrist feels now is the gripper's weight."""
        self._weight = {name: np.array(observation[name]) for name, limit, _ in self._wrenches if math.isfinite(limit)}
        self._seen = self._sensed(observation)
        self._too_much = self._same = 0

    def trouble(self, observation: Any, action: np.ndarray) -> tuple[Reason, str] | None:
        """Why the arm must be stopped after an action, if it must."""
        if not np.isfinite(observation[_POSE]).all():
            return Reason.SENSOR, "the measured pose is not finite"
        seen, self._seen = self._seen, self._sensed(observation)
        moving = float(np.abs(action[:6]).max()) > _MOVING
        self._same = self._same + 1 if moving and seen == self._seen else 0
        if self._same >= self._config.frozen:
            return Reason.SENSOR, f"the arm is to move, but was measured at the same place {self._same} times"
        felt = [
            f"{size:.1f} {unit}, more than {limit:g} {unit}"
            for name, limit, unit in self._wrenches
            if name in self._weight and not (size := _length(observation[name] - self._weight[name])) <= limit
        ]
        self._too_much = self._too_much + 1 if felt else 0
        if self._too_much >= self._config.debounce:
            return Reason.FORCE, f"the wrist feels {' and '.join(felt)}"
        return None

    def _sensed(self, observation: Any) -> bytes:
        return np.asarray(observation[_POSE]).tobytes()


def _length(vector: np.ndarray) -> float:
    return math.sqrt(float(vector @ vector))


def protect(env: dm_env.Environment, safety: Safety) -> dm_env.Environment:
    """An environment, behind a filter if it is to have one.

    Args:
      env: its limits are its attribute `safety`, a `SafetyConfig`. An arm of metal has a true `is_hardware`.
      safety: see there.

    Raises:
      ArmchairError: it is to have a filter, but tells no limits.
      SpecMismatchError: as `SafeEnvironment`.
    """
    if safety is Safety.OFF or (safety is Safety.AUTO and not getattr(env, "is_hardware", False)):
        return env
    config = getattr(env, "safety", None)
    if not isinstance(config, SafetyConfig):
        raise ArmchairError(
            f"the arm {getattr(env, 'robot', env)!r} has no safety limits: give its environment an attribute `safety`, "
            "a robot.safety.SafetyConfig"
        )
    return SafeEnvironment(env, config)
