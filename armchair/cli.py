"""`armchair <stage> ...`: finds the stage, runs it, and turns what a user can mend into one sentence.

Nothing heavy is imported here: `armchair --help` answers at once, and a stage imports only what it needs.

Exit status: 0 done; 1 an unexpected error (or something for `doctor` to mend); 2 a mistake that the user can mend;
130 interrupted.
"""

import difflib
import importlib
import os
import sys
import traceback
from collections.abc import Mapping, Sequence

import armchair
from datasets.errors import ArmchairError

STAGES: Mapping[str, str] = {
    "demo": "the whole loop, from recording to a report: start here",
    "loop": "the loop several times: where a policy exploits its reward, that is sketched and trained away",
    "doctor": "check this machine and this installation, and say what to do",
    "robot": "look through a robot's eyes while nothing moves; clear the stop of an arm",
    "collect": "record episodes with a scripted expert or a policy",
    "ingest": "put recorded episodes, or anybody's logs, into a store; ingest inspect: look into them",
    "export": "write episodes in a format that others read: rlds, robomimic, lerobot, mp4",
    "store": "look after a store: ls, info, query, save, delete, restore, verify, rebuild-index, ...",
    "validate": "look at every number and picture of a data set, and tell what is wrong",
    "stats": "describe a data set: statistics, and a page with plots and videos",
    "play": "turn an episode into a video, with its rewards under the picture",
    "sketch": "a page to draw rewards over videos; and sketches as files: export, import, simulate",
    "reward": "a reward model from sketches: train, report, compare",
    "annotate": "write reward models' predictions for every episode of a store",
    "train": "train a policy from logged data only: bc, crr, d4pg, td3_bc, iql",
    "select": "rank trained policies without running them",
    "evaluate": "run a policy and report its success rate with an interval",
}
"""Each stage and its line in `armchair --help`, in the order of the loop. Module: `armchair.commands.<stage>`."""

REPORT = "Please report it with the traceback and the output of `armchair doctor`."

_ENVIRONMENT = {
    "TF_CPP_MIN_LOG_LEVEL": "2",  # TensorFlow's C++ chatter; errors stay
    "TF_ENABLE_ONEDNN_OPTS": "1",  # 64x64 convolutions train 1.26x faster on CPUs where it is off by default
    "GRPC_VERBOSITY": "ERROR",
    "GLOG_minloglevel": "2",
    "ABSL_MIN_LOG_LEVEL": "2",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command line (without the program's name) and returns its exit status."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    verbose = os.environ.get("ARMCHAIR_DEBUG", "0") not in ("", "0")
    while arguments and arguments[0] in ("-v", "--verbose"):
        verbose, arguments = True, arguments[1:]
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(usage())
        return 0
    if arguments[0] in ("-V", "--version"):
        print(f"armchair {armchair.__version__}")
        return 0
    stage, *rest = arguments
    if stage not in STAGES:
        return _fail(_unknown(stage))
    for name, value in _ENVIRONMENT.items():  # must be there before TensorFlow is imported; workers inherit it
        os.environ.setdefault(name, value)
    return _run(stage, rest, verbose)


def usage() -> str:
    """The text of `armchair --help`."""
    width = max(map(len, STAGES))
    return "\n".join(
        [
            "usage: armchair [--verbose] <stage> ...",
            "",
            "Teach a robot arm from the armchair: offline, from logs, reward sketches and batch RL.",
            "",
            *(f"  {name:{width}}  {line}" for name, line in STAGES.items()),
            "",
            "`armchair <stage> --help` tells a stage's options; `armchair --version` the version.",
            "--verbose (or ARMCHAIR_DEBUG=1) shows the traceback of an error.",
        ]
    )


def _run(stage: str, arguments: list[str], verbose: bool) -> int:
    try:
        importlib.import_module(f"armchair.commands.{stage}").main(arguments)
        sys.stdout.flush()
    except ArmchairError as error:
        return _fail(str(error), verbose)
    except KeyboardInterrupt:
        return _fail("interrupted", status=130)
    except BrokenPipeError:  # `armchair store ls | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # else Python complains at exit
        return 141  # what a shell reports for SIGPIPE
    except OSError as error:  # a missing or read-only path, a full disk
        if error.filename is None:
            return _unexpected(stage, error, verbose)
        return _fail(f"{error.filename}: {error.strerror}", verbose)
    except Exception as error:
        return _unexpected(stage, error, verbose)
    return 0


def _unknown(stage: str) -> str:
    closest = difflib.get_close_matches(stage, STAGES, n=1, cutoff=0.0)[0]
    return f"there is no stage {stage!r}: did you mean `armchair {closest}`? (`armchair --help` lists all)"


def _unexpected(stage: str, error: Exception, verbose: bool) -> int:
    hint = "" if verbose else f"; `armchair --verbose {stage} ...` shows the traceback"
    told = f"{type(error).__name__}: {error}"
    return _fail(f"unexpected error in {stage}: {told}\nThis is a bug in Armchair{hint}. {REPORT}", verbose, status=1)


def _fail(message: str, verbose: bool = False, status: int = 2) -> int:
    if verbose and sys.exc_info()[0] is not None:
        traceback.print_exc()
    print(f"armchair: {message}", file=sys.stderr)
    return status
