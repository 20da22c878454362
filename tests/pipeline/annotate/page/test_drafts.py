import contextlib
import threading
import time

import numpy as np
import pytest
import uvicorn

from datasets.store import Store
from pipeline.annotate import testing
from pipeline.annotate.server import create_app
from pipeline.annotate.state import ServerConfig

TASK = "lift_green"
T = 40


@pytest.fixture
def store(make_store):
    return make_store(2, T)


def opened(page, episode="fake-0"):
    page.get_by_role("heading", name=episode).wait_for()
    page.wait_for_selector(".viewer[data-shown]")
    return page


def on_fake_0(page):
    # Afresh, not by another route: the view that the sign-in opened may be about to show the same episode.
    page.evaluate("() => history.replaceState(null, '', '#/sketch/fake-0')")
    page.reload()
    return page


def part_of_a_stroke(page, until=0.5):
    area = page.locator(".pad-plot").bounding_box()
    page.mouse.move(area["x"], area["y"] + area["height"] * 0.75)
    page.mouse.down()
    page.mouse.move(area["x"] + area["width"] * until, area["y"] + area["height"] * 0.25, steps=10)
    page.wait_for_function("() => document.querySelector('.finish-count strong').textContent !== '0'")


@contextlib.contextmanager
def serving_at(app, port):
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=port, log_level="warning"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield
    server.should_exit = True
    thread.join(20)


def count(page):
    return page.locator(".finish-count").text_content()


@pytest.mark.parametrize("way", ["closed", "reloaded"])
def test_a_drawing_survives_the_page_that_ends_in_mid_stroke(way, store, serve, sign_in):
    page = opened(on_fake_0(sign_in(serve(store))))
    part_of_a_stroke(page)
    drawn = count(page)
    url = page.url
    if way == "closed":
        page.close(run_before_unload=True)
        page = page.context.new_page()
        page.goto(url)
    else:
        page.reload()
    opened(page).get_by_text("Your unfinished drawing").wait_for()
    assert count(page) == drawn
    page.keyboard.press("f")
    page.get_by_text(f"All {T} frames drawn").wait_for()


def test_a_saved_drawing_leaves_no_draft(store, serve, sign_in):
    page = opened(on_fake_0(sign_in(serve(store))))
    testing.draw(page, np.linspace(0.1, 0.9, T))
    assert page.evaluate("() => Object.keys(localStorage).filter((key) => key.includes('draft')).length") == 1
    with page.expect_response("**/api/sketches"):
        page.keyboard.press("Control+Enter")
    opened(page, "fake-1")
    assert page.evaluate("() => Object.keys(localStorage).filter((key) => key.includes('draft')).length") == 0


def test_a_server_that_comes_back_gets_the_drawing(make_store, sign_in):
    store = make_store(1, T)
    config = ServerConfig(TASK, annotators=("ada",))
    app = create_app(store, config)
    with testing.serving(app) as url:
        page = opened(sign_in((url, app.state.armchair)))
        testing.draw(page, np.linspace(0.1, 0.9, T))
    page.keyboard.press("Control+Enter")
    page.get_by_text("Your drawing is kept in this browser").wait_for()
    again = create_app(Store.open(store.root), config)  # a new process: it knows no session of the old one
    with serving_at(again, int(url.rsplit(":", 1)[1])):
        page.get_by_role("button", name="Try again").click()
        page.get_by_text("another tab").wait_for()
        tab = page.context.new_page()
        tab.goto(f"{url}/#token={again.state.armchair.sessions.tokens['ada']}")
        tab.wait_for_selector("#tabs a")
        tab.goto("about:blank")
        with page.expect_response("**/api/sketches") as answer:
            page.get_by_role("button", name="Try again").click()
        assert answer.value.ok or answer.value.status == 409
        if answer.value.status == 409:  # the link's tab has taken the episode's lease: the drawing still goes in
            page.get_by_role("button", name="Save as a second opinion").click()
        page.get_by_text("Saved: fake-0").wait_for()
    (sketch,) = store.sketches(TASK)
    assert abs(sketch.values[-1] - 0.9) < 0.01


def test_the_older_of_two_tabs_is_told_and_keeps_its_drawing(store, serve, sign_in):
    page = opened(on_fake_0(sign_in(serve(store))))
    testing.draw(page, np.linspace(0.1, 0.9, T))
    other = page.context.new_page()
    other.goto(page.url.split("#")[0] + "#/sketch/fake-0")
    opened(other).get_by_text("Your unfinished drawing").wait_for()
    page.bring_to_front()
    page.keyboard.press("Control+Enter")
    page.get_by_text("open in another tab").wait_for()
    assert store.sketches(TASK) == []
    assert count(page) == f"All {T} frames drawn"
    page.get_by_role("button", name="Save as a second opinion").click()
    page.get_by_text("Saved: fake-0").wait_for()
    assert len(store.sketches(TASK)) == 1


def test_a_lease_that_somebody_took_over_is_told_before_saving(store, serve, sign_in):
    served = serve(store, annotators=("ada", "bob"), lease_seconds=1.0)
    page = opened(on_fake_0(sign_in(served)))
    testing.draw(page, np.linspace(0.1, 0.9, T))
    page.evaluate(
        "() => Object.defineProperty(document, 'hidden', { value: true, configurable: true })"
    )  # she looks at something else
    time.sleep(1.4)
    assert store.lease(["fake-0"], TASK, "bob", "bobs", 60, time.time()) is not None
    page.evaluate("() => Object.defineProperty(document, 'hidden', { value: false, configurable: true })")
    page.keyboard.press("Control+Enter")
    page.get_by_text("no longer reserved").wait_for()
    assert count(page) == f"All {T} frames drawn"


def test_an_episode_that_somebody_draws_is_offered_as_a_second_opinion(store, serve, sign_in):
    served = serve(store, annotators=("ada", "bob"))
    opened(on_fake_0(sign_in(served, "bob")))
    page = on_fake_0(sign_in(served, "ada"))
    page.get_by_text("bob is drawing fake-0").wait_for()
    page.get_by_role("button", name="Draw it too").click()
    opened(page)


def test_when_nothing_is_left_the_page_says_so(make_store, serve, sign_in):
    page = opened(sign_in(serve(make_store(1, T))))
    testing.draw(page, np.linspace(0.1, 0.9, T))
    page.keyboard.press("Control+Enter")
    page.get_by_role("heading", name="Nothing left to sketch").wait_for()
