"""Command lines of Beam jobs: a job's own options from its config, every other one Beam's.

```
python -m beam_jobs.annotate --store S --model M --direct_num_workers 2 --direct_running_mode multi_processing
```
"""

import contextlib
import importlib
import os
import sys
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


def parse(config: type[C], args: Sequence[str], program: str) -> tuple[C, list[str]]:
    """The job's config, and the rest of the command line for `beam_options`."""
    own, rest = tyro.cli(config, args=list(args), prog=program, return_unknown_args=True)
    return own, list(rest)


def beam_options(flags: Sequence[str] = ()) -> "PipelineOptions":
    """Beam's options from command-line flags; the runner is FnApiRunner, in this process, unless they name one.

    Raises:
      ArmchairError: for a flag that Beam does not know, which Beam itself would ignore.
    """
    from apache_beam.options import pipeline_options

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
    standard = options.view_as(pipeline_options.StandardOptions)
    standard.runner = standard.runner or _DEFAULT_RUNNER
    return options


@contextlib.contextmanager
def worker_processes(options: "PipelineOptions", log: Path) -> Iterator[None]:
    """Prepares for the worker processes that Beam starts on this machine inside the block, if it is to start any.

    They inherit the environment, which tells TensorFlow to take a share of the cores instead of all, and the standard
    error stream, on which each would tell its life in twenty lines: that goes to `log`.
    """
    from apache_beam.options.pipeline_options import DirectOptions

    direct = options.view_as(DirectOptions)
    if direct.direct_running_mode != "multi_processing":
        yield
        return
    share = str(max(1, len(os.sched_getaffinity(0)) // (direct.direct_num_workers or os.cpu_count() or 1)))
    names = [name for name in ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS") if name not in os.environ]
    os.environ.update(dict.fromkeys(names, share))
    terminal = os.dup(2)
    with log.open("wb") as file:
        os.dup2(file.fileno(), 2)
    console.file = os.fdopen(terminal, "w", buffering=1)  # our own messages go on to the terminal
    try:
        yield
    finally:
        os.dup2(terminal, 2)
        console.file.close()
        console.file = None  # type: ignore[assignment]  # rich's way to say standard error
        for name in names:
            del os.environ[name]


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
