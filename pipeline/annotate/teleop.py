"""Demonstrations in the browser: one arm, driven over a WebSocket by whoever holds it.

From the page: `start`, `command` or `leave_to_policy` (again and again), `stop`, then `keep` or `discard`; of an arm
with a safety filter, `emergency_stop` and `clear`; the models below say what is in them. To the page:
`{"type": "state", ...}` after every control step (`robot.teleoperation.types.Status`), `{"type": "cameras", "cameras":
...}` before the first pictures, `{"type": "kept", "episode_id": ...}`, `{"type": "cleared"}`, `{"type": "error",
"code": ..., "message": ...}`, and pictures as binary: one byte, the camera's index, then a JPEG.

Who starts an episode holds the arm until it is kept or discarded. Whose connection breaks loses arm and episode.
"""

import asyncio
import contextlib
import dataclasses
import functools
import importlib.util
import io
import json
import logging
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import dm_env
import numpy as np
from fastapi import APIRouter, FastAPI, WebSocket
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError
from starlette.websockets import WebSocketDisconnect

from datasets import schema
from datasets.errors import ArmchairError
from datasets.schema import Verdict
from pipeline.annotate.errors import ApiError, refusals
from pipeline.annotate.sessions import CurrentUser, current_user
from pipeline.annotate.state import AppState
from robot.env import CAMERAS, TASKS, CellConfig, make_env
from robot.teleoperation.spacemouse import SpaceMouse

if TYPE_CHECKING:
    from robot.teleoperation.teleoperation import Moment, Teleoperation

_log = logging.getLogger(__name__)

MAX_SECONDS = 60.0  # an episode; the scripted experts need 4 to 11 seconds, a person at the keys several times that
MESSAGE_CHARACTERS = 1000  # a command has some 150
JPEG_QUALITY = 80  # of live pictures, which nobody learns from: 10 to 20 kB each
_POLL_S = 0.05
# Close codes of our own (4000 to 4999 are the application's), and one of the protocol's.
NOT_SIGNED_IN, TOO_LARGE = 4401, 1009

_DIAGONAL = 0.7071
VIEWS: Mapping[str, tuple[tuple[float, float], tuple[float, float]]] = {
    "basket_front_left": ((-_DIAGONAL, -_DIAGONAL), (-_DIAGONAL, _DIAGONAL)),
    "basket_front_right": ((-_DIAGONAL, _DIAGONAL), (_DIAGONAL, _DIAGONAL)),
}
"""For the fixed cameras, which way is away from the viewer and which is right, (x, y) in the base frame."""


class _Message(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


class Start(_Message):
    """Sets the scene; the clock starts with the first command."""

    type: Literal["start"]
    task_id: str = Field(max_length=100)
    seed: int | None = Field(None, ge=0, lt=2**31)
    policy: str = Field("", max_length=500)  # one of `TeleopFacts.policies`; empty: the person drives alone


class Command(_Message):
    """What the arm does until the next command, for at most 0.3 s; see `schema.ACTION_NAMES`."""

    type: Literal["command"]
    action: list[Annotated[float, Field(ge=-1, le=1)]] = Field(
        min_length=len(schema.ACTION_NAMES), max_length=len(schema.ACTION_NAMES)
    )


class LeaveToPolicy(_Message):
    """The policy drives until the next command, for at most 0.3 s."""

    type: Literal["leave_to_policy"]


class Stop(_Message):
    """Ends the episode."""

    type: Literal["stop"]


class Keep(_Message):
    """Stores the ended episode."""

    type: Literal["keep"]
    verdict: Literal["success", "failure", "unknown"]


class Discard(_Message):
    """Drops the episode in hand."""

    type: Literal["discard"]


class EmergencyStop(_Message):
    """Stops the arm at once, whoever drives it."""

    type: Literal["emergency_stop"]


class Clear(_Message):
    """Whoever sends it has looked at the arm that was stopped, and says that it may move again."""

    type: Literal["clear"]


_Wish = Start | Command | LeaveToPolicy | Stop | Keep | Discard | EmergencyStop | Clear
_MESSAGES: TypeAdapter[_Wish] = TypeAdapter(Annotated[_Wish, Field(discriminator="type")])


class Camera(BaseModel):
    """A live camera."""

    name: str
    away: tuple[float, float] | None  # (x, y) in the base frame; None for one that moves, or whose place is not known
    right: tuple[float, float] | None


class TeleopFacts(BaseModel):
    """What can be driven here, and by whom it is."""

    tasks: list[str]
    is_robot: bool  # whether it is the robot that the server was started with, not the simulated cell
    policies: list[str]  # who may drive, for a person to take over from
    cameras: list[Camera]  # in the order of their index, as far as is known before the first episode
    control_rate_hz: float
    max_seconds: float
    busy_by: str | None  # the annotator who holds the arm
    stopped: str  # why the arm was stopped in an emergency, if nobody has cleared that
    unavailable: str | None  # why nothing can be driven on this machine, in one sentence


MakeEnv = Callable[[str, int], dm_env.Environment]


def make_cell(task_id: str, seed: int) -> dm_env.Environment:
    """The simulated cell with its cameras; the page, not the task, says when time is up."""
    if task_id not in TASKS:  # `module:factory` would import what the browser names
        raise ArmchairError(f"there is no task {task_id!r} in the cell: choose one of {', '.join(TASKS)}")
    return make_env(task_id, seed, CellConfig(time_limit=round(2 * MAX_SECONDS * schema.CONTROL_RATE_HZ)))


def make_robot(name: str, arm: Path | None, task_id: str, seed: int) -> dm_env.Environment:
    """The robot of that name; a real one with its safety filter. Raises ArmchairError if the page names another."""
    if task_id != name:
        raise ArmchairError(f"there is no arm {task_id!r} here: choose {name}")
    return make_env(name, seed, arm=arm)


def router(state: AppState, make: MakeEnv | None = None) -> APIRouter:
    """The routes of teleoperation; the arm is let go when the server ends.

    Args:
      state: of the server.
      make: makes the environment of an episode; None: the robot that the server was started with, or the cell.

    Raises:
      ArmchairError: there is to be a SpaceMouse, and none can be opened.
    """
    robot = state.config.robot
    arm = _Arm(state, make or (functools.partial(make_robot, robot, state.config.arm) if robot else make_cell))

    mouse = SpaceMouse(arm.nudge) if state.config.spacemouse else contextlib.nullcontext()

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        with mouse:
            yield
        await asyncio.to_thread(arm.close)

    routes = APIRouter(lifespan=lifespan)

    @routes.get("/teleop", responses=refusals(401))
    def teleop(user: CurrentUser) -> TeleopFacts:
        """What can be driven here."""
        return TeleopFacts(
            tasks=[robot] if robot else list(TASKS), is_robot=bool(robot), policies=list(state.config.policies),
            cameras=arm.cameras, control_rate_hz=schema.CONTROL_RATE_HZ, max_seconds=MAX_SECONDS, stopped=arm.stopped,
            busy_by=arm.holder.user if arm.holder else None, unavailable=None if robot else _unavailable(),
        )  # fmt: skip

    @routes.websocket("/teleop")
    async def drive(socket: WebSocket) -> None:
        await socket.accept()  # a refusal before this would reach the page without its sentence
        try:
            user = await current_user(socket)
        except ApiError as refusal:
            return await socket.close(NOT_SIGNED_IN, refusal.detail)
        driver = _Driver(socket, user, arm)
        sender = asyncio.create_task(driver.send())
        try:
            await driver.listen()
        except WebSocketDisconnect:
            _log.debug("%s has left the demonstrations", user)
        finally:
            sender.cancel()
            await arm.let_go(driver)
        return None

    return routes


class _Arm:
    """The arm, and the driver who holds it. Its `holder` is changed by the server's event loop alone."""

    def __init__(self, state: AppState, make: MakeEnv):
        self._state, self._make = state, make
        self._loop: asyncio.AbstractEventLoop | None = None
        self.cameras = self._placed(() if state.config.robot else CAMERAS)
        self.holder: _Driver | None = None

    @functools.cached_property
    def teleoperation(self) -> "Teleoperation":
        """Made by the first who drives: it imports a simulator."""
        from robot.teleoperation.teleoperation import Teleoperation, TeleoperationConfig

        config = TeleoperationConfig(max_seconds=MAX_SECONDS, live_cameras=() if self._state.config.robot else CAMERAS)
        return Teleoperation(self._state.store, self._make, config, [self._observe])

    @property
    def stopped(self) -> str:
        """Why the arm was stopped, if nobody has cleared that."""
        return self.teleoperation.status.stopped if "teleoperation" in self.__dict__ else ""

    def nudge(self, action: np.ndarray) -> None:
        """A command of the SpaceMouse at the server's machine, in its thread; ignored while nobody holds the arm."""
        if self.holder is not None and "teleoperation" in self.__dict__:
            self.teleoperation.command(action, "spacemouse")

    async def start(self, driver: "_Driver", message: Start) -> None:
        """Raises ArmchairError if the arm is somebody else's, or cannot be had."""
        if self.holder is not None:
            if self.holder is driver:
                raise ArmchairError("there is an episode in hand: stop it, and keep or discard it first")
            where = " in another window" if self.holder.user == driver.user else ""
            raise _BusyError(f"busy by {self.holder.user}{where}: wait until that episode is kept or discarded")
        if (policy := message.policy) and policy not in self._state.config.policies:  # a name may import modules
            raise ArmchairError(f"there is no policy {policy!r} here: start the server with --policies {policy}")
        self.holder, self._loop = driver, asyncio.get_running_loop()
        try:
            wish = (message.task_id, driver.user, message.seed, policy)
            await asyncio.to_thread(lambda: self.teleoperation.start(*wish))
        except Exception:
            self.holder = None
            raise

    async def let_go(self, driver: "_Driver") -> None:
        """The driver has gone: what was not kept is lost."""
        from robot.teleoperation.teleoperation import Phase

        while self.holder is driver and self.teleoperation.status.phase is Phase.IDLE:  # a real arm is on its way home
            with contextlib.suppress(ArmchairError):  # not yet, or in the cell
                self.teleoperation.emergency_stop(f"{driver.user} was gone while the scene was set")
                break
            await asyncio.sleep(_POLL_S)
        if self.holder is driver:
            with contextlib.suppress(ArmchairError):  # there was nothing to discard, or the arm is gone
                status = self.teleoperation.status
                await asyncio.to_thread(self.teleoperation.discard)
                _log.warning(
                    "%s left without keeping an episode of %s: the arm has stopped, its %d steps are discarded",
                    driver.user, status.task_id, status.t,
                )  # fmt: skip
            if self.holder is driver:  # not the next one, if the start has failed meanwhile
                self.holder = None

    def close(self) -> None:
        """Stops the thread that drives, if there is one."""
        if "teleoperation" in self.__dict__:
            self.teleoperation.close()

    def emergency_stop(self, person: str) -> None:
        """Stops the arm at once. Raises ArmchairError if nothing is driven, or it has no safety filter."""
        if self.holder is None:
            raise _NotDrivingError("nothing is driven now: there is nothing to stop")
        self.teleoperation.emergency_stop(f"by {person}, in the page")

    async def clear(self, driver: "_Driver") -> None:
        """The driver has looked at the arm. Raises ArmchairError if somebody else drives it, or it does not recover."""
        if self.holder not in (None, driver):
            raise _BusyError(f"busy by {self.holder.user}, who must clear the stop")
        await asyncio.to_thread(lambda: self.teleoperation.clear(driver.user))

    def _placed(self, names: Iterable[str]) -> list[Camera]:
        """Cameras by name; where those of a robot stand, we do not know."""
        known = {} if self._state.config.robot else VIEWS
        placed = [(name, *known.get(name, (None, None))) for name in names]
        return [Camera(name=name, away=away, right=right) for name, away, right in placed]

    def _observe(self, moment: "Moment") -> None:
        """In the thread that drives."""
        pictures = [bytes([index]) + _jpeg(picture) for index, picture in enumerate(moment.pictures.values())]
        with contextlib.suppress(RuntimeError):  # the server has ended and its loop is closed
            if self._loop is not None:
                self._loop.call_soon_threadsafe(self._deliver, moment, pictures)

    def _deliver(self, moment: "Moment", pictures: list[bytes]) -> None:
        """In the event loop."""
        from robot.teleoperation.teleoperation import Phase

        driver = self.holder
        if driver is None:
            return
        if moment.status.phase is Phase.READY:
            self.cameras = self._placed(name.removeprefix("pixels/") for name in moment.pictures)
            driver.answer(type="cameras", cameras=[camera.model_dump() for camera in self.cameras])
        driver.tell(dataclasses.asdict(moment.status), pictures)
        if moment.status.phase is Phase.IDLE:
            self.holder = None


class _Driver:
    """One connection of a person. What is to be sent waits in an outbox, where new states and pictures replace old."""

    def __init__(self, socket: WebSocket, user: str, arm: _Arm):
        self.user = user
        self._socket, self._arm = socket, arm
        self._answers: deque[dict[str, Any]] = deque()
        self._state: dict[str, Any] | None = None
        self._pictures: list[bytes] = []
        self._wake = asyncio.Event()
        self._start: asyncio.Task[None] | None = None  # held, or it might be collected before it is done

    def tell(self, state: dict[str, Any], pictures: list[bytes]) -> None:
        """Puts a state, and pictures if there are any, into the outbox."""
        self._state, self._pictures = state, pictures or self._pictures
        self._wake.set()

    def answer(self, **content: Any) -> None:
        """Puts an answer into the outbox."""
        self._answers.append(content)
        self._wake.set()

    async def send(self) -> None:
        """Sends what is in the outbox, for ever."""
        with contextlib.suppress(WebSocketDisconnect, RuntimeError):  # gone; `listen` gets to know
            while True:
                await self._wake.wait()
                self._wake.clear()
                (state, self._state), (pictures, self._pictures) = (self._state, None), (self._pictures, [])
                if state is not None:
                    await self._socket.send_text(json.dumps({"type": "state", **state}))
                while self._answers:
                    await self._socket.send_text(json.dumps(self._answers.popleft()))
                for picture in pictures:
                    await self._socket.send_bytes(picture)

    async def listen(self) -> None:
        """Does what the page wishes until it is gone."""
        while True:
            received = await self._socket.receive()
            if received["type"] == "websocket.disconnect":
                raise WebSocketDisconnect(received.get("code", 1000))
            text = received.get("text") or ""
            if len(text) > MESSAGE_CHARACTERS or len(received.get("bytes") or b"") > MESSAGE_CHARACTERS:
                return await self._socket.close(TOO_LARGE, f"a message has at most {MESSAGE_CHARACTERS} characters")
            try:
                message = _MESSAGES.validate_json(text)
            except ValidationError as error:
                self.answer(type="error", code="invalid", message=_sentence(error))
                continue
            if isinstance(message, Start):  # an arm goes home for seconds, in which it must be possible to stop it
                self._start = asyncio.create_task(self._try(message))
            else:
                await self._try(message)

    async def _try(self, message: _Wish) -> None:
        try:
            await self._do(message)
        except ApiError as error:  # the session has expired
            await self._socket.close(NOT_SIGNED_IN, error.detail)
        except ArmchairError as error:
            self.answer(type="error", code=getattr(error, "code", "refused"), message=str(error))

    async def _do(self, message: _Wish) -> None:
        arm = self._arm
        if isinstance(message, Start):
            await current_user(self._socket)
            return await arm.start(self, message)
        if isinstance(message, EmergencyStop):  # not in another thread, which may be long in coming
            return arm.emergency_stop(self.user)
        if isinstance(message, Clear):
            await current_user(self._socket)
            await arm.clear(self)
            return self.answer(type="cleared")
        if arm.holder is not self:
            raise _NotDrivingError("you are not driving: start an episode")
        match message:
            case Command():
                arm.teleoperation.command(np.array(message.action, np.float32))
            case LeaveToPolicy():
                arm.teleoperation.leave_to_policy()
            case Stop():
                await asyncio.to_thread(arm.teleoperation.stop)
            case Discard():
                await asyncio.to_thread(arm.teleoperation.discard)
            case Keep():
                episode_id = await asyncio.to_thread(arm.teleoperation.keep, Verdict(message.verdict))
                self.answer(type="kept", episode_id=episode_id, verdict=message.verdict)
        return None


class _BusyError(ArmchairError):
    code = "busy"


class _NotDrivingError(ArmchairError):
    code = "not_driving"


def _unavailable() -> str | None:
    """Why nothing can be driven here. The first call may take a second: it tries to draw a frame."""
    if importlib.util.find_spec("mujoco") is None:
        return "Demonstrations need MuJoCo: install it with `pip install 'armchair[sim]'`, and start the server again."
    from robot.cell.rendering import choose_backend

    try:
        choose_backend()
    except ArmchairError as error:
        return f"Demonstrations need pictures: {error}"
    return None


def _jpeg(picture: np.ndarray) -> bytes:
    """From uint8[H, W, 3]."""
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "JPEG", quality=JPEG_QUALITY)
    return file.getvalue()


def _sentence(error: ValidationError) -> str:
    """The first problem; what was sent is not repeated."""
    problem = error.errors(include_input=False, include_url=False, include_context=False)[0]
    where = ".".join(str(part) for part in problem["loc"])
    return f"{where or 'the message'}: {problem['msg']}"
