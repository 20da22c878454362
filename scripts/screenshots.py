"""Takes the pictures of the sketching page that the README shows, from a real run of the loop's first four stages.

```
python scripts/screenshots.py          # some three minutes; writes docs/page/*.png
```
Records episodes in the simulated cell, lets two simulated annotators sketch some, learns a reward model and annotates;
then opens the page in Chromium, draws half a curve, and looks at review, statistics and the demonstration view.
"""

import dataclasses
import tempfile
from pathlib import Path

import tyro

_TASK = "lift_green"
_SIZE = {"width": 1280, "height": 720}
_BY_HAND = 4  # sketches that the browser draws and saves first, so that statistics have something to tell
_DRAWN = 0.62  # share of the curve that is drawn when the picture is taken


@dataclasses.dataclass(frozen=True)
class Config:
    """Where things go."""

    out: Path = Path(__file__).resolve().parents[1] / "docs" / "page"
    """Folder of the pictures."""
    directory: Path | None = None
    """Folder of the store and the model, to use again; a temporary one by default."""
    theme: str = "dark"
    """dark or light."""


def make_store(root: Path) -> None:
    """Records, sketches, learns and annotates."""
    from armchair import stages
    from beam_jobs import annotate, ingest
    from beam_jobs.config import AnnotateConfig, IngestConfig
    from datasets.query import Query
    from datasets.store import Store
    from pipeline.annotate import synthetic
    from pipeline.annotate.synthetic import AnnotatorConfig
    from pipeline.reward_learning import train
    from pipeline.reward_learning.config import RankingConfig
    from robot.collect import CollectConfig, collect
    from robot.env import CellConfig
    from robot.plan import PlanLine

    plan = (
        PlanLine(_TASK, f"expert:{_TASK}:0.1", 24, seed=0),
        PlanLine(_TASK, f"expert:{_TASK}:0.4", 24, seed=1_000),
        PlanLine(_TASK, "random_watcher", 8, seed=2_000),
    )
    cell = CellConfig(cameras=("basket_front_left", "basket_front_right", "wrist"), image_size=(128, 128))
    collect(CollectConfig(root / "logs", plan, "recorded", stages.WORKERS, cell))
    ingest.ingest(IngestConfig((root / "logs",), root / "store")).print()
    store = Store.open(root / "store")
    rows = store.query(Query(task_id=_TASK))
    for seed, (user, count) in enumerate({"ada": 14, "grace": 9}.items()):  # of the same episodes: to be compared
        for episode in store.read_many(synthetic.choose_episodes(rows, count, seed=0)):
            store.add_sketch(synthetic.sketch(episode, _TASK, AnnotatorConfig(seed=seed, user=user)))
    reward = RankingConfig(encoder=stages.ENCODER, steps=300, cameras=("pixels/basket_front_left",))
    model = train.train(store, _TASK, root / "reward", reward)
    annotate.annotate(AnnotateConfig(root / "store", (model,))).print()


def main(config: Config) -> None:
    """Takes the pictures."""
    from datasets.query import Query
    from datasets.store import Store
    from pipeline.annotate import synthetic, testing
    from pipeline.annotate.config import ServerConfig
    from pipeline.annotate.server import create_app
    from pipeline.annotate.synthetic import AnnotatorConfig

    root = config.directory or Path(tempfile.mkdtemp(prefix="armchair-screenshots-"))
    if not (root / "reward" / "model").exists():
        make_store(root)
    config.out.mkdir(parents=True, exist_ok=True)
    store = Store.open(root / "store")
    app = create_app(store, ServerConfig(_TASK, annotators=("ada", "grace")))
    token = app.state.armchair.sessions.tokens["ada"]
    waiting, *others = store.query(Query(task_id=_TASK, not_sketched=_TASK, verdict="success", limit=1 + _BY_HAND))
    hand = AnnotatorConfig(seed=3)
    curve = synthetic.sketch(store.read(waiting), _TASK, hand).values
    with testing.serving(app) as url, testing.browser() as browser:
        context = browser.new_context(viewport=_SIZE, color_scheme=config.theme)
        page = context.new_page()
        page.goto(f"{url}/#token={token}")
        page.wait_for_selector("#tabs a")

        for row in others:
            testing.sketch(page, row.episode_id, synthetic.sketch(store.read(row), _TASK, hand).values)

        def shoot(route: str, name: str, ready: str) -> None:
            page.evaluate("route => { location.hash = route }", route)
            page.wait_for_selector(ready)
            page.wait_for_load_state("networkidle")
            page.wait_for_timeout(500)  # pictures are decoded and painted
            if name == "sketch":
                testing.draw(page, curve, until=_DRAWN)
            if name == "demonstrate":
                page.get_by_role("button", name="Start").click()
                page.wait_for_timeout(2_000)  # the cell is loaded, and its cameras are live
            page.wait_for_timeout(300)
            page.screenshot(path=config.out / f"{name}.png")
            print(config.out / f"{name}.png")

        shoot(f"#/sketch/{waiting.episode_id}", "sketch", ".pad-plot")
        shoot("#/review", "review", ".pad-plot")
        shoot("#/statistics", "statistics", "table")
        shoot("#/demonstrate", "demonstrate", ".view.demonstrate .button")


if __name__ == "__main__":
    main(tyro.cli(Config, description=__doc__))
