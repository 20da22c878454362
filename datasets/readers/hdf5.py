"""What readers of HDF5 logs have in common: a log that is one file, and looking into it.

The file is open only while it is read, and one episode of it is in memory at a time. See
`datasets.readers.recordings` for how an episode is brought to our form.
"""

import abc
import contextlib
import dataclasses
import json
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from datasets.errors import BadEpisodeError
from datasets.readers.base import NO_DEFAULTS, Defaults, Log, Reading

_SUFFIXES = (".hdf5", ".h5", ".hdf")
_JPEG = b"\xff\xd8\xff"  # each begins like that
_NAMED = 12  # members of an unknown file that its problem lists


def is_hdf5(path: Path) -> bool:
    """Whether a file is called as HDF5 files are."""
    return path.suffix.lower() in _SUFFIXES and path.is_file()


@contextlib.contextmanager
def telling(where: object) -> Iterator[None]:
    """Turns what h5py raises at damage, whatever it is, into BadEpisodeError."""
    try:
        yield
    except (OSError, RuntimeError, KeyError, TypeError, ValueError, MemoryError) as error:
        raise BadEpisodeError(f"{where} cannot be read ({error}): restore it from a copy") from error


def opened(path: Path) -> h5py.File:
    """A file, to be closed again. Raises BadEpisodeError if it is cut short or is no HDF5."""
    with telling(path):
        return h5py.File(path, "r")


@dataclasses.dataclass(frozen=True)
class Hdf5Log(abc.ABC):
    """One HDF5 file of a known layout. See `datasets.readers.base.Log`."""

    path: Path
    defaults: Defaults = NO_DEFAULTS

    @staticmethod
    @abc.abstractmethod
    def fits(log: h5py.File) -> bool:
        """Whether a file has this layout."""

    @property
    @abc.abstractmethod
    def name(self) -> str:
        """The name of the data, for the dataset that it goes into."""

    @abc.abstractmethod
    def _count(self, log: h5py.File) -> int:
        """How many episodes there are."""

    @abc.abstractmethod
    def _readings(self, log: h5py.File) -> Iterator[tuple[str, Callable[[str], Reading]]]:
        """(name of the episode in the file, its reading from where it is); the latter raises BadEpisodeError."""

    def files(self) -> list[Path]:
        """The one file."""
        return [self.path]

    def count(self, file: Path) -> int:
        """How many episodes the file holds; 1 (a bad one) if it cannot be read."""
        try:
            with opened(file) as log, telling(file):
                return self._count(log)
        except BadEpisodeError:
            return 1

    def read(self, file: Path) -> Iterator[Reading]:
        """Every episode of the file."""
        try:
            log = opened(file)
        except BadEpisodeError as error:
            yield Reading(str(file), None, (str(error),))
            return
        with log:
            try:
                for name, read in self._readings(log):
                    where = f"{file}#{name}"
                    try:
                        reading = read(where)
                    except BadEpisodeError as error:
                        reading = Reading(where, None, (str(error),))
                    yield reading
            except BadEpisodeError as error:  # of the file as a whole
                yield Reading(str(file), None, (str(error),))


@dataclasses.dataclass(frozen=True)
class StrayFile:
    """A file that no reader knows: a log of one problem. See `datasets.readers.base.Log`."""

    path: Path
    problem: str

    @property
    def name(self) -> str:
        """`hdf5`; nothing goes there."""
        return "hdf5"

    def files(self) -> list[Path]:
        """The one file."""
        return [self.path]

    def count(self, file: Path) -> int:
        """1."""
        del file
        return 1

    def read(self, file: Path) -> Iterator[Reading]:
        """What the file holds instead of episodes."""
        yield Reading(str(file), None, (self.problem,))


def open_file(path: Path, defaults: Defaults, kinds: Sequence[type[Hdf5Log]]) -> Log:
    """The log of a file, of the first kind whose layout it has; a `StrayFile` if it has none of them."""
    try:
        with opened(path) as log:
            with telling(path):
                kind = next((kind for kind in kinds if kind.fits(log)), None)
            if kind is not None:
                return kind(path, defaults)
            found = [
                f"{name} {dataset.dtype}{list(dataset.shape or ())}" for name, dataset in arrays(log, path).items()
            ]
    except BadEpisodeError as error:
        return StrayFile(path, str(error))
    more = f" and {len(found) - _NAMED} more" if len(found) > _NAMED else ""
    holds = ", ".join(found[:_NAMED]) + more or "nothing"
    return StrayFile(path, f"{path} is HDF5 of no known layout (it holds {holds}): export it as robomimic or Minari")


def dataset_name(*parts: str) -> str:
    """A name that TFDS takes."""
    return re.sub(r"\W+", "_", "_".join(filter(None, parts)), flags=re.ASCII)


def members(group: h5py.Group) -> list[str]:
    """Names in a group: the numbered ones by number, so that demo_10 follows demo_9, then the others by name.

    h5py gives a name that is not UTF-8 as bytes: it is damaged, and nothing is found under what becomes of it.
    """

    def key(name: str) -> tuple[bool, int, str]:
        number = re.search(r"\d+$", name)
        return (number is None, int(number[0]) if number else 0, name)

    return sorted((n.decode(errors="replace") if isinstance(n, bytes) else n for n in group), key=key)


def arrays(group: h5py.Group, where: object, above: tuple[h5py.Group, ...] = ()) -> dict[str, h5py.Dataset]:
    """The arrays of a group at any depth, unread: `a/b` -> dataset. Raises BadEpisodeError if one is damaged."""
    found: dict[str, h5py.Dataset] = {}
    with telling(where):
        for name in members(group):
            item = group[name]
            if isinstance(item, h5py.Dataset):
                _ = item.dtype  # raises TypeError if numpy has no such type
                found[name] = item
            elif isinstance(item, h5py.Group):
                if item in (*above, group):
                    raise ValueError(f"{name} holds itself")
                inner = arrays(item, where, (*above, group))
                found |= {f"{name}/{k}": v for k, v in inner.items()}
    return found


def group(parent: h5py.Group, name: str, where: object) -> h5py.Group:
    """A group in another. Raises BadEpisodeError if it is damaged, or an array."""
    with telling(where):
        item = parent[name]
    if not isinstance(item, h5py.Group):
        raise BadEpisodeError(f"{where} is no group, as an episode is: leave it out")
    return item


def values(dataset: h5py.Dataset, where: object, rows: slice = slice(None)) -> np.ndarray:
    """Rows of an array: numbers in the machine's byte order, or object[T] of str, or of JPEG's bytes.

    Raises:
      BadEpisodeError: at damage.
    """
    with telling(where):
        read = dataset[rows]
        if h5py.check_string_dtype(dataset.dtype):
            return np.array([text.decode() for text in read], object)
        if holds_jpeg(dataset):
            return np.array([picture.tobytes() for picture in read], object)
        return read.astype(read.dtype.newbyteorder("="), copy=False)


def holds_jpeg(dataset: h5py.Dataset) -> bool:
    """Whether rows are encoded pictures: of various lengths, or by chance of one. Raises BadEpisodeError at damage."""
    varies = dataset.ndim == 1 and h5py.check_vlen_dtype(dataset.dtype) == np.uint8
    if not varies and (dataset.ndim, dataset.dtype) != (2, np.uint8):
        return False
    with telling(f"{dataset.file.filename}#{dataset.name}"):
        return len(dataset) > 0 and bool(dataset[0].tobytes().startswith(_JPEG))


def attributes(item: h5py.Group, where: object) -> dict[str, Any]:
    """What is said of a group: numbers, text (also what was stored as bytes), and lists of either."""
    with telling(where):
        said = {str(k): value.tolist() if hasattr(value, "tolist") else value for k, value in item.attrs.items()}
        return {k: v.decode() if isinstance(v, bytes) else v for k, v in said.items() if not isinstance(v, h5py.Empty)}


def parsed(text: object) -> dict[str, Any]:
    """A JSON object that an attribute holds; empty if it is none."""
    try:
        found = json.loads(text) if isinstance(text, str) else {}
    except ValueError:
        found = {}
    return found if isinstance(found, dict) else {}
