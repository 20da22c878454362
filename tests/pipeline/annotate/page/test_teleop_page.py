"""Demonstrations in a real browser: the simulated cell is driven by real key presses, and by a gamepad."""

import threading

import numpy as np
import pytest

from datasets import schema
from datasets.errors import ArmchairError
from datasets.query import Query
from pipeline.annotate import teleop
from robot.cell import rendering
from robot.env import make_env
from robot.experts import make_expert
from tests.pipeline.annotate import robots

pytestmark = pytest.mark.timeout(120)

VIEW = np.array(teleop.VIEWS["basket_front_left"])  # away and right, [2, 2]
AWAY = VIEW[0]
KEYS = (("w", "s"), ("d", "a"), ("r", "f"), ("q", "e"))  # of away, right, up and turn: forwards, backwards
FINE = 0.3  # what Shift makes of full speed
SEED = 4


class Window:
    """What happens in the arm's thread, for a test that looks in."""

    def __init__(self):
        self.env = None
        self.actions = []
        self.latest = None  # observation
        self._new = threading.Condition()

    def make_env(self, task, seed, config):
        self.env = env = make_env(task, seed, config)
        step, reset = env.step, env.reset
        env.step = lambda action: self._note(step(action), action)
        env.reset = lambda: self._note(reset(), None)
        return env

    def _note(self, timestep, action):
        with self._new:
            self.latest = timestep.observation
            self.actions.append(action)
            self._new.notify_all()
        return timestep

    def wait_for(self, condition):
        """Until the latest action fulfils it."""
        with self._new:
            assert self._new.wait_for(lambda: self.actions[-1] is not None and condition(self.actions[-1]), 5), (
                self.actions[-1]
            )

    def observation(self):
        """The next one."""
        with self._new:
            assert self._new.wait(5), "the arm does not move"
            return self.latest


class Hands:
    """Presses and releases real keys, so that the arm does about what an expert would."""

    def __init__(self, page):
        self._keyboard, self._held, self._closed = page.keyboard, set(), False

    def follow(self, action):
        """`action` is float[7]; tilting is left alone, the gripper points down well enough."""
        ways = [*(VIEW @ action[:2]), action[2], action[5]]
        fine = max(map(abs, ways)) < (1 + FINE) / 2
        wanted = {"Shift"} if fine else set()
        for way, (forwards, backwards) in zip(ways, KEYS, strict=True):
            if abs(way) > (FINE if fine else 1) / 2:
                wanted.add(forwards if way > 0 else backwards)
        for key in self._held - wanted:
            self._keyboard.up(key)
        for key in sorted(wanted - self._held):  # capital letters come first, so Shift does
            self._keyboard.down(key)
        self._held = wanted
        if abs(action[6]) > 0.5 and self._closed != (action[6] > 0):
            self._keyboard.press("Space")
            self._closed = not self._closed

    def let_go(self):
        for key in self._held:
            self._keyboard.up(key)
        self._held = set()


@pytest.fixture
def window(monkeypatch):
    try:
        rendering.choose_backend()
    except ArmchairError as error:
        pytest.skip(f"nothing can be drawn on this machine: {error}")
    window = Window()
    monkeypatch.setattr(teleop, "make_env", window.make_env)
    return window


@pytest.fixture
def demonstrate(window, make_store, serve, sign_in):
    """A page on the view, and the store that it records into."""

    def start(**options):
        store = make_store(1)
        page = sign_in(serve(store), route="#/demonstrate", **options)
        page.get_by_label("Scene").fill(str(SEED))
        return page, store

    return start


def begin(page):
    page.get_by_role("button", name="Start").click()
    page.get_by_text("Press a key to move").wait_for()


def finish(page, key):
    page.keyboard.press("Enter")
    page.get_by_text("Not saved yet.").wait_for()
    page.keyboard.press(key)


def recorded(store):
    return [store.read(row) for row in store.query(Query(dataset="demonstrations_lift_green"))]


def test_a_lift_by_key_presses(window, demonstrate):
    page, store = demonstrate()
    begin(page)
    expert, hands = make_expert("lift_green", seed=0), Hands(page)
    hands.follow(expert.act(window.latest))
    lifted = 0
    while lifted < 3:  # control steps in a row: it is held, not thrown
        hands.follow(expert.act(window.observation()))
        lifted = lifted + 1 if window.env.is_success() else 0
        assert len(window.actions) < 500, "the block has not been lifted in 50 s"
    hands.let_go()
    page.keyboard.press("Enter")
    page.get_by_text("Not saved yet.").wait_for()
    assert page.get_by_text("The simulator says: solved.").is_visible()
    assert not recorded(store)
    page.keyboard.press("1")
    page.get_by_text("Saved.").wait_for()
    (episode,) = recorded(store)
    metadata = episode.metadata
    assert metadata.episode_type == schema.EpisodeType.TELEOPERATION and metadata.verdict == schema.Verdict.SUCCESS
    assert (metadata.operator, metadata.task_id, metadata.seed) == ("ada", "lift_green", SEED)
    assert episode.extras[schema.IS_SUCCESS][-1] and not episode.is_terminal.any()
    np.testing.assert_array_equal(episode.action[:-1], window.actions[1:])  # [T - 1, 7]
    page.get_by_role("link", name="lift_green, success").click()
    assert page.evaluate("location.hash") == f"#/sketch/{metadata.episode_id}"


@pytest.mark.parametrize("camera", teleop.VIEWS)
def test_each_key_moves_as_seen_by_the_camera(window, demonstrate, camera):
    page, _ = demonstrate()
    begin(page)
    if camera != "basket_front_left":
        page.keyboard.press("c")
    page.get_by_text(f"As seen by the camera {camera.replace('_', ' ')}").wait_for()
    away, right = np.array(teleop.VIEWS[camera])
    axes = np.array([[*away, 0], [*right, 0], (0, 0, 1)])
    pairs = (("w", "s"), ("d", "a"), ("r", "f"), ("ArrowUp", "ArrowDown"), ("ArrowRight", "ArrowLeft"), ("q", "e"))
    for way, pair in enumerate(pairs):
        for sign, key in zip((1, -1), pair, strict=True):
            page.keyboard.down(key)
            window.wait_for(lambda action: np.abs(action[:6]).max() > 0)
            action = np.asarray(window.actions[-1], float)
            page.keyboard.up(key)
            window.wait_for(lambda action: not np.any(action[:6]))
            tilt = np.cross(action[3:6], (0, 0, -1))  # of the fingertips, which point down
            seen = [*(axes @ action[:3]), *(axes @ tilt)[:2], action[5]]
            np.testing.assert_allclose(seen, sign * np.eye(6)[way], atol=1e-3, err_msg=key)


def test_keys_are_released_when_the_window_loses_the_focus(window, demonstrate):
    page, store = demonstrate()
    begin(page)
    page.keyboard.down("r")
    window.wait_for(lambda action: action[2] == 1)
    page.evaluate("dispatchEvent(new Event('blur'))")
    window.wait_for(lambda action: not np.any(action[:6]))
    finish(page, "Delete")
    page.get_by_text("no episode").wait_for()
    assert not recorded(store)


class Pad:
    """A stubbed gamepad of a page."""

    def __init__(self, page):
        self.page = page
        page.evaluate(
            """() => {
              window.pad = {id: "A stubbed pad", connected: true, axes: [0, 0, 0, 0],
                            buttons: Array.from({length: 17}, () => ({pressed: false, value: 0}))};
              navigator.getGamepads = () => [null, window.pad];
            }"""
        )
        page.get_by_text("A stubbed pad").wait_for()

    def axis(self, index, value):
        self.page.evaluate("([index, value]) => { window.pad.axes[index] = value }", [index, value])

    def button(self, index, value):
        self.page.evaluate("([index, value]) => { window.pad.buttons[index] = {value} }", [index, value])

    def press(self, index):
        self.button(index, 1)
        self.page.wait_for_timeout(200)  # the page looks every 50 ms
        self.button(index, 0)


def test_a_gamepad_drives(window, demonstrate):
    page, store = demonstrate()
    pad = Pad(page)
    axis, button, press = pad.axis, pad.button, pad.press
    press(9)  # start
    page.get_by_text("Press a key to move").wait_for()
    axis(1, 0.1)  # a worn stick: nothing
    page.wait_for_timeout(200)
    assert len(window.actions) == 1  # of the reset
    axis(1, -1)
    window.wait_for(lambda action: np.allclose(action[:2], AWAY, atol=1e-3))
    button(4, 1)  # fine
    window.wait_for(lambda action: np.allclose(action[:2], FINE * AWAY, atol=1e-3))
    button(4, 0)
    axis(1, 0)
    axis(3, 1)
    window.wait_for(lambda action: action[2] == -1 and action[6] == -1)
    axis(3, 0)
    press(0)
    window.wait_for(lambda action: not np.any(action[:6]) and action[6] == 1)
    button(6, 0.8)
    window.wait_for(lambda action: action[6] == -1)
    press(9)
    page.get_by_text("Not saved yet.").wait_for()
    page.get_by_role("button", name="Failure").click()
    page.get_by_text("Saved.").wait_for()
    (episode,) = recorded(store)
    assert episode.metadata.verdict == schema.Verdict.FAILURE


def test_a_policy_drives_while_its_key_is_held_and_any_other_takes_over(window, make_store, serve, sign_in):
    store = make_store(1)
    page = sign_in(serve(store, policies=("expert:lift_green",)), route="#/demonstrate")
    page.get_by_label("Scene").fill(str(SEED))
    page.get_by_label("Who drives").select_option("expert:lift_green")
    page.get_by_role("button", name="Start").click()
    page.get_by_text("Hold G to let the policy drive").wait_for()
    assert len(window.actions) == 1  # of the reset
    page.keyboard.down("g")
    page.get_by_text("the policy drives", exact=True).wait_for()
    window.wait_for(lambda action: np.abs(action[:6]).max() > 0 and action[6] == -1)  # it goes there, gripper open
    page.keyboard.down("w")
    page.get_by_text("you drive", exact=True).wait_for()
    window.wait_for(lambda action: np.allclose(action[:2], AWAY, atol=1e-3) and action[6] == 0)  # nothing is dropped
    page.keyboard.press("Space", delay=300)
    window.wait_for(lambda action: action[6] == 1)
    page.keyboard.up("w")
    page.get_by_text("the policy drives", exact=True).wait_for()
    page.keyboard.up("g")
    window.wait_for(lambda action: not np.any(action))  # at once, not when the last wish is stale
    page.evaluate("dispatchEvent(new Event('blur'))")
    finish(page, "2")
    page.get_by_text("Saved.").wait_for()
    (row,) = store.query(Query(episode_type=schema.EpisodeType.DAGGER))
    episode = store.read(row)
    assert (row.dataset, row.operator, row.verdict) == ("dagger_lift_green", "ada", schema.Verdict.FAILURE)
    assert {schema.ActedBy.POLICY, schema.ActedBy.PERSON} <= set(episode.extras[schema.ACTED_BY])


def test_a_robot_is_stopped_by_a_key_and_moves_again_when_a_person_has_looked(make_store, serve, sign_in):
    page = sign_in(serve(make_store(1), robot=robots.NAME), route="#/demonstrate")
    begin(page)
    page.get_by_text("As seen from behind the arm's base").wait_for()
    page.keyboard.down("w")
    page.get_by_text("● recording").wait_for()
    page.get_by_role("button", name="Emergency stop").wait_for()
    page.get_by_label("Live picture, side").wait_for()
    page.keyboard.press("Escape")
    page.get_by_text("ada, in the page. Nothing moves before somebody has looked at it").wait_for()
    page.keyboard.up("w")
    page.get_by_text("Not saved yet.").wait_for()
    page.keyboard.press("Delete")
    page.get_by_text("no episode").wait_for()
    page.keyboard.press("Enter")
    page.get_by_text("look after it, then clear the stop").wait_for()
    page.get_by_role("button", name="I, ada, have looked: it may move").click()
    page.get_by_text("The arm was stopped", exact=True).wait_for(state="hidden")
    begin(page)


@pytest.mark.parametrize("button", [2, 3], ids=["X", "Y"])
def test_a_robot_is_stopped_by_a_gamepads_button(make_store, serve, sign_in, button):
    page = sign_in(serve(make_store(1), robot=robots.NAME), route="#/demonstrate")
    pad = Pad(page)
    begin(page)
    pad.press(button)
    page.get_by_text("ada, in the page. Nothing moves before somebody has looked at it").wait_for()


def test_the_second_person_is_told_who_drives(window, make_store, serve, sign_in):
    served = serve(make_store(1), annotators=("ada", "bob"))
    ada, bob = (sign_in(served, user, route="#/demonstrate") for user in ("ada", "bob"))
    begin(ada)
    bob.get_by_role("button", name="Start").click()
    bob.get_by_text("busy by ada").wait_for()
    ada.evaluate("location.hash = '#/browse'")  # leaving discards, and frees the arm
    ada.get_by_text("so the demonstration in hand was discarded").wait_for()
    bob.wait_for_timeout(300)
    begin(bob)


def test_no_simulator_is_one_sentence(monkeypatch, make_store, serve, sign_in):
    monkeypatch.setattr(teleop, "_unavailable", lambda: "There is no simulator here: get one.")
    page = sign_in(serve(make_store(1)), route="#/demonstrate")
    page.get_by_text("There is no simulator here: get one.").wait_for()


def test_an_empty_store_leads_to_demonstrating(make_store, serve, sign_in):
    page = sign_in(serve(make_store(0)))
    page.get_by_text("Nothing to sketch yet").wait_for()
    page.get_by_role("button", name="Demonstrate").click()
    page.get_by_text("Choose a task and press Enter.").wait_for()
