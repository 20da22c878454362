"""How fast batches of stored pictures come, from memory, from our frames on disk, and from the formats of others.

```
make bench-feeds                                          # python benchmarks/feeds.py
python benchmarks/feeds.py --episodes 50 --rounds 3       # a smaller one
```
Writes the same synthetic episodes (a 64x64 picture and a vector of 24 a step) down in every format, then reads batches
of 256 transitions at random, each format in turn, several times. A transition has the pictures of both its ends. Counts
transitions per second of processor time, of all threads, and of wall time; the files lie in the page cache, as they do
whenever a training has seen them once and memory is not short. Then compares the in-memory feed with a step of CRR.
"""

import contextlib
import dataclasses
import datetime
import functools
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")  # as `armchair` does for its users; before TensorFlow comes
import av
import h5py
import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import rlds
import tensorflow as tf
import tensorflow_datasets as tfds
import tyro

from datasets import feeds, files, replay, testing, video
from datasets.console import track
from datasets.feeds import Group, TransitionFeed, Transitions
from datasets.query import Query
from datasets.replay import ReplayConfig
from datasets.replay_items import StretchItems
from datasets.reward_source import RewardKind, RewardSource
from datasets.sequences import SequenceBatch, SequenceFeed
from datasets.store import Store
from pipeline import threads
from pipeline.batch_rl.config import CrrConfig, MemoryConfig
from pipeline.batch_rl.crr import CrrLearner
from robot.versions import onednn

_STEPS, _SIZE, _BATCH = 100, 64, 256  # frames an episode, pixels of a side, transitions a batch
_VECTOR, _ACTION = 24, 7
_CAMERA, _STATE = "pixels/wrist", "state"
_SHUFFLED = 2_000  # steps in the buffer that shuffles RLDS: 20 episodes
_FUSED, _FUSED_STRETCHES = 100, 20  # steps a call of the learner; of one with a memory, which take longer
_STRETCHES, _MEMORY = 64, MemoryConfig(256)  # in a batch of a learner with a memory: as many cells as it has units
_EPISODES_SERVED = 100  # in the replay: what one draws costs the same however many there are
_DISK, _RLDS, _LEROBOT = "frames on disk", "RLDS, through TFDS", "Parquet and MP4, as LeRobot"
_RLDS_STEPS = "RLDS, single steps"
_HDF5, _GZIP, _KEPT_OPEN = "HDF5, by h5py", "HDF5 with gzip, by h5py", "HDF5, its data sets kept open"

_PAGE = """# How fast batches come

Measured {day} on {cores} cores ({machine}, load average {load:.0f} at the start), {memory} GiB, no GPU, oneDNN
{onednn}. Read the ratios: absolute rates differ between machines, and rates per second depend on what else runs.

`python benchmarks/feeds.py {options}` (`make bench-feeds`)

The same {config.episodes} episodes of {steps} steps in every format: a {size}x{size} picture and a vector of {vector}
a step. Batches of {batch} transitions at random, each with the pictures of both its ends. Medians of the rounds, which
alternate between the formats, with the lowest and the highest. A core-second is one of processor time, whatever the
thread. All files were in the page cache: this is what reading and decoding cost, not what a disk delivers.

| | transitions per core-second | transitions per second | frames on disk: times as fast |
|---|---|---|---|
{table}

Wanted of frames on disk: at least 10 times the rate of LeRobot's layout (**{lerobot:.0f}**) and of HDF5
(**{hdf5:.0f}**, with gzip **{gzip:.0f}**), and 5 times that of RLDS through TFDS (**{rlds:.1f}**).

- RLDS is read as a shuffled stream of pairs of steps, which its own library makes; JPEG, as our store writes it. Of the
  rate of single steps, which have one picture where a transition has two, frames on disk have **{rlds_steps:.1f}**
  times.
- HDF5 has robomimic's layout, data sets of an episode each, and they are looked up at each access, as its loader does.
  With gzip, they are in chunks of h5py's choice. Kept open, thousands of data sets need as many caches: it is here to
  show what looking them up costs.
- LeRobot's layout (v2) is a Parquet and an H.264 file an episode, every second frame a key frame, quality 30. Each
  access opens the video, seeks, and decodes in one thread; the tables are in memory.

## What part of a step of CRR that is

Of the processor time of a step (distributional critic, three layers of 256, {vector} numbers in, {action} out), so much
is what brings its batch, if it is

- the in-memory feed of vectors, {batch} transitions: **{memory_share} %** (wanted: less than 5 %);
- a Reverb server in the same process, and what draws from it, {stretches} stretches of {stretch} transitions, for
  networks with an LSTM of {cells} cells: **{reverb_share} %** (wanted: less than 10 %). Its items are these stretches,
  not whole episodes; every frame is kept once.
"""

Reader = Callable[[], Iterator[Any]]
"""Begins to give batches, without end."""


@dataclasses.dataclass(frozen=True)
class Config:
    """How much to measure."""

    episodes: int = 500
    """Episodes of 100 steps; 500 are 600 MB of pictures."""
    rounds: int = 5
    """Times that every format is read, in turns."""
    seconds: float = 3.0
    """Wall time of one reading."""
    seed: int = 0
    """Of the pictures and of the batches."""
    directory: Path | None = None
    """Where the data are made and kept; a temporary folder by default."""
    out: Path | None = None
    """Page to write, Markdown."""


def make_pictures(rng: np.random.Generator) -> np.ndarray:
    """uint8[T, H, W, 3]: a block that moves before a soft background, with a camera's noise."""
    coarse = rng.uniform(40, 200, (8, 8, 3))
    pictures = np.tile(coarse.repeat(_SIZE // 8, 0).repeat(_SIZE // 8, 1), (_STEPS, 1, 1, 1))
    path = rng.uniform(0, _SIZE - 12, 2) + np.cumsum(rng.normal(0, 1.5, (_STEPS, 2)), 0)
    for picture, (y, x) in zip(pictures, np.clip(path, 0, _SIZE - 12).astype(int), strict=True):
        picture[y : y + 12, x : x + 12] = (220, 40, 40)
    return np.clip(pictures + rng.normal(0, 3, pictures.shape), 0, 255).astype(np.uint8)


def make_data(directory: Path, config: Config) -> None:
    """Writes a store, two HDF5 files and a folder of Parquet and MP4."""
    store = Store.create(directory / "store")
    (directory / "lerobot").mkdir()
    with h5py.File(directory / "raw.hdf5", "w") as raw, h5py.File(directory / "gzip.hdf5", "w") as compressed:
        for number in track(range(config.episodes), "making episodes"):
            rng = np.random.default_rng([config.seed, number])
            encoded = video.encode_jpeg(make_pictures(rng))
            state = rng.normal(size=(_STEPS, _VECTOR)).astype(np.float32)
            episode = dataclasses.replace(
                testing.make_episode(number, _STEPS, cameras=()), observation={_CAMERA: encoded, _STATE: state}
            )
            store.add(episode, "synthetic")
            pictures = video.decode_frames(encoded)
            small = {"action": episode.action, "reward": episode.reward, "discount": episode.discount}
            for name, array in {"obs/image": pictures, "obs/state": state, **small}.items():
                raw.create_dataset(f"data/demo_{number}/{name}", data=array)
                compressed.create_dataset(f"data/demo_{number}/{name}", data=array, compression="gzip")
            columns = {"observation.state": state, **small}
            table = pa.table({name: pa.array(list(array)) for name, array in columns.items()})
            pq.write_table(table, directory / "lerobot" / f"episode_{number:06d}.parquet")
            write_lerobot_video(directory / "lerobot" / f"episode_{number:06d}.mp4", pictures)
    store.publish()


def write_lerobot_video(path: Path, pictures: np.ndarray) -> None:
    """As LeRobot encodes by default: a key frame every second frame, quality 30; but H.264, which decodes faster."""
    with av.open(os.fspath(path), "w") as container:
        stream = container.add_stream("libx264", rate=10, options={"g": "2", "crf": "30"})
        stream.width = stream.height = _SIZE
        stream.pix_fmt = "yuv420p"
        for picture in pictures:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())


def load(directory: Path, memory: int | None) -> Transitions:
    """The store's transitions."""
    store = Store.open(directory / "store")
    return feeds.load_transitions(
        store, store.query(Query()), (_CAMERA, _STATE), RewardSource(RewardKind.NONE), "lift_green", memory
    )


def make_feed(transitions: Transitions, seed: int) -> TransitionFeed:
    """Batches of any of them."""
    group = Group(np.arange(len(transitions), dtype=np.int32), _BATCH)
    return TransitionFeed(tf.constant(transitions.observation[_STATE]), transitions, [group], seed)


def read_feed(transitions: Transitions, seed: int) -> Reader:
    """Ours."""
    feed = tf.function(make_feed(transitions, seed))

    def read() -> Iterator[Any]:
        step = 0
        while True:
            yield feed(tf.constant(step, tf.int64))
            step += 1

    return read


def read_rlds(directory: Path, seed: int, pairs: bool) -> Reader:
    """The store's own files, read by TFDS: pairs of steps, which are transitions, or single ones, with one picture."""
    builder = tfds.builder_from_directory(os.fspath(directory / "store" / "episodes" / "synthetic" / "1.0.0"))

    def steps_of(episode: dict[str, Any]) -> tf.data.Dataset:
        steps = episode["steps"]
        return rlds.transformations.batch(steps, size=2, shift=1, drop_remainder=True) if pairs else steps

    def read() -> Iterator[Any]:
        episodes = builder.as_dataset(
            split="train", shuffle_files=True, read_config=tfds.ReadConfig(shuffle_seed=seed)
        ).repeat()
        steps = episodes.interleave(steps_of, cycle_length=16, num_parallel_calls=2)
        yield from steps.shuffle(_SHUFFLED, seed).batch(_BATCH).prefetch(2)

    return read


def read_hdf5(path: Path, config: Config, keep_open: bool = False) -> Reader:
    """Random access by h5py; data sets are looked up at each access, as robomimic's loader does, or kept open."""
    file = h5py.File(path)
    find = functools.cache(file.__getitem__) if keep_open else file.__getitem__

    def one(number: int, step: int) -> list[np.ndarray]:
        both = [find(f"data/demo_{number}/{name}")[step : step + 2] for name in ("obs/image", "obs/state")]
        return [*both, *(find(f"data/demo_{number}/{name}")[step] for name in ("action", "reward", "discount"))]

    return read_one_by_one(one, config)


def read_lerobot(directory: Path, config: Config) -> Reader:
    """Random access by PyArrow to tables in memory, and by PyAV to videos: open, seek, decode."""
    paths = [directory / "lerobot" / f"episode_{number:06d}" for number in range(config.episodes)]
    tables = [pq.read_table(path.with_suffix(".parquet")) for path in paths]

    def one(number: int, step: int) -> list[np.ndarray]:
        rows = tables[number].slice(step, 2)
        state, *rest = (np.stack(rows[name].to_numpy()) for name in rows.column_names)
        with av.open(os.fspath(paths[number].with_suffix(".mp4"))) as container:
            stream = container.streams.video[0]
            stream.thread_count = 1  # to start more would take longer than to decode two pictures
            period = int(1 / (stream.average_rate * stream.time_base))
            container.seek(step * period, stream=stream)
            frames = (frame for frame in container.decode(stream) if frame.pts >= step * period)
            pictures = [next(frames).to_ndarray(format="rgb24") for _ in range(2)]
        return [np.stack(pictures), state, *(array[0] for array in rest)]

    return read_one_by_one(one, config)


def read_one_by_one(one: Callable[[int, int], list[np.ndarray]], config: Config) -> Reader:
    """Batches of what `one` gives for an episode's number and a step in it."""

    def read() -> Iterator[Any]:
        rng = np.random.default_rng(config.seed)
        while True:
            numbers, steps = rng.integers(config.episodes, size=_BATCH), rng.integers(_STEPS - 1, size=_BATCH)
            parts = [one(number, step) for number, step in zip(numbers.tolist(), steps.tolist(), strict=True)]
            yield [np.stack(part) for part in zip(*parts, strict=True)]

    return read


def measure(read: Reader, seconds: float) -> tuple[float, float]:
    """Transitions per second of processor time, and of wall time; the first batch, which sets things up, left out."""
    with contextlib.closing(read()) as batches:
        next(batches)
        busy, start, count = time.process_time(), time.perf_counter(), 0
        while (passed := time.perf_counter() - start) < seconds:
            next(batches)
            count += _BATCH
        return count / (time.process_time() - busy), count / passed


def vectors(transitions: Transitions) -> tuple[tf.Tensor, Transitions]:
    """What a learner from states sees of the data, and the transitions without their pictures."""
    return tf.constant(transitions.observation[_STATE]), dataclasses.replace(transitions, pictures={})


def memory_share(transitions: Transitions, config: Config) -> list[float]:
    """What part of a step of CRR on vectors the in-memory feed takes; one for each round."""
    seen, bare = vectors(transitions)
    feed = TransitionFeed(seen, bare, [Group(np.arange(len(bare), dtype=np.int32), _BATCH)], config.seed)
    return shares_of_step(feed, CrrConfig(), feed, _FUSED, config)


def reverb_share(transitions: Transitions, config: Config) -> list[float]:
    """What part of a step of recurrent CRR on vectors Reverb takes, its server included; one for each round."""
    seen, bare = vectors(transitions)
    group = Group(np.arange(len(bare), dtype=np.int32), _STRETCHES)
    from_memory = SequenceFeed(seen, bare, [group], _MEMORY.sequence, config.seed)
    episodes = min(_EPISODES_SERVED, len(bare.episode_ids))
    count = episodes * (_STEPS - _MEMORY.sequence)
    setting = ReplayConfig(StretchItems(_MEMORY.sequence), size=count, min_size=count, samples_per_insert=1e6)
    with replay.serve(setting, _VECTOR, _ACTION) as address:
        writer = replay.Writer(address, setting.items)
        names = ("frame", "next_frame", "action", "reward", "discount", "episode")
        for rows in np.arange(len(bare)).reshape(-1, _STEPS - 1)[:episodes]:
            one = dataclasses.replace(bare, **{name: getattr(bare, name)[rows] for name in names})
            writer.write(bare.observation[_STATE][one.frame[0] : one.next_frame[-1] + 1], one)
        with replay.Sampler(address, SequenceBatch, _STRETCHES) as sampler:
            return shares_of_step(sampler, CrrConfig(memory=_MEMORY), from_memory, _FUSED_STRETCHES, config)


def shares_of_step(feed: Any, method: CrrConfig, learner_feed: Any, steps: int, config: Config) -> list[float]:
    """Processor time of a batch from `feed` in that of a step of a learner, which `learner_feed` gives batches.

    Over so many steps a call, three calls a round.
    """
    learner = CrrLearner(method, learner_feed, _VECTOR, _ACTION, config.seed)

    @tf.function
    def gather(first: tf.Tensor) -> tf.Tensor:
        total = tf.zeros(())
        for step in tf.range(first, first + steps):
            total += tf.add_n([tf.reduce_sum(tf.cast(part, tf.float32)) for part in feed(step)])
        return total

    def seconds_of(function: Callable[[], Any]) -> float:
        start = time.process_time()
        for _ in range(3):
            function()
        return time.process_time() - start

    def gather_once() -> Any:
        return gather(tf.constant(0, tf.int64)).numpy()

    def learn_once() -> Any:
        return learner.run(steps)

    gather_once(), learn_once()
    return [seconds_of(gather_once) / seconds_of(learn_once) for _ in range(config.rounds)]


def spread(values: list[float], form: str) -> str:
    """Median (lowest to highest)."""
    low, middle, high = (form.format(x) for x in (min(values), statistics.median(values), max(values)))
    return f"{middle} ({low} to {high})"


def page(
    rates: dict[str, list[tuple[float, float]]], shares: dict[str, list[float]], load_average: float, config: Config
) -> str:
    """The results as Markdown; `shares` by their names in it."""
    median = {name: statistics.median(busy for busy, _ in measured) for name, measured in rates.items()}
    times = {name: median[_DISK] / rate for name, rate in median.items()}
    table = []
    for name, measured in rates.items():
        busy, wall = (spread([pair[part] for pair in measured], "{:,.0f}") for part in (0, 1))
        table.append(f"| {name} | {busy} | {wall} | {times[name]:.1f} |")
    options = f"--episodes {config.episodes} --rounds {config.rounds} --seconds {config.seconds:g} --seed {config.seed}"
    return _PAGE.format(
        day=datetime.date.today(), load=load_average, cores=os.cpu_count(), machine=platform.machine(),
        onednn=onednn(),
        memory=round(psutil.virtual_memory().total / 2**30), config=config, options=options, steps=_STEPS,
        size=_SIZE, vector=_VECTOR, action=_ACTION, batch=_BATCH, table="\n".join(table),
        lerobot=times[_LEROBOT], gzip=times[_GZIP], hdf5=times[_HDF5], rlds=times[_RLDS], rlds_steps=times[_RLDS_STEPS],
        stretches=_STRETCHES, stretch=_MEMORY.sequence, cells=_MEMORY.size,
        **{name: spread([100 * share for share in found], "{:.1f}") for name, found in shares.items()},
    )  # fmt: skip


def main(config: Config) -> None:
    """Runs the benchmark."""
    load_average = os.getloadavg()[0]
    threads.for_dense_learners()
    with tempfile.TemporaryDirectory(prefix="feeds-") as temporary:
        directory = config.directory or Path(temporary)
        if not (directory / "lerobot").exists():
            make_data(directory, config)
        in_memory = load(directory, None)
        readers: dict[str, Reader] = {
            "in memory": read_feed(in_memory, config.seed),
            _DISK: read_feed(load(directory, 0), config.seed),
            _RLDS: read_rlds(directory, config.seed, pairs=True),
            _RLDS_STEPS: read_rlds(directory, config.seed, pairs=False),
            _HDF5: read_hdf5(directory / "raw.hdf5", config),
            _GZIP: read_hdf5(directory / "gzip.hdf5", config),
            _KEPT_OPEN: read_hdf5(directory / "raw.hdf5", config, keep_open=True),
            _LEROBOT: read_lerobot(directory, config),
        }
        rates: dict[str, list[tuple[float, float]]] = {name: [] for name in readers}
        for number in range(config.rounds):
            for name, read in readers.items():
                rates[name].append(measure(read, config.seconds))
                busy, wall = rates[name][-1]
                print(
                    f"round {number + 1}: {name:28} {busy:9,.0f} per core-second, {wall:9,.0f} per second", flush=True
                )
        shares = {share.__name__: share(in_memory, config) for share in (memory_share, reverb_share)}
        text = page(rates, shares, load_average, config)
    print(text)
    if config.out:
        files.write_atomically(config.out, text)


if __name__ == "__main__":
    main(tyro.cli(Config, description=__doc__))
