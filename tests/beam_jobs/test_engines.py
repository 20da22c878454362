"""The jobs on every engine that can run on one machine: the same bytes, the same summary, and nothing lost."""

import dataclasses
import functools
import hashlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
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
from datasets.features import serialize, step_spec
from datasets.query import Query
from datasets.shards import ShardDirectory
from datasets.store import Store
from datasets.validate import Severity
from datasets.writers.lerobot import LerobotWriter
from datasets.writers.rlds import RldsWriter
from tests.beam_jobs.clusters import PROCESSES, dask_cluster, portable_service

EPISODES, FILES = 40, 300


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


@dataclasses.dataclass(frozen=True)
class Work:
    """A job that takes seconds."""

    arguments: Sequence[str | Path]
    written: Callable[[], set[object]]  # what there is so far
    expected: set[object]  # what there is in the end, if nobody disturbs it
    check: Callable[[], None]  # that nothing is the matter with it

    def start(self, flags: Sequence[str], stderr: int = subprocess.DEVNULL) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "armchair", *self.arguments, *flags]
        return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=stderr)

    def start_and_wait_for_some(
        self, flags: Sequence[str], stderr: int = subprocess.DEVNULL
    ) -> subprocess.Popen[bytes]:
        process = self.start(flags, stderr)
        while not self.written():
            assert process.poll() is None, "the job ended before it could be killed"
            time.sleep(0.02)
        return process

    def check_some_lack(self) -> None:
        assert 0 < len(self.written()) < len(self.expected)

    def kill(self, process: subprocess.Popen[bytes]) -> None:
        process.kill()
        process.wait()
        self.check_some_lack()

    def run_again(self, flags: Sequence[str]) -> None:
        assert self.start(flags).wait(240) == 0
        self.check_all_there()

    def check_all_there(self) -> None:
        assert self.written() == self.expected
        self.check()


def _annotating(home: Path, path: Path) -> Work:
    for name in ("there", "alone"):
        shutil.copytree(home / "whole", path / name)
    annotate(AnnotateConfig(path / "alone", (home / "slow",)))

    def check() -> None:
        assert len(Store.open(path / "there").predictions("slow")) == EPISODES
        assert Store.open(path / "there").verify() == []

    arguments = ["annotate", "--store", path / "there", "--model", home / "slow"]
    expected = set(_side_shards(path / "alone").items())
    return Work(arguments, lambda: set(_side_shards(path / "there").items()), expected, check)


def _ingesting(home: Path, path: Path) -> Work:
    """Of many small files. Which number an episode gets is a matter of speed."""
    log = ShardDirectory.create(path / "log" / "many" / "1.0.0", "many", step_spec(testing.make_episode(0, 2)))
    for seed in range(FILES):
        log.append(serialize(testing.make_episode(seed, 2), log.features))
    ingest(IngestConfig((path / "log",), path / "alone"))

    def written(name: str) -> set[object]:
        return set(_digests((path / name).glob("episodes/many/*/many-train*"), path).values())

    def check() -> None:
        there = Store.open(path / "there")
        assert _contents(there) == _contents(Store.open(path / "alone"))
        assert [p for p in there.verify() if p.severity == Severity.ERROR] == []  # half a file may be left, hidden

    arguments = ["ingest", "--source", path / "log", "--store", path / "there"]
    return Work(arguments, lambda: written("there"), written("alone"), check)


def _exporting(home: Path, path: Path) -> Work:
    """Videos: a part an episode."""
    export(ExportConfig(home / "whole", path / "alone", Format.MP4))

    def check() -> None:
        assert _tree(path / "there") == _tree(path / "alone")

    def written(name: str) -> set[object]:
        return set(_digests((path / name).glob("*.mp4"), path / name).items())

    arguments = ["export", "--store", home / "whole", "--out", path / "there", "--format", "mp4"]
    return Work(arguments, lambda: written("there"), written("alone"), check)


def _workers(parent: int, mark: str) -> list[psutil.Process]:
    """The Python processes below a process that have a word in their command line."""
    below = psutil.Process(parent).children(recursive=True)
    return [child for child in below if child.name().startswith("python") and mark in " ".join(child.cmdline())]


@pytest.mark.timeout(900)  # each runs the job twice or three times
class TestKilled:
    """In the middle; in one process: see `test_annotate`, `test_ingest` and `test_export`."""

    @pytest.fixture(
        params=[
            _annotating,
            pytest.param(_ingesting, marks=pytest.mark.slow),
            pytest.param(_exporting, marks=pytest.mark.slow),
        ]
    )
    def work(self, request, home, tmp_path):
        return request.param(home, tmp_path)

    def test_a_worker_on_dask(self, work, tmp_path):
        with dask_cluster(tmp_path) as (flags, workers):
            process = work.start_and_wait_for_some([*flags, "--dask_partition_size", "1"])
            os.killpg(workers[0].pid, signal.SIGKILL)
            work.check_some_lack()
            assert process.wait(240) == 0
        work.check_all_there()

    def test_the_job_on_dask(self, work, tmp_path):
        with dask_cluster(tmp_path) as (flags, _):
            flags += ["--dask_partition_size", "1"]
            process = work.start_and_wait_for_some(flags)
            work.kill(process)
            work.run_again(flags)

    @pytest.mark.slow
    def test_a_worker_process(self, work):
        """Beam would wait for it for ever."""
        process = work.start_and_wait_for_some(PROCESSES, stderr=subprocess.PIPE)
        _workers(process.pid, "sdk_worker_main")[0].kill()
        work.check_some_lack()
        _, told = process.communicate(timeout=240)
        assert process.returncode == 2 and b"a worker process died" in told and b"Traceback" not in told
        work.run_again(PROCESSES)

    @pytest.mark.slow
    def test_the_job_of_processes(self, work):
        process = work.start_and_wait_for_some(PROCESSES)
        workers = _workers(process.pid, "sdk_worker_main")
        work.kill(process)
        _, left = psutil.wait_procs(workers, timeout=60)
        assert len(workers) == 2 and not left
        work.run_again(PROCESSES)

    @pytest.mark.slow
    def test_workers_of_the_portable_service(self, work, tmp_path):
        """Beam's service waits for them for ever: somebody must kill the job."""
        with portable_service(tmp_path, "EXTERNAL") as (flags, pool):
            process = work.start_and_wait_for_some(flags)
            workers = _workers(pool.pid, "SdkHarness")
            assert workers
            for worker in workers:
                worker.kill()
            work.check_some_lack()
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(30)
            work.kill(process)
            work.run_again(flags)

    @pytest.mark.slow
    @pytest.mark.parametrize("environment", ["LOOPBACK", "EXTERNAL"])
    def test_the_job_on_the_portable_service(self, work, tmp_path, environment):
        with portable_service(tmp_path, environment) as (flags, _):
            process = work.start_and_wait_for_some(flags)
            work.kill(process)
            work.run_again(flags)
