"""Environments of their own for other people's packages, which do not live beside ours: made once, kept in `build/`."""

import subprocess
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path

import pytest

BUILD = Path(__file__).parents[1] / "build"  # git ignores it


def commands_of(name: str, *requirements: str, unpacked: Sequence[str] = ()) -> Path:
    """The folder of the commands of an environment, `python` among them; skips the test where it cannot be made.

    Args:
      name: of the environment, which is `BUILD/name`.
      *requirements: what pip installs, from PyPI.
      unpacked: packages of which nothing but their files is wanted, there, without what they require.
    """
    environment = BUILD / name
    python = environment / "bin" / "python"
    if not (environment / "ready").exists():
        try:
            for command in (
                [sys.executable, "-m", "venv", "--clear", environment],
                [python, "-m", "pip", "install", "--quiet", *requirements],
                *(
                    [python, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", environment, p]
                    for p in unpacked
                ),
            ):
                subprocess.run(command, check=True, capture_output=True, text=True, timeout=250)
        except (OSError, subprocess.SubprocessError) as error:
            told = str(getattr(error, "stderr", "") or error)[-400:]
            pytest.skip(
                f"NOT TESTED: {environment} cannot be made, for which pip must reach "
                f"{', '.join((*requirements, *unpacked))}: {told}"
            )
        for wheel in environment.glob("*.whl"):
            with zipfile.ZipFile(wheel) as archive:
                archive.extractall(environment)
        (environment / "ready").touch()
    return python.parent
