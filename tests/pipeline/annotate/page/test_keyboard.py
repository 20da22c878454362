import numpy as np
import pytest

TASK = "lift_green"
T = 31


@pytest.fixture
def store(make_store):
    return make_store(1, T)


@pytest.fixture
def page(store, serve, sign_in):
    page = sign_in(serve(store))
    page.wait_for_selector(".viewer[data-shown]")
    return page


def press(page, *keys):
    for key in keys:
        page.keyboard.press(key)
    page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")


def frame(page):
    return int(page.locator(".viewer").get_attribute("data-frame"))


def test_an_episode_is_labelled_with_the_keyboard_alone(store, page):
    press(page, "1", "Enter")  # frame 0 at 0.1
    press(page, "Shift+ArrowRight", "4", "Enter")  # a straight line to frame 10 at 0.4
    press(page, "ArrowRight", "Shift+ArrowRight", "ArrowLeft", "PageUp", "Enter")  # frame 20 at the success line
    press(page, "End", "PageUp", "ArrowDown", "Shift+ArrowUp", "Enter")  # frame 30 at 1 - 0.05 + 0.01
    page.get_by_text(f"All {T} frames drawn").wait_for()
    with page.expect_response("**/api/sketches") as answer:
        press(page, "Control+Enter")
    assert answer.value.ok
    (sketch,) = store.sketches(TASK)
    expected = np.interp(np.arange(T), [0, 10, 20, 30], [0.1, 0.4, 0.85, 0.96])
    np.testing.assert_allclose(sketch.values, expected, atol=1e-6)
    assert 0 < sketch.seconds_spent < 60


def test_a_lifted_pencil_leaves_a_gap_that_a_key_fills_and_another_undoes(page):
    press(page, "2", "Enter", "Escape", "End", "6", "Enter")
    page.get_by_text(f"2 of {T} frames drawn").wait_for()
    press(page, "g")
    page.get_by_text(f"All {T} frames drawn").wait_for()
    press(page, "Control+Z")
    page.get_by_text(f"2 of {T} frames drawn").wait_for()
    press(page, "x")
    page.get_by_text(f"0 of {T} frames drawn").wait_for()


def test_keys_move_through_the_film(page):
    press(page, "ArrowRight", "ArrowRight", "Shift+ArrowRight", "ArrowLeft")
    assert frame(page) == 11
    press(page, "End")
    assert frame(page) == T - 1
    press(page, "Home", ".", ".", "Space")  # plays at four times its rate
    page.wait_for_function("() => Number(document.querySelector('.viewer').dataset.frame) >= 5")
    press(page, "Space")
    stopped = frame(page)
    page.wait_for_timeout(150)
    assert frame(page) == stopped


def test_typing_into_a_comment_is_typing(store, page):
    press(page, "m")
    page.keyboard.type("x g 5 n")
    press(page, "Control+Enter")
    assert page.locator("dialog").count() == 0
    press(page, "5", "Enter", "f")
    with page.expect_response("**/api/sketches"):
        press(page, "Control+Enter")
    assert [(note.kind, note.text) for note in store.notes()] == [("comment", "x g 5 n")]
    assert len(store.sketches(TASK)) == 1


def test_help_shows_every_key_of_the_view(page):
    press(page, "?")
    overlay = page.get_by_role("dialog", name="Keys")
    text = overlay.text_content()
    for what in ("Play and pause", "Undo", "Redo", "Clear", "Fill gaps", "Hold the value", "Put a point", "Skip",
                 "Unusable", "Comment", "Save", "One frame back", "Slower"):  # fmt: skip
        assert what in text, what
    press(page, "x")  # nothing else listens
    press(page, "?")
    assert overlay.count() == 0


def test_focus_goes_film_pad_tools_queue_finish_and_everything_has_a_name(page):
    press(page, "5", "Enter")  # something to undo, to clear and to fill: their buttons are of use now
    page.locator("#theme").focus()
    seen = []
    for _ in range(40):
        press(page, "Tab")
        where = page.evaluate("""() => {
          const part = document.activeElement.closest(".viewer, .pad-box, .sketch-tools, .queue, .finish");
          return part ? part.classList[part.classList.length - 1] : null;
        }""")
        if where and where not in seen:
            seen.append(where)
    assert [part for part in seen if part != "queue"] == ["viewer", "pad-box", "sketch-tools", "finish"]
    nameless = page.locator("button").evaluate_all(
        "all => all.filter((one) => !(one.getAttribute('aria-label') || one.textContent.trim())).length"
    )
    assert nameless == 0


def test_a_screen_reader_is_told_where_the_cursor_rests(page):
    press(page, "ArrowRight", "3", "Enter")
    pad = page.get_by_role("slider")
    page.wait_for_function("() => document.querySelector('[role=slider]').getAttribute('aria-valuenow') === '1'")
    assert pad.get_attribute("aria-valuetext") == f"Frame 1 of {T - 1}, 0:00.1, 0.30, level 0.30"
