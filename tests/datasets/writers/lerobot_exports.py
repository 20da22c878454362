"""Episodes with all that a LeRobot dataset can hold, and how tests look at what is exported without our code."""

import dataclasses
import functools
import json
from pathlib import Path

import av
import numpy as np
from pyarrow import parquet

from beam_jobs.config import ExportConfig, Format
from beam_jobs.export import export
from datasets import testing, video
from datasets.store import Store

TEXTS = ("open the drawer", "grüße die Welt", "")
CAMERAS = {"observation.images.wrist": "observation/pixels/wrist", "observation.images.grey": "observation/images/grey"}


def make_rich(seed, num_steps=None, **changes):
    """Pictures of odd sizes, of colours and of greys; numbers of several shapes; texts, of which one changes."""
    num_steps = num_steps or 4 + seed % 3
    episode = testing.make_episode(
        seed, num_steps, cameras=("wrist",), image_size=(47, 65), terminal=seed % 2 == 0, **changes
    )
    rng, times = np.random.default_rng(seed), np.arange(num_steps)
    gradient = np.linspace(40, 160, 32)[None, :, None, None] + np.zeros((1, 1, 32, 1))
    greys = (gradient + 2 * times[:, None, None, None]).astype(np.uint8)  # [T, 32, 32, 1]
    texts = np.array([TEXTS[(seed + (t == num_steps - 2)) % 3] for t in times], object)
    observation = {
        "images/grey": video.encode_jpeg(greys),
        "tactile/grid": rng.normal(size=(num_steps, 2, 3)),
        "clock": 1.7e9 + times,  # float64[T]
        "stage": np.array([f"stage {t}" for t in times], object),
    }
    extras = {
        "language_instruction": texts,
        "timestamp": times + 0.5,  # of somebody else's clock
        "note": np.array([f"note {t}" for t in times], object),
        "next/done": times > 2,
    }
    return dataclasses.replace(
        episode, observation={**episode.observation, **observation}, extras={**episode.extras, **extras}
    )


def make_store(root, count=7, make=make_rich, **changes):
    store = Store.create(root)
    for seed in range(count):
        store.add(make(seed, **changes), "some")
    store.publish()
    return store


def export_lerobot(store, out, **changes):
    summary = export(ExportConfig(store.root, out, Format.LEROBOT, **changes))
    assert summary.problems == ()
    return out


@dataclasses.dataclass
class Exported:
    """A LeRobot dataset by plain PyArrow and PyAV."""

    path: Path

    @functools.cached_property
    def info(self):
        return json.loads((self.path / "meta/info.json").read_text())

    @functools.cached_property
    def stats(self):
        return json.loads((self.path / "meta/stats.json").read_text())

    @functools.cached_property
    def tasks(self):
        rows = parquet.read_table(self.path / "meta/tasks.parquet").to_pylist()
        return {row["task_index"]: row["task"] for row in rows}

    @functools.cached_property
    def episodes(self):
        files = sorted((self.path / "meta/episodes").rglob("*.parquet"))
        return [row for file in files for row in parquet.read_table(file).to_pylist()]

    def file(self, template, of, row, **key):
        place = {name: row[f"{of}/{name}"] for name in ("chunk_index", "file_index")}
        return self.path / self.info[template].format(**place, **key)

    def rows(self, episode):
        """Those of an episode, which are a row group."""
        with parquet.ParquetFile(self.file("data_path", "data", episode)) as file:
            groups = [file.read_row_group(n) for n in range(file.num_row_groups)]
        (table,) = [group for group in groups if group["episode_index"][0].as_py() == episode["episode_index"]]
        return table

    def frames(self, episode, camera):
        """[(seconds, uint8[H, W, 3])] of an episode, by the times that are promised."""
        of = f"videos/{camera}"
        with av.open(str(self.file("video_path", of, episode, video_key=camera))) as container:
            frames = [(frame.time, frame.to_ndarray(format="rgb24")) for frame in container.decode(video=0)]
        begin, end = episode[f"{of}/from_timestamp"], episode[f"{of}/to_timestamp"]
        return [(time - begin, pixels) for time, pixels in frames if begin - 1e-4 <= time < end - 1e-4]


def psnr(one, other):
    """Decibels between pictures in [0, 255]."""
    error = np.mean((one.astype(float) - other.astype(float)) ** 2)
    return 10 * np.log10(255**2 / max(error, 1e-9))
