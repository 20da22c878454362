"""An arm must stand still when the program that drives it ends, however it ends.

What cannot be caught (SIGKILL, a lost network, a machine that is switched off) is left to the dead man's rule.
"""

import atexit
import signal
import sys
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any

SIGNALS = (signal.SIGTERM, signal.SIGHUP)  # of `kill`, of a terminal that is closed; Ctrl-C is an exception anyway


class StopOnExit:
    """Calls `stop` when the interpreter exits, and at once when a signal ends it, until it is closed."""

    def __init__(self, stop: Callable[[], None]):
        """Made outside of the main thread, it sees no signals: there, whoever owns the main thread must."""
        self._stop = stop
        self._previous: dict[int, Any] = {}
        atexit.register(stop)
        if threading.current_thread() is threading.main_thread():
            for number in SIGNALS:
                if (previous := signal.getsignal(number)) is not signal.SIG_IGN:  # nohup's wish
                    self._previous[number] = previous
                    signal.signal(number, self._on_signal)

    def close(self) -> None:
        """Puts everything back."""
        atexit.unregister(self._stop)
        if threading.current_thread() is threading.main_thread():
            for number, previous in self._previous.items():
                if signal.getsignal(number) == self._on_signal:
                    signal.signal(number, previous)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self._stop()
        previous = self._previous[number]
        if callable(previous):
            previous(number, frame)
        else:
            sys.exit(128 + number)  # an exception, so that everything is closed on the way out
