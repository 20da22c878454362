"""Beam jobs on a Dask cluster, so that nothing can get lost.

```
dask scheduler --port 8786 & dask worker localhost:8786 --nworkers 2 --nthreads 1 &
armchair annotate ... --runner DaskRunner --dask_client_address localhost:8786
```
Beam 2.77's own runner for Dask ends well while it has run only the last branch of a pipeline, has given tagged outputs
to the main one, and has dropped what a bundle yields at its end, as `RunInference` does. This one runs every branch,
counts what ends a bundle like the rest, and refuses what it cannot run: it knows `Create`, `Reshuffle` and `ParDo` with
one output and without side inputs, which is what our jobs are made of.

Work that was under way when a worker died is done again by another. So what a job writes must be the same when it is
written twice, as ours is.
"""

import math
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

import apache_beam as beam
import dask
import dask.distributed
from apache_beam.internal import pickler
from apache_beam.options.pipeline_options import DirectOptions, PipelineOptions
from apache_beam.pipeline import AppliedPTransform, Pipeline, PipelineVisitor
from apache_beam.runners import common
from apache_beam.runners.dask import dask_runner, overrides
from apache_beam.runners.runner import PipelineResult, PipelineRunner, PipelineState
from apache_beam.transforms.window import GlobalWindow
from apache_beam.utils.windowed_value import WindowedValue

from datasets.errors import ArmchairError

_BUNDLES_A_THREAD = 8  # of the cluster, by default: how finely work is shared out, and done again if a worker dies
_PATIENCE_S = 60.0  # until the first worker joins


class DaskRunner(PipelineRunner):
    """Runs pipelines on the cluster at --dask_client_address, or else on --direct_num_workers processes here."""

    def run_pipeline(self, pipeline: Pipeline, options: PipelineOptions) -> "DaskResult":
        """Starts the pipeline.

        Raises:
          ArmchairError: if it holds anything that is not listed in the module's docstring, or there is no cluster with
            workers at the address.
        """
        pipeline.replace_all(overrides.dask_overrides())
        steps = _Steps()
        pipeline.visit(steps)
        told = options.view_as(dask_runner.DaskOptions).get_all_options(drop_default=True, current_only=True)
        bundles, size = told.pop("npartitions", None), told.pop("partition_size", None)
        client = _connect(told, options.view_as(DirectOptions).direct_num_workers)
        bundles = bundles or _BUNDLES_A_THREAD * sum(client.nthreads().values())
        return DaskResult(client, client.compute(_bundles(steps.taken_from, bundles, size)))


class DaskResult(PipelineResult):
    """A pipeline that runs."""

    def __init__(self, client: dask.distributed.Client, futures: Sequence[dask.distributed.Future]):
        super().__init__(PipelineState.RUNNING)
        self._client, self._futures = client, futures

    def wait_until_finish(self, duration: int | None = None) -> str:
        """Waits for every bundle.

        Args:
          duration: for how long at most, in milliseconds.

        Raises:
          Exception: that of the first bundle that fails; what has not begun by then does not run.
        """
        self._state = PipelineState.FAILED
        try:
            timeout = duration and duration / 1000
            for _ in dask.distributed.as_completed(self._futures, timeout=timeout, with_results=True):
                pass  # results raise what workers have raised
            self._state = PipelineState.DONE
        finally:
            _close(self._client)
        return self._state


class _WithoutProfiler(dask.distributed.WorkerPlugin):
    """Stops Dask's profiler in every worker.

    It looks at the frames of threads, which in Python 3.11 can hang the process while other threads start
    (github.com/python/cpython/issues/106883): one job in ten here, as TFDS starts many.
    """

    name = "without-profiler"

    def setup(self, worker: dask.distributed.Worker) -> None:
        """Called in each worker that is there or comes."""
        if (profiler := worker.periodic_callbacks.pop("profile", None)) is not None:
            profiler.stop()


def _connect(told: dict[str, Any], processes: int) -> dask.distributed.Client:
    if not {"address", "scheduler_file"} & told.keys():
        cluster = dask.distributed.LocalCluster(
            n_workers=processes or None, threads_per_worker=1, dashboard_address=":0"
        )
        client = dask.distributed.Client(cluster)
        client.register_plugin(_WithoutProfiler())
        return client
    try:
        client = dask.distributed.Client(**told)
    except OSError as error:
        raise ArmchairError(f"no Dask scheduler answers ({error}): see --dask_client_address") from error
    client.register_plugin(_WithoutProfiler())
    try:
        client.wait_for_workers(1, timeout=_PATIENCE_S)
    except TimeoutError as error:
        client.close()
        raise ArmchairError("the Dask scheduler has no workers: start some with `dask worker`") from error
    return client


def _close(client: dask.distributed.Client) -> None:
    cluster = client.cluster
    client.close()
    if cluster is not None:
        cluster.close()


class _Steps(PipelineVisitor):
    """The transforms, each after what it takes from."""

    def __init__(self) -> None:
        self.taken_from: dict[AppliedPTransform, AppliedPTransform | None] = {}

    def visit_transform(self, node: AppliedPTransform) -> None:
        """Adds one. Raises ArmchairError if it cannot be run here."""
        if isinstance(node.transform, overrides._Create):
            self.taken_from[node] = None
            return
        plain = type(node.transform) is beam.ParDo and not node.side_inputs and not set(node.outputs) - {None, "None"}
        if not plain and not isinstance(node.transform, overrides._Reshuffle):
            raise ArmchairError(
                f"{node.full_label} cannot run on Dask, only ParDo with one output and without side inputs: choose "
                "another --runner"
            )
        (value,) = node.inputs
        self.taken_from[node] = value.producer


def _bundles(
    taken_from: Mapping[AppliedPTransform, AppliedPTransform | None], count: int, size: int | None
) -> list[Any]:
    """What Dask is to compute: the bundles of every transform that no other takes from."""
    outputs: dict[AppliedPTransform | None, list[Any]] = {}
    for node, source in taken_from.items():
        if isinstance(node.transform, overrides._Create):
            outputs[node] = _cut(node.transform.values, count, size)
        elif isinstance(node.transform, beam.ParDo):
            # As bytes, so that each bundle has a DoFn of its own, whatever else runs in the process.
            work = pickler.dumps((node.transform.fn, *node.transform.raw_side_inputs))
            outputs[node] = [_run(work, node.full_label, bundle) for bundle in outputs[source]]
        else:
            outputs[node] = outputs[source]
    ends = outputs.keys() - set(taken_from.values())
    # What nobody takes from a first transform is no work.
    return [bundle for node in outputs if node in ends for bundle in outputs[node] if not isinstance(bundle, bytes)]


def _run(work: bytes, label: str, bundle: Any) -> Any:
    """A task of its own, whatever ran before: Dask takes tasks of one name for the same."""
    return dask.delayed(_run_bundle)(work, label, bundle, dask_key_name=f"{label}-{uuid.uuid4()}")


def _cut(values: Sequence[Any], count: int, size: int | None) -> list[bytes]:
    """The first bundles, as bytes: Dask takes some tuples for tasks."""
    size = size or max(1, math.ceil(len(values) / count))
    return [pickler.dumps(list(values[start : start + size])) for start in range(0, len(values), size)]


class _Receiver(common.Receiver):
    """Takes the output of a DoFn."""

    def __init__(self) -> None:
        self.values: list[Any] = []

    def receive(self, windowed_value: WindowedValue) -> None:
        self.values.append(windowed_value.value)


def _run_bundle(work: bytes, label: str, bundle: bytes | list[Any]) -> list[Any]:
    """A DoFn's output for some elements, on a worker."""
    function, arguments, keywords = pickler.loads(work)
    receiver = _Receiver()
    invoker = common.DoFnInvoker.create_invoker(
        common.DoFnSignature(function),
        common._OutputHandler(
            window_fn=None,
            main_receivers=receiver,
            tagged_receivers={None: receiver},  # any other tag is a KeyError
            per_element_output_counter=None,
            output_batch_converter=None,
            process_yields_batches=False,
            process_batch_yields_elements=False,
        ),
        context=common.DoFnContext(label, state=None),
        side_inputs=[],
        input_args=list(arguments),
        input_kwargs=keywords,
        user_state_context=None,
        bundle_finalizer_param=beam.DoFn.BundleFinalizerParam(),
    )
    invoker.invoke_setup()
    try:
        invoker.invoke_start_bundle()
        for element in pickler.loads(bundle) if isinstance(bundle, bytes) else bundle:
            invoker.invoke_process(WindowedValue(element, 0, (GlobalWindow(),)))
        invoker.invoke_finish_bundle()
    finally:
        invoker.invoke_teardown()
    return receiver.values
