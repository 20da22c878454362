import os
from pathlib import Path

import numpy as np
import pytest

from datasets.query import Query
from datasets.readers.base import Defaults
from datasets.readers.logs import open_logs
from datasets.rewards import RewardSequence
from datasets.store import Store
from datasets.validate import repair

TASK = "lift_green"
T = 50


@pytest.fixture
def store(make_store):
    return make_store(1, T)


@pytest.fixture
def page(store, serve, sign_in):
    return opened(sign_in(serve(store)))


def opened(page):
    page.wait_for_selector(".viewer[data-shown]")
    return page


class Hand:
    """Draws by real pointer events, in shares of the drawing area: (share of the episode, value)."""

    def __init__(self, page):
        self.page = page
        self.area = page.locator(".pad-plot").bounding_box()

    def at(self, share, value):
        area = self.area
        return area["x"] + share * area["width"], area["y"] + (1 - value) * area["height"]

    def stroke(self, *points):
        self.page.mouse.move(*self.at(*points[0]))
        self.page.mouse.down()
        for point in points[1:]:
            self.page.mouse.move(*self.at(*point))
        self.page.mouse.up()

    @property
    def pixel(self):
        """One pixel, as a part of the scale."""
        return 1 / self.area["height"]


def save(page):
    with page.expect_response("**/api/sketches") as answer:
        page.get_by_role("button", name="Save & next").click()
    assert answer.value.ok, answer.value.text()
    page.get_by_text("Saved: ").first.wait_for()


def saved_values(store):
    (sketch,) = store.sketches(TASK)
    assert sketch.values.dtype == np.float32
    return sketch.values


def drawn_text(page):
    page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
    return page.locator(".finish-count").text_content()


CURVES = {
    "line": lambda x: x,
    "wave": lambda x: 0.5 + 0.45 * np.sin(9 * x),
    "grasp": lambda x: 0.05 + 0.9 / (1 + np.exp(-25 * (x - 0.6))),
}


@pytest.mark.parametrize("name", CURVES)
def test_what_is_drawn_is_what_is_stored_within_one_pixel(name, store, page):
    hand = Hand(page)
    xs = np.linspace(0, 1, 400)
    hand.stroke(*zip(xs, CURVES[name](xs), strict=True))
    save(page)
    expected = np.interp(np.linspace(0, 1, T), xs, CURVES[name](xs))
    assert np.abs(saved_values(store) - expected).max() <= hand.pixel


def test_a_fast_stroke_of_few_samples_leaves_no_gap_and_is_straight_between_them(store, page):
    hand = Hand(page)
    hand.stroke((0, 0.1), (0.31, 0.2), (0.77, 0.9), (1, 0.6))
    assert drawn_text(page) == f"All {T} frames drawn"
    save(page)
    expected = np.interp(np.linspace(0, 1, T), [0, 0.31, 0.77, 1], [0.1, 0.2, 0.9, 0.6])
    assert np.abs(saved_values(store) - expected).max() <= hand.pixel


def test_redrawing_replaces_what_it_passes_over_and_nothing_else(store, page):
    hand = Hand(page)
    hand.stroke((0, 0.2), (1, 0.2))
    hand.stroke((30 / 49, 0.8), (20 / 49, 0.8))  # backwards
    save(page)
    expected = np.where((np.arange(T) >= 20) & (np.arange(T) <= 30), 0.8, 0.2)
    assert np.abs(saved_values(store) - expected).max() <= hand.pixel


def test_strokes_past_the_edges_reach_the_very_ends_of_both_scales(store, page):
    hand = Hand(page)
    hand.stroke((0.5, 0.5), (-0.2, -0.3))
    hand.stroke((0.5, 0.5), (1.02, 1.2))
    save(page)
    values = saved_values(store)
    assert values[0] == 0 and values[-1] == 1


def test_undo_goes_back_stroke_by_stroke_and_redo_forward(page):
    hand = Hand(page)
    for i in range(4):
        hand.stroke((i * 10 / 49, 0.3), ((i * 10 + 9) / 49, 0.6))
    counts = [drawn_text(page)]
    for _ in range(4):
        page.get_by_role("button", name="Undo").click()
        counts.append(drawn_text(page))
    assert counts == [f"{n} of {T} frames drawn" for n in (40, 30, 20, 10, 0)]
    assert page.get_by_role("button", name="Undo").is_disabled()
    page.keyboard.press("Control+Shift+Z")
    page.keyboard.press("Control+Y")
    assert drawn_text(page) == f"20 of {T} frames drawn"
    hand.stroke((0.8, 0.3), (0.9, 0.6))
    drawn_text(page)
    assert page.get_by_role("button", name="Redo").is_disabled()


def test_an_incomplete_drawing_is_not_saved_until_its_gaps_are_filled(store, page):
    hand = Hand(page)
    hand.stroke((10 / 49, 0.2), (20 / 49, 0.4))
    hand.stroke((30 / 49, 0.8), (40 / 49, 0.9))
    page.get_by_role("button", name="Save & next").click()
    page.get_by_text("28 frames are not drawn yet").wait_for()
    assert store.sketches(TASK) == []
    page.get_by_role("button", name="Fill the gaps").click()
    assert drawn_text(page) == f"All {T} frames drawn"
    save(page)
    expected = np.interp(np.arange(T), [10, 20, 30, 40], [0.2, 0.4, 0.8, 0.9])
    assert np.abs(saved_values(store) - expected).max() <= hand.pixel


def test_copy_flat_holds_the_value_up_to_the_next_drawn_stretch(store, page):
    hand = Hand(page)
    hand.stroke((0, 0.2), (10 / 49, 0.4))
    hand.stroke((40 / 49, 0.8), (1, 0.9))
    page.mouse.move(*hand.at(10 / 49, 0.9))
    page.keyboard.press("f")
    assert drawn_text(page) == f"All {T} frames drawn"
    save(page)
    values = saved_values(store)
    assert np.all(values[10:40] == values[10]) and abs(values[40] - 0.8) <= hand.pixel


def test_hovering_scrubs_and_the_ruler_scrubs_without_drawing(page):
    hand = Hand(page)
    page.mouse.move(*hand.at(25 / 49, 0.5))
    page.wait_for_selector(".viewer[data-frame='25'][data-shown='25']")
    page.mouse.move(*hand.at(0.2, -0.12))
    page.mouse.down()
    page.mouse.move(*hand.at(40 / 49, -0.12))
    page.mouse.up()
    page.wait_for_selector(".viewer[data-frame='40'][data-shown='40']")
    assert drawn_text(page) == f"0 of {T} frames drawn"


def test_touch_draws(store, serve, sign_in):
    page = opened(sign_in(serve(store), size=(1024, 768), has_touch=True))
    hand = Hand(page)
    touch = page.context.new_cdp_session(page)

    def send(kind, *points):
        points = [{"x": x, "y": y} for x, y in points]
        touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    send("touchStart", hand.at(0, 0.1))
    for share in np.linspace(0, 1, 30)[1:]:
        send("touchMove", hand.at(share, 0.1 + 0.8 * share))
    send("touchEnd")
    save(page)
    assert np.abs(saved_values(store) - np.linspace(0.1, 0.9, T)).max() <= hand.pixel


def test_a_correction_is_a_new_version_and_others_can_be_shown_then(store, serve, sign_in):
    old = np.full(T, 0.5, np.float32)
    for user in ("ada", "bob"):
        store.add_sketch(RewardSequence("fake-0", TASK, old, f"{user}-1", user=user, timestamp=1))
    page = sign_in(serve(store))
    page.evaluate("() => history.replaceState(null, '', '#/sketch/fake-0')")
    page.reload()
    page.get_by_text("You have sketched this episode").wait_for()
    opened(page)
    page.keyboard.press("o")
    assert page.locator(".pad-legend").text_content() == "bob"
    hand = Hand(page)
    hand.stroke((40 / 49, 0.9), (1, 0.9))
    save(page)
    versions = [sketch for sketch in store.all_sketches(TASK) if sketch.user == "ada"]
    assert len(versions) == 2
    assert np.array_equal(versions[0].values, old)
    assert np.array_equal(versions[1].values[:40], old[:40]) and versions[1].values[-1] > 0.85


def test_skipping_and_unusable_video_go_on_to_the_next(make_store, serve, sign_in):
    store = make_store(3, T)
    page = opened(sign_in(serve(store)))
    first = page.locator(".sketch-title h1").text_content()
    page.get_by_role("button", name="Skip").click()
    page.wait_for_function("first => document.querySelector('.sketch-title h1')?.textContent !== first", arg=first)
    second = page.locator(".sketch-title h1").text_content()
    page.get_by_role("button", name="Unusable").click()
    page.get_by_role("dialog").get_by_role("button").first.click()
    page.wait_for_function("second => document.querySelector('.sketch-title h1')?.textContent !== second", arg=second)
    assert [(note.kind, note.episode_id, note.user) for note in store.notes()] == [
        ("skip", first, "ada"), ("unusable", second, "ada"),
    ]  # fmt: skip


def test_an_episode_without_cameras_says_so_and_can_be_sketched(make_store, serve, sign_in):
    store = make_store(1, T, cameras=())
    page = sign_in(serve(store))
    page.get_by_text("This episode has no camera").wait_for()
    Hand(page).stroke((0, 0.1), (1, 0.9))
    save(page)
    assert saved_values(store)[-1] > 0.85


REAL = {
    "bridge": Path("octo_bridge_debug/bridge_dataset/1.0.0"),
    "sketchy": Path("sketchy"),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", REAL)
def test_real_recordings_are_sketched(name, tmp_path, serve, sign_in):
    if "ARMCHAIR_REAL_DATA" not in os.environ:
        pytest.skip("real recordings are read only where ARMCHAIR_REAL_DATA says where they are")
    store = Store.create(tmp_path / "store")
    task = "real_task"
    for log in open_logs(Path(os.environ["ARMCHAIR_REAL_DATA"]) / REAL[name], Defaults(task_id=task)):
        for file in log.files()[:1]:
            for reading in list(log.read(file))[:2]:
                store.add(repair(reading.episode)[0], "real")
    store.publish()
    task = store.query(Query())[0].task_id
    page = opened(sign_in(serve(store, task=task)))
    steps = int(page.locator(".pad-surface").get_attribute("aria-valuemax")) + 1
    pictures = page.locator(".viewer canvas").evaluate_all(
        """canvases => canvases.map((canvas) => {
          const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
          const bright = data.reduce((most, one, i) => (i % 4 < 3 && one > most ? one : most), 0);
          return { bright, enlarged: canvas.clientWidth / canvas.width,
            rendering: canvas.style.imageRendering };
        })"""
    )
    assert pictures and max(picture["bright"] for picture in pictures) > 60
    assert all((picture["enlarged"] > 1) == (picture["rendering"] == "pixelated") for picture in pictures)
    box = page.locator(".viewer-window").bounding_box()
    for canvas in page.locator(".viewer canvas").all():
        shown = canvas.bounding_box()
        assert shown["x"] >= box["x"] and shown["y"] + shown["height"] <= box["y"] + box["height"]
    if shots := os.environ.get("ARMCHAIR_SHOTS"):
        page.screenshot(path=f"{shots}/real_{name}.png")
    wanted = np.linspace(0.05, 0.95, steps)
    hand = Hand(page)
    hand.stroke((0, 0.05), (0.5, 0.5), (1, 0.95))
    save(page)
    (sketch,) = store.sketches(task)
    assert sketch.values.shape == (steps,)
    assert np.abs(sketch.values - wanted).max() <= 1.01 * hand.pixel
