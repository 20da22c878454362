"""Teleoperation: a person drives an environment at its own control rate, and keeps the episodes worth keeping.

```
with Teleoperation(store, make_env) as teleoperation:
    teleoperation.start("lift_green", operator="ada")
    teleoperation.command(action)                      # again and again; time starts with the first
    teleoperation.stop()
    episode_id = teleoperation.keep(Verdict.SUCCESS)   # or discard()
```
A thread of its own makes, steps, draws and closes the environment: an OpenGL context belongs to a thread, and whoever
commands may be slow. The arm obeys the latest command while that is fresh, and stands still otherwise.

With `start(..., policy=NAME)` a policy drives while the person says so, by `leave_to_policy()` again and again, and the
person takes over by any command. Such an episode tells at every step who acted (`schema.ACTED_BY`).

An arm that has stopped itself, or was stopped by `emergency_stop`, does not move again before `clear(person)`.

Nothing is in the store before `keep`. A crash, a lost arm or `close` loses the episode in hand and nothing else.
"""

import concurrent.futures
import contextlib
import dataclasses
import enum
import logging
import queue
import re
import secrets
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import dm_env
import numpy as np

from datasets import schema
from datasets.episode import Episode
from datasets.errors import ArmchairError
from datasets.schema import Verdict
from datasets.store import Store
from robot.actors import make_actor
from robot.pacing import Clock, Pace, Stoppable
from robot.record import HeldBackend, RecordedEnvironment, disk_errors
from robot.safety import EmergencyStopError
from robot.teleoperation.helm import Helm, TeleoperationError
from robot.teleoperation.kept import KeptArm, MakeEnv
from robot.teleoperation.types import Moment, Phase, Status, TeleoperationConfig
from robot.types import Actor

_log = logging.getLogger(__name__)


class Teleoperation:
    """One arm and whoever drives it: a context manager, whose methods may be called from any thread."""

    def __init__(
        self,
        store: Store,
        make_env: MakeEnv,
        config: TeleoperationConfig | None = None,
        observers: Sequence[Callable[[Moment], None]] = (),
        clock: Clock = time,
    ):
        """Starts the thread; nothing moves yet.

        Args:
          store: where kept episodes go.
          make_env: makes the environment of an episode. When that has ended it is closed; one with a method `seed(int)`
            is kept for the next episode of its task.
          config: see there.
          observers: called with each moment in the thread that drives, so they must be quick, and may not raise.
          clock: by which commands grow stale and steps are taken.
        """
        self._store, self._arm, self._config = store, KeptArm(make_env), config or TeleoperationConfig()
        self._observers, self._clock = tuple(observers), clock
        self._status = Status()
        self._helm: Helm | None = None  # None while there is nothing to command
        self._cast: tuple[_Role, Actor] | None = None  # the policy of the latest episode that had one
        self._requests: queue.SimpleQueue[_Request] = queue.SimpleQueue()
        self._unanswered: _Request | None = None
        self._open = threading.Lock()  # held while `_is_open` is looked at and acted upon
        self._is_open = True
        self._thread = threading.Thread(target=self._run, name="teleoperation", daemon=True)
        self._thread.start()

    @property
    def status(self) -> Status:
        """How things stand."""
        return self._status

    def start(self, task_id: str, operator: str, seed: int | None = None, policy: str = "") -> None:
        """Sets the scene for an episode; returns when it can be seen, which takes seconds the first time.

        Args:
          task_id: given to `make_env`.
          operator: the person who drives.
          seed: of the environment and the policy; None: a random one.
          policy: who drives when the person says `leave_to_policy()`, by a name for `robot.actors.make_actor`; empty:
            nobody.

        Raises:
          TeleoperationError: there is an episode in hand.
          EmergencyStopError: the arm was stopped, and nobody has cleared that.
          SpecMismatchError: the environment has other observations than the dataset, or than the policy wants.
          ArmchairError: the environment or the policy cannot be made.
        """
        role = _Role(task_id, policy) if policy else None
        self._ask(_Wish.START, _Start(task_id, operator, secrets.randbelow(2**31) if seed is None else seed, role))

    def command(self, action: np.ndarray, device: str = "") -> None:
        """What the arm is to do until this device's next wish; ignored when there is no episode under way.

        Args:
          action: float32[A] in [-1, 1].
          device: what the person drives by; what several command at once adds up.

        Raises:
          TeleoperationError: it is something else; the arm goes on as if it had not come.
        """
        if (helm := self._helm) is not None:
            helm.command(action, device)

    def leave_to_policy(self) -> None:
        """The policy is to drive until the next wish, for at most `patience`; ignored as a command would be.

        Raises:
          TeleoperationError: the episode has no policy.
        """
        if (helm := self._helm) is not None:
            helm.leave_to_policy()

    def stop(self) -> None:
        """Ends the episode with one more step, in which the arm stands still. One without any step is discarded."""
        self._ask(_Wish.STOP)

    def keep(self, verdict: Verdict) -> str:
        """Puts the ended episode into the store with a person's verdict; returns its id.

        Raises:
          TeleoperationError: no episode has ended.
          ArmchairError: it could not be written. It is still in hand.
        """
        episode_id: str = self._ask(_Wish.KEEP, verdict)
        return episode_id

    def discard(self) -> None:
        """Stops the arm and drops the episode in hand. Raises TeleoperationError if there is none."""
        self._ask(_Wish.DISCARD)

    def emergency_stop(self, why: str) -> None:
        """Stops the arm at once and ends the episode. Nothing moves again before `clear`.

        Raises:
          ArmchairError: it has no safety filter, as in simulation.
        """
        self._arm.emergency_stop(why)

    def clear(self, person: str) -> None:
        """Lets an arm that was stopped move again from the next `start` on.

        Args:
          person: the name of whoever has looked at the arm and says that it may move; it is logged.

        Raises:
          TeleoperationError: an episode is under way, or the arm does not recover.
          ArmchairError: it was not stopped.
        """
        self._ask(_Wish.CLEAR, person)

    def close(self) -> None:
        """Stops the arm and drops what was not kept; nothing more can be asked."""
        with contextlib.suppress(TeleoperationError):  # closed already
            self._ask(_Wish.CLOSE)
        self._thread.join()

    def __enter__(self) -> "Teleoperation":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _ask(self, wish: "_Wish", argument: Any = None) -> Any:
        request = _Request(wish, argument)
        with self._open:
            if not self._is_open:
                raise TeleoperationError("teleoperation is closed: start it again")
            self._requests.put(request)
        return request.answer.result()

    # The rest runs in the thread.

    def _run(self) -> None:
        try:
            while True:
                start = self._next(_Wish.START, _Wish.CLEAR)
                assert start is not None
                if start.wish is _Wish.CLEAR:
                    self._clear(start.argument)
                    continue
                try:
                    ended = self._drive(start.argument)
                    self._reply(None if ended is None else self._settle(*ended), Status())
                except Exception as error:  # environments raise anything; the arm must be free again
                    self._lose(start.argument, error)
        except _Closed:
            _log.debug("teleoperation is closed")
        finally:  # whatever happened, nobody waits for ever
            with self._open:
                self._is_open = False
            with contextlib.suppress(Exception):  # of an arm that cannot be reached
                self._arm.close()
            self._reply(None, Status())
            while not self._requests.empty():
                self._requests.get().answer.set_exception(TeleoperationError("teleoperation is closing"))

    def _drive(self, start: "_Start") -> tuple[Episode, str] | None:
        """Plays one episode, and says for which dataset; None if it was discarded."""
        with contextlib.ExitStack() as stack:
            env = Stoppable(self._arm.take(start.task_id, start.seed))
            stack.callback(self._arm.rest)
            dataset = self._dataset(start, env)
            spec = self._store.spec(dataset) if dataset in self._store.datasets() else None
            actor = self._actor(start, env)
            backend = HeldBackend(spec, dataset)
            stack.callback(backend.close)
            recorded = RecordedEnvironment(env, backend, start.metadata(env, actor))
            period = 1 / getattr(env, "control_rate_hz", schema.CONTROL_RATE_HZ)
            status = Status(
                Phase.READY, start.task_id, start.operator, start.seed, seconds_left=self._config.max_seconds,
                policy_id="" if actor is None else actor.policy_id,
            )  # fmt: skip
            timestep = recorded.reset()
            if actor is not None:
                actor.act(timestep.observation)  # the first time takes long
                actor.reset(start.seed)
            helm = Helm(env.action_spec().shape[0], actor is not None, self._config.patience, self._clock)
            self._helm = helm
            stack.callback(self._let_go)
            self._show(status, timestep, env)
            self._reply(None)
            while not helm.was_taken:
                if self._next(_Wish.STOP, _Wish.DISCARD, until=self._clock.monotonic() + period):
                    return None
                if self._arm.latched:
                    raise EmergencyStopError(f"the arm was stopped ({self._arm.latched})")
            pace = getattr(env, "pace", None) or Pace(period, self._clock)
            is_ours = not hasattr(env, "pace")  # else the environment keeps it: one of the two sleeps, never both
            pace.start()
            while not timestep.last():
                request = self._next(_Wish.STOP, _Wish.DISCARD, until=pace.due if is_ours else self._clock.monotonic())
                if request and request.wish is _Wish.DISCARD:
                    return None
                if request or pace.elapsed >= self._config.max_seconds:
                    env.stop()
                    helm.close()
                    if is_ours:
                        self._clock.sleep(max(0.0, pace.due - self._clock.monotonic()))
                if is_ours:
                    pace.begin()
                # Asked at every step, whoever drives: a policy may have a memory, and what it saw belongs into it.
                proposed = None if actor is None else actor.act(timestep.observation)
                action, by = helm.choose(proposed)
                env.acted_by = None if actor is None else by
                timestep = recorded.step(action)
                status = dataclasses.replace(
                    status, phase=Phase.RUNNING, t=status.t + 1, elapsed_s=pace.elapsed, overruns=pace.overruns,
                    seconds_left=max(0.0, self._config.max_seconds - pace.elapsed), jitter_ms=pace.jitter_ms(),
                    gripper_opening=_opening(timestep), acted_by=by,
                    gripper_closing=bool(action[-1] > 0 or (action[-1] == 0 and status.gripper_closing)),
                )  # fmt: skip
                self._show(status, timestep, env)
                if is_ours:
                    pace.end()
            success = env.is_success() if hasattr(env, "is_success") else None
        _log.info(
            "an episode of %d steps by %s: %.1f s, %d overruns, 95%% of the steps at most %.1f ms late",
            status.t, status.operator, status.elapsed_s, pace.overruns, pace.jitter_ms(),
        )  # fmt: skip
        self._reply(None, dataclasses.replace(status, phase=Phase.ENDED, seconds_left=0.0, is_success=success))
        return backend.take(), dataset

    def _actor(self, start: "_Start", env: dm_env.Environment) -> Actor | None:
        """The episode's policy at its beginning, if it has one; the latest is kept, since loading takes seconds."""
        if start.role is None:
            return None
        if self._cast is None or self._cast[0] != start.role:
            self._cast = start.role, make_actor(start.role.policy, start.seed, env)
        self._cast[1].reset(start.seed)
        return self._cast[1]

    def _dataset(self, start: "_Start", env: dm_env.Environment) -> str:
        name = self._config.dataset if start.role is None else self._config.dagger_dataset
        task = getattr(env, "task_id", start.task_id)
        if getattr(env, "is_hardware", False):
            task = f"{getattr(env, 'robot', '')}_{task}"
        return re.sub("[^a-z0-9]+", "_", name.format(task=task).lower())

    def _settle(self, episode: Episode, dataset: str) -> str | None:
        """Waits for what is to become of an ended episode; its id if it was kept."""
        episode_id = episode.metadata.episode_id
        try:
            while (request := self._next(_Wish.KEEP, _Wish.DISCARD, _Wish.CLEAR)) and request.wish is not _Wish.DISCARD:
                if request.wish is _Wish.CLEAR:
                    self._clear(request.argument)
                    continue
                metadata = dataclasses.replace(episode.metadata, verdict=str(Verdict(request.argument)))
                try:
                    with disk_errors(f"episode {episode_id} could not be written to {dataset}", "keep it again"):
                        self._store.add(dataclasses.replace(episode, metadata=metadata), dataset)
                        self._store.publish()
                    return episode_id
                except ArmchairError as error:
                    self._reply(error)
        except _Closed:
            _log.warning("dropped an episode of %d steps by %s: closed before it was kept", *self._in_hand())
            raise
        _log.info("an episode of %d steps by %s was discarded", *self._in_hand())
        return None

    def _clear(self, person: str) -> None:
        try:
            self._arm.clear(person)
            self._reply(None, dataclasses.replace(self._status, error=""))
        except Exception as error:  # drivers raise anything
            self._reply(error if isinstance(error, ArmchairError) else _failure(error), self._status)

    def _in_hand(self) -> tuple[int, str]:
        return self._status.t, self._status.operator

    def _lose(self, start: "_Start", error: Exception) -> None:
        """The episode is lost: whoever asked gets to know, or if nobody did, the observers."""
        if not isinstance(error, ArmchairError):
            _log.error("the environment of %s failed", start.task_id, exc_info=error)
            error = _failure(error)
        elif self._unanswered is None:
            _log.warning("an episode of %s was lost: %s", start.task_id, error)
        if not self._arm.latched:
            with contextlib.suppress(Exception):  # it has failed already
                self._arm.close()  # what is kept has to be in order
        self._reply(error, Status(error=str(error)))

    def _next(self, *wishes: "_Wish", until: float | None = None) -> "_Request | None":
        """The next request for one of `wishes`; others are refused. None if there is none before `until`."""
        while True:
            try:
                request = self._requests.get(
                    timeout=None if until is None else max(0.0, until - self._clock.monotonic())
                )
            except queue.Empty:
                return None
            self._unanswered = request
            if request.wish is _Wish.CLOSE:
                raise _Closed
            if request.wish in wishes:
                return request
            self._reply(TeleoperationError(_REFUSALS[request.wish]))

    def _reply(self, answer: Any, status: Status | None = None) -> None:
        """Answers the request in hand, if there is one, after the new status (if it is one) can be seen."""
        request, self._unanswered = self._unanswered, None
        if status is not None:
            self._show(status)
        if request is not None and isinstance(answer, Exception):
            request.answer.set_exception(answer)
        elif request is not None:
            request.answer.set_result(answer)

    def _show(self, status: Status, timestep: dm_env.TimeStep | None = None, env: Any = None) -> None:
        self._status = status = dataclasses.replace(status, stopped=self._arm.latched)
        pictures: dict[str, np.ndarray] = {}
        if timestep is not None and self._config.live_cameras and hasattr(env, "render"):
            pictures = {name: env.render(name, *self._config.live_size) for name in self._config.live_cameras}
        elif timestep is not None:
            pictures = {k: v for k, v in timestep.observation.items() if v.dtype == np.uint8 and v.ndim == 3}
        for observer in self._observers:
            observer(Moment(status, timestep, pictures))

    def _let_go(self) -> None:
        self._helm = None


class _Wish(enum.Enum):
    START, STOP, KEEP, DISCARD, CLEAR, CLOSE = range(6)


_REFUSALS = {
    _Wish.START: "there is an episode in hand: stop it, and keep or discard it first",
    _Wish.STOP: "no episode is running: start one",
    _Wish.KEEP: "no episode has ended that could be kept: start one, then stop it",
    _Wish.DISCARD: "there is no episode to discard: start one",
    _Wish.CLEAR: "an episode is running: stop it first",
}


class _Role(NamedTuple):
    task_id: str
    policy: str


@dataclasses.dataclass(frozen=True)
class _Start:
    task_id: str
    operator: str
    seed: int
    role: _Role | None  # of the policy, if there is one

    def metadata(self, env: dm_env.Environment, actor: Actor | None) -> dict[str, Any]:
        """What the environment does not know itself."""
        kind = schema.EpisodeType.TELEOPERATION if actor is None else schema.EpisodeType.DAGGER
        return {
            "task_id": getattr(env, "task_id", self.task_id), "episode_type": str(kind),
            "policy_id": f"teleop-{self.operator}" if actor is None else actor.policy_id,
            "operator": self.operator, "seed": self.seed,
        }  # fmt: skip


@dataclasses.dataclass(frozen=True)
class _Request:
    wish: _Wish
    argument: Any
    answer: "concurrent.futures.Future[Any]" = dataclasses.field(default_factory=concurrent.futures.Future)


class _Closed(BaseException):
    """Somebody wants the thread to end. Not an Exception, so that nobody takes it for an environment's."""


def _failure(error: Exception) -> TeleoperationError:
    return TeleoperationError(f"the arm failed ({type(error).__name__}: {error}): look after it, start again")


def _opening(timestep: dm_env.TimeStep) -> float | None:
    opening = timestep.observation.get("gripper/opening")
    return None if opening is None else float(opening[0])
