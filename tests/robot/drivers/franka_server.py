"""A simulated controller of a Franka arm that speaks its network protocol, in an environment of its own.

`franka-sim` wants other versions of NumPy and MuJoCo than we have; its model of the arm comes with another package,
`franky-sim`, of which nothing else is used.
"""

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
HOME = ROOT / "build" / "franka_sim"  # made once; git ignores it
PORT = 1337  # libfranka knows no other
REQUIREMENTS = ("franka-sim==1.1.7", "pytest")
MODEL = "franky-sim==1.0.4"


def _python() -> Path:
    """The server's interpreter and model, made at the first call; skips the test where that is not possible."""
    python = HOME / "bin" / "python"
    if not (HOME / "ready").exists():
        try:
            for command in (
                [sys.executable, "-m", "venv", "--clear", HOME],
                [python, "-m", "pip", "install", "--quiet", *REQUIREMENTS],
                [python, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", HOME, MODEL],
            ):
                subprocess.run(command, check=True, capture_output=True, text=True, timeout=250)
            with zipfile.ZipFile(next(HOME.glob("franky_sim-*.whl"))) as wheel:
                wheel.extractall(HOME)
        except (OSError, subprocess.SubprocessError) as error:
            pytest.skip(f"NOT TESTED: the simulated Franka controller cannot be installed: {_told(error)}")
        assets = HOME / "franky_sim" / "assets"
        model = (assets / "fr3.xml").read_text()
        (HOME / "fr3.xml").write_text(re.sub('meshdir="[^"]*"', f'meshdir="{assets}/meshes"', model))
        (HOME / "ready").touch()
    return python


def _told(error: Exception) -> str:
    return str(getattr(error, "stderr", "") or error)[-400:]


@contextlib.contextmanager
def controller(log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A controller that listens at 127.0.0.1."""
    with log.open("wb") as file:
        process = subprocess.Popen(
            [_python(), "-m", "franka_sim.run_server", "--port", str(PORT), "--enforce-motion-limits"],
            stdout=file, stderr=file, env=os.environ | {"FR3_MJCF": str(HOME / "fr3.xml")}, start_new_session=True,
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
