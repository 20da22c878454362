"""The statistics view: its numbers are the store's."""

import numpy as np

from datasets.rewards import RewardSequence

TASK = "lift_green"
UP = np.linspace(0, 1, 50, dtype=np.float32)
NOON = 1_769_860_800  # 2026-01-31 12:00 UTC
DAY = 24 * 3600


def sketch(store, episode, user, values=UP, number=0, day=0, seconds=30.0):
    store.add_sketch(
        RewardSequence(
            f"fake-{episode}", TASK, values, f"{user}-{number}", user=user, timestamp=NOON + day * DAY,
            seconds_spent=seconds,
        )
    )  # fmt: skip


def texts(page, selector):
    return [" ".join(text.split()) for text in page.locator(selector).all_inner_texts()]


def test_numbers_table_and_charts(make_store, serve, sign_in):
    store = make_store(6)
    for episode in range(4):
        sketch(store, episode, "ada")
    sketch(store, 0, "ada", number=1, day=3)  # a correction
    sketch(store, 0, "bo", day=3, seconds=90)
    sketch(store, 1, "bo", UP[::-1].copy(), day=3, seconds=90)
    page = sign_in(serve(store), route="#/statistics")
    page.wait_for_selector(".chart-room svg")
    assert texts(page, ".numbers .number") == ["4", "7", "5.5", "64"]  # 350 frames in 330 seconds
    assert "2 of 6 in the queue are left" in texts(page, ".numbers .panel")[0]
    assert "1 correct" in texts(page, ".numbers .panel")[1]
    ada, bo = texts(page, ".table tbody tr")
    assert ada.startswith("ada 4 5 2.5 100 0.50") and bo.startswith("bo 2 2 3.0 33 0.50")
    assert texts(page, ".measure-text") == [
        "0.50 (95 %: 0.00 to 1.00; 2 episodes)",
        "0.00 (95 %: -1.00 to 1.00; 2 episodes)",
    ]
    days = page.locator(".chart-room svg title").evaluate_all("titles => titles.map((title) => title.textContent)")
    assert days == [
        "2026-01-31: 4 sketched, 2.0 minutes", "2026-02-01: nothing", "2026-02-02: nothing",
        "2026-02-03: 3 sketched, 3.5 minutes",
    ]  # fmt: skip
    bars = page.locator(".chart-bar").evaluate_all("bars => bars.map((bar) => Number(bar.getAttribute('height')))")
    assert bars[0] > 0 and bars[1] == 0 and abs(bars[3] / bars[0] - 3 / 4) < 1e-6
    assert "most on 2026-01-31" in page.locator(".chart-room svg").get_attribute("aria-label")


def test_one_person_alone(make_store, serve, sign_in):
    store = make_store(2)
    sketch(store, 0, "ada")
    page = sign_in(serve(store), route="#/statistics")
    page.wait_for_selector(".numbers")
    assert "No episode has been sketched by two people yet" in page.locator(".agreement").inner_text()
    assert "no shared episode" in page.locator(".table").inner_text()


def test_nothing_sketched(make_store, serve, sign_in):
    page = sign_in(serve(make_store(2)), route="#/statistics")
    page.wait_for_selector(".notice")
    assert "2 episodes" in page.locator(".notice").inner_text()
    page.get_by_role("link", name="Sketch the first one").click()
    page.wait_for_selector(".pad-surface")
