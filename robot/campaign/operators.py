"""The person beside a real arm: who is asked before it moves, and who judges what it did.

```
answer = operator.ask(Question("Does it match?", {"": "yes", "r": "look again"}, overlay))
```
"""

import getpass
import os
import shutil
import subprocess
import sys
import termios
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from datasets.console import console
from datasets.errors import ArmchairError


@dataclass(frozen=True)
class Question:
    """Something that only a person can answer."""

    text: str
    answers: Mapping[str, str]  # what may be answered, and what it means; "" is the Enter key alone
    picture: Path | None = None  # to be looked at; may be the same file with another content the next time


class Operator(Protocol):
    """Somebody who stands beside the arm with the button in hand."""

    @property
    def name(self) -> str:
        """For the episodes' metadata."""
        ...

    def ask(self, question: Question) -> str:
        """Waits for one of the question's answers."""
        ...

    def tell(self, text: str) -> None:
        """Says something."""


class Terminal:
    """Whoever sits at this terminal."""

    def __init__(self, name: str = ""):
        """`name`: of the person; empty: that of the account."""
        self._name = name
        self._shown: set[Path] = set()

    @property
    def name(self) -> str:
        """Of the person."""
        return self._name or getpass.getuser()

    def ask(self, question: Question) -> str:
        """Asks until it is answered.

        Raises:
          ArmchairError: nobody can answer, as this is no terminal, or it was closed.
        """
        if not sys.stdin.isatty():
            raise ArmchairError(
                "somebody must stand beside the arm and answer questions: start the command in a terminal"
            )
        self.tell(question.text)
        if question.picture is not None:
            self._show(question.picture)
        hint = ", ".join(f"{answer or 'Enter'}: {meaning}" for answer, meaning in question.answers.items())
        while True:
            termios.tcflush(sys.stdin, termios.TCIFLUSH)  # what was typed before it was asked is no answer
            self.tell(f"[{hint}]")
            line = sys.stdin.readline()
            if not line:
                raise ArmchairError("the terminal was closed: start the same command again to go on")
            if (answer := line.strip().lower()) in question.answers:
                return answer

    def tell(self, text: str) -> None:
        """Says something, on standard error."""
        console.print(text, markup=False, soft_wrap=True)

    def _show(self, picture: Path) -> None:
        """Says where a picture is; opens it where there is a viewer, once, as viewers look at a file again."""
        self.tell(f"{picture}")
        viewer = shutil.which("open" if sys.platform == "darwin" else "xdg-open")
        has_screen = sys.platform == "darwin" or "DISPLAY" in os.environ or "WAYLAND_DISPLAY" in os.environ
        if viewer and has_screen and picture not in self._shown:
            self._shown.add(picture)
            quiet = subprocess.DEVNULL
            subprocess.Popen([viewer, picture], stdin=quiet, stdout=quiet, stderr=quiet, start_new_session=True)
