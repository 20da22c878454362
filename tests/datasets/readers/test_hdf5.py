import os

import h5py
import numpy as np
import pytest

from beam_jobs.config import IngestConfig
from beam_jobs.ingest import ingest
from datasets.errors import StoreError
from datasets.readers.d4rl import D4rlLog
from datasets.readers.hdf5 import StrayFile
from datasets.readers.logs import open_logs
from datasets.readers.minari import MinariLog
from datasets.readers.robomimic import RobomimicLog


def _fill(file, *names):
    for name in names:
        file[name] = np.linspace(0, 1, 4)[:, None]


def _everything(path):
    """A file of each layout, under each ending."""
    for name in ("b", "c", ".hidden"):
        (path / name).mkdir()
    with h5py.File(path / "a.h5", "w") as file:
        _fill(file, "data/demo_0/actions", "data/demo_0/states")
    with h5py.File(path / "b/main_data.HDF5", "w") as file:
        _fill(file, "episode_0/actions")
        file["episode_0/observations"] = np.zeros((5, 2))
    with h5py.File(path / "c/x.hdf", "w") as file:
        _fill(file, "observations", "actions", "rewards")
        file["terminals"] = np.zeros(4, bool)
    with h5py.File(path / ".hidden/x.hdf5", "w") as file:
        _fill(file, "data/demo_0/actions", "data/demo_0/states")


def test_each_layout_is_told_by_what_is_in_the_file(tmp_path):
    _everything(tmp_path)
    logs = open_logs(tmp_path)
    assert [type(log) for log in logs] == [RobomimicLog, MinariLog, D4rlLog]
    assert [log.files() for log in logs] == [[tmp_path / f] for f in ("a.h5", "b/main_data.HDF5", "c/x.hdf")]
    summary = ingest(IngestConfig((tmp_path,), tmp_path / "store"))
    assert (summary.added, summary.problems) == (3, ())


def _weights(path):
    with h5py.File(path, "w") as file:
        _fill(file, "layer/kernel", *(f"layer/v{n}" for n in range(20)))


@pytest.mark.parametrize(
    ("write", "problem"),
    [
        (lambda path: path.write_bytes(b"no"), "cannot be read"),
        (lambda path: path.write_bytes(b""), "cannot be read"),
        (lambda path: h5py.File(path, "w").close(), "it holds nothing"),
        (_weights, "layer/v0 float64[4, 1], layer/v1 float64[4, 1]"),
    ],
)
def test_a_file_of_no_known_layout_is_named_with_what_it_holds(tmp_path, write, problem):
    _everything(tmp_path)
    write(tmp_path / "0.hdf5")
    *known, stray = open_logs(tmp_path)
    assert len(known) == 3 and isinstance(stray, StrayFile) and stray.count(stray.path) == 1
    (reading,) = stray.read(stray.path)
    assert (
        reading.episode is None and problem in reading.problems[0] and str(tmp_path / "0.hdf5") in reading.problems[0]
    )
    summary = ingest(IngestConfig((tmp_path,), tmp_path / "store"))
    assert (summary.added, summary.quarantined) == (3, 1)


@pytest.mark.parametrize("left", [0.2, 0.6, 0.99])
def test_a_file_that_is_cut_short(tmp_path, left):
    _everything(tmp_path)
    file = tmp_path / "a.h5"
    (log, *_) = open_logs(tmp_path)
    os.truncate(file, int(file.stat().st_size * left))
    (reading,) = log.read(file)  # it was whole when the log was opened
    assert reading.episode is None and "cannot be read" in reading.problems[0] and log.count(file) == 1
    assert log.name == "robosuite_a"
    assert isinstance(open_logs(tmp_path)[-1], StrayFile)


def test_flipped_bytes_never_stop_the_reading(tmp_path):
    """Whatever breaks: every file ends in readings, of which the bad ones say why."""
    with h5py.File(tmp_path / "x.hdf5", "w") as file:
        for n in range(3):
            _fill(file, f"data/demo_{n}/actions", f"data/demo_{n}/states")
    whole = (tmp_path / "x.hdf5").read_bytes()
    rng = np.random.default_rng(0)
    outcomes = set()
    for _ in range(150):
        content = bytearray(whole)
        for place in rng.integers(100, len(whole), 8):
            content[place] ^= int(rng.integers(1, 256))
        (tmp_path / "x.hdf5").write_bytes(content)
        (log,) = open_logs(tmp_path)
        log.count(log.files()[0])
        for reading in log.read(log.files()[0]):
            assert reading.episode is not None or reading.problems
            outcomes.add(reading.episode is not None)
    assert outcomes == {True, False}


@pytest.mark.parametrize("name", ["a.pkl", "deep/b.pickle"])
def test_pickles_are_refused_with_the_reason(tmp_path, name):
    (tmp_path / "deep").mkdir()
    (tmp_path / name).write_bytes(b"cos\nsystem\n(S'false'\ntR.")
    with pytest.raises(StoreError, match="a pickle can run any code when it is opened"):
        open_logs(tmp_path)
    _everything(tmp_path)
    assert len(open_logs(tmp_path)) == 3
