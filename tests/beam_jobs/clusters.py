"""Engines as processes of this machine, started by tests."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

PROCESSES = ["--direct_num_workers", "2", "--direct_running_mode", "multi_processing"]
"""Flags of Beam's workers in two processes."""


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextlib.contextmanager
def _running(*arguments: str, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A Python module as a process of its own, whose children end with it."""
    path = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))  # a worker pool starts `python`
    with log.open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", *arguments], stdout=file, stderr=file, env=os.environ | {"PATH": path},
            start_new_session=True,
        )  # fmt: skip
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _wait_for_port(port: int) -> None:
    end = time.monotonic() + 60
    while True:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        assert time.monotonic() < end, f"nothing listens at {port}"
        time.sleep(0.1)


@contextlib.contextmanager
def dask_cluster(directory: Path, count: int = 2) -> Iterator[tuple[list[str], list[subprocess.Popen[bytes]]]]:
    """Flags for a scheduler with workers of one thread each, and the workers."""
    port = _free_port()
    address = f"127.0.0.1:{port}"
    with contextlib.ExitStack() as stack:
        scheduler = ("distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", str(port), "--no-dashboard")
        stack.enter_context(_running(*scheduler, log=directory / "scheduler.log"))
        _wait_for_port(port)
        worker = ("distributed.cli.dask_worker", address, "--nthreads", "1", "--no-dashboard", "--no-nanny",
                  "--local-directory", str(directory))  # fmt: skip
        workers = [stack.enter_context(_running(*worker, log=directory / f"worker{n}.log")) for n in range(count)]
        yield ["--runner", "DaskRunner", "--dask_client_address", address], workers


@contextlib.contextmanager
def portable_service(directory: Path, environment: str) -> Iterator[tuple[list[str], subprocess.Popen[bytes] | None]]:
    """Flags for Beam's job service, and the pool whose children are its workers: None if the job has them itself."""
    port, pool_port = _free_port(), _free_port()
    flags = ["--runner", "PortableRunner", "--job_endpoint", f"localhost:{port}", "--environment_type", environment]
    with contextlib.ExitStack() as stack:
        service = ("apache_beam.runners.portability.local_job_service_main", "--port", str(port))
        stack.enter_context(_running(*service, log=directory / "service.log"))
        _wait_for_port(port)
        pool = None
        if environment == "EXTERNAL":
            module = "apache_beam.runners.worker.worker_pool_main"
            pool = stack.enter_context(_running(module, "--service_port", str(pool_port), log=directory / "pool.log"))
            _wait_for_port(pool_port)
            flags += ["--environment_config", f"localhost:{pool_port}"]
        yield flags, pool
