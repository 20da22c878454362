"""Is a reward model as good when its sketches were drawn in the page?

```
python benchmarks/sketching_reward.py --seeds 0 1 2
```
Records the demo's episodes and chooses 40 to sketch. The simulated annotator's noisy, distorted progress goes into one
copy of the store directly; into the other a browser draws it, a stroke an episode, with real pointer events on the real
page. Then a reward model learns from each, with the demo's settings, and is judged by the true progress of episodes
that it never saw. Prints a JSON line a model, and a table. A model takes some two minutes on two cores.
"""

import dataclasses
import json
import shutil
import statistics
import tempfile
from pathlib import Path

import numpy as np
import tyro

_EPISODES = 100  # held out, to judge by


@dataclasses.dataclass(frozen=True)
class Config:
    """How much to measure."""

    seeds: tuple[int, ...] = (0, 1, 2)
    """Of the annotator's hand and of the training."""
    directory: Path | None = None
    """Where the episodes and models are kept, to go on later; a temporary folder by default."""


def draw_in_the_page(store_path: Path, curves: dict[str, np.ndarray], task: str, user: str) -> float:
    """Draws a curve for each episode and saves it; returns the largest difference to what the store holds then."""
    from datasets.store import Store
    from pipeline.annotate import testing
    from pipeline.annotate.config import ServerConfig
    from pipeline.annotate.server import create_app

    store = Store.open(store_path)
    app = create_app(store, ServerConfig(task, annotators=(user,)))
    token = app.state.armchair.sessions.tokens[user]
    with testing.serving(app) as url, testing.browser() as browser:
        page = browser.new_page(viewport={"width": 1280, "height": 720})
        page.goto(f"{url}/#token={token}")
        page.wait_for_selector("#tabs a")
        for done, (episode_id, values) in enumerate(curves.items(), start=1):
            testing.sketch(page, episode_id, values)
            print(f"\rdrawn: {done}/{len(curves)}", end="", flush=True)
        print()
    drawn = {sketch.episode_id: sketch.values for sketch in store.sketches(task)}
    return max(float(np.abs(drawn[i] - values).max()) for i, values in curves.items())


def main(config: Config) -> None:
    """Runs the comparison."""
    from armchair import demo, stages
    from beam_jobs import ingest
    from beam_jobs.config import IngestConfig
    from datasets.query import Query
    from datasets.store import Store
    from pipeline.annotate import synthetic
    from pipeline.annotate.synthetic import AnnotatorConfig
    from pipeline.reward_learning import train
    from pipeline.reward_learning.evaluate import assess
    from robot.collect import CollectConfig, collect
    from robot.env import CellConfig

    sizes = demo.SIZES[demo.Preset.DEFAULT]
    root = config.directory or Path(tempfile.mkdtemp(prefix="armchair-sketching-"))
    base = root / "base"
    if not (base / "store").exists():
        plan = tuple(dataclasses.replace(line, seed=1_000 * number) for number, line in enumerate(sizes.plan))
        collect(CollectConfig(base / "logs", plan, stages.DATASET, stages.WORKERS, CellConfig(cameras=stages.CAMERAS)))
        ingest.ingest(IngestConfig((base / "logs",), base / "store")).print()
    results: dict[str, list[float]] = {"simulated": [], "page": []}
    for seed in config.seeds:
        annotator = AnnotatorConfig(seed)
        store = Store.open(base / "store")
        chosen = synthetic.choose_episodes(store.query(Query(task_id=demo.TASK)), sizes.sketches, seed)
        sketches = [synthetic.sketch(episode, demo.TASK, annotator) for episode in store.read_many(chosen)]
        for way in results:
            copy = root / f"{way}-{seed}"
            if not (copy / "model").exists():
                shutil.rmtree(copy, ignore_errors=True)
                shutil.copytree(base / "store", copy / "store")
                if way == "simulated":
                    for sketch in sketches:
                        Store.open(copy / "store").add_sketch(sketch)
                else:
                    curves = {sketch.episode_id: sketch.values for sketch in sketches}
                    off = draw_in_the_page(copy / "store", curves, demo.TASK, "browser")
                    print(f"largest difference between drawn and meant: {off:.4f}")
                model = train.train(
                    Store.open(copy / "store"), demo.TASK, copy / "run", dataclasses.replace(sizes.reward, seed=seed)
                )
                model.rename(copy / "model")
            quality = assess(Store.open(copy / "store"), copy / "model", _EPISODES).quality
            results[way].append(quality.pair_accuracy_true.value)
            print(json.dumps({"way": way, "seed": seed, **dataclasses.asdict(quality)}, default=str))
    for way, accuracies in results.items():
        spread = f"{min(accuracies):.4f} to {max(accuracies):.4f}"
        print(f"{way}: held-out pair accuracy {statistics.mean(accuracies):.4f} ({spread}, n = {len(accuracies)})")


if __name__ == "__main__":
    main(tyro.cli(Config, description=__doc__))
