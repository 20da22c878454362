"""Training metrics: one JSON line a step for programs, TensorBoard scalars for people."""

import json
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

import tensorflow as tf

from datasets import files


class MetricsWriter:
    """Writes scalars to `DIR/metrics.jsonl` and as TensorBoard events under `DIR/tensorboard`.

    A run that resumes from step s drops the lines beyond s first: the file tells each step once.
    """

    def __init__(self, directory: Path, resume_step: int = 0):
        """Opens the files, keeping what was written up to `resume_step`."""
        self.path = directory / "metrics.jsonl"
        kept = [line for line in read_metrics(directory) if line["step"] <= resume_step]
        files.write_atomically(self.path, "".join(json.dumps(line) + "\n" for line in kept))
        self._lines = self.path.open("a", buffering=1)
        self._events = tf.summary.create_file_writer(str(directory / "tensorboard"))

    def write(self, step: int, scalars: Mapping[str, float]) -> None:
        """Records the scalars of one step."""
        scalars = {name: float(value) for name, value in scalars.items()}
        self._lines.write(json.dumps({"step": step, **scalars}) + "\n")
        with self._events.as_default(step=step):
            for name, value in scalars.items():
                tf.summary.scalar(name, value)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._lines.close()
        self._events.close()


def read_metrics(directory: Path) -> list[dict[str, float]]:
    """The lines that a MetricsWriter wrote so far; a half-written last line (killed process) is left out."""
    path = directory / "metrics.jsonl"
    if not path.exists():
        return []
    lines = path.read_text().split("\n")[:-1]  # what follows the last newline is not a whole line
    return [json.loads(line) for line in lines]
