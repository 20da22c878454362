"""What each job costs a thousand frames, and what that makes of the largest logs that there are.

```
python benchmarks/jobs.py                   # some quarter of an hour; writes docs/results/jobs.md
```
Makes three stores of synthetic episodes whose pictures have the sizes of known logs and about their bytes, and runs
every job on each, in turns, in a process with one core. Counts processor time of the job alone, without start-up and
imports, and bytes: of the episodes read, and of what is written. Extrapolates by the number of frames.
"""

import collections
import dataclasses
import datetime
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import psutil
import tyro

_ENVIRONMENT = {
    "TF_CPP_MIN_LOG_LEVEL": "2", "TF_ENABLE_ONEDNN_OPTS": "1", "CUDA_VISIBLE_DEVICES": "",
    "TF_NUM_INTRAOP_THREADS": "1", "TF_NUM_INTEROP_THREADS": "1",
}  # fmt: skip
_JOBS = ("ingest", "validate", "annotate", "stats", "export rlds", "export lerobot", "export robomimic", "export mp4")
_WORKED = "annotate"  # the job whose arithmetic is shown


@dataclasses.dataclass(frozen=True)
class Kind:
    """A kind of log."""

    name: str
    cameras: tuple[tuple[int, int], ...]  # (H, W) of each
    steps: int  # frames an episode
    episodes: int  # that are measured
    quality: int  # of the pictures as JPEG, in percent


KINDS = (
    Kind("cell", ((64, 64), (64, 64)), 50, 60, 95),  # the simulated cell, as the demo records it
    Kind("one camera", ((256, 320),), 40, 30, 95),  # as most sets of Open X-Embodiment
    Kind("five cameras", ((600, 960),) * 3 + ((768, 1024),) * 2, 20, 6, 75),  # as Sketchy
)


@dataclasses.dataclass(frozen=True)
class Log:
    """A log that somebody has."""

    name: str
    kind: str
    episodes: int
    steps: int
    source: str  # of these numbers
    kilobytes: float | None = None  # a frame, where it lies; None: not known


LOGS = (
    Log(
        "Sketchy", "five cameras", 74_600, 180,
        "at most 746 archives of 100 episodes; 5.0 TB at 373 kB a frame are some 180 frames an episode",
        373,
    ),
    Log(
        "Open X-Embodiment", "one camera", 1_000_000, 40,
        "more than a million episodes; two of its large sets have 36 (BridgeData V2) and 43 (RT-1) frames each",
    ),
)  # fmt: skip

_MACHINE, _CORES, _PRICE = "n2-standard-8", 8, 0.3884
"""A machine of Google's, with 8 virtual cores, at its list price on demand in us-central1, in US dollars an hour (four
times n2-standard-2's $0.0971). A virtual core is half of a real one with two threads: what was measured here, too, is a
virtual core, but not the same one."""


@dataclasses.dataclass(frozen=True)
class Config:
    """How much to measure."""

    rounds: int = 3
    """Times that everything is measured; the median counts."""
    out: Path = Path("docs/results/jobs.md")
    """Page to write."""
    job: str | None = None
    """Internal: run one job in this process and print what it took."""
    directory: Path | None = None
    """Internal: where the store and the model are."""


def make(directory: Path, kind: Kind) -> None:
    """A store and a reward model that looks at all its cameras."""
    import numpy as np

    from datasets import testing
    from datasets.features import ArraySpec
    from datasets.store import Store
    from pipeline import export
    from pipeline.reward_learning.config import RankingConfig
    from pipeline.reward_learning.model import Ensemble, RewardModel, fit_normaliser

    rng = np.random.default_rng(0)
    inputs = {f"pixels/camera{n}": ArraySpec((*size, 3), "uint8") for n, size in enumerate(kind.cameras)}
    store = Store.create(directory / "store")
    for seed in range(kind.episodes):
        episode = testing.make_episode(seed, kind.steps, ())
        pictures = {name: _film(rng, kind, spec.shape[:2]) for name, spec in inputs.items()}
        store.add(dataclasses.replace(episode, observation=episode.observation | pictures), "log")
    store.publish()
    module = Ensemble([RewardModel(RankingConfig(), inputs, fit_normaliser(inputs, {}))])
    card = {
        "kind": "reward_model", "model_id": "random", "model_hash": export.fingerprint(module.variables),
        "task_id": "lift_green", "inputs": export.inputs_card(inputs),
    }  # fmt: skip
    export.save_model(directory / "model", module, card)


def _film(rng, kind: Kind, size: tuple[int, int]):  # type: ignore[no-untyped-def]
    """object[T] of JPEG bytes: 16 soft blobs a side and a little noise, about as hard to pack as a camera's picture."""
    import numpy as np
    import tensorflow as tf
    from PIL import Image

    film = np.empty(kind.steps, object)
    for t in range(kind.steps):
        blobs = Image.fromarray(rng.integers(0, 256, (16, 16, 3), np.uint8))
        soft = np.asarray(blobs.resize(size[::-1], Image.Resampling.BICUBIC)).astype(np.int16)
        picture = np.clip(soft + rng.integers(-6, 7, soft.shape, np.int16), 0, 255).astype(np.uint8)
        film[t] = tf.io.encode_jpeg(picture, quality=kind.quality).numpy()
    return film


def measure(job: str, directory: Path) -> None:
    """Runs one job and prints its processor seconds, the bytes that it wrote, and its peak of memory in MB."""
    from beam_jobs import annotate, export, ingest, parts, stats, validate
    from beam_jobs.config import AnnotateConfig, ExportConfig, Format, IngestConfig, StatsConfig, ValidateConfig
    from beam_jobs.options import beam_options
    from datasets.readers import rlds  # noqa: F401  # what is imported late is not the job's time

    os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])
    store, out, options = directory / "store", directory / "out", beam_options()
    before = _seconds()
    match job.split():
        case ["ingest"]:
            ingest.ingest(IngestConfig((store / "episodes",), out), options)
        case ["validate"]:
            validate.validate(ValidateConfig(store), options)
        case ["annotate"]:
            annotate.annotate(AnnotateConfig(store, (directory / "model",)), options)
        case ["stats"]:
            parts.run("stats", StatsConfig(store, out), stats._writer, options, {})  # the page costs always the same
        case ["export", name]:
            export.export(ExportConfig(store, out, Format(name)), options)
    seconds = _seconds() - before
    written = _size(out) if out.exists() else _size(store / "rewards") if (store / "rewards").exists() else 0
    print(json.dumps([seconds, written, _peak_mb()]))


def _peak_mb() -> float:
    """Of this process; what `getrusage` tells begins with its parent's."""
    (line,) = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM:")]
    return int(line.split()[1]) / 1024


def _seconds() -> float:
    times = os.times()
    return times.user + times.system


def _size(directory: Path) -> int:
    return sum(path.stat().st_size for path in directory.rglob("*") if path.is_file())


def run(job: str, directory: Path) -> tuple[float, int, float]:
    """`measure` in a process of its own, from the same state each time."""
    from datasets.store import Store

    shutil.rmtree(directory / "out", ignore_errors=True)
    if (directory / "store" / "rewards").exists():
        shutil.rmtree(directory / "store" / "rewards")
        Store(directory / "store").rebuild_index()
    command = [sys.executable, __file__, "--job", job, "--directory", str(directory)]
    done = subprocess.run(command, env=os.environ | _ENVIRONMENT, stdout=subprocess.PIPE, text=True, check=True)
    seconds, written, peak = json.loads(done.stdout.splitlines()[-1])
    return seconds, written, peak


def main(config: Config) -> None:
    """Runs the benchmark, and writes its page."""
    if config.job is not None and config.directory is not None:
        measure(config.job, config.directory)
        return
    home = Path(tempfile.mkdtemp(prefix="jobs-benchmark-"))
    for kind in KINDS:
        make(home / kind.name, kind)
    measured: dict[tuple[str, str], list[tuple[float, int, float]]] = {}
    for number in range(config.rounds):
        for kind in KINDS:
            for job in _JOBS:
                taken = run(job, home / kind.name)
                measured.setdefault((kind.name, job), []).append(taken)
                print(f"round {number + 1}: {kind.name}, {job}: {taken[0]:.2f} core-s", flush=True)
    read = {kind.name: _size(home / kind.name / "store" / "episodes") for kind in KINDS}
    config.out.write_text(_page(config, measured, read))
    shutil.rmtree(home)
    print(f"see {config.out}")


_HEAD = """# What jobs cost

`python benchmarks/jobs.py --rounds {rounds}` (with the store's others: `make bench-store`), {date}, {cores} cores
({processor}), {memory:.0f} GiB, no GPU; one core for each job. Medians of the rounds, and in brackets the least and the
most. Read the ratios: absolute rates differ between machines, and between days.

## A thousand frames
"""
_KIND = """
**{name}**: {cameras}; {kilobytes:.1f} kB a frame; {episodes} episodes of {steps} frames.

| job | core-seconds | MB read | MB written | memory, MB |
|---|---|---|---|---|
"""
_LARGEST = """
## The largest logs

Frames times core-seconds a frame are core-seconds; divided by 3,600 and by a machine's cores, hours of one machine;
times its price, money. The machine is an {machine}: {cores} virtual cores, ${price} an hour (Google's list price on
demand in us-central1 in 2026: look it up again). Workers are assumed to find their files as fast as here, from a page
cache; the last column says what that asks of the storage when 100 such machines work. Statistics are without their
page, which costs the same whatever the log's size; annotating rates 128 frames at once, which decides its memory
(`--batch-size`).
"""
_LOG = """
**{name}**: {source}.
{episodes:,} episodes x {steps} frames = {millions:.1f} million frames, as *{kind}*: {terabytes:.2f} TB.
{remark}
To {worked}: {frames:,} frames x {thousand:.2f} s / 1,000 frames = {seconds:,.0f} core-seconds; / 3,600 =
{core_hours:,.0f} core-hours; / {cores} cores = {hours:,.1f} hours; x ${price} = ${dollars:,.0f}.

| job | core-hours | hours of one machine | of 100 machines | dollars | GB/s read by 100 machines |
|---|---|---|---|---|---|
"""


def _page(config: Config, measured: dict[tuple[str, str], list[tuple[float, int, float]]], read: dict[str, int]) -> str:
    page = _HEAD.format(
        rounds=config.rounds, date=datetime.date.today(), cores=os.cpu_count(), processor=platform.machine(),
        memory=psutil.virtual_memory().total / 2**30,
    )  # fmt: skip
    cost: dict[tuple[str, str], float] = {}  # core-seconds a frame
    for kind in KINDS:
        frames = kind.episodes * kind.steps
        cameras = ", ".join(f"{n} of {h} x {w}" for (h, w), n in collections.Counter(kind.cameras).items())
        page += _KIND.format(
            name=kind.name, cameras=cameras, kilobytes=read[kind.name] / frames / 1e3, episodes=kind.episodes,
            steps=kind.steps,
        )  # fmt: skip
        for job in _JOBS:
            taken = measured[kind.name, job]
            seconds = sorted(1e3 * seconds / frames for seconds, _, _ in taken)
            cost[kind.name, job] = statistics.median(seconds) / 1e3
            page += (
                f"| {job} | {statistics.median(seconds):.2f} ({seconds[0]:.2f} to {seconds[-1]:.2f}) "
                f"| {1e3 * read[kind.name] / frames / 1e6:.1f} | {1e3 * taken[-1][1] / frames / 1e6:.3f} "
                f"| {max(peak for _, _, peak in taken):.0f} |\n"
            )
    page += _LARGEST.format(machine=_MACHINE, cores=_CORES, price=_PRICE)
    for log in LOGS:
        kind = next(k for k in KINDS if k.name == log.kind)
        frames = log.episodes * log.steps
        a_frame = read[kind.name] / (kind.episodes * kind.steps)
        size = frames * a_frame
        thousand = round(1e3 * cost[kind.name, _WORKED], 2)  # as it is told, so that the arithmetic can be done again
        busy = frames * thousand / 1e3
        page += _LOG.format(
            name=log.name, episodes=log.episodes, steps=log.steps, millions=frames / 1e6, source=log.source,
            kind=kind.name, terabytes=size / 1e12, remark=_remark(log, a_frame / 1e3), worked=_WORKED,
            frames=frames, thousand=thousand, seconds=busy, core_hours=busy / 3600, cores=_CORES,
            hours=busy / 3600 / _CORES, price=_PRICE, dollars=busy / 3600 / _CORES * _PRICE,
        )  # fmt: skip
        for job in _JOBS:
            core_hours = frames * cost[kind.name, job] / 3600
            hours = core_hours / _CORES
            page += (
                f"| {job} | {core_hours:,.0f} | {hours:,.1f} | {hours / 100:.2f} | {hours * _PRICE:,.0f} "
                f"| {size / 1e9 / (hours / 100 * 3600):.1f} |\n"
            )
    return page


def _remark(log: Log, kilobytes: float) -> str:
    """What a frame's bytes that are not those of the measured ones mean for the numbers; empty: nothing."""
    if log.kilobytes is None:
        return ""
    return (
        f"Its archives take {log.kilobytes:.0f} kB a frame on disk, the episodes measured here {kilobytes:.0f} kB for "
        f"as many pixels:\nof the bytes, and of the time to copy them, there may be {log.kilobytes / kilobytes:.2f} "
        "times as much; decoding and rating go by pixels.\n"
    )


if __name__ == "__main__":
    main(tyro.cli(Config, description=__doc__))
