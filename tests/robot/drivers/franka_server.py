"""A simulated controller of a Franka arm that speaks its network protocol, in an environment of its own.

`franka-sim` wants other versions of NumPy and MuJoCo than we have; its model of the arm comes with another package,
`franky-sim`, of which nothing else is used. Tests install both (marked `controller`: `make test-arm`).
"""

import contextlib
import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from datasets import files
from robot.drivers.environment import RobotConfig, RobotEnvironment
from robot.drivers.fake import FakeCamera
from robot.limits import Box, SafetyConfig
from tests import environments

ROOT = Path(__file__).parents[3]
HOME = environments.BUILD / "franka_sim"
HOST = f"127.{os.getpid() // 65536 % 256}.{os.getpid() // 256 % 256}.{os.getpid() % 256}"
"""Libfranka knows one port only, so that each process that tests has an address of its own on this machine."""
REQUIREMENTS = ("franka-sim==1.1.7", "pytest")
MODEL = "franky-sim==1.0.4"
SAFETY = SafetyConfig(Box((0.25, -0.15, 0.45), (0.45, 0.15, 0.85)))
"""A workspace about where the ready pose is, without a hand's length."""
_SERVER = Path(__file__).with_name("watched_controller.py")


def robot_at(host: str, time_limit: int) -> RobotEnvironment:
    """The arm of a controller, with a camera that sees nothing; behind no safety filter yet."""
    from robot.drivers.franka import FrankaDriver  # wants the maker's library, which tests look for first

    cameras = {"wrist": FakeCamera(time, (16, 16))}
    return RobotEnvironment(FrankaDriver(host), cameras, SAFETY, "task", RobotConfig(time_limit))


def interpreter() -> Path:
    """The server's interpreter and model, made at the first call; skips the test where that is not possible."""
    python = environments.commands_of(HOME.name, *REQUIREMENTS, unpacked=(MODEL,)) / "python"
    assets = HOME / "franky_sim" / "assets"
    model = re.sub('meshdir="[^"]*"', f'meshdir="{assets}/meshes"', (assets / "fr3.xml").read_text())
    files.write_atomically(HOME / "fr3.xml", model)
    return python


@contextlib.contextmanager
def controller(
    log: Path, *options: str, host: str = HOST, within: tuple[str, ...] = ()
) -> Iterator[subprocess.Popen[bytes]]:
    """A controller; where its arm is, it writes beside its log (`places`).

    Args:
      log: what it prints.
      *options: of the server.
      host: where it listens.
      within: a command that runs another one, in whose surroundings it lives.
    """
    command = [*within, interpreter(), _SERVER, host, _beside(log), "--enforce-motion-limits", *options]
    with log.open("wb") as file:
        process = subprocess.Popen(
            command, stdout=file, stderr=file, env=os.environ | {"FR3_MJCF": str(HOME / "fr3.xml")},
            start_new_session=True,
        )  # fmt: skip
    try:
        end = time.monotonic() + 60
        while b"Server ready" not in log.read_bytes():
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < end, log.read_text()
            time.sleep(0.1)
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def places(log: Path) -> np.ndarray:
    """Where a controller's arm was, [N, 5]: s by `time.monotonic`, s simulated, m of its flange (x, y, z)."""
    *lines, _ = _beside(log).read_text().split("\n")  # the last one may be half a line
    return np.array([line.split() for line in lines], float)


def _beside(log: Path) -> Path:
    return log.with_suffix(".places")
