"""However a program ends, the arm is stopped: real processes, real signals."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from robot.drivers.exits import SIGNALS, StopOnExit
from robot.drivers.fake import make_robot


def ended(way, number=None):
    """What a driven process says from when its arm moves to its end, its exit status, and seconds until it stopped."""
    process = subprocess.Popen(
        [sys.executable, Path(__file__).with_name("driven_process.py"), way],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[3])},
    )
    with process:
        assert process.stdout.readline() == "moving\n"
        start = time.monotonic()
        if number is not None:
            process.send_signal(number)
        first = process.stdout.readline()
        seconds = time.monotonic() - start
        rest = process.stdout.read()
    return [first.strip(), *rest.splitlines()], process.returncode, seconds


@pytest.mark.parametrize("number", [*SIGNALS, signal.SIGINT])
def test_a_signal_stops_the_arm_within_a_control_step(number):
    said, status, seconds = ended("forever", number)
    assert said[0].startswith("stopped")
    assert seconds < 0.5  # a tenth, on a machine that has nothing else to do
    assert status == (-signal.SIGINT if number == signal.SIGINT else 128 + number)


@pytest.mark.parametrize("way", ["exception", "end"])
def test_an_exception_and_the_end_stop_the_arm(way):
    said, status, _ = ended(way)
    assert said[0].startswith("stopped")
    assert status == (1 if way == "exception" else 0)


def test_the_button_of_another_thread_stops_the_arm():
    said, status, _ = ended("thread")
    assert "stopped with 1" in said and "latched" in said and status == 0


def test_handlers_are_put_back_and_those_of_before_are_called():
    calls = []
    before = signal.signal(signal.SIGTERM, lambda *_: calls.append("before"))
    try:
        outer, inner = StopOnExit(lambda: calls.append("outer")), StopOnExit(lambda: calls.append("inner"))
        signal.raise_signal(signal.SIGTERM)
        assert calls == ["inner", "outer", "before"]
        outer.close()  # not in the order of their making
        inner.close()
        calls.clear()
        signal.raise_signal(signal.SIGTERM)
        assert calls[-1] == "before"
    finally:
        signal.signal(signal.SIGTERM, before)


def test_a_signal_that_is_ignored_stays_ignored():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        StopOnExit(lambda: None).close()
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_made_in_another_thread_it_leaves_signals_alone():
    before = signal.getsignal(signal.SIGTERM)
    thread = threading.Thread(target=lambda: make_robot().close())
    thread.start()
    thread.join()
    assert signal.getsignal(signal.SIGTERM) == before
