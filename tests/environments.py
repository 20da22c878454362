"""Environments of their own for other people's packages, which do not live beside ours: made once, kept in `build/`."""

import subprocess
import sys
from pathlib import Path

import pytest

_BUILD = Path(__file__).parents[1] / "build"  # git ignores it


def commands_of(name: str, *requirements: str) -> Path:
    """The folder of the commands of an environment, `python` among them; skips the test where it cannot be made.

    Args:
      name: of the environment.
      *requirements: what pip installs, from PyPI.
    """
    environment = _BUILD / name
    if not (environment / "ready").exists():
        try:
            for command in (
                [sys.executable, "-m", "venv", "--clear", environment],
                [environment / "bin/python", "-m", "pip", "install", "--quiet", *requirements],
            ):
                subprocess.run(command, check=True, capture_output=True, text=True, timeout=240)
        except (OSError, subprocess.SubprocessError) as error:
            pytest.skip(f"{', '.join(requirements)} cannot be installed: {getattr(error, 'stderr', '') or error}")
        (environment / "ready").touch()
    return environment / "bin"
