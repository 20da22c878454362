"""What the workers of a job have done so far, told through files.

Each worker appends one JSON line per finished item to a file of its own in a folder that all share; whoever started
the job reads them while it runs, for its progress bar, and at the end, for its summary. That works alike on every
runner, where Beam's own counters come late or not at all.
"""

import contextlib
import json
import os
import shutil
import signal
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

from apache_beam.options.pipeline_options import PipelineOptions

from beam_jobs.options import worker_processes
from datasets.console import console, progress_bar
from datasets.errors import ArmchairError

_POLL_S = 0.3
_FORGOTTEN_S = 30 * 24 * 3600  # longer than any job runs
_FATAL = "fatal"


class Writer:
    """A worker's side. Make one in `DoFn.setup`."""

    def __init__(self, directory: Path):
        """Chooses a file that no other worker writes to."""
        self._path = directory / f"{os.getpid()}-{os.urandom(4).hex()}.jsonl"

    def write(self, item: str, outcome: str, weight: int = 1, **facts: Any) -> None:
        """Notes that an item is finished.

        Args:
          item: its name; if work is done twice (a retried bundle), the last line counts.
          outcome: a word.
          weight: how much of the job's total it makes up.
          **facts: JSON values for the summary.
        """
        with self._path.open("a") as file:
            file.write(json.dumps({"item": item, "outcome": outcome, "weight": weight, **facts}) + "\n")

    @contextlib.contextmanager
    def tells_fatal(self) -> Iterator[None]:
        """Lets an error that the user can mend reach them as its sentence, whatever the runner makes of it."""
        try:
            yield
        except ArmchairError as error:
            self.write(_FATAL, _FATAL, 0, message=str(error))
            raise


class Journal:
    """The side of whoever started the job: a temporary folder. A context manager, which removes it."""

    def __init__(self, parent: Path):
        """Makes the folder inside `parent`, which all workers can reach."""
        for old in parent.glob(".job-*"):  # of killed jobs
            if time.time() - old.stat().st_mtime > _FORGOTTEN_S:
                shutil.rmtree(old, ignore_errors=True)
        self.directory = Path(tempfile.mkdtemp(prefix=".job-", dir=parent))
        self.entries: dict[str, dict[str, Any]] = {}
        self._read: Counter[Path] = Counter()  # bytes of each file

    def __enter__(self) -> "Journal":
        return self

    def __exit__(self, *error: object) -> None:
        shutil.rmtree(self.directory, ignore_errors=True)

    def poll(self) -> None:
        """Reads what is new into `entries` (item -> line)."""
        for path in sorted(self.directory.glob("*.jsonl")):
            with path.open("rb") as file:
                file.seek(self._read[path])
                lines = file.read()
            whole = lines[: lines.rfind(b"\n") + 1]  # a worker may be in the middle of a line
            self._read[path] += len(whole)
            for line in whole.splitlines():
                entry = json.loads(line)
                self.entries[entry["item"]] = entry

    def require(self, items: Iterable[str]) -> None:
        """Raises ArmchairError unless all these items are finished, whatever the runner says."""
        self.poll()
        if lost := [item for item in items if item not in self.entries]:
            raise ArmchairError(
                f"the runner says that it is done, but nothing is known of {len(lost)} things, such as {lost[0]}: run "
                "the job again; what is done is not done again"
            )

    def outcomes(self) -> Counter[str]:
        """How many items ended in which way."""
        return Counter(entry["outcome"] for entry in self.entries.values())

    @contextlib.contextmanager
    def progress(self, description: str, total: int, options: PipelineOptions) -> Iterator[None]:
        """Shows a progress bar while the block runs the pipeline.

        Args:
          description: what the job does, in a word.
          total: weight of all items.
          options: that the pipeline runs with.

        Raises:
          ArmchairError: if a worker ended with one, in place of the runner's report of it.
        """
        done, log = threading.Event(), self.directory / "workers.log"
        with progress_bar() as bar:
            task = bar.add_task(description, total=total)

            def show() -> None:
                self.poll()
                finished = sum(entry["weight"] for entry in self.entries.values())
                counts = ", ".join(f"{n:,} {outcome}" for outcome, n in sorted(self.outcomes().items()))
                bar.update(task, completed=finished, description=f"{description} {counts}")

            def watch() -> None:
                while not done.wait(_POLL_S):
                    show()

            watcher = threading.Thread(target=watch, daemon=True)
            watcher.start()
            try:
                with worker_processes(options, log), _interruptible() as interrupted:
                    yield
            except ArmchairError:
                raise
            except Exception as error:
                if interrupted.is_set():  # a runner takes it for an error of the code that it hit
                    raise KeyboardInterrupt from error
                self.poll()
                if _FATAL in self.entries:
                    raise ArmchairError(self.entries[_FATAL]["message"]) from error
                if log.exists():
                    console.print(log.read_text(errors="replace"), markup=False)
                raise
            finally:
                done.set()
                watcher.join()
                show()


@contextlib.contextmanager
def _interruptible() -> Iterator[threading.Event]:
    """Yields an event that tells whether somebody pressed Ctrl-C inside the block."""
    pressed = threading.Event()
    if threading.current_thread() is not threading.main_thread():  # only there may signals be handled
        yield pressed
        return

    def handle(number: int, frame: FrameType | None) -> None:
        pressed.set()
        signal.default_int_handler(number, frame)

    previous = signal.signal(signal.SIGINT, handle)
    try:
        yield pressed
    finally:
        signal.signal(signal.SIGINT, previous)
