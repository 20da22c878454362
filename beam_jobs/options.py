"""Command lines of Beam jobs: a job's own options from its config, every other one Beam's.

```
python -m beam_jobs.annotate --store S --model M --direct_num_workers 2 --direct_running_mode multi_processing
```
"""

import contextlib
import importlib
import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import tyro

from datasets.console import console
from datasets.errors import ArmchairError

if TYPE_CHECKING:  # Beam takes seconds to import, and a job's --help does not need it
    from apache_beam.options.pipeline_options import PipelineOptions

C = TypeVar("C")

# Beam's own default is a DirectRunner that first tries to download another runner (Prism) from the internet.
_DEFAULT_RUNNER = "FnApiRunner"
# Beam's own runner for Dask loses data: see `beam_jobs.dask_runner`, which takes its place.
_DASK, _DASK_NAMES = "beam_jobs.dask_runner.DaskRunner", ("DaskRunner", "dask")


def parse(config: type[C], args: Sequence[str], program: str) -> tuple[C, list[str]]:
    """The job's config, and the rest of the command line for `beam_options`."""
    own, rest = tyro.cli(config, args=list(args), prog=program, return_unknown_args=True)
    return own, list(rest)


def beam_options(flags: Sequence[str] = ()) -> "PipelineOptions":
    """Beam's options from command-line flags; the runner is FnApiRunner, in this process, unless they name one.

    Raises:
      ArmchairError: for a flag that Beam does not know, which Beam itself would ignore, or Dask where it is not
        installed.
    """
    from apache_beam.options import pipeline_options

    runner = pipeline_options.PipelineOptions(list(flags)).view_as(pipeline_options.StandardOptions).runner
    if runner in _DASK_NAMES:
        runner = _DASK
        try:
            importlib.import_module("beam_jobs.dask_runner")  # from now on Beam knows its options
        except ModuleNotFoundError as error:
            raise ArmchairError(f"{error}: install it with `pip install 'armchair[dask]'`") from error

    class Parser(pipeline_options._BeamArgumentParser):
        def error(self, message: str) -> NoReturn:
            raise ArmchairError(f"{message}: see `--help`, and Beam's pages for the options of its runners")

    parser = Parser(allow_abbrev=False)
    for group in pipeline_options.PipelineOptions.__subclasses__():
        group._add_argparse_args(parser)
    _, unknown = parser.parse_known_args(list(flags))
    if unknown:
        raise ArmchairError(f"there is no option {unknown[0]}: see `--help`; what it does not list is handed to Beam")
    options = pipeline_options.PipelineOptions(list(flags))
    options.view_as(pipeline_options.StandardOptions).runner = runner or _DEFAULT_RUNNER
    return options


def _processes_here(options: "PipelineOptions") -> int:
    """How many workers are to run in processes of their own on this machine, 0 if none."""
    from apache_beam.options.pipeline_options import DirectOptions, StandardOptions

    direct, told = options.view_as(DirectOptions), options.get_all_options()
    on_dask = options.view_as(StandardOptions).runner == _DASK and not (told["address"] or told["scheduler_file"])
    if on_dask or direct.direct_running_mode == "multi_processing":
        return direct.direct_num_workers or os.cpu_count() or 1
    return 0


@contextlib.contextmanager
def worker_processes(options: "PipelineOptions", log: Path) -> Iterator[None]:
    """Prepares for the worker processes that Beam starts on this machine inside the block, if it is to start any.

    They inherit the environment, which tells TensorFlow to take a share of the cores instead of all, and the standard
    error stream, on which each would tell its life in twenty lines: that goes to `log`.
    """
    processes = _processes_here(options)
    if not processes:
        yield
        return
    share = str(max(1, len(os.sched_getaffinity(0)) // processes))
    names = [name for name in ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS") if name not in os.environ]
    os.environ.update(dict.fromkeys(names, share))
    terminal = os.dup(2)
    with log.open("wb") as file:
        os.dup2(file.fileno(), 2)
    console.file = os.fdopen(terminal, "w", buffering=1)  # our own messages go on to the terminal
    try:
        with _stopping_if_one_dies():
            yield
    finally:
        os.dup2(terminal, 2)
        console.file.close()
        console.file = None  # type: ignore[assignment]  # rich's way to say standard error
        for name in names:
            del os.environ[name]


@contextlib.contextmanager
def _stopping_if_one_dies() -> Iterator[None]:
    """Raises ArmchairError if a worker process dies inside the block, for which Beam would wait for ever."""
    deaths: list[object] = []

    def hook(told: threading.ExceptHookArgs) -> None:
        if told.thread is None or told.thread.name != "run_worker":  # as Beam calls the threads that wait for them
            before(told)
        elif not deaths:
            deaths.append(told.exc_value)
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)  # also where it waits for a lock

    before, threading.excepthook = threading.excepthook, hook
    try:
        yield
    except BaseException as error:
        if deaths:
            raise ArmchairError(
                f"a worker process died ({deaths[0]}; 137 is: killed, perhaps for want of memory): run the job again, "
                "what is done is not done again"
            ) from error
        raise
    finally:
        threading.excepthook = before


def run_as_script(job: str, config: type[Any]) -> NoReturn:
    """`python -m beam_jobs.<job>`: a user's mistake is one sentence, as in `armchair`."""
    own, flags = parse(config, sys.argv[1:], f"python -m beam_jobs.{job}")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # before TensorFlow is imported, like `armchair` does
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
    try:
        # Imported under its own name: what workers unpickle cannot live in __main__.
        importlib.import_module(f"beam_jobs.{job}").main(own, beam_options(flags))
    except ArmchairError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
    sys.exit(0)
