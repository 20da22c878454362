"""A real Chromium on a real server. Errors and messages of the page's own scripts fail the test."""

import contextlib

import pytest

from datasets.errors import ArmchairError
from datasets.store import Store
from datasets.testing import make_episode
from pipeline.annotate import testing
from pipeline.annotate.config import ServerConfig
from pipeline.annotate.server import create_app

TASK = "lift_green"


@pytest.fixture(scope="session")
def chrome():
    """One browser for all tests of a worker; each page has a context, so a profile, of its own."""
    try:
        testing.chromium_path()
    except ArmchairError as error:
        pytest.skip(str(error))
    with testing.browser() as browser:
        yield browser


@pytest.fixture
def make_store(tmp_path):
    """`make_store(count, **make_episode's arguments)`: a store of fake episodes `fake-0`, `fake-1`, ..."""

    def make(count=4, num_steps=50, cameras=("basket_front_left", "wrist"), image_size=(64, 64), **fields):
        store = Store.create(tmp_path / "store")
        for seed in range(count):
            store.add(make_episode(seed, num_steps, cameras, image_size, **fields), "fake")
        store.publish()
        return store

    return make


@pytest.fixture
def serve():
    """`serve(store, **ServerConfig's fields)` -> (url, AppState); the server runs until the test ends."""
    with contextlib.ExitStack() as running:

        def start(store, task=TASK, annotators=("ada",), **fields):
            app = create_app(store, ServerConfig(task, annotators=annotators, **fields))
            return running.enter_context(testing.serving(app)), app.state.armchair

        yield start


@pytest.fixture
def sign_in(chrome):
    """`sign_in(served, user)` -> a page of a browser of the user's own, on the view that the route names."""
    with contextlib.ExitStack() as opened:
        troubles = []

        def start(served, user="ada", route="#/sketch", size=(1280, 720), **context_options):
            url, state = served
            width, height = size
            context = chrome.new_context(viewport={"width": width, "height": height}, **context_options)
            opened.callback(context.close)
            page = context.new_page()
            page.on("pageerror", lambda error: troubles.append(f"{error}"))
            page.goto(f"{url}/#token={state.sessions.tokens[user]}")
            page.wait_for_selector("#tabs a")
            if route != "#/sketch":
                page.evaluate("route => { location.hash = route }", route)
            return page

        yield start
        assert not troubles, troubles
