"""The pictures of episodes as the store has them: encoded bytes, by camera and frame, kept while they are looked at."""

import collections
import dataclasses
import io
import itertools
import threading

import PIL.Image

from datasets import features, shards
from datasets.catalogue import EpisodeRow
from datasets.errors import BadEpisodeError
from datasets.store import Store

_CACHE_BYTES = 512 * 2**20  # some 20 episodes of 500 frames and 3 cameras at 480x640; hundreds of small ones


@dataclasses.dataclass(frozen=True)
class Camera:
    """The film of one camera: T encoded pictures, one after the other."""

    name: str  # of the observation, such as pixels/wrist
    film: bytes
    starts: tuple[int, ...]  # [T + 1]; picture t is film[starts[t]:starts[t + 1]]
    width: int
    height: int
    mime: str

    def frame(self, t: int) -> memoryview:
        """The bytes of picture t, 0 <= t < T, without copying them."""
        return memoryview(self.film)[self.starts[t] : self.starts[t + 1]]

    @property
    def length(self) -> int:
        """T: how many pictures."""
        return len(self.starts) - 1

    @property
    def byte_lengths(self) -> list[int]:
        """How many bytes each picture has."""
        return [end - start for start, end in itertools.pairwise(self.starts)]


@dataclasses.dataclass(frozen=True)
class Pictures:
    """All the pictures of one episode."""

    cameras: dict[str, Camera]  # by name, sorted
    etag: str  # of each of its frames and films: the shard's checksum

    @property
    def size(self) -> int:
        """Bytes of all films."""
        return sum(len(camera.film) for camera in self.cameras.values())


class PictureCache:
    """Reads an episode's pictures once and keeps the latest ones. Used by many threads at once."""

    def __init__(self, store: Store, most_bytes: int = _CACHE_BYTES):
        """Keeps at most so many bytes, but always the latest episode."""
        self._store = store
        self._most_bytes = most_bytes
        self._pictures: collections.OrderedDict[str, Pictures] = collections.OrderedDict()
        self._reading: dict[str, threading.Lock] = {}
        self._lock = threading.Lock()

    def get(self, row: EpisodeRow) -> Pictures:
        """The pictures of an episode; of several threads that want the same, one reads and the others wait.

        Raises:
          BadEpisodeError: if the shard is damaged or a picture is neither JPEG nor PNG.
        """
        with self._lock:
            if (pictures := self._known(row.episode_id)) is not None:
                return pictures
            reading = self._reading.setdefault(row.episode_id, threading.Lock())
        with reading:
            with self._lock:
                if (pictures := self._known(row.episode_id)) is not None:
                    return pictures
            try:
                pictures = read_pictures(self._store, row)
                with self._lock:
                    self._keep(row.episode_id, pictures)
            finally:
                with self._lock:
                    self._reading.pop(row.episode_id, None)
        return pictures

    def _known(self, episode_id: str) -> Pictures | None:
        if episode_id in self._pictures:
            self._pictures.move_to_end(episode_id)
        return self._pictures.get(episode_id)

    def _keep(self, episode_id: str, pictures: Pictures) -> None:
        self._pictures[episode_id] = pictures
        size = sum(p.size for p in self._pictures.values())
        while size > self._most_bytes and len(self._pictures) > 1:
            size -= self._pictures.popitem(last=False)[1].size


def read_pictures(store: Store, row: EpisodeRow) -> Pictures:
    """The pictures of an episode, from its shard. Raises BadEpisodeError as `PictureCache.get`."""
    names = sorted(name for name, spec in store.spec(row.dataset).observation.items() if spec.is_image)
    films = features.pictures(shards.read_record(row.path), names)
    return Pictures(
        {name: _camera(name, film, row) for name, film in films.items()},
        etag=f'"{row.checksum}"',
    )


def _camera(name: str, pictures: list[bytes], row: EpisodeRow) -> Camera:
    if len(pictures) != row.num_steps:
        raise BadEpisodeError(
            f"{row.path} has {len(pictures)} pictures of {name} for {row.num_steps} frames: restore it from a copy"
        )
    try:
        with PIL.Image.open(io.BytesIO(pictures[0]), formats=("JPEG", "PNG")) as picture:  # reads the header only
            (width, height), mime = picture.size, picture.get_format_mimetype()
    except (OSError, SyntaxError, ValueError) as error:  # all of which Pillow raises for what it cannot read
        raise BadEpisodeError(
            f"{row.path}: the first picture of {name} is neither JPEG nor PNG: restore it from a copy"
        ) from error
    starts = tuple(itertools.accumulate(map(len, pictures), initial=0))
    return Camera(name, b"".join(pictures), starts, width, height, str(mime))
