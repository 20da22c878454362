"""What Beam costs: `beam_jobs.annotate` against a bare loop over the same reward model and the same records.

```
python benchmarks/annotate.py --frames 100000 --rounds 3
```
Makes a synthetic store (two 64x64 cameras and seven numbers a frame, 50 frames an episode) and a reward model of the
default architecture with random weights, then times, in turns: a bare loop (read, decode, predict, nothing written),
the job in one process, and the job in two worker processes. Each process has one core, so that the last tells how the
job scales over processes; beside it, what one process does with all cores, through TensorFlow's own threads. Prints
frames/s and their ratios; the time to start the workers (each imports TensorFlow and Beam) counts. Expect some 20
minutes for 100,000 frames and 3 rounds on two cores. We want: one process >= 0.8 of the bare loop, two >= 1.6 of one.
"""

import dataclasses
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import tyro

_STEPS = 50  # frames an episode, as in the simulated cell
_ENVIRONMENT = {"TF_CPP_MIN_LOG_LEVEL": "2", "TF_ENABLE_ONEDNN_OPTS": "1", "CUDA_VISIBLE_DEVICES": ""}
_BARE, _ONE, _TWO, _ALL = "bare loop", "one process", "two processes", "one process, all cores"
_ONE_CORE = {"TF_NUM_INTRAOP_THREADS": "1", "TF_NUM_INTEROP_THREADS": "1"}
_TWO_WORKERS = ["--direct_num_workers", "2", "--direct_running_mode", "multi_processing"]


@dataclasses.dataclass(frozen=True)
class Config:
    """How much to measure."""

    frames: int = 100_000
    """Frames in the store."""
    rounds: int = 3
    """Times that everything is measured; the median counts."""
    only: str | None = None
    """Internal: run one measurement in this process and print its seconds."""
    directory: Path | None = None
    """Where the store and the model are made and kept; a temporary folder by default."""


def make_store(root: Path, frames: int) -> None:
    """Fills a store with fake episodes."""
    from datasets import testing
    from datasets.console import track
    from datasets.store import Store

    store = Store.create(root)
    for seed in track(range(frames // _STEPS), "making episodes"):
        cameras = ("basket_front_left", "basket_front_right")
        store.add(testing.make_episode(seed, _STEPS, cameras, (64, 64)), "synthetic")
    store.publish()


def make_model(path: Path) -> None:
    """Saves a reward model with random weights."""
    import numpy as np

    from datasets.features import ArraySpec
    from pipeline import export
    from pipeline.reward_learning.config import RankingConfig
    from pipeline.reward_learning.model import Ensemble, RewardModel, fit_normaliser

    inputs = {f"pixels/basket_front_{side}": ArraySpec((64, 64, 3), "uint8") for side in ("left", "right")}
    inputs["sawyer/joints/angle"] = ArraySpec((7,), "float32")
    numbers = {"sawyer/joints/angle": np.random.default_rng(0).normal(size=(100, 7)).astype(np.float32)}
    module = Ensemble([RewardModel(RankingConfig(), inputs, fit_normaliser(inputs, numbers))])
    card = {
        "kind": "reward_model", "model_id": "random", "model_hash": export.fingerprint(module.variables),
        "task_id": "lift_green", "inputs": export.inputs_card(inputs),
    }  # fmt: skip
    export.save_model(path, module, card)


def bare_loop(root: Path, model: Path) -> None:
    """What somebody would write without Beam: read, decode, predict in batches."""
    import numpy as np

    from datasets import video
    from datasets.query import Query
    from datasets.store import Store
    from pipeline import export

    module, card = export.load_model(model, "reward_model")
    inputs = export.card_inputs(card)
    store = Store.open(root)
    waiting: list[dict[str, np.ndarray]] = []
    values = []

    def predict(count: int) -> None:
        joined = {k: np.concatenate([frames[k] for frames in waiting]) for k in inputs}
        values.append(module.predict({k: v[:count] for k, v in joined.items()}).numpy())
        waiting[:] = [{k: v[count:] for k, v in joined.items()}]

    for episode in store.read_many(store.query(Query())):
        decoded = {
            k: video.decode_frames(episode.observation[k]) if v.is_image else episode.observation[k]
            for k, v in inputs.items()
        }
        waiting.append(decoded)
        while sum(len(frames["sawyer/joints/angle"]) for frames in waiting) >= 128:
            predict(128)
    predict(128)


def measure(kind: str, directory: Path) -> None:
    """Runs one measurement and prints its seconds of wall and processor time, the imports here left out."""
    import beam_jobs.annotate
    import pipeline.export  # noqa: F401
    from beam_jobs.config import AnnotateConfig
    from beam_jobs.options import beam_options
    from pipeline import threads

    root, model = directory / "store", directory / "model"
    start, busy = time.perf_counter(), _processor_seconds()
    if kind in (_BARE, _ONE):
        os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])
    if kind == _ALL:
        threads.for_pictures()
    if kind == _BARE:
        bare_loop(root, model)
    else:
        options = beam_options(_TWO_WORKERS if kind == _TWO else [])
        summary = beam_jobs.annotate.annotate(AnnotateConfig(root, (model,)), options)
        assert summary.rated and not summary.already
    print(time.perf_counter() - start, _processor_seconds() - busy)


def _processor_seconds() -> float:
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def main() -> None:
    """Runs the benchmark."""
    config = tyro.cli(Config, description=__doc__)
    if config.only is not None:
        assert config.directory is not None
        measure(config.only, config.directory)
        return
    directory = config.directory or Path(tempfile.mkdtemp(prefix="annotate-benchmark-"))
    if not (directory / "store").exists():
        make_store(directory / "store", config.frames)
        make_model(directory / "model")
    frames = config.frames // _STEPS * _STEPS
    rates: dict[str, list[float]] = {_BARE: [], _ONE: [], _TWO: [], _ALL: []}
    for number in range(config.rounds):
        for kind, measured in rates.items():
            _forget_predictions(directory / "store")
            command = [sys.executable, __file__, "--only", kind, "--directory", directory]
            environment = os.environ | _ENVIRONMENT | ({} if kind == _ALL else _ONE_CORE)
            done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
            seconds, busy = map(float, done.stdout.split()[-2:])
            measured.append(frames / seconds)
            told = f"{measured[-1]:8.0f} frames/s, {frames / busy:6.0f} frames/core-s"
            print(f"round {number + 1}: {kind:22} {told}", flush=True)
    median = {kind: statistics.median(measured) for kind, measured in rates.items()}
    print(f"\n{frames:,} frames, median of {config.rounds}")
    for kind, rate in median.items():
        spread = " ".join(f"{r:.0f}" for r in sorted(rates[kind]))
        print(f"{kind:22} {rate:8.0f} frames/s   ({spread})   {rate / median[_BARE]:.2f} of the bare loop")
    print(f"two processes / one: {median[_TWO] / median[_ONE]:.2f}")
    if config.directory is None:
        shutil.rmtree(directory)


def _forget_predictions(root: Path) -> None:
    from datasets.store import Store

    shutil.rmtree(root / "rewards", ignore_errors=True)
    (root / "index.sqlite").unlink()
    Store(root).rebuild_index()


if __name__ == "__main__":
    main()
