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

Nothing is in the store before `keep`. A crash, a lost arm or `close` loses the episode in hand and nothing else.
"""

import concurrent.futures
import contextlib
import dataclasses
import enum
import logging
import queue
import secrets
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, NamedTuple

import dm_env
import numpy as np

from datasets import schema
from datasets.episode import Episode
from datasets.errors import ArmchairError
from datasets.schema import ActedBy, Verdict
from datasets.store import Store
from robot.actors import make_actor
from robot.helm import Helm, TeleoperationError
from robot.pacing import Clock, Pace, Stoppable
from robot.record import HeldBackend, RecordedEnvironment, disk_errors
from robot.types import Actor

_log = logging.getLogger(__name__)

MakeEnv = Callable[[str, int], dm_env.Environment]
"""From a task and a seed to an environment; called in the thread that drives it."""


class Phase(enum.StrEnum):
    """Where an episode stands."""

    IDLE = "idle"  # there is none
    READY = "ready"  # the scene is set; time starts with the first command
    RUNNING = "running"
    ENDED = "ended"  # in memory only: to be kept or discarded


@dataclasses.dataclass(frozen=True)
class TeleoperationConfig:
    """How episodes are driven and shown."""

    dataset: str = "demonstrations_{task}"
    """Where kept episodes go. A dataset a task, since tasks may have other observations."""
    dagger_dataset: str = "dagger_{task}"
    """Where those with a policy go: their steps also tell who acted."""
    patience: float = 0.3
    """Seconds without a command after which the arm stands still: three control steps at 10 Hz, so that a late message
    does not make it stutter, and never more than 5 cm at the cell's 0.15 m/s."""
    max_seconds: float = 60.0
    """After which an episode is stopped: several times what a beginner needs for any of the cell's tasks."""
    live_cameras: tuple[str, ...] = ()
    """Cameras to draw larger than recorded, by the environment's `render(camera, height, width)`; (): the pictures of
    the observation are shown."""
    live_size: tuple[int, int] = (360, 480)
    """Height and width of those, in pixels: three cost the cell some 10 ms of its 100 where a CPU draws."""


@dataclasses.dataclass(frozen=True)
class Status:
    """What there is to know of the episode in hand."""

    phase: Phase = Phase.IDLE
    task_id: str = ""
    operator: str = ""
    seed: int = -1
    t: int = 0  # control steps taken
    elapsed_s: float = 0.0  # since the first command
    seconds_left: float = 0.0
    gripper_opening: float | None = None  # m; None where the environment does not tell
    gripper_closing: bool = False  # whether the gripper was last told to close
    policy_id: str = ""  # of the policy that drives if the person lets it; empty: there is none
    acted_by: ActedBy = (
        ActedBy.NOBODY
    )  # whose wish the last step was; nobody's: none was fresh, and the arm stood still
    overruns: int = 0  # steps that took longer than a control period
    jitter_ms: float = 0.0  # 95th percentile of how late steps began
    is_success: bool | None = None  # the environment's own judgement of the end, once there is one
    error: str = ""  # why the last episode was lost


@dataclasses.dataclass(frozen=True)
class Moment:
    """What observers get, at every change of phase and after every control step."""

    status: Status
    timestep: dm_env.TimeStep | None = None  # None if only the phase has changed
    pictures: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)  # camera -> uint8[H, W, 3]


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
          make_env: makes the environment of each episode; it is closed when the episode has ended.
          config: see there.
          observers: called with each moment in the thread that drives, so they must be quick, and may not raise.
          clock: by which commands grow stale and steps are taken.
        """
        self._store, self._make_env, self._config = store, make_env, config or TeleoperationConfig()
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
          SpecMismatchError: the environment has other observations than the dataset, or than the policy wants.
          ArmchairError: the environment or the policy cannot be made.
        """
        role = _Role(task_id, policy) if policy else None
        self._ask(_Wish.START, _Start(task_id, operator, secrets.randbelow(2**31) if seed is None else seed, role))

    def command(self, action: np.ndarray) -> None:
        """What the arm is to do until the next wish; ignored when there is no episode under way.

        Args:
          action: float32[A] in [-1, 1].

        Raises:
          TeleoperationError: it is something else; the arm goes on as if it had not come.
        """
        if (helm := self._helm) is not None:
            helm.command(action)

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
                start = self._next({_Wish.START})
                assert start is not None
                try:
                    episode = self._drive(start.argument)
                    self._reply(None if episode is None else self._settle(start.argument, episode), Status())
                except Exception as error:  # environments raise anything; the arm must be free again
                    self._lose(start.argument, error)
        except _Closed:
            _log.debug("teleoperation is closed")
        finally:  # whatever happened, nobody waits for ever
            with self._open:
                self._is_open = False
            self._reply(None, Status())
            while not self._requests.empty():
                self._requests.get().answer.set_exception(TeleoperationError("teleoperation is closing"))

    def _drive(self, start: "_Start") -> Episode | None:
        """Plays one episode; None if it was discarded."""
        dataset = self._dataset(start)
        spec = self._store.spec(dataset) if dataset in self._store.datasets() else None
        with contextlib.ExitStack() as stack:
            env = Stoppable(self._make_env(start.task_id, start.seed))
            stack.callback(env.close)
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
                if self._next({_Wish.STOP, _Wish.DISCARD}, until=self._clock.monotonic() + period):
                    return None
            pace = Pace(period, self._clock)
            while not timestep.last():
                request = self._next({_Wish.STOP, _Wish.DISCARD}, until=pace.due)
                if request and request.wish is _Wish.DISCARD:
                    return None
                if request or pace.elapsed >= self._config.max_seconds:
                    env.stop()
                    helm.close()
                    self._clock.sleep(max(0.0, pace.due - self._clock.monotonic()))
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
                pace.end()
            success = env.is_success() if hasattr(env, "is_success") else None
        _log.info(
            "an episode of %d steps by %s: %.1f s, %d overruns, 95%% of the steps at most %.1f ms late",
            status.t, status.operator, status.elapsed_s, pace.overruns, pace.jitter_ms(),
        )  # fmt: skip
        self._reply(None, dataclasses.replace(status, phase=Phase.ENDED, seconds_left=0.0, is_success=success))
        return backend.take()

    def _actor(self, start: "_Start", env: dm_env.Environment) -> Actor | None:
        """The episode's policy at its beginning, if it has one; the latest is kept, since loading takes seconds."""
        if start.role is None:
            return None
        if self._cast is None or self._cast[0] != start.role:
            self._cast = start.role, make_actor(start.role.policy, start.seed, env)
        self._cast[1].reset(start.seed)
        return self._cast[1]

    def _dataset(self, start: "_Start") -> str:
        name = self._config.dataset if start.role is None else self._config.dagger_dataset
        return name.format(task=start.task_id)

    def _settle(self, start: "_Start", episode: Episode) -> str | None:
        """Waits for what is to become of an ended episode; its id if it was kept."""
        episode_id = episode.metadata.episode_id
        try:
            while (request := self._next({_Wish.KEEP, _Wish.DISCARD})) and request.wish is _Wish.KEEP:
                metadata = dataclasses.replace(episode.metadata, verdict=str(Verdict(request.argument)))
                dataset = self._dataset(start)
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

    def _in_hand(self) -> tuple[int, str]:
        return self._status.t, self._status.operator

    def _lose(self, start: "_Start", error: Exception) -> None:
        """The episode is lost: whoever asked gets to know, or if nobody did, the observers."""
        if not isinstance(error, ArmchairError):
            _log.error("the environment of %s failed", start.task_id, exc_info=error)
            error = TeleoperationError(f"the arm failed ({type(error).__name__}: {error}): look after it, start again")
        elif self._unanswered is None:
            _log.warning("an episode of %s was lost: %s", start.task_id, error)
        self._reply(error, Status(error=str(error)))

    def _next(self, wishes: "Collection[_Wish]", until: float | None = None) -> "_Request | None":
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
        self._status = status
        pictures: dict[str, np.ndarray] = {}
        if timestep is not None and self._config.live_cameras:
            pictures = {name: env.render(name, *self._config.live_size) for name in self._config.live_cameras}
        elif timestep is not None:
            pictures = {k: v for k, v in timestep.observation.items() if v.dtype == np.uint8 and v.ndim == 3}
        for observer in self._observers:
            observer(Moment(status, timestep, pictures))

    def _let_go(self) -> None:
        self._helm = None


class _Wish(enum.Enum):
    START, STOP, KEEP, DISCARD, CLOSE = range(5)


_REFUSALS = {
    _Wish.START: "there is an episode in hand: stop it, and keep or discard it first",
    _Wish.STOP: "no episode is running: start one",
    _Wish.KEEP: "no episode has ended that could be kept: start one, then stop it",
    _Wish.DISCARD: "there is no episode to discard: start one",
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


def _opening(timestep: dm_env.TimeStep) -> float | None:
    opening = timestep.observation.get("gripper/opening")
    return None if opening is None else float(opening[0])
