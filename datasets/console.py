"""What people see in a terminal: one console, on standard error, and one kind of progress bar."""

from collections.abc import Iterable, Iterator
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

T = TypeVar("T")

console = Console(stderr=True, highlight=False)
"""Messages and progress go to standard error; standard output carries results only."""


def progress_bar() -> Progress:
    """A progress bar: description, bar, k/n, time spent and left. A context manager; see `rich.progress`."""
    return Progress(
        TextColumn("[progress.description]{task.description}"), BarColumn(), MofNCompleteColumn(),
        TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn(), console=console,
    )  # fmt: skip


def track(items: Iterable[T], description: str, total: int | None = None) -> Iterator[T]:
    """Yields `items` under a progress bar."""
    with progress_bar() as bar:
        yield from bar.track(items, total=total, description=description)
