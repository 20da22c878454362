"""Decoded pictures of episodes: in memory if they are few, else in files of which a training reads one by one.

```
STORE/frames/0123456789abcdef/pixels/wrist.npy   uint8[F, H, W, C] of some episodes, one after the other
```
An episode's JPEGs are small but cost a decoding at each look, and a learner looks at each frame some hundred times. So
they are decoded once, and a frame becomes a row of a plain NumPy file: neighbours are one `preadv`. That copy is ten
times the size of the episodes, holds nothing that they do not, and may be deleted at any time. It lies in the store,
where all trainings on the same episodes share it, rather than in each one's run folder. A folder appears whole or not
at all; its name says which episodes (by their checksums, in order) and observations are in it.
"""

import contextlib
import hashlib
import math
import os
import shutil
import weakref
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import psutil
import tensorflow as tf

from datasets import console, files, video
from datasets.errors import ArmchairError, BadEpisodeError, StoreError
from datasets.features import ArraySpec
from datasets.store import EpisodeRow, Store

_SHARE = 0.25  # of the machine's memory: leaves room for the rest of a training, and for a second one beside it
_ALIGNMENT = 64  # bytes; TensorFlow (2.15) uses an array that begins at a multiple of it without copying it
_AT_ONCE = 1024  # rows of one `preadv`: Linux's IOV_MAX


class DiskArray:
    """An array in an `.npy` file, of which rows are read one by one: memory holds what was asked for and no more.

    Threads may read at the same time; they wait for the disk without Python's lock.
    """

    def __init__(self, path: Path):
        """Opens the file. Raises StoreError if it is not there, damaged or cut short."""
        self._path = path
        try:
            with path.open("rb") as file:
                np.lib.format.read_magic(file)
                self.shape, _, self.dtype = np.lib.format.read_array_header_1_0(file)
                self._start = file.tell()  # byte of the first row
                self._descriptor = os.dup(file.fileno())
        except (OSError, ValueError) as error:
            raise self._damaged(str(error)) from error
        weakref.finalize(self, os.close, self._descriptor)
        self._row = math.prod(self.shape[1:]) * self.dtype.itemsize  # bytes
        if (size := os.fstat(self._descriptor).st_size) != self._start + len(self) * self._row:
            raise self._damaged(f"{size} bytes are not {len(self)} frames")
        os.posix_fadvise(self._descriptor, 0, 0, os.POSIX_FADV_RANDOM)  # reading on would read what nobody wants

    def __len__(self) -> int:
        """Rows."""
        return self.shape[0]

    def __getitem__(self, rows: np.ndarray) -> np.ndarray:
        """Rows int[B], in any order, as [B, ...]. Raises StoreError if the file was cut short meanwhile."""
        found = _aligned((len(rows), *self.shape[1:]), self.dtype)
        buffer = found.reshape(-1).view(np.uint8).data
        targets: list[memoryview] = []  # of neighbours in the file, wherever they belong in what was asked for
        wanted, end = rows.tolist(), -1
        for place in np.argsort(rows).tolist():
            if wanted[place] != end or len(targets) == _AT_ONCE:
                self._read(targets, end)
                targets = []
            targets.append(buffer[place * self._row : (place + 1) * self._row])
            end = wanted[place] + 1
        self._read(targets, end)
        return found

    def _read(self, targets: Sequence[memoryview], end: int) -> None:
        """The rows before `end`, one for each target."""
        if not targets:
            return
        first = end - len(targets)
        count = os.preadv(self._descriptor, targets, self._start + first * self._row)
        if count != len(targets) * self._row:
            raise self._damaged(f"frame {first + count // self._row} is not there")

    def _damaged(self, why: str) -> StoreError:
        return StoreError(f"{self._path} cannot be read ({why}): delete its folder, it is made again from the episodes")


def load(
    store: Store, rows: Sequence[EpisodeRow], specs: Mapping[str, ArraySpec], memory: int | None = None
) -> Mapping[str, np.ndarray | DiskArray]:
    """The pictures of episodes: in memory if they fit, else on disk, where they are written first if they are not yet.

    Args:
      store: that holds the episodes.
      rows: which episodes, in this order.
      specs: names and shapes of the pictures.
      memory: bytes that they may take up in memory; None: a quarter of the machine's.

    Returns:
      name -> uint8[F, H, W, C] with a frame for each step; `pictures[name][rows]` is uint8[B, H, W, C] either way.

    Raises:
      ArmchairError: if the disk is full, or the store's folder cannot be written to.
      BadEpisodeError: if a picture cannot be decoded.
    """
    if not specs:
        return {}
    size = sum(row.num_steps for row in rows) * sum(math.prod(spec.shape) for spec in specs.values())
    if size <= (psutil.virtual_memory().total * _SHARE if memory is None else memory):
        return _in_memory(store, rows, specs)
    return _on_disk(store, rows, specs)


def as_tensor(array: np.ndarray) -> tf.Tensor:
    """An array for TensorFlow, in the machine's memory; pictures that this module gave are not copied."""
    if array.ctypes.data % _ALIGNMENT == 0 and array.flags.c_contiguous:
        return tf.experimental.dlpack.from_dlpack(array.__dlpack__())
    with tf.device("CPU"):
        return tf.constant(array)


def _in_memory(
    store: Store, rows: Sequence[EpisodeRow], specs: Mapping[str, ArraySpec]
) -> Mapping[str, np.ndarray | DiskArray]:
    count = sum(row.num_steps for row in rows)
    pictures = {name: _aligned((count, *spec.shape), np.dtype(np.uint8)) for name, spec in specs.items()}
    start = 0
    for row, decoded in zip(rows, _decoded(store, rows, specs), strict=True):
        for name, part in decoded.items():
            pictures[name][start : start + row.num_steps] = part
        start += row.num_steps
    return pictures


def _aligned(shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """An empty array that `as_tensor` does not copy."""
    size = math.prod(shape) * dtype.itemsize
    buffer = np.empty(size + _ALIGNMENT, np.uint8)
    start = -buffer.ctypes.data % _ALIGNMENT
    return buffer[start : start + size].view(dtype).reshape(shape)


def _on_disk(
    store: Store, rows: Sequence[EpisodeRow], specs: Mapping[str, ArraySpec]
) -> Mapping[str, np.ndarray | DiskArray]:
    directory = store.root / "frames" / _fingerprint(rows, specs)
    try:
        directory.parent.mkdir(exist_ok=True)
        with files.locked(directory.parent):  # whoever waits finds the frames made: trainings often start together
            if not directory.exists():
                for left_by_a_killed_writer in directory.parent.glob(".*.tmp"):
                    shutil.rmtree(left_by_a_killed_writer)
                with files.staged_directory(directory) as staged:
                    _write(staged, store, rows, specs)
    except OSError as error:
        raise ArmchairError(
            f"the pictures of {len(rows)} episodes cannot be written to {directory.parent}: {error.strerror}; "
            "make room there, select fewer episodes or cameras, or allow more memory"
        ) from error
    return {name: DiskArray(_path(directory, name)) for name in specs}


def _write(directory: Path, store: Store, rows: Sequence[EpisodeRow], specs: Mapping[str, ArraySpec]) -> None:
    count = sum(row.num_steps for row in rows)
    with contextlib.ExitStack() as stack:
        arrays = {}
        for name, spec in specs.items():
            path = _path(directory, name)
            path.parent.mkdir(parents=True, exist_ok=True)
            arrays[name] = file = stack.enter_context(path.open("wb"))
            header = {"descr": "|u1", "fortran_order": False, "shape": (count, *spec.shape)}
            np.lib.format.write_array_header_1_0(file, header)
            file.flush()
            os.posix_fallocate(file.fileno(), file.tell(), count * math.prod(spec.shape))  # a full disk is full now
        for decoded in _decoded(store, rows, specs):
            for name, part in decoded.items():
                arrays[name].write(part.data)


def _decoded(
    store: Store, rows: Sequence[EpisodeRow], specs: Mapping[str, ArraySpec]
) -> Iterator[dict[str, np.ndarray]]:
    """One episode after the other: name -> uint8[T, H, W, C]."""
    for episode in console.track(store.read_many(rows), "decoding pictures", len(rows)):
        decoded = {name: video.decode_frames(episode.observation[name]) for name in specs}
        for name, part in decoded.items():
            if part.shape != (expected := (episode.num_steps, *specs[name].shape)):
                raise BadEpisodeError(
                    f"{name!r} of episode {episode.metadata.episode_id} is {part.shape} instead of {expected}: leave "
                    "the episode out"
                )
        yield decoded


def _path(directory: Path, name: str) -> Path:
    return directory / f"{name}.npy"


def _fingerprint(rows: Sequence[EpisodeRow], specs: Mapping[str, ArraySpec]) -> str:
    """16 hex digits that change with the episodes, their order, and the pictures."""
    lines = [*(f"{name} {spec.shape}" for name, spec in sorted(specs.items())), *(row.checksum for row in rows)]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]
