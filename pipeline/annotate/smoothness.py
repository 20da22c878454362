"""How smoothly the sketch view draws: frames per second, long tasks, and how soon the film follows the hand.

Measured in a real browser by what happens on the page: pointer events, animation frames and the film's swaps.
"""

import dataclasses
import math
import time
from typing import Any

import numpy as np

_HAND_HZ = 120  # pointer events a second: a common mouse, twice the screen's rate
_WAVES = 2.5  # that the hand draws while it goes along
_STOPS = 24  # of the hand while it waits for the pictures to be there
_PATIENCE_MS = 15_000

# A swap counts from the time stamp of the first pointer event whose frame is not on the screen, to the swap that brings
# the latest one.
_WATCH = """() => {
  const viewer = document.querySelector(".viewer"), plot = document.querySelector(".pad-plot").getBoundingClientRect();
  const last = Number(document.querySelector(".pad-surface").getAttribute("aria-valuemax"));
  const watch = { frames: [], tasks: [], swaps: [], wanted: null, running: true };
  new PerformanceObserver((list) => watch.tasks.push(...list.getEntries().map((task) => task.duration)))
    .observe({ type: "longtask" });
  const tick = (now) => { watch.frames.push(now); if (watch.running) requestAnimationFrame(tick); };
  requestAnimationFrame(tick);
  document.addEventListener("pointermove", (event) => {
    const frame = Math.round(Math.min(Math.max((event.clientX - plot.left) / plot.width, 0), 1) * last);
    if (watch.wanted) watch.wanted.frame = frame;
    else if (String(frame) !== viewer.dataset.shown) watch.wanted = { frame, since: event.timeStamp };
  }, { capture: true, passive: true });
  new MutationObserver(() => {
    if (!watch.wanted || viewer.dataset.shown !== String(watch.wanted.frame)) return;
    watch.swaps.push(performance.now() - watch.wanted.since);
    watch.wanted = null;
  }).observe(viewer, { attributeFilter: ["data-shown"] });
  window.strokeWatch = watch;
}"""
_STOP = "() => { const watch = window.strokeWatch; watch.running = false; return watch; }"
_CAUGHT_UP = "() => { const { shown, frame } = document.querySelector('.viewer').dataset; return shown === frame; }"


@dataclasses.dataclass(frozen=True)
class Smoothness:
    """What was measured during one stroke."""

    seconds: float
    frames_per_second: float  # animation frames
    slowest_frame_ms: float
    long_tasks: tuple[float, ...]  # ms: tasks of the page's main thread above 50 ms
    swaps: int  # of the film
    swap_median_ms: float  # from the time stamp of the pointer event that asks for a frame
    swap_p95_ms: float


def prefetch(page: Any) -> None:
    """Hovers over the whole drawing area, and waits at each stop until the film is there."""
    area = page.locator(".pad-plot").bounding_box()
    for share in np.linspace(0, 1, _STOPS):
        page.mouse.move(area["x"] + share * area["width"], area["y"] + area["height"] / 2)
        page.wait_for_function(_CAUGHT_UP, timeout=_PATIENCE_MS)
    page.mouse.move(area["x"], area["y"] + area["height"] / 2)
    page.wait_for_load_state("networkidle")


def measure_stroke(page: Any, seconds: float = 3.0) -> Smoothness:
    """Draws a wave over the whole episode and measures while it does.

    Args:
      page: a `playwright.sync_api.Page` that shows the sketch view.
      seconds: how long the stroke takes.
    """
    area = page.locator(".pad-plot").bounding_box()
    page.evaluate(_WATCH)
    page.mouse.move(area["x"], area["y"] + area["height"] / 2)
    page.mouse.down()
    start = time.perf_counter()
    while (passed := time.perf_counter() - start) < seconds:
        share = passed / seconds
        height = 0.5 + 0.4 * math.sin(2 * math.pi * _WAVES * share)
        page.mouse.move(area["x"] + share * area["width"], area["y"] + height * area["height"])
        time.sleep(max(0.0, 1 / _HAND_HZ - (time.perf_counter() - start - passed)))
    page.mouse.up()
    watch = page.evaluate(_STOP)
    intervals = np.diff(watch["frames"])
    swaps = np.asarray(watch["swaps"])
    return Smoothness(
        seconds=seconds,
        frames_per_second=1000 / float(intervals.mean()),
        slowest_frame_ms=float(intervals.max()),
        long_tasks=tuple(watch["tasks"]),
        swaps=len(swaps),
        swap_median_ms=float(np.median(swaps)),
        swap_p95_ms=float(np.quantile(swaps, 0.95)),
    )
