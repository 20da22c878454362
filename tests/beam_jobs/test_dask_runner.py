"""What Beam's own runner for Dask loses in silence, it must not lose here."""

from pathlib import Path

import apache_beam as beam
import dask.distributed
import pytest
from apache_beam.ml.inference.base import ModelHandler, RunInference
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners.dask import dask_runner as beams_own
from apache_beam.transforms.window import GlobalWindow
from apache_beam.utils.windowed_value import WindowedValue

from beam_jobs.dask_runner import DaskRunner
from beam_jobs.options import beam_options
from datasets.errors import ArmchairError


@pytest.fixture(scope="module")
def address():
    """Of a cluster inside this process."""
    with dask.distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=False, dashboard_address=":0"
    ) as cluster:
        yield cluster.scheduler_address


@pytest.fixture
def run(address, tmp_path):
    """Runs what `build` makes of a pipeline; returns the lines of each file that it wrote."""

    def run_(build, *flags, runner=DaskRunner):
        options = PipelineOptions(["--dask_client_address", address, *flags])
        with beam.Pipeline(runner=runner(), options=options) as pipeline:
            build(pipeline, tmp_path)
        return {path.stem: sorted(path.read_text().split()) for path in tmp_path.iterdir()}

    return run_


class _Append(beam.DoFn):
    def __init__(self, path: Path):
        self._path = path

    def process(self, value):
        with self._path.open("a") as file:
            file.write(f"{value}\n")


class _Hoard(beam.DoFn):
    """Yields what it has taken when its bundle ends."""

    def start_bundle(self):
        self._taken = []

    def process(self, value):
        self._taken.append(value)

    def finish_bundle(self):
        for value in self._taken:
            yield WindowedValue(value, 0, (GlobalWindow(),))


class _Double(ModelHandler[int, int, list]):
    def load_model(self):
        class Model(list):
            pass

        return Model()

    def run_inference(self, batch, model, inference_args=None):
        return [2 * value for value in batch]


class _Sort(beam.DoFn):
    def process(self, value):
        yield value if value % 2 else beam.pvalue.TaggedOutput("even", value)


@pytest.fixture
def run_beams_own(run):
    """As `run`, by Beam's own runner. The day a test with it fails, there may be no need of ours any more."""
    yield lambda build: run(build, runner=beams_own.DaskRunner)
    dask.distributed.default_client().close()  # which it leaves open


def _branches(pipeline, directory):
    start = pipeline | beam.Create(range(20), reshuffle=True)
    _ = start | "first" >> beam.ParDo(_Append(directory / "first.txt"))
    _ = start | "second" >> beam.ParDo(_Append(directory / "second.txt"))


def test_every_branch_runs(run):
    numbers = sorted(map(str, range(20)))
    assert run(_branches) == {"first": numbers, "second": numbers}


def test_beams_own_runs_one_branch(run_beams_own):
    assert list(run_beams_own(_branches)) == ["second"]


def _hoarded(pipeline, directory):
    _ = (
        pipeline
        | beam.Create(range(50))
        | beam.ParDo(_Hoard())
        | beam.Reshuffle()
        | "write" >> beam.ParDo(_Append(directory / "out.txt"))
    )


@pytest.mark.parametrize("flags", [(), ("--dask_npartitions", "3"), ("--dask_partition_size", "1")])
def test_what_ends_a_bundle_counts(run, flags):
    assert run(_hoarded, *flags) == {"out": sorted(map(str, range(50)))}


def test_beams_own_drops_what_ends_a_bundle(run_beams_own):
    assert len(run_beams_own(_hoarded).get("out", [])) < 50


def test_inference_answers_for_each(run):
    def build(pipeline, directory):
        rated = pipeline | beam.Create(range(50)) | RunInference(_Double())
        _ = rated | "write" >> beam.ParDo(_Append(directory / "out.txt"))

    assert run(build) == {"out": sorted(str(2 * value) for value in range(50))}


def _sorted(pipeline, directory):
    sorts = pipeline | beam.Create(range(4)) | "sort" >> beam.ParDo(_Sort()).with_outputs("even", main="odd")
    _ = sorts.odd | "write" >> beam.ParDo(_Append(directory / "odd.txt"))


def test_tagged_outputs_are_refused(run):
    with pytest.raises(ArmchairError, match=r"^sort/.* cannot run on Dask, only ParDo with one output"):
        run(_sorted)


def test_beams_own_mixes_tagged_outputs(run_beams_own):
    assert run_beams_own(_sorted) != {"odd": ["1", "3"]}


def test_a_tag_that_nobody_declared_is_an_error(run):
    with pytest.raises(KeyError, match="even"):
        run(lambda pipeline, _: pipeline | beam.Create([2]) | beam.ParDo(_Sort()))


@pytest.mark.parametrize(
    "build",
    [
        lambda pipeline, _: pipeline | beam.Create([1]) | beam.combiners.Count.Globally(),
        lambda pipeline, _: pipeline | beam.Create([(1, 2)]) | beam.GroupByKey(),
        lambda pipeline, _: (pipeline | "a" >> beam.Create([1]), pipeline | "b" >> beam.Create([1])) | beam.Flatten(),
        lambda pipeline, _: (
            pipeline
            | beam.Create([1])
            | beam.Map(lambda x, y: x, beam.pvalue.AsList(pipeline | "side" >> beam.Create([1])))
        ),
    ],
)
def test_what_it_does_not_know_is_refused(run, build):
    with pytest.raises(ArmchairError, match="cannot run on Dask"):
        run(build)


def test_no_worker_has_a_profiler(run, address):
    """It would hang now and then."""
    run(lambda pipeline, _: pipeline | beam.Create([1]))
    with dask.distributed.Client(address) as client:
        watching = client.run(lambda dask_worker: "profile" in dask_worker.periodic_callbacks)
    assert list(watching.values()) == [False, False]


def test_the_same_pipeline_again_runs_again(run):
    def build(pipeline, directory):
        _ = pipeline | beam.Create([(0, "a")]) | beam.ParDo(_Append(directory / "out.txt"))

    run(build)
    assert len(run(build)["out"]) == 4  # two words a line


def test_an_error_is_the_callers(run):
    with pytest.raises(ZeroDivisionError):
        run(lambda pipeline, _: pipeline | beam.Create([0]) | beam.Map(lambda x: 1 / x))


def test_no_elements_are_no_work(run):
    assert run(lambda p, d: p | beam.Create([]) | beam.ParDo(_Append(d / "out.txt"))) == {}


def test_no_scheduler_and_no_workers_are_told(monkeypatch):
    options = beam_options(
        ["--runner", "DaskRunner", "--dask_client_address", "127.0.0.1:9", "--dask_connection_timeout", "1"]
    )
    with (
        pytest.raises(ArmchairError, match="no Dask scheduler answers .* see --dask_client_address"),
        beam.Pipeline(options=options) as pipeline,
    ):
        _ = pipeline | beam.Create([1])
    monkeypatch.setattr("beam_jobs.dask_runner._PATIENCE_S", 0.5)
    with dask.distributed.LocalCluster(n_workers=0, processes=False, dashboard_address=":0") as empty:
        options = beam_options(["--runner=dask", "--dask_client_address", empty.scheduler_address])
        with (
            pytest.raises(ArmchairError, match="has no workers: start some with `dask worker`"),
            beam.Pipeline(options=options) as pipeline,
        ):
            _ = pipeline | beam.Create([1])
