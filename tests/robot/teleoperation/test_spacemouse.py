"""A SpaceMouse, in whose place stands a module that tells what a test wants: there is no device here."""

import enum
import queue
import sys
import time
import types
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from datasets.errors import ArmchairError
from robot.teleoperation.spacemouse import SpaceMouse, to_action


class State(NamedTuple):
    x: float = 0.0
    y: float = 0.0
    z: float = 0.0
    roll: float = 0.0
    pitch: float = 0.0
    yaw: float = 0.0
    buttons: tuple[int, ...] = (0, 0)


class Device:
    def __init__(self):
        self.state, self.is_closed = State(), False

    def read(self):
        if self.state is None:
            raise OSError("unplugged")
        return self.state

    def close(self):
        self.is_closed = True


@pytest.fixture
def device(monkeypatch):
    device, module = Device(), types.ModuleType("pyspacemouse")
    module.AxisConvention = enum.Enum("AxisConvention", {"ROS": "ros", "LEGACY": "legacy"})

    def open_device(axis_convention):
        assert axis_convention is module.AxisConvention.ROS
        if device.state is None:
            raise RuntimeError("No connected or supported devices found.")
        return device

    module.open = open_device
    monkeypatch.setitem(sys.modules, "pyspacemouse", module)
    return device


def test_the_cap_moves_the_arm_as_it_is_moved():
    np.testing.assert_array_equal(to_action(State(x=1)), np.float32([1, 0, 0, 0, 0, 0, 0]))
    np.testing.assert_array_equal(to_action(State(y=-1, yaw=1)), np.float32([0, -1, 0, 0, 0, 1, 0]))
    np.testing.assert_array_equal(to_action(State(buttons=(1, 0))), np.float32([0, 0, 0, 0, 0, 0, 1]))
    np.testing.assert_array_equal(to_action(State(buttons=(0, 1, 1))), np.float32([0, 0, 0, 0, 0, 0, -1]))
    half = to_action(State(z=0.55))  # the middle of what is beyond the dead zone, squared
    np.testing.assert_allclose(half, [0, 0, 0.25, 0, 0, 0, 0], rtol=1e-6)


def test_a_cap_at_rest_commands_nothing():
    assert to_action(State()) is None
    assert to_action(State(0.1, -0.1, 0.05, 0.1, 0.0, -0.09)) is None
    assert to_action(State(buttons=(1, 1))) is None
    assert to_action(State(buttons=())) is None


@given(st.lists(st.floats(-1.5, 1.5), min_size=6, max_size=6), st.lists(st.integers(0, 1), max_size=3))
def test_whatever_the_cap_says_is_an_action(axes, buttons):
    action = to_action(State(*axes, buttons=tuple(buttons)))
    if action is not None:
        assert action.dtype == np.float32 and action.shape == (7,) and (np.abs(action) <= 1).all()
        assert all(a == 0 or np.sign(a) == np.sign(b) for a, b in zip(action, axes, strict=False))


def test_commands_come_while_the_cap_is_moved_and_no_longer(device):
    commands = queue.SimpleQueue()
    with SpaceMouse(commands.put):
        with pytest.raises(queue.Empty):
            commands.get(timeout=0.2)
        device.state = State(x=1.0)
        for _ in range(3):
            assert commands.get(timeout=10)[0] == 1
        device.state = State()
        time.sleep(0.2)
        while not commands.empty():
            commands.get()
        with pytest.raises(queue.Empty):
            commands.get(timeout=0.2)
    assert device.is_closed


def test_one_that_is_unplugged_says_so_and_commands_nothing(device, caplog):
    commands = queue.SimpleQueue()
    mouse = SpaceMouse(commands.put)
    device.state = None
    deadline = time.monotonic() + 10
    while not device.is_closed:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    mouse.close()
    assert "the SpaceMouse is gone" in caplog.text and commands.empty()


def test_a_refused_command_is_not_the_end(device, caplog):
    commands = queue.SimpleQueue()

    def refuse(action):
        commands.put(action)
        raise ArmchairError("not 7 numbers")

    with SpaceMouse(refuse):
        device.state = State(x=1.0)
        for _ in range(2):
            commands.get(timeout=10)
    assert "not 7 numbers" in caplog.text


def test_without_a_device_or_its_library_it_says_what_to_do(device, monkeypatch):
    device.state = None
    with pytest.raises(ArmchairError, match=r"plug it in.*/dev/hidraw"):
        SpaceMouse(lambda action: None)
    monkeypatch.setitem(sys.modules, "pyspacemouse", None)  # as if it were not installed
    with pytest.raises(ArmchairError, match=r"armchair\[spacemouse\]"):
        SpaceMouse(lambda action: None)
