"""Small LeRobot datasets of every version, written without our code, and how tests look at what is read."""

import json

import av
import numpy as np
import pyarrow as pa
import tensorflow as tf
from pyarrow import parquet

from datasets import validate
from datasets.readers.base import Defaults
from datasets.readers.logs import open_logs

FPS = 10
LENGTHS = (5, 7, 4)
TASKS = {0: "open the drawer", 1: "grüße\u2028die Welt"}
CAMERAS = ("observation.images.top", "observation.images.wrist")
VERSIONS = ("v2.0", "v2.1", "v3.0")
DATA = {"v2": "data/chunk-{episode_chunk:03d}/episode_{episode_index:06d}.parquet",
         "v3": "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"}  # fmt: skip
VIDEO = {"v2": "videos/chunk-{episode_chunk:03d}/{video_key}/episode_{episode_index:06d}.mp4",
          "v3": "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4"}  # fmt: skip


def brightness(episode, camera, length):
    """One grey a frame, that tells them all apart."""
    return [40 + 40 * episode + 5 * t + 100 * camera for t in range(length)]


def make_columns(episode, length, start):
    rng = np.random.default_rng(episode)
    return {
        "observation.state": pa.array(list(rng.normal(size=(length, 3)))),
        "action": pa.array(list(rng.normal(size=(length, 2)).astype(np.float32))),
        "timestamp": pa.array(np.arange(length, dtype=np.float32) / FPS),
        "frame_index": pa.array(np.arange(length)),
        "episode_index": pa.array([episode] * length),
        "index": pa.array(np.arange(start, start + length)),
        "task_index": pa.array([episode % 2] * length),
    }


def write_mp4(path, greys, fps=FPS, gop=2, options=()):
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w", options={"movflags": "faststart"}) as container:
        stream = container.add_stream("libx264", rate=fps, options={"crf": "10", "g": str(gop), **dict(options)})
        stream.pix_fmt, stream.height, stream.width = "yuv420p", 32, 48
        for grey in greys:
            frame = av.VideoFrame.from_ndarray(np.full((32, 48, 3), grey, np.uint8), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def make_features(columns, cameras):
    features = {name: {"dtype": str(column.type), "shape": [1], "names": None} for name, column in columns.items()}
    return features | {name: {"dtype": "video", "shape": [32, 48, 3], "info": {"video.fps": FPS}} for name in cameras}


class Dataset:
    """Written in pieces that tests replace: the columns of each episode, and where everything goes."""

    def __init__(self, path, version="v2.1", lengths=LENGTHS, cameras=CAMERAS, **info):
        self.path, self.version, self.lengths, self.cameras = path, version, lengths, cameras
        starts = np.cumsum([0, *lengths])
        self.columns = [make_columns(n, length, int(starts[n])) for n, length in enumerate(lengths)]
        self.files = [0, 0, 1, *[1] * len(lengths)]  # version 3: of an episode's rows
        self.info = {
            "codebase_version": version, "robot_type": "so100", "fps": FPS, "chunks_size": 2,
            "total_episodes": len(lengths), "total_frames": sum(lengths),
            "data_path": DATA[version[:2]], "video_path": VIDEO[version[:2]],
        } | info  # fmt: skip

    def write(self):
        (self.path / "meta").mkdir(parents=True)
        info = {"features": make_features(self.columns[0], self.cameras)} | self.info
        (self.path / "meta/info.json").write_text(json.dumps(info))
        (self._write_v3 if self.version == "v3.0" else self._write_v2)()
        return self.path

    def data(self, n):
        at = {"episode_chunk": n // 2, "episode_index": n, "chunk_index": 0, "file_index": self.files[n]}
        return self.path / self.info["data_path"].format(**at)

    def video(self, n, camera):
        """In version 3 the first camera has all episodes in one video, the second has a video an episode."""
        number = n if self.cameras.index(camera) else 0
        at = {"episode_chunk": n // 2, "episode_index": n, "chunk_index": 0, "file_index": number}
        return self.path / self.info["video_path"].format(video_key=camera, **at)

    def _write_table(self, file, episodes):
        file.parent.mkdir(parents=True, exist_ok=True)
        tables = [pa.table(columns) for columns in episodes]
        parquet.write_table(pa.concat_tables(tables), file, row_group_size=4)

    def _write_v2(self):
        tasks = [{"task_index": n, "task": text} for n, text in TASKS.items()]
        self._write_lines("tasks", tasks)
        rows = [{"episode_index": n, "length": k, "tasks": [TASKS[n % 2]]} for n, k in enumerate(self.lengths)]
        self._write_lines("episodes", rows)
        for n, columns in enumerate(self.columns):
            self._write_table(self.data(n), [columns])
            for number, camera in enumerate(self.cameras):
                write_mp4(self.video(n, camera), brightness(n, number, self.lengths[n]))

    def _write_lines(self, name, rows):
        lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in rows]
        (self.path / f"meta/{name}.jsonl").write_text("".join(lines), "utf-8")

    def _write_v3(self):
        texts = pa.table({"task_index": list(TASKS), "__index_level_0__": list(TASKS.values())})
        parquet.write_table(texts, self.path / "meta/tasks.parquet")
        rows, starts = [], np.cumsum([0, *self.lengths])
        for n, length in enumerate(self.lengths):
            row = {"episode_index": n, "data/chunk_index": 0, "data/file_index": self.files[n], "length": length}
            for number, camera in enumerate(self.cameras):
                begin = 0 if number else starts[n] / FPS
                row |= {f"videos/{camera}/chunk_index": 0, f"videos/{camera}/file_index": n if number else 0}
                row |= {
                    f"videos/{camera}/from_timestamp": begin,
                    f"videos/{camera}/to_timestamp": begin + length / FPS,
                }
                if number:
                    write_mp4(self.video(n, camera), brightness(n, number, length))
            rows.append(row | {"tasks": [TASKS[n % 2]], "stats/action/max": [0.0]})
        for half, chunk in enumerate((rows[:2], rows[2:])):  # the metadata are in chunks, too
            self._write_table(self.path / f"meta/episodes/chunk-000/file-{half:03d}.parquet", [of_rows(chunk)])
        for file in {self.files[n] for n in range(len(self.lengths))}:
            held = [n for n in range(len(self.lengths)) if self.files[n] == file]
            self._write_table(self.data(held[0]), [self.columns[n] for n in held])
        if self.cameras:
            greys = [grey for n, length in enumerate(self.lengths) for grey in brightness(n, 0, length)]
            write_mp4(self.video(0, self.cameras[0]), greys)


def of_rows(rows):
    return {name: [row[name] for row in rows] for name in rows[0]}


def readings_of(path, defaults=Defaults()):  # noqa: B008
    (log,) = open_logs(path, defaults)
    return [reading for file in log.files() for reading in log.read(file)]


def episode_of(path):
    """The only one, without problems."""
    (reading,) = readings_of(path)
    assert reading.problems == ()
    assert not validate.validate(reading.episode, every_picture=True).errors
    return reading.episode


def write_single(path, more=(), less=(), cameras=(), **info):
    """A dataset of one episode of 4 steps with other columns."""
    dataset = Dataset(path, lengths=(4,), cameras=cameras, **info)
    columns = {k: v for k, v in dataset.columns[0].items() if k not in less} | dict(more)
    dataset.columns = [columns]
    return dataset.write()


def greys_of(pictures):
    return [float(tf.io.decode_jpeg(picture).numpy().mean()) for picture in pictures]
