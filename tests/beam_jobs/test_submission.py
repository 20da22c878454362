"""What reaches the job servers of clusters that are not at hand: Flink's and Spark's, and Dataflow's.

The pipelines are built and handed over as on a real submission; a service that only takes notes stands for the cluster.
"""

import concurrent.futures
import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import grpc
import pytest
from apache_beam.portability import common_urns
from apache_beam.portability.api import beam_job_api_pb2, beam_job_api_pb2_grpc, beam_runner_api_pb2

from beam_jobs.annotate import annotate
from beam_jobs.config import AnnotateConfig, ExportConfig, Format, IngestConfig, StatsConfig, ValidateConfig
from beam_jobs.export import export
from beam_jobs.ingest import ingest
from beam_jobs.options import beam_options
from beam_jobs.stats import stats
from beam_jobs.validate import validate
from datasets import testing
from datasets.store import Store

ROOT = Path(__file__).parents[2]
IMAGE = "registry.example/armchair:0.1.0"
# What the portable runners of Flink and Spark must run; everything else in a pipeline is made of these.
PRIMITIVES = {
    common_urns.primitives.IMPULSE.urn,
    common_urns.primitives.PAR_DO.urn,
    common_urns.primitives.FLATTEN.urn,
    common_urns.primitives.GROUP_BY_KEY.urn,
    common_urns.primitives.ASSIGN_WINDOWS.urn,
}


@pytest.fixture(scope="module")
def store(tmp_path_factory, save_reward_model):
    """A store, and beside it a reward model."""
    store = Store.create(tmp_path_factory.mktemp("home") / "store")
    save_reward_model(store.root.parent / "model", "rm")
    for seed in range(3):
        store.add(testing.make_episode(seed), "fake")
    store.publish()
    return store


@pytest.fixture
def job_server():
    """(address, list of the pipelines that were handed over)"""
    taken = []

    class Service(beam_job_api_pb2_grpc.JobServiceServicer):
        def DescribePipelineOptions(self, request, context):
            return beam_job_api_pb2.DescribePipelineOptionsResponse()

        def Prepare(self, request, context):
            taken.append(request.pipeline)
            context.abort(grpc.StatusCode.UNAVAILABLE, "this service only takes notes")

    server = grpc.server(concurrent.futures.ThreadPoolExecutor(2))
    beam_job_api_pb2_grpc.add_JobServiceServicer_to_server(Service(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield f"127.0.0.1:{port}", taken
    server.stop(None).wait()


@pytest.mark.parametrize(
    "job",
    [
        lambda root, out, options: ingest(IngestConfig((root / "episodes",), out), options),
        lambda root, out, options: annotate(AnnotateConfig(root, (root.parent / "model",)), options),
        lambda root, out, options: validate(ValidateConfig(root), options),
        lambda root, out, options: stats(StatsConfig(root, out), options),
        lambda root, out, options: export(ExportConfig(root, out, Format.RLDS), options),
    ],
    ids=["ingest", "annotate", "validate", "stats", "export"],
)
def test_flink_and_spark_get_a_pipeline_that_they_know(store, tmp_path, job_server, job):
    address, taken = job_server
    flags = ["--runner", "PortableRunner", "--job_endpoint", address]
    options = beam_options([*flags, "--environment_type", "DOCKER", "--environment_config", IMAGE])
    with pytest.raises(grpc.RpcError, match="only takes notes"):
        job(store.root, tmp_path / "out", options)
    check_pipeline(taken[0], IMAGE)


def check_pipeline(pipeline: beam_runner_api_pb2.Pipeline, image: str) -> None:
    """That it consists of primitives, and that all our code runs in the image."""
    components = pipeline.components
    images = {
        beam_runner_api_pb2.DockerPayload.FromString(components.environments[t.environment_id].payload).container_image
        for t in components.transforms.values()
        if t.spec.urn == common_urns.primitives.PAR_DO.urn
    }
    assert images == {image}
    leaves = {t.spec.urn for t in components.transforms.values() if not t.subtransforms}
    assert leaves <= PRIMITIVES, leaves - PRIMITIVES


_DATAFLOW = """
import json, sys
from pathlib import Path
from apache_beam.runners.dataflow.internal import apiclient
from beam_jobs.annotate import annotate
from beam_jobs.config import AnnotateConfig, ValidateConfig
from beam_jobs.options import beam_options
from beam_jobs.validate import validate
from datasets.errors import ArmchairError

job, store = sys.argv[1], Path(sys.argv[2])
options = beam_options(sys.argv[3:])
jobs = []

class Job(apiclient.Job):
    def __init__(self, *arguments, **keywords):
        super().__init__(*arguments, **keywords)
        jobs.append(self)

apiclient.Job = Job
try:
    if job == "validate":
        validate(ValidateConfig(store), options)
    else:
        annotate(AnnotateConfig(store, (store.parent / "model",)), options)
except ArmchairError as error:
    told = str(error)
print(json.dumps({"told": told, "pipeline": jobs[0].proto_pipeline.SerializeToString().hex()}))
"""


@pytest.fixture(scope="module")
def libraries(tmp_path_factory):
    """Those of the extra, which are not in the developers' environment."""
    extra = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]["dataflow"]
    libraries = tmp_path_factory.mktemp("libraries")
    installed = subprocess.run(
        [_uv(), "pip", "install", "--quiet", "--python", sys.executable, "--target", libraries, "-c",
         ROOT / "constraints.txt", *extra],
        check=False, capture_output=True, text=True,
    )  # fmt: skip
    if installed.returncode:
        pytest.skip(f"Google's libraries cannot be installed: {installed.stderr[-300:]}")
    return libraries


@pytest.mark.slow
@pytest.mark.parametrize("job", ["validate", "annotate"])
def test_dataflow_gets_a_job_that_it_knows(store, libraries, job):
    flags = [
        "--runner", "DataflowRunner", "--project", "project", "--region", "europe-west4", "--temp_location",
        "gs://bucket/temp", "--sdk_container_image", IMAGE, "--sdk_location", "container", "--dry_run", "True",
        "--no_auth",
    ]  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", _DATAFLOW, job, store.root, *flags], check=False, capture_output=True, text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join((str(libraries), str(ROOT)))},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    submitted = json.loads(done.stdout.splitlines()[-1])
    assert "nothing is known of 3 things" in submitted["told"]  # as a dry run does nothing
    pipeline = beam_runner_api_pb2.Pipeline.FromString(bytes.fromhex(submitted["pipeline"]))
    check_pipeline(pipeline, IMAGE)


def _uv() -> str:
    own = ROOT / ".venv-uv" / "bin" / "uv"
    return str(own) if own.exists() else "uv"


def test_the_containers_beam_is_the_locked_one():
    constraints = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text().splitlines())
    (image,) = [line for line in (ROOT / "Containerfile").read_text().splitlines() if line.startswith("FROM ")]
    assert image == f"FROM apache/beam_python3.11_sdk:{constraints['apache-beam']}"
