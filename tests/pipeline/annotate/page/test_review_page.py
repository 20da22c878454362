"""Reviewing a reward model: orders, curves, verdicts that reach the store; and no prediction where people sketch."""

import numpy as np
import pytest

from datasets.notes import NoteKind
from datasets.predictions import write_predictions
from datasets.query import Query
from datasets.rewards import RewardSequence
from datasets.store import Store
from datasets.testing import make_episode

TASK = "lift_green"
UP = np.linspace(0, 1, 20, dtype=np.float32)
LATE = np.where(np.arange(20) < 14, 0.4, UP).astype(np.float32)


def rate(store, model_id, values):
    path = store.prediction_path(model_id, "part")
    write_predictions(path, model_id, f"hash-{model_id}", TASK, values)
    store.add_predictions(model_id, f"hash-{model_id}", TASK, path)


@pytest.fixture
def store(tmp_path):
    """0 and 2 succeed, 1 and 3 fail. The model of old is wrong about 0 and taken in by 3; the new one is right."""
    store = Store.create(tmp_path / "store")
    for seed in range(4):
        store.add(make_episode(seed, 20, ("front", "wrist"), (32, 32)), "fake")
    store.publish()
    for episode, user in (("fake-0", "ada"), ("fake-0", "bo"), ("fake-2", "bo")):
        store.add_sketch(RewardSequence(episode, TASK, UP, f"{user}-1", user=user, timestamp=1_700_000_000))
    rate(store, "a-old", {"fake-0": UP[::-1], "fake-1": UP / 4, "fake-2": LATE, "fake-3": np.minimum(1.2 * UP, 1)})
    rate(store, "b-new", {"fake-0": UP, "fake-1": UP / 4, "fake-2": UP, "fake-3": UP / 3})
    return store


def ids(page):
    page.wait_for_selector(".episode-list:not([aria-busy]) .row-id")
    return page.locator(".row-id").all_inner_texts()


def opened(page, episode):
    page.wait_for_selector(f".episode-head h1:text-is('{episode}')")


def test_orders_and_models(store, serve, sign_in):
    page = sign_in(serve(store), route="#/review?model=a-old")
    opened(page, "fake-0")  # the one that disagrees most
    assert ids(page)[:2] == ["fake-0", "fake-2"]
    first, *_, last = page.locator(".episode-row").all_inner_texts()
    assert "1.00" in first and "not sketched" in last
    page.get_by_role("button", name="Suspected delusion").click()
    opened(page, "fake-3")
    assert ids(page)[:2] == ["fake-3", "fake-1"]
    assert page.locator("[data-order=delusion]").get_attribute("aria-pressed") == "true"
    page.get_by_label("Reward model").select_option("b-new")
    page.wait_for_function("() => location.hash.endsWith('model=b-new')")
    page.wait_for_selector(".episode-row:has-text('0.32') >> text=fake-3")  # a third of the highest, without the last


def test_curves_of_people_and_model(store, serve, sign_in):
    page = sign_in(serve(store), route="#/review/fake-0?model=a-old")
    opened(page, "fake-0")
    legend = page.locator(".pad-legend li")
    assert [" ".join(text.split()) for text in legend.all_inner_texts()] == ["ada (you)", "bo", "a-old predicted"]
    dashes = page.locator(".pad-legend line").evaluate_all(
        "ls => ls.map(l => l.getAttribute('stroke-dasharray') ?? '')"
    )
    assert len(set(dashes)) == 3  # told apart without colour


def test_keys_and_verdicts_reach_the_store(store, serve, sign_in):
    page = sign_in(serve(store), route="#/review?model=a-old")
    opened(page, "fake-0")
    page.keyboard.press("N")
    opened(page, "fake-2")
    page.keyboard.press("P")
    opened(page, "fake-0")
    page.keyboard.press("ArrowDown")
    opened(page, "fake-2")
    page.keyboard.press("F")
    page.wait_for_selector(".episode-head .chip:has-text('failure')")
    (note,) = store.notes()
    assert (note.episode_id, note.kind, note.text, note.user) == ("fake-2", NoteKind.VERDICT, "failure", "ada")
    assert store.query(Query(ids=("fake-2",)))[0].verdict == "failure"
    assert page.locator(".episode-row", has_text="fake-2").inner_text().count("✕ failure") == 1
    page.get_by_role("button", name="Suspected delusion").click()  # it has failed now, and is predicted to succeed
    opened(page, "fake-3")
    assert ids(page)[:2] == ["fake-3", "fake-2"]
    page.keyboard.press("N")
    opened(page, "fake-2")
    page.keyboard.press("S")
    page.wait_for_selector(".episode-notes li:has-text('success')")
    assert store.query(Query(ids=("fake-2",)))[0].verdict == "success"


def test_a_key_never_judges_the_episode_before(store, serve, sign_in):
    page = sign_in(serve(store), route="#/review?model=a-old")
    opened(page, "fake-0")
    held = []

    def hold(route):  # it does not come
        held.append(route)

    page.route("**/api/episodes/fake-2", hold)
    page.keyboard.press("N")
    page.keyboard.press("F")
    page.wait_for_function("() => document.getElementById('status').textContent.includes('fake-2 is still on its way')")
    held[0].continue_()
    page.unroute("**/api/episodes/fake-2")
    opened(page, "fake-2")
    assert store.notes() == []
    page.keyboard.press("F")
    page.wait_for_selector(".episode-notes li:has-text('failure')")
    assert store.notes()[0].episode_id == "fake-2"


def test_sketch_this(store, serve, sign_in):
    page = sign_in(serve(store), route="#/review/fake-2?model=a-old")
    opened(page, "fake-2")
    page.get_by_role("link", name="Sketch it").click()
    page.wait_for_function("() => location.hash === '#/sketch/fake-2'")


def test_predictions_are_never_asked_for_while_sketching_or_browsing(store, serve, sign_in):
    page = sign_in(serve(store), route="#/statistics")
    page.wait_for_selector(".numbers")
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    page.evaluate("location.hash = '#/sketch/fake-0'")
    page.wait_for_selector(".pad-surface")
    page.wait_for_timeout(300)
    page.evaluate("location.hash = '#/browse/fake-0'")
    opened(page, "fake-0")
    page.wait_for_timeout(300)
    assert any("/episodes/fake-0" in url for url in asked)
    assert not [url for url in asked if "predictions" in url or "/review" in url or "/models" in url]
    details = page.evaluate("fetch('/api/episodes/fake-0').then((answer) => answer.text())")
    assert "predict" not in details and "a-old" not in details


def test_without_a_model(tmp_path, serve, sign_in, make_store):
    page = sign_in(serve(make_store(1)), route="#/review")
    page.wait_for_selector(".notice h1")
    assert "armchair annotate" in page.locator(".notice").inner_text()
