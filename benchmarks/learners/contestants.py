"""Who is measured, and the environment of each: its own, so that nobody's library is held back by another's."""

import dataclasses
import os
import shutil
import subprocess
import sys
from pathlib import Path

from datasets.errors import ArmchairError

ENVIRONMENTS = Path("build/peers")
"""Where they are made; git ignores it."""
_AS_OF = "2025-06-01"  # nothing newer is installed, so that what is pinned below always finds the same company
_PEERS = Path(__file__).parent / "peers"
_QUIET = {"TF_CPP_MIN_LOG_LEVEL": "2", "CUDA_VISIBLE_DEVICES": ""}


@dataclasses.dataclass(frozen=True)
class Peer:
    """A library, and our script that trains with it."""

    label: str
    script: str  # in `peers/`
    critics: tuple[str, ...]
    python: str  # version
    requirements: tuple[str, ...]  # pinned
    wanted: float  # ours should be so many times as fast

    @property
    def environment(self) -> Path:
        """Its folder."""
        return ENVIRONMENTS / self.script


PEERS = (
    Peer("JAX, by hand, ten fused steps", "jax_crr", ("scalar", "c51"), "3.11",
         ("jax==0.4.38", "jaxlib==0.4.38", "numpy==1.26.4"), 1.25),
    Peer("Acme's CRR (TensorFlow)", "acme_crr", ("c51",), "3.9",
         # Acme pins TensorFlow 2.8, whose needs have moved on since; its adders import JAX, its wrappers gym.
         ("dm-acme[tf]==0.4.0", "jax==0.4.30", "jaxlib==0.4.30", "gym==0.25.2", "numpy==1.23.5", "protobuf==3.20.3",
          "setuptools==65.7.0"), 1.7),
    Peer("d3rlpy's CRR (PyTorch)", "d3rlpy_crr", ("scalar", "c51"), "3.11",
         ("d3rlpy==2.8.1", "torch==2.5.1", "numpy==1.26.4"), 2.7),
)  # fmt: skip


def prepare(peer: Peer) -> None:
    """Makes a peer's environment, if it is not there."""
    if (peer.environment / "ready").exists():
        return
    uv = shutil.which("uv") or ".venv-uv/bin/uv"  # scripts/setup.sh brings the second one
    python = peer.environment / "bin" / "python"
    subprocess.run([uv, "venv", "--clear", "--python", _find_python(peer.python), peer.environment], check=True)
    install = [uv, "pip", "install", "--python", python, "--exclude-newer", _AS_OF]
    subprocess.run([*install, *peer.requirements], check=True)
    (peer.environment / "ready").touch()


def _find_python(version: str) -> str:
    """The full path of a Python; by its version alone, uv downloads one, as it does not see through pyenv's shims."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    for candidate in (f"python{version}", *pyenv.glob(f"versions/{version}.*/bin/python")):
        asked = "import sys; print('%d.%d' % sys.version_info[:2], sys.executable)"
        try:
            done = subprocess.run([candidate, "-c", asked], capture_output=True, text=True, check=True)
        except (OSError, subprocess.CalledProcessError):
            continue
        found, path = done.stdout.split(maxsplit=1)
        if found == version:
            return path.strip()
    return version


def run_peer(peer: Peer, critic: str, seconds: float) -> dict[str, float]:
    """What its script prints."""
    command = [peer.environment / "bin" / "python", _PEERS / f"{peer.script}.py"]
    return told([*command, "--critic", critic, "--seconds", str(seconds)])


def run_ours(critic: str) -> dict[str, float]:
    """What `ours.py` prints."""
    store = ENVIRONMENTS / "store"
    return told([sys.executable, "-m", "benchmarks.learners.ours", "--critic", critic, "--store", store])


def run_limit(seconds: float) -> dict[str, float]:
    """What `matmul.py` prints."""
    return told([sys.executable, "-m", "benchmarks.learners.matmul", "--seconds", str(seconds)])


def told(command: list[str | Path]) -> dict[str, float]:
    """The numbers that a fresh process prints, `name value` a line.

    Raises:
      ArmchairError: if it fails.
    """
    done = subprocess.run(command, env=os.environ | _QUIET, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ArmchairError(f"{command[1]} failed: {done.stderr[-2000:]}")
    pairs = [line.split() for line in done.stdout.splitlines()]
    return {pair[0]: float(pair[1]) for pair in pairs if len(pair) == 2 and pair[1][:1].isdigit()}
