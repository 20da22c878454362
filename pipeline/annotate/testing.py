"""A real browser on a real server, for tests, benchmarks and pictures of the page. Wants Playwright and Chromium."""

import contextlib
import itertools
import shutil
import threading
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import uvicorn

from datasets.errors import ArmchairError

_CHROMIUM = ("chromium", "chromium-browser", "google-chrome")
# No sandbox: containers have none to give. The rest keeps Chromium from calling home.
_FLAGS = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
)  # fmt: skip
_PATIENCE_S = 20


def chromium_path() -> str:
    """The system's Chromium. Raises ArmchairError where there is none."""
    for name in _CHROMIUM:
        if path := shutil.which(name):
            return path
    raise ArmchairError("there is no Chromium here: on Debian or Ubuntu, `make test-tools` installs it")


@contextlib.contextmanager
def browser() -> Iterator[Any]:
    """A headless Chromium as a `playwright.sync_api.Browser`. Raises ArmchairError where there is none."""
    from playwright.sync_api import sync_playwright

    path = chromium_path()
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=path, args=list(_FLAGS))
        try:
            yield started
        finally:
            started.close()


@contextlib.contextmanager
def serving(app: Any) -> Iterator[str]:
    """Runs an ASGI app on a free loopback port, by a thread of this process; yields its URL."""
    config = uvicorn.Config(app, host="127.0.0.1", port=0, log_level="warning", access_log=False, lifespan="on")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    deadline = time.monotonic() + _PATIENCE_S
    while not server.started:
        if not thread.is_alive() or time.monotonic() > deadline:
            raise ArmchairError("the server of the page did not start: see its messages above")
        time.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join(_PATIENCE_S)


def draw(page: Any, values: np.ndarray, until: float = 1.0) -> None:
    """Draws a curve over the drawing area in one stroke, by real pointer events.

    Args:
      page: a `playwright.sync_api.Page` that shows the sketch view.
      values: float[T] in [0, 1], one a frame; the hand stops at the pixel that is nearest to each.
      until: where the stroke ends, as a share of the episode.
    """
    area = page.locator(".pad-plot").bounding_box()
    steps = np.arange(len(values)) / max(1, len(values) - 1)
    xs = np.round(area["x"] + steps * area["width"])
    ys = np.round(area["y"] + (1 - np.asarray(values, float)) * area["height"])
    points = list(zip(xs.tolist(), ys.tolist(), strict=True))[: round(until * len(values))]
    page.mouse.move(*points[0])
    page.mouse.down()
    for (x, y), _ in itertools.groupby(points):
        page.mouse.move(x, y)
    page.mouse.up()


def sketch(page: Any, episode_id: str, values: np.ndarray) -> None:
    """Opens an episode in the sketch view, draws a curve and saves it; returns when the server has confirmed it.

    Args:
      page: a signed-in `playwright.sync_api.Page`.
      episode_id: an episode of T frames.
      values: float[T] in [0, 1].
    """
    page.evaluate("hash => history.replaceState(null, '', hash)", f"#/sketch/{episode_id}")
    page.reload()  # rather than change the view that may just be opening the queue's next episode
    page.get_by_text(f"Episode {episode_id},").wait_for()
    draw(page, values)
    with page.expect_response("**/api/sketches") as answer:
        page.get_by_role("button", name="Save").click()
    if not answer.value.ok:
        raise ArmchairError(f"the sketch of {episode_id} was not saved: {answer.value.text()}")
    page.wait_for_url("**/#/sketch")  # the page has heard it too, and goes on to the next
