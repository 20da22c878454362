import errno
import os
import resource
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest

from datasets import features, frames, testing, video
from datasets.errors import ArmchairError, BadEpisodeError, StoreError
from datasets.frames import DiskArray
from datasets.query import Query
from datasets.store import Store

LEFT, WRIST = "pixels/basket_front_left", "pixels/wrist"
LENGTHS = (5, 2, 4)
ON_DISK = 0  # bytes of memory


def _make_store(path: Path, lengths=LENGTHS) -> Store:
    store = Store.create(path)
    for seed, length in enumerate(lengths):
        store.add(testing.make_episode(seed, length, ("basket_front_left", "wrist"), (6, 8)), "fake")
    store.publish()
    return store


@pytest.fixture
def store(tmp_path) -> Store:
    return _make_store(tmp_path / "store")


def _load(store: Store, memory=ON_DISK, names=(LEFT, WRIST), rows=None):
    specs = store.spec("fake").observation
    return frames.load(store, rows or store.query(Query()), {name: specs[name] for name in names}, memory)


def _made(store: Store) -> list[str]:
    return sorted(path.name for path in (store.root / "frames").iterdir())


class TestLoad:
    @pytest.mark.parametrize("memory", [ON_DISK, None])
    def test_pictures_are_those_of_the_episodes(self, store, memory):
        pictures = _load(store, memory)
        episodes = list(store.read_many(store.query(Query())))
        for name in (LEFT, WRIST):
            expected = np.concatenate([video.decode_frames(episode.observation[name]) for episode in episodes])
            assert isinstance(pictures[name], DiskArray) == (memory == ON_DISK)
            assert pictures[name].shape == expected.shape == (11, 6, 8, 3) and pictures[name].dtype == np.uint8
            for wanted in ([0], [10, 0, 10, 3], range(11), []):
                rows = np.array(wanted, np.int32)
                np.testing.assert_array_equal(pictures[name][rows], expected[rows])

    def test_the_size_decides(self, store):
        size = sum(LENGTHS) * 2 * 6 * 8 * 3
        assert not isinstance(_load(store, size)[LEFT], DiskArray)
        assert not (store.root / "frames").exists()
        assert isinstance(_load(store, size - 1)[LEFT], DiskArray)

    def test_what_is_on_disk_is_plain_numpy(self, store):
        _load(store)
        [folder] = _made(store)
        array = np.load(store.root / "frames" / folder / f"{WRIST}.npy", mmap_mode="r")
        np.testing.assert_array_equal(array, _load(store, None)[WRIST])

    def test_they_are_decoded_once(self, store, monkeypatch):
        _load(store)
        monkeypatch.setattr(video, "decode_frames", None)
        assert len(_load(store)[LEFT]) == 11
        assert len(_made(store)) == 1

    def test_other_episodes_cameras_or_another_order_are_other_frames(self, store):
        rows = store.query(Query())
        _load(store)
        for number, changes in enumerate([{"rows": rows[:2]}, {"rows": rows[::-1]}, {"names": [LEFT]}]):
            _load(store, **changes)
            assert len(_made(store)) == 2 + number
        np.testing.assert_array_equal(
            _load(store, rows=rows[::-1])[LEFT][np.arange(4)], _load(store)[LEFT][np.arange(7, 11)]
        )

    def test_the_store_stays_sound(self, store):
        _load(store)
        assert store.verify() == []
        assert store.rebuild_index().episodes == len(LENGTHS)

    def test_a_picture_of_another_size_is_named(self, store):
        specs = {LEFT: features.ArraySpec((6, 9, 3), "uint8")}
        for memory in (ON_DISK, None):
            with pytest.raises(
                BadEpisodeError, match=r"left' of episode fake-0 is \(5, 6, 8, 3\) instead of \(5, 6, 9"
            ):
                frames.load(store, store.query(Query()), specs, memory)
        assert _made(store) == []


class TestAsTensor:
    def test_what_was_loaded_is_not_copied(self, store):
        array = _load(store, None)[LEFT]
        tensor = frames.as_tensor(array)
        np.testing.assert_array_equal(tensor, array)
        array[3] = 7
        assert (tensor[3].numpy() == 7).all()

    @pytest.mark.parametrize("part", [slice(1, None), (slice(None), slice(1, 5)), slice(None, None, 2)])
    def test_any_other_array_does_as_well(self, store, part):
        array = _load(store, None)[LEFT][part]
        np.testing.assert_array_equal(frames.as_tensor(array), array)


class TestDisk:
    def test_a_file_cut_short_is_noticed_when_it_is_opened(self, store):
        array = _load(store)[LEFT]
        os.truncate(array._path, 700)
        with pytest.raises(StoreError, match=r"700 bytes are not 11 frames.*delete its folder, it is made again"):
            _load(store)

    def test_a_file_cut_short_is_noticed_when_it_is_read(self, store):
        array = _load(store)[LEFT]
        os.truncate(array._path, array._path.stat().st_size - 1)
        assert array[np.array([9])].any()
        for rows in ([10], [10, 8, 9]):
            with pytest.raises(StoreError, match="frame 10 is not there"):
                array[np.array(rows)]

    @pytest.mark.parametrize(("rows", "at_once", "reads"), [
        ([4, 0, 9, 5, 1, 10], 1024, 3),  # transitions' two ends
        ([2, 2, 3], 1024, 2),
        (range(11), 3, 4),
    ])  # fmt: skip
    def test_neighbours_are_read_together(self, store, monkeypatch, rows, at_once, reads):
        array, expected, lengths = _load(store)[LEFT], _load(store, None)[LEFT], []
        original = os.preadv
        monkeypatch.setattr(frames, "_AT_ONCE", at_once)
        monkeypatch.setattr(os, "preadv", lambda *call: lengths.append(len(call[1])) or original(*call))
        rows = np.array(rows)
        np.testing.assert_array_equal(array[rows], expected[rows])
        assert len(lengths) == reads and sum(lengths) == len(rows)

    @pytest.mark.parametrize("content", [b"", b"\x93NUMPY", b"no array" * 100])
    def test_a_file_that_is_no_array_is_noticed(self, store, content):
        _load(store)[LEFT]._path.write_bytes(content)
        with pytest.raises(StoreError, match="cannot be read"):
            _load(store)

    def test_a_full_disk_is_one_sentence_and_leaves_nothing(self, store):
        limit = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1_000, limit[1]))  # bytes a file: each needs 1,712
        try:
            with pytest.raises(ArmchairError, match="the pictures of 3 episodes cannot be written .* make room there"):
                _load(store)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limit)
        assert _made(store) == []
        assert len(_load(store)[LEFT]) == 11

    def test_a_disk_that_is_full_at_the_end_is_the_same(self, store, monkeypatch):
        def full(*_):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        monkeypatch.setattr(os, "posix_fallocate", full)
        with pytest.raises(ArmchairError, match="No space left on device; make room"):
            _load(store)


WRITER = textwrap.dedent("""
    import sys
    import numpy as np
    from datasets import frames, video
    from datasets.query import Query
    from datasets.store import Store

    decode, left = video.decode_frames, int(sys.argv[2])

    def slowly(encoded):
        global left
        if left == 0:
            print("decoding", flush=True)
            sys.stdin.read()  # for ever
        left -= 1
        return decode(encoded)

    video.decode_frames = slowly
    store = Store.open(sys.argv[1])
    specs = {k: v for k, v in store.spec("fake").observation.items() if v.is_image}
    print("begins", flush=True)
    arrays = frames.load(store, store.query(Query()), specs, 0)
    print(sum(int(array[np.array([0])].sum()) for array in arrays.values()), flush=True)
""")


def _writer(store: Store, pause_after: int) -> subprocess.Popen:
    """Another process that loads all pictures, and waits before a decoding."""
    command = [sys.executable, "-c", WRITER, os.fspath(store.root), str(pause_after)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


@pytest.mark.slow
def test_a_killed_writer_leaves_nothing_that_is_taken_for_whole(store):
    with _writer(store, pause_after=3) as victim:
        assert victim.stdout.readline() == "begins\n" and victim.stdout.readline() == "decoding\n"
        [half] = _made(store)
        assert half.startswith(".") and half.endswith(".tmp")
        with _writer(store, pause_after=-1) as waiting:
            assert waiting.stdout.readline() == "begins\n"
            time.sleep(0.5)
            assert _made(store) == [half]  # the other one's work is left alone while it lives
            victim.send_signal(signal.SIGKILL)
            first = sum(int(array[np.array([0])].sum()) for array in _load(store, None).values())
            assert int(waiting.stdout.readline()) == first  # took over as soon as the lock was free
    assert len(_made(store)) == 1 and not _made(store)[0].startswith(".")
    np.testing.assert_array_equal(_load(store)[WRIST][np.arange(11)], _load(store, None)[WRIST])
