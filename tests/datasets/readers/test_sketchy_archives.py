import bz2
import gzip
import io
import lzma
import tarfile
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from beam_jobs.config import IngestConfig
from beam_jobs.ingest import ingest
from datasets import inspection
from datasets.errors import StoreError
from datasets.readers import archives
from datasets.readers.logs import open_logs
from tests.datasets.readers.test_sketchy import FILE, ID, _readings, _write_database, _write_episode, real

__all__ = ["real"]  # a fixture
COMPRESSORS = {".tar": bytes, ".tar.bz2": bz2.compress, ".tgz": gzip.compress, ".tar.xz": lzma.compress}
OTHERS = [f"{n}_b615a417-ce34-41a8-8411-2a1ce3f3bd07" for n in range(3)]


def _tar(files, tar_format=tarfile.PAX_FORMAT) -> bytes:
    """An uncompressed archive of name -> bytes, or None for a folder."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tar_format) as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.type = tarfile.DIRTYPE if content is None else tarfile.REGTYPE
            member.size, member.mtime = len(content or b""), 1561731200.5
            tar.addfile(member, io.BytesIO(content or b""))
    return stream.getvalue()


def _episode_bytes(folder: Path, num_steps=4) -> bytes:
    _write_episode(folder / "episode", num_steps)
    content = (folder / "episode").read_bytes()
    (folder / "episode").unlink()
    return content


def _archive(folder: Path, num=3) -> dict[str, bytes]:
    return {f"data/{name}": _episode_bytes(folder, 3 + n) for n, name in enumerate(OTHERS[:num])}


@pytest.mark.parametrize("ending", COMPRESSORS)
@pytest.mark.parametrize("tar_format", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT])
def test_an_archive_is_read_as_it_is(tmp_path, ending, tar_format):
    episode = _episode_bytes(tmp_path)
    files = {"data": None, "data/README": b"hello", f"data/{FILE}": episode, "data/._x.tfrecords": b"a Mac's"}
    files |= _archive(tmp_path)
    (tmp_path / "deep").mkdir()
    file = tmp_path / "deep" / f"lift_green__demos-00000-of-00002{ending}"
    file.write_bytes(COMPRESSORS[ending](_tar(files, tar_format)))
    _write_database(tmp_path / "metadata.sqlite", [[0, 0.2, 0.6, 1.0]])
    first, *others = _readings(tmp_path)
    assert first.episode.metadata.episode_id == ID and first.episode.metadata.task_id == "lift_green"
    assert first.where == first.episode.metadata.source == f"{file}#data/{FILE}"
    (sketch,) = first.sketches
    np.testing.assert_array_equal(sketch.values, np.float32([0, 0.2, 0.6, 1.0]))
    assert [(r.episode.metadata.episode_id, r.episode.num_steps) for r in others] == [("0", 3), ("1", 4), ("2", 5)]
    assert not any(reading.problems for reading in (first, *others))
    (log,) = open_logs(tmp_path)
    assert log.count(file) == (100 if ending == ".tar.bz2" else 1)
    assert dict(inspection.report(inspection.look(log)))["first episode"] == "4 steps at 10 Hz"


def test_archives_and_files_go_into_a_store_once(tmp_path):
    source = tmp_path / "in"
    source.mkdir()
    files = _archive(tmp_path)
    (source / "a-00000-of-00001.tar.bz2").write_bytes(bz2.compress(_tar(files)))
    (source / OTHERS[0]).write_bytes(files[f"data/{OTHERS[0]}"])
    summary = ingest(IngestConfig((source,), tmp_path / "store"))
    assert (summary.added, summary.duplicates, summary.problems) == (3, 1, ())


def test_an_archive_that_was_compressed_in_parts(tmp_path):
    content = _tar(_archive(tmp_path))
    (tmp_path / "x.tar.bz2").write_bytes(bz2.compress(content[:5000]) + bz2.compress(content[5000:]))
    assert [reading.episode.num_steps for reading in _readings(tmp_path)] == [3, 4, 5]


def test_a_bad_episode_is_named_with_its_archive(tmp_path):
    files = _archive(tmp_path)
    files[f"data/{OTHERS[1]}"] = files[f"data/{OTHERS[1]}"][:-10]
    (tmp_path / "x.tar").write_bytes(_tar(files))
    readings = _readings(tmp_path)
    assert [reading.episode is not None for reading in readings] == [True, False, True]
    (problem,) = readings[1].problems
    assert problem == f"{tmp_path}/x.tar#data/{OTHERS[1]} ends within record 3: restore it from a copy"


def test_without_an_episode_that_is_said(tmp_path):
    (tmp_path / "x.tar.gz").write_bytes(gzip.compress(_tar({"README": b"hello"})))
    (reading,) = _readings(tmp_path)
    assert reading.episode is None and "holds no episode of Sketchy's" in reading.problems[0]
    (tmp_path / "x.tar.gz").rename(tmp_path / "x.zip")
    with pytest.raises(StoreError, match="nor Sketchy episode files"):
        open_logs(tmp_path)


@pytest.mark.parametrize("ending", COMPRESSORS)
def test_an_archive_that_is_cut_keeps_what_is_before(tmp_path, ending):
    whole = COMPRESSORS[ending](_tar(_archive(tmp_path)))
    file = tmp_path / f"x{ending}"
    for length in (0, 100, 513, *range(1000, len(whole), len(whole) // 7)):
        file.write_bytes(whole[:length])
        *good, bad = _readings(tmp_path)
        if bad.episode is not None:  # only the mark of the end is cut off
            assert len(good) == 2
            continue
        assert [reading.episode.num_steps for reading in good] == [3, 4, 5][: len(good)]
        assert str(file) in bad.problems[0] and "restore it from a copy" in bad.problems[0]


@pytest.mark.parametrize("lost", [0, 1, 2])
def test_without_a_header_the_other_files_are_read(tmp_path, lost):
    files = _archive(tmp_path)
    content = bytearray(_tar(files, tarfile.GNU_FORMAT))
    content[content.index(OTHERS[lost].encode())] ^= 1
    (tmp_path / "x.tar").write_bytes(content)
    readings = _readings(tmp_path)
    assert [r.episode.num_steps for r in readings if r.episode] == [n for n in (3, 4, 5) if n != 3 + lost]
    (problem,) = [problem for reading in readings for problem in reading.problems]
    wanted = [f"between its beginning and data/{OTHERS[1]}", f"between data/{OTHERS[0]} and data/{OTHERS[2]}"]
    assert [*wanted, f"cut off after data/{OTHERS[1]}"][lost] in problem


@given(st.sampled_from([*COMPRESSORS]), st.lists(st.floats(0, 1, exclude_max=True), min_size=1, max_size=4))
def test_flipped_bytes_never_stop_the_reading(tmp_path_factory, ending, places):
    folder = tmp_path_factory.getbasetemp() / f"flips{ending}"
    folder.mkdir(exist_ok=True)
    content = bytearray(COMPRESSORS[ending](_tar({f"{n}.tfrecords": bytes([n]) * 3000 for n in range(4)})))
    for place in places:
        content[int(place * len(content))] ^= 0x10
    (folder / "x").write_bytes(content)
    for member in archives.members(folder / "x", lambda name: name.endswith(".tfrecords")):
        assert member.problem or member.unpacked.stat().st_size == 3000


def test_an_archive_is_never_in_memory_as_a_whole(tmp_path):
    size = 2**21
    with tarfile.open(tmp_path / "x.tar.gz", "w:gz", compresslevel=1) as tar:
        for n in range(12):
            member = tarfile.TarInfo(f"{n}.tfrecords")
            member.size = size
            tar.addfile(member, io.BytesIO(np.random.default_rng(n).bytes(size)))
    seen = 0
    tracemalloc.start()
    try:
        for member in archives.members(tmp_path / "x.tar.gz", lambda name: True):
            seen += member.unpacked.stat().st_size
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert seen == 12 * size and peak < size


def test_the_published_record_in_an_archive(real, tmp_path):
    (alone,) = _readings(real)
    with tarfile.open(tmp_path / "rgb30__all-00000-of-00205.tar.bz2", "w:bz2") as tar:
        tar.add(real / "example_data.tfrecords", FILE)
        tar.add(real / "CONTENTS.md", "CONTENTS.md")
    (reading,) = _readings(tmp_path)
    assert reading.episode.metadata.episode_id == ID
    for (name, array), (wanted_name, wanted) in zip(
        reading.episode.step_fields(), alone.episode.step_fields(), strict=True
    ):
        assert name == wanted_name
        np.testing.assert_array_equal(array, wanted)
