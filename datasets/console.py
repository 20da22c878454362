"""What people see in a terminal: one console, on standard error, and one kind of progress bar."""

import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

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


def print_facts(facts: Iterable[tuple[str, str]]) -> None:
    """Prints (name, fact) pairs on standard output, a line each; only a terminal's width wraps them."""
    table = Table(box=None, show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name, fact in facts:
        table.add_row(name, Text(fact))  # a Text, because a message may hold [brackets], which are markup in a str
    Console(width=None if sys.stdout.isatty() else 1000, highlight=False).print(table)


def print_table(entries: Sequence[Mapping[str, Any]]) -> None:
    """Prints entries that have the same names on standard output, a line each; there is at least one.

    Into a pipe or a file, lines are as long as they are; a terminal shows what fits.
    """
    table = Table(box=None, header_style="bold")
    for name in entries[0]:
        is_number = isinstance(entries[0][name], int | float)
        table.add_column(Text(name), justify="right" if is_number else "left", no_wrap=True)
    for entry in entries:
        table.add_row(*(Text(f"{x:,}" if isinstance(x, int | float) else str(x)) for x in entry.values()))
    Console(width=None if sys.stdout.isatty() else 1000, highlight=False).print(table)
