"""Driving the arm over a WebSocket: who may, what is answered, and that it stops when its driver is gone."""

import contextlib
import json
import logging
import threading
import time

import httpx
import numpy as np
import pytest
from fastapi import FastAPI
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from datasets import schema
from datasets.errors import ArmchairError
from datasets.query import Query
from datasets.store import Store
from pipeline.annotate import errors, signing_in, teleop, testing
from pipeline.annotate.security import Gate
from pipeline.annotate.state import AppState, ServerConfig
from robot.cell import rendering
from robot.env import make_env
from robot.testing import FakeArm
from tests.pipeline.annotate import robots

RIGHT = [0.1, 0, 0, 0, 0, 0, 0]
POLICY = "tests.pipeline.annotate.test_teleop:Leftwards"


class Leftwards:
    """A policy."""

    policy_id = "leftwards"

    def __init__(self, seed):
        pass

    def reset(self, seed=None):
        pass

    def act(self, observation):
        return np.array([-0.1, 0, 0, 0, 0, 0, 0], np.float32)


class WideArm(FakeArm):
    """A fake arm with the cell's seven numbers and cameras, five times as fast."""

    control_rate_hz = 50.0

    def __init__(self, task, seed):
        if task == "absent":
            raise ArmchairError("there is no such arm")
        super().__init__(seed, image_size=(16, 16), time_limit=10_000)

    def action_spec(self):
        return super().action_spec().replace(shape=(7,))

    def step(self, action):
        return super().step(action[:2])

    def render(self, camera, height, width):
        return np.full((height, width, 3), 100, np.uint8)


class Client:
    """A page, as far as the server can tell."""

    def __init__(self, url, state, user, **changes):
        headers = {"Origin": url, "Cookie": f"{state.cookie}={state.sessions.open(state.sessions.tokens[user])[0]}"}
        given = {k: v for k, v in (headers | changes).items() if v is not None}
        self._open = contextlib.ExitStack()
        self.socket = self._open.enter_context(
            connect(url.replace("http", "ws") + "/api/teleop", additional_headers=given, max_queue=None)
        )
        self.pictures = {}

    def send(self, type_, **content):
        self.socket.send(json.dumps({"type": type_, **content}))

    def receive(self, condition=lambda message: message["type"] not in ("state", "cameras")):
        """The next message that fulfils a condition, by default the next answer."""
        deadline = time.monotonic() + 10
        while True:
            got = self.socket.recv(timeout=deadline - time.monotonic())
            if isinstance(got, bytes):
                self.pictures[got[0]] = got[1:]
            elif condition(message := json.loads(got)):
                return message

    def receive_phase(self, phase):
        return self.receive(lambda message: message.get("phase") == phase)

    def drive(self, steps, task="lift_green", **options):
        self.send("start", task_id=task, **options)
        self.receive_phase("ready")
        t = 0
        while t < steps:
            self.send("command", action=RIGHT)
            t = self.receive(lambda message: message["type"] == "state")["t"]

    def close(self):
        self._open.close()


class Bench:
    def __init__(self, root, running, make, **options):
        self.store = Store.create(root)
        config = ServerConfig("lift_green", annotators=("ada", "bob"), policies=(POLICY,), **options)
        self.state = AppState(self.store, config)
        app = FastAPI()
        app.state.armchair = self.state
        errors.install(app)
        app.add_middleware(Gate, host=config.host)
        app.include_router(signing_in.router(self.state), prefix="/api")
        app.include_router(teleop.router(self.state, make), prefix="/api")
        self._running = running
        self.url = running.enter_context(testing.serving(app))

    def client(self, user="ada", **changes):
        client = Client(self.url, self.state, user, **changes)
        self._running.callback(client.close)
        return client

    def facts(self):
        session_id, _ = self.state.sessions.open(self.state.sessions.tokens["bob"])
        answer = httpx.get(f"{self.url}/api/teleop", cookies={self.state.cookie: session_id})
        assert answer.status_code == 200
        return answer.json()

    def rows(self):
        return self.store.query(Query())


@pytest.fixture
def robot_bench(tmp_path):
    with contextlib.ExitStack() as running:
        yield Bench(tmp_path / "store", running, None, robot=robots.NAME)


@pytest.fixture
def bench(tmp_path, monkeypatch):
    monkeypatch.setattr(teleop, "_unavailable", lambda: None)  # the arm is a fake
    with contextlib.ExitStack() as running:
        yield Bench(tmp_path / "store", running, WideArm)


def test_an_episode_from_start_to_store(bench):
    client = bench.client()
    client.drive(5, seed=7)
    assert bench.facts()["busy_by"] == "ada"
    client.send("stop")
    ended = client.receive_phase("ended")
    assert ended["t"] >= 6 and ended["is_success"] in (True, False) and not bench.rows()
    client.send("keep", verdict="success")
    kept = client.receive()
    assert kept["type"] == "kept" and kept["verdict"] == "success"
    (row,) = bench.rows()
    assert row.episode_id == kept["episode_id"]
    metadata = bench.store.read(row).metadata
    assert (metadata.operator, metadata.policy_id, metadata.seed) == ("ada", "teleop-ada", 7)
    assert metadata.episode_type == schema.EpisodeType.TELEOPERATION and metadata.verdict == "success"
    assert set(client.pictures) == {0, 1, 2} and all(p.startswith(b"\xff\xd8") for p in client.pictures.values())
    assert bench.facts()["busy_by"] is None


def test_a_policy_drives_while_its_leave_comes_and_a_person_takes_over(bench):
    client = bench.client()
    client.send("start", task_id="lift_green", policy=POLICY)
    assert client.receive_phase("ready")["policy_id"] == "leftwards"

    def drive(until, type_, **content):
        while True:
            client.send(type_, **content)
            state = client.receive(lambda message: message["type"] == "state")
            if state["acted_by"] == until:
                return

    drive("policy", "leave_to_policy")
    drive("person", "command", action=RIGHT)
    drive("policy", "leave_to_policy")
    client.receive(lambda message: message.get("acted_by") == "nobody")  # the page is silent: the arm stands still
    client.send("stop")
    client.receive_phase("ended")
    client.send("keep", verdict="success")
    client.receive()
    (row,) = bench.rows()
    episode = bench.store.read(row)
    assert episode.metadata.episode_type == schema.EpisodeType.DAGGER and row.dataset == "dagger_fake_reach"
    assert (episode.metadata.policy_id, episode.metadata.operator) == ("leftwards", "ada")
    wished = {"policy": -0.1, "person": 0.1, "nobody": 0, "": 0}
    by = episode.extras[schema.ACTED_BY].tolist()
    assert set(by) == set(wished) and list(map(wished.get, by)) == pytest.approx(episode.action[:, 0].tolist())


def test_a_spacemouse_drives_for_whoever_holds_the_arm(tmp_path, monkeypatch):
    moved = []

    def plug_in(command):
        moved.append(command)
        return contextlib.nullcontext()

    monkeypatch.setattr(teleop, "_unavailable", lambda: None)
    monkeypatch.setattr(teleop, "SpaceMouse", plug_in)
    with contextlib.ExitStack() as running:
        bench = Bench(tmp_path / "store", running, WideArm, spacemouse=True)
        (move,) = moved
        move(np.float32(RIGHT))  # nobody is there: nothing happens
        client = bench.client()
        client.send("start", task_id="lift_green")
        assert client.receive_phase("ready")["t"] == 0
        move(np.float32(RIGHT))
        assert client.receive_phase("running")["acted_by"] == "person"
        client.receive(lambda message: message.get("acted_by") == "nobody")


def test_a_browser_chooses_among_the_policies_that_were_offered(bench):
    client = bench.client()
    client.send("start", task_id="lift_green", policy="os:system")
    assert "--policies os:system" in client.receive()["message"]
    client.drive(2)
    client.send("leave_to_policy")
    assert "no policy" in client.receive()["message"]


def test_a_policy_does_not_drive_on_when_its_driver_is_gone(bench):
    client = bench.client()
    client.send("start", task_id="lift_green", policy=POLICY)
    client.receive_phase("ready")
    client.send("leave_to_policy")
    client.receive(lambda message: message.get("acted_by") == "policy")
    client.socket.socket.close()  # no goodbye
    deadline = time.monotonic() + 10
    while bench.facts()["busy_by"] and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not bench.rows() and bench.facts()["busy_by"] is None
    bench.client("bob").drive(2)


def test_a_robot_by_name_is_driven_behind_its_filter(robot_bench):
    facts = robot_bench.facts()
    assert (
        facts["tasks"] == [robots.NAME]
        and facts["is_robot"]
        and facts["cameras"] == []
        and facts["unavailable"] is None
    )
    client = robot_bench.client()
    client.send("start", task_id="os:system")
    assert "there is no arm 'os:system' here" in client.receive()["message"]
    client.send("start", task_id=robots.NAME)
    cameras = client.receive(lambda message: message["type"] == "cameras")["cameras"]
    assert cameras == [{"name": name, "away": None, "right": None} for name in ("wrist", "side")]
    state = {"t": 0}
    while state["t"] < 5:
        client.send("command", action=[1, 0, 0, 0, 0, 0, 0])
        state = client.receive(lambda message: message["type"] == "state")
    assert set(client.pictures) == {0, 1}
    client.send("stop")
    client.receive_phase("ended")
    client.send("keep", verdict="success")
    client.receive(lambda message: message["type"] == "kept")
    (row,) = robot_bench.rows()
    assert (row.dataset, row.task_id) == ("demonstrations_fake_robot_stack_cups", "stack_cups")
    assert "slew" in robot_bench.store.read(row).extras[schema.INTERVENTION][0]
    assert [camera["name"] for camera in robot_bench.facts()["cameras"]] == ["wrist", "side"]


def test_anybody_stops_the_arm_and_who_drives_clears_it_by_name(robot_bench, caplog):
    ada, bob = robot_bench.client("ada"), robot_bench.client("bob")
    bob.send("emergency_stop")
    assert bob.receive()["code"] == "not_driving"
    ada.drive(3, robots.NAME)
    bob.send("emergency_stop")
    ended = ada.receive_phase("ended")
    assert "by bob, in the page" in ended["stopped"] and robot_bench.facts()["stopped"] == ended["stopped"]
    bob.send("clear")
    assert bob.receive()["code"] == "busy"
    ada.send("discard")
    assert ada.receive_phase("idle")["stopped"]
    ada.send("start", task_id=robots.NAME)
    assert "by bob, in the page" in ada.receive()["message"]
    ada.send("clear")
    assert ada.receive()["type"] == "cleared" and robot_bench.facts()["stopped"] == ""
    assert any("ada cleared the stop" in record.message for record in caplog.records)
    ada.send("clear")
    assert "nothing to clear" in ada.receive()["message"]
    ada.drive(3, robots.NAME)


@pytest.mark.parametrize("how", ["by the button", "by leaving"])
def test_an_arm_on_its_way_home_is_stopped(tmp_path, how):
    with contextlib.ExitStack() as running:
        bench = Bench(tmp_path / "store", running, None, robot=robots.SLOW)
        client = bench.client()
        robots.SlowHome.is_under_way.clear()
        client.send("start", task_id=robots.SLOW)
        assert robots.SlowHome.is_under_way.wait(10)
        if how == "by the button":
            client.send("emergency_stop")
            assert "the motion was stopped" in client.receive()["message"]
        else:
            client.socket.socket.close()
        deadline = time.monotonic() + 5
        while bench.facts()["busy_by"] and time.monotonic() < deadline:
            time.sleep(0.02)
        assert bench.facts()["busy_by"] is None and "ada" in bench.facts()["stopped"]


def test_the_simulated_arm_has_no_emergency_stop(bench):
    client = bench.client()
    client.drive(2)
    client.send("emergency_stop")
    assert "stop the episode" in client.receive(lambda message: message["type"] == "error")["message"]


def test_success_is_not_told_before_the_end(bench):
    client = bench.client()
    client.drive(2)
    assert client.receive(lambda message: message.get("phase") == "running")["is_success"] is None


def test_facts(bench):
    facts = bench.facts()
    assert facts["tasks"][:2] == ["reach_green", "lift_green"] and facts["control_rate_hz"] == 10
    assert [camera["name"] for camera in facts["cameras"]] == ["basket_front_left", "basket_front_right", "wrist"]
    assert facts["busy_by"] is None and facts["unavailable"] is None and facts["policies"] == [POLICY]
    assert httpx.get(f"{bench.url}/api/teleop").status_code == 401


def test_the_arm_is_one_persons_at_a_time(bench):
    ada, bob = bench.client("ada"), bench.client("bob")
    ada.drive(2)
    bob.send("start", task_id="lift_green")
    answer = bob.receive()
    assert answer["code"] == "busy" and "busy by ada" in answer["message"]
    for wish in (
        {"type_": "command", "action": RIGHT},
        {"type_": "leave_to_policy"},
        {"type_": "stop"},
        {"type_": "discard"},
    ):
        bob.send(**wish)
        assert bob.receive()["code"] == "not_driving"
    ada.send("start", task_id="lift_green")
    assert "episode in hand" in ada.receive()["message"]
    ada.send("discard")
    ada.receive_phase("idle")
    bob.drive(2)
    assert bench.facts()["busy_by"] == "bob"


@pytest.mark.parametrize("phase", ["ready", "running", "ended"])
def test_a_driver_who_is_gone_loses_the_episode_and_frees_the_arm(bench, phase, caplog):
    ada, bob = bench.client("ada"), bench.client("bob")
    if phase == "ready":
        ada.send("start", task_id="lift_green")
        ada.receive_phase("ready")
    else:
        ada.drive(3)
    if phase == "ended":
        ada.send("stop")
        ada.receive_phase("ended")
    with caplog.at_level(logging.WARNING):
        ada.socket.socket.close()  # no goodbye, as when the network fails
        deadline = time.monotonic() + 10
        while bench.facts()["busy_by"] and time.monotonic() < deadline:
            time.sleep(0.02)
    assert any("ada left without keeping" in record.message for record in caplog.records)
    assert not bench.rows()
    bob.drive(2)


ACTIONS = ["0, 0, 0, 0, 0, 0", "0, 0, 0, 0, 0, 0, 0, 0", *(f"{x}, 0, 0, 0, 0, 0, 0" for x in (
    "NaN", "Infinity", "2", "-1.01", "null", "true", '"1"', "[1]"
))]  # fmt: skip
BAD = [
    "", "{", "[]", "null", '"start"', "{}", '{"type": "fly"}', '{"type": "start"}', '{"type": "start", "task_id": 3}',
    '{"type": "start", "task_id": "lift_green", "seed": -1}',
    '{"type": "start", "task_id": "lift_green", "seed": 1e99}',
    '{"type": "start", "task_id": "lift_green", "operator": "eve"}',
    '{"type": "command"}', '{"type": "command", "action": "RIGHT"}', '{"type": "keep"}',
    '{"type": "keep", "verdict": "splendid"}', *(f'{{"type": "command", "action": [{action}]}}' for action in ACTIONS),
]  # fmt: skip


def test_malformed_messages_get_a_sentence_and_change_nothing(bench, caplog):
    client = bench.client()
    client.drive(2)
    for text in [*BAD, b"\x00\xff", b""]:
        client.socket.send(text)
        answer = client.receive()
        assert answer["type"] == "error" and answer["code"] == "invalid" and len(answer["message"]) < 200, (
            text,
            answer,
        )
    t = client.receive(lambda message: message["type"] == "state")["t"]
    assert client.receive(lambda message: message.get("phase") == "running" and message["t"] > t + 3)
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


@pytest.mark.parametrize("frame", ["x" * 100_000, b"x" * 100_000])
def test_a_huge_message_ends_the_connection(bench, frame):
    client = bench.client()
    client.socket.send(frame)
    with pytest.raises(ConnectionClosed) as closed:
        client.receive()
    assert closed.value.rcvd.code == teleop.TOO_LARGE and "characters" in closed.value.rcvd.reason


def test_wishes_at_the_wrong_moment(bench):
    client = bench.client()
    client.send("keep", verdict="success")
    assert client.receive()["code"] == "not_driving"
    client.drive(2)
    client.send("keep", verdict="success")
    assert "no episode has ended" in client.receive()["message"]


def test_an_arm_that_cannot_be_had_is_told_and_is_free(bench):
    client = bench.client()
    client.send("start", task_id="absent")
    assert client.receive()["message"] == "there is no such arm"
    assert bench.facts()["busy_by"] is None
    client.drive(2)


@pytest.mark.parametrize("cookie", [None, "armchair-8765=made-up"])
def test_only_who_is_signed_in_drives(bench, cookie):
    client = bench.client(Cookie=cookie)
    with pytest.raises(ConnectionClosed) as closed:
        client.receive()
    assert closed.value.rcvd.code == teleop.NOT_SIGNED_IN and "open the link" in closed.value.rcvd.reason


@pytest.mark.parametrize("origin", [None, "http://evil.example", "null"])
def test_only_our_own_page_connects(bench, origin):
    with pytest.raises(InvalidStatus) as refused:
        bench.client(Origin=origin)
    assert refused.value.response.status_code == 403


def test_the_servers_end_is_told_and_stops_the_arm(tmp_path, caplog):
    with contextlib.ExitStack() as running:
        bench = Bench(tmp_path / "store", running, WideArm)
        client = Client(bench.url, bench.state, "ada")
        client.drive(3)
    with pytest.raises(ConnectionClosed) as closed:
        client.receive(lambda message: False)
    assert closed.value.rcvd.code == 1012  # service restart
    assert not [thread for thread in threading.enumerate() if thread.name == "teleoperation"]
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert not bench.rows()


def test_tasks_are_the_cells_own(tmp_path):
    with pytest.raises(ArmchairError, match="choose one of"):
        teleop.make_cell("os:system", 0)


def test_no_simulator_is_one_sentence(monkeypatch):
    monkeypatch.setattr(teleop.importlib.util, "find_spec", lambda name: None)
    assert "pip install 'armchair[sim]'" in teleop._unavailable()
    monkeypatch.undo()

    def blind():
        raise ArmchairError("no OpenGL here")

    monkeypatch.setattr(rendering, "choose_backend", blind)
    assert teleop._unavailable() == "Demonstrations need pictures: no OpenGL here"


@pytest.mark.parametrize("camera", teleop.VIEWS)
def test_away_and_right_are_what_the_camera_sees(camera):
    model = make_env("lift_green", 0).model
    axes = model.cam_mat0[model.camera(camera).id].reshape(3, 3)  # columns: right, up, towards the viewer
    for told, seen in zip(teleop.VIEWS[camera], (-axes[:2, 2], axes[:2, 0]), strict=True):
        np.testing.assert_allclose(told, seen / np.linalg.norm(seen), atol=0.01)
