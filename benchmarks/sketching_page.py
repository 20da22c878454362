"""How smoothly the sketch view draws: a 3 s stroke over an episode of 500 frames and 3 cameras, in headless Chromium.

```
python benchmarks/sketching_page.py
```
We want, once the pictures are prefetched: no task of the page above 50 ms, p95 of the film's swaps at most 50 ms, and
60 frames/s. Takes a minute, most of it to make the pictures.
"""

import dataclasses
import statistics
import tempfile
from pathlib import Path

import tyro

_CAMERAS = ("basket_front_left", "basket_front_right", "wrist")


@dataclasses.dataclass(frozen=True)
class Config:
    """What to measure."""

    rounds: int = 5
    """Strokes, each over an episode of its own."""
    frames: int = 500
    """Frames of an episode."""
    size: int = 128
    """Height and width of a picture."""


def main(config: Config) -> None:
    """Prints a line for each stroke, and then the medians and the worst."""
    from datasets.store import Store
    from datasets.testing import make_episode
    from pipeline.annotate import smoothness, testing
    from pipeline.annotate.config import ServerConfig
    from pipeline.annotate.server import create_app

    measured = []
    with tempfile.TemporaryDirectory() as folder:
        store = Store.create(Path(folder) / "store")
        for seed in range(config.rounds):
            store.add(make_episode(seed, config.frames, _CAMERAS, (config.size, config.size)), "fake")
        store.publish()
        app = create_app(store, ServerConfig("lift_green", annotators=("ada",)))
        with testing.serving(app) as url, testing.browser() as browser:
            page = browser.new_page(viewport={"width": 1280, "height": 720})
            page.goto(f"{url}/#token={app.state.armchair.sessions.tokens['ada']}")
            for seed in range(config.rounds):
                page.wait_for_selector("#tabs a")
                page.evaluate("hash => history.replaceState(null, '', hash)", f"#/sketch/fake-{seed}")
                page.reload()
                page.wait_for_selector(".viewer[data-shown]")
                smoothness.prefetch(page)
                measured.append(smoothness.measure_stroke(page))
                print(measured[-1])
    tasks = [max(stroke.long_tasks, default=0) for stroke in measured]
    print(f"frames/s: median {statistics.median(stroke.frames_per_second for stroke in measured):.1f}")
    print(
        f"longest task above 50 ms: {max(tasks):.0f} ms (0: none); strokes without any: {tasks.count(0)}/{len(tasks)}"
    )
    swaps = [stroke.swap_p95_ms for stroke in measured]
    print(f"p95 of the film's swaps: median {statistics.median(swaps):.1f} ms, worst {max(swaps):.1f} ms")


if __name__ == "__main__":
    main(tyro.cli(Config, description=__doc__))
