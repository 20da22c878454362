"""The jobs on every engine that can run on one machine: the same bytes, the same summary, and nothing lost."""

import functools
import hashlib
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest

from beam_jobs import export as exporting
from beam_jobs.annotate import annotate
from beam_jobs.config import AnnotateConfig, ExportConfig, Format, IngestConfig, StatsConfig, ValidateConfig
from beam_jobs.export import export
from beam_jobs.ingest import ingest
from beam_jobs.options import beam_options
from beam_jobs.stats import stats
from beam_jobs.validate import validate
from datasets import testing
from datasets.errors import ArmchairError
from datasets.query import Query
from datasets.store import Store
from datasets.writers.lerobot import LerobotWriter
from datasets.writers.rlds import RldsWriter
from tests.beam_jobs.clusters import PROCESSES, dask_cluster, portable_service

EPISODES = 40


def _spoil(store: Store, number: int) -> str:
    """Damages one episode; returns its id."""
    row = store.query(Query())[number]
    row.path.chmod(0o644)
    row.path.write_bytes(row.path.read_bytes()[:-20])
    return row.episode_id


@pytest.fixture(scope="module")
def home(tmp_path_factory, save_reward_model):
    """A store of which one episode is damaged, and three models: copied, never written to."""
    path = tmp_path_factory.mktemp("home")
    store = Store.create(path / "store")
    for seed in range(EPISODES):
        store.add(testing.make_episode(seed, 2 + seed % 7), "fake")
    store.publish()
    shutil.copytree(path / "store", path / "whole")
    _spoil(store, 20)
    for number in range(2):
        save_reward_model(path / f"model{number}", f"rm{number}", seed=number)
    save_reward_model(path / "slow", "slow", toil=150)
    return path


@pytest.fixture(
    scope="module",
    params=[
        "dask",
        pytest.param("dask here", marks=pytest.mark.slow),
        pytest.param("processes", marks=pytest.mark.slow),
        pytest.param("portable LOOPBACK", marks=pytest.mark.slow),
        pytest.param("portable EXTERNAL", marks=pytest.mark.slow),
    ],
)
def engine(request, tmp_path_factory):
    """Flags of one engine, which runs."""
    directory = tmp_path_factory.mktemp("engine")
    match request.param.split():
        case ["dask"]:
            with dask_cluster(directory) as (flags, _):
                yield flags
        case ["dask", "here"]:
            yield ["--runner", "DaskRunner", "--direct_num_workers", "2"]
        case ["processes"]:
            yield PROCESSES
        case ["portable", environment]:
            with portable_service(directory, environment) as (flags, _):
                yield flags


def _side_shards(root: Path) -> dict[str, str]:
    return _digests((root / "rewards").rglob("*.parquet"), root)


def _tree(root: Path) -> dict[str, str]:
    return _digests((path for path in root.rglob("*") if path.is_file()), root)


def _digests(paths, root: Path) -> dict[str, str]:
    return {str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


def _contents(store: Store) -> dict[str, tuple[str | None, str]]:
    """Episode id -> hash of its steps, and of its whole file; which shard an episode gets is a matter of speed."""
    return {row.episode_id: (row.content_hash, row.checksum) for row in store.query(Query())}


class TestEveryEngine:
    """Against the same job in this process."""

    def test_annotate_by_two_models(self, home, engine, tmp_path):
        summaries = []
        for name, flags in (("alone", []), ("engine", engine)):
            shutil.copytree(home / "store", tmp_path / name)
            config = AnnotateConfig(tmp_path / name, (home / "model0", home / "model1"))
            summaries.append(annotate(config, beam_options(flags)))
        assert summaries[0].rated == EPISODES - 1 and len(summaries[0].problems) == 1
        told = [str(summary).replace("/alone/", "/").replace("/engine/", "/") for summary in summaries]
        assert told[0] == told[1]
        shards = _side_shards(tmp_path / "alone")
        assert len(shards) == 6 and _side_shards(tmp_path / "engine") == shards
        assert len(Store.open(tmp_path / "engine").predictions("rm1")) == EPISODES - 1

    def test_ingest(self, home, engine, tmp_path):
        source = home / "store" / "episodes"
        alone = ingest(IngestConfig((source,), tmp_path / "alone"))
        there = ingest(IngestConfig((source,), tmp_path / "there"), beam_options(engine))
        assert there == alone and alone.added == EPISODES - 1 and alone.quarantined == 1
        one, other = Store.open(tmp_path / "alone"), Store.open(tmp_path / "there")
        assert _contents(other) == _contents(one) and other.verify() == []
        for row in one.query(Query()):
            ours, theirs = one.read(row.episode_id), other.read(row.episode_id)
            assert theirs.metadata == ours.metadata
            fields = dict(theirs.step_fields())
            assert fields.keys() == dict(ours.step_fields()).keys()
            for name, array in ours.step_fields():
                np.testing.assert_array_equal(fields[name], array, err_msg=name, strict=True)

    @pytest.mark.parametrize("kind", [Format.RLDS, Format.MP4, Format.ROBOMIMIC, Format.LEROBOT])
    def test_export(self, home, engine, tmp_path, monkeypatch, kind):
        monkeypatch.setattr(exporting, "RldsWriter", functools.partial(RldsWriter, episodes_a_part=8))
        monkeypatch.setattr(exporting, "LerobotWriter", functools.partial(LerobotWriter, episodes_a_part=8))
        alone = export(ExportConfig(home / "store", tmp_path / "alone", kind))
        there = export(ExportConfig(home / "store", tmp_path / "there", kind), beam_options(engine))
        assert there == alone and len(alone.problems) == 1
        assert _tree(tmp_path / "there") == _tree(tmp_path / "alone")

    def test_stats(self, home, engine, tmp_path):
        alone = stats(StatsConfig(home / "store", tmp_path / "alone"))
        there = stats(StatsConfig(home / "store", tmp_path / "there"), beam_options(engine))
        assert there == alone and len(alone.problems) == 1
        assert (tmp_path / "there/stats.json").read_text() == (tmp_path / "alone/stats.json").read_text()

    def test_validate(self, home, engine):
        alone = validate(ValidateConfig(home / "store"))
        assert validate(ValidateConfig(home / "store"), beam_options(engine)) == alone and alone.bad == 1

    def test_a_mistake_is_its_sentence(self, home, engine, tmp_path, save_reward_model):
        shutil.copytree(home / "whole", tmp_path / "store")
        broken = save_reward_model(tmp_path / "model", "broken")
        shutil.rmtree(broken / "variables")
        with pytest.raises(ArmchairError, match="the SavedModel in .* cannot be read"):
            annotate(AnnotateConfig(tmp_path / "store", (broken,)), beam_options(engine))
        assert _side_shards(tmp_path / "store") == {}


def _job(root: Path, model: Path, flags: list[str], stderr: int = subprocess.DEVNULL) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "armchair", "annotate", "--store", root, "--model", model, *flags]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=stderr)


def _workers(parent: int, mark: str) -> list[psutil.Process]:
    """The Python processes below a process that have a word in their command line."""
    below = psutil.Process(parent).children(recursive=True)
    return [child for child in below if child.name().startswith("python") and mark in " ".join(child.cmdline())]


def _wait_for_shards(root: Path, process: subprocess.Popen[bytes]) -> None:
    while not _side_shards(root):
        assert process.poll() is None, "the job ended before it could be killed"
        time.sleep(0.02)


@pytest.mark.timeout(900)  # each runs the job twice or three times
class TestKilled:
    """In the middle of a slow annotation; in one process: see `test_annotate`."""

    @pytest.fixture
    def slow(self, home, tmp_path):
        """(store to work on, model, what an undisturbed run gives)"""
        for name in ("there", "alone"):
            shutil.copytree(home / "whole", tmp_path / name)
        annotate(AnnotateConfig(tmp_path / "alone", (home / "slow",)))
        return tmp_path / "there", home / "slow", _side_shards(tmp_path / "alone")

    @staticmethod
    def _check_some_lack(root: Path, expected: dict[str, str]) -> None:
        assert 0 < len(_side_shards(root)) < len(expected)

    @staticmethod
    def _check_all_there(root: Path, expected: dict[str, str]) -> None:
        assert _side_shards(root) == expected
        assert len(Store.open(root).predictions("slow")) == EPISODES and Store.open(root).verify() == []

    def test_a_worker_on_dask(self, slow, tmp_path):
        root, model, expected = slow
        with dask_cluster(tmp_path) as (flags, workers):
            process = _job(root, model, [*flags, "--dask_partition_size", "1"])
            _wait_for_shards(root, process)
            os.killpg(workers[0].pid, signal.SIGKILL)
            self._check_some_lack(root, expected)
            assert process.wait(240) == 0
        self._check_all_there(root, expected)

    def test_the_job_on_dask(self, slow, tmp_path):
        root, model, expected = slow
        with dask_cluster(tmp_path) as (flags, _):
            flags += ["--dask_partition_size", "1"]
            process = _job(root, model, flags)
            _wait_for_shards(root, process)
            process.kill()
            process.wait()
            self._check_some_lack(root, expected)
            assert _job(root, model, flags).wait(240) == 0
        self._check_all_there(root, expected)

    @pytest.mark.slow
    def test_a_worker_process(self, slow):
        """Beam would wait for it for ever."""
        root, model, expected = slow
        process = _job(root, model, PROCESSES, stderr=subprocess.PIPE)
        _wait_for_shards(root, process)
        _workers(process.pid, "sdk_worker_main")[0].kill()
        self._check_some_lack(root, expected)
        _, told = process.communicate(timeout=240)
        assert process.returncode == 2 and b"a worker process died" in told and b"Traceback" not in told
        assert _job(root, model, PROCESSES).wait(240) == 0
        self._check_all_there(root, expected)

    @pytest.mark.slow
    def test_workers_of_the_portable_service(self, slow, tmp_path):
        """Beam's service waits for them for ever: somebody must kill the job."""
        root, model, expected = slow
        with portable_service(tmp_path, "EXTERNAL") as (flags, pool):
            process = _job(root, model, flags)
            _wait_for_shards(root, process)
            workers = _workers(pool.pid, "SdkHarness")
            assert workers
            for worker in workers:
                worker.kill()
            self._check_some_lack(root, expected)
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(30)
            process.kill()
            process.wait()
            assert _job(root, model, flags).wait(240) == 0
        self._check_all_there(root, expected)

    @pytest.mark.slow
    @pytest.mark.parametrize("environment", ["LOOPBACK", "EXTERNAL"])
    def test_the_job_on_the_portable_service(self, slow, tmp_path, environment):
        root, model, expected = slow
        with portable_service(tmp_path, environment) as (flags, _):
            process = _job(root, model, flags)
            _wait_for_shards(root, process)
            process.kill()
            process.wait()
            self._check_some_lack(root, expected)
            assert _job(root, model, flags).wait(240) == 0
        self._check_all_there(root, expected)
