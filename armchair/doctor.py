"""Whether this machine and this installation can do the work; each finding says ok, or what to do.

The checks are the traps that were met: packages that a resolver picks and that then fail, two TensorFlows in one
folder, a foreign `datasets` package, OpenGL without a screen, a small disk, a damaged store.
"""

import dataclasses
import importlib.metadata
import importlib.util
import os
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

import psutil
from packaging.requirements import Requirement
from packaging.version import Version

from datasets.errors import ArmchairError

MINIMUM_GLIBC = Version("2.28")  # of the oldest wheels that the lock has for apache-beam's and TFDS's dependencies
MINIMUM_MEMORY = 4e9  # bytes free: TensorFlow and Beam take 0.5 GB a process, and the demo keeps its data in memory
MINIMUM_DISK = 3e9  # bytes free: the demo's recordings, models and videos, with room to spare
SLOW_IMPORT = 20.0  # s; with compiled byte code the whole stack imports in about 5 s

_SET_UP = "run `make setup` in the checkout, which makes a fresh environment"
_INSTALL = "on Debian or Ubuntu: sudo apt-get install -y "
_GL_PACKAGES = "libegl1 libgl1 libegl-mesa0 libgl1-mesa-dri"
_LIBRARIES = "libgmpxx4ldbl"  # EnvLogger's wheel wants it from the system
_NAMED = ("tensorflow-cpu", "tensorflow", "dm-reverb", "tensorflow-datasets", "apache-beam", "mujoco", "numpy")
_STACK = "import tensorflow, sonnet, reverb, tensorflow_datasets, rlds, envlogger, apache_beam"


@dataclasses.dataclass(frozen=True)
class Finding:
    """One line of the doctor's report: what is so and, if it must be mended, how."""

    what: str
    fix: str = ""  # empty: nothing to do

    def __str__(self) -> str:
        """`ok   what` or `FIX  what: fix`."""
        return f"FIX  {self.what}: {self.fix}" if self.fix else f"ok   {self.what}"


def python() -> Iterator[Finding]:
    """Python 3.11 on Linux x86-64: Reverb has wheels for nothing else that Armchair supports."""
    found = f"Python {platform.python_version()} on {platform.system()} {platform.machine()}"
    right = sys.version_info[:2] == (3, 11) and (platform.system(), platform.machine()) == ("Linux", "x86_64")
    yield Finding(found, "" if right else "Armchair needs Python 3.11 on Linux x86-64; `make setup` brings the Python")


def glibc() -> Iterator[Finding]:
    """A C library that the wheels were built for."""
    name, _, version = (os.confstr("CS_GNU_LIBC_VERSION") or "").partition(" ")
    right = name == "glibc" and Version(version) >= MINIMUM_GLIBC
    yield Finding(
        f"glibc {version or 'is not there'}", "" if right else f"use a Linux with glibc {MINIMUM_GLIBC} or newer"
    )


def packages() -> Iterator[Finding]:
    """Every installed package against the versions that Armchair declares."""
    try:
        requirements = [Requirement(line) for line in importlib.metadata.requires("armchair") or ()]
    except importlib.metadata.PackageNotFoundError:
        yield Finding("armchair is not installed in this environment", _SET_UP)
        return
    installed = installed_versions()
    yield from compare(requirements, installed)
    yield Finding("installed: " + ", ".join(f"{name} {installed[name]}" for name in _NAMED if name in installed))


def installed_versions() -> dict[str, str]:
    """Version of every installed distribution, by its normalised name."""
    return {_normal(d.name): d.version for d in importlib.metadata.distributions()}


def compare(requirements: Iterable[Requirement], installed: Mapping[str, str]) -> Iterator[Finding]:
    """One finding for each requirement that is missing or not met. What only an extra asks for may be missing."""
    for requirement in requirements:
        version = installed.get(_normal(requirement.name))
        if version is None:
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                yield Finding(f"{requirement.name} is not installed", _SET_UP)
        elif not requirement.specifier.contains(version, prereleases=True):
            yield Finding(f"{requirement.name} {version} is not {requirement.specifier}", _SET_UP)


def tensorflow() -> Iterator[Finding]:
    """Exactly one of tensorflow and tensorflow-cpu: both own the same folder."""
    found = [name for name in ("tensorflow", "tensorflow-cpu") if name in installed_versions()]
    if len(found) == 1:
        yield Finding(f"one TensorFlow: {found[0]}")
    elif found:
        yield Finding("tensorflow and tensorflow-cpu overwrite each other's files", _SET_UP)
    else:
        yield Finding("there is no TensorFlow", "install the extra [cpu] or [gpu], for example by `make setup`")


def shadows() -> Iterator[Finding]:
    """`import datasets` must find Armchair's room, not the package of the same name by Hugging Face."""
    ours = Path(__file__).resolve().parents[1]
    spec = importlib.util.find_spec("datasets")
    origin = Path(spec.origin).resolve() if spec and spec.origin else None
    if "datasets" in installed_versions():
        yield Finding("the package `datasets` (Hugging Face) is installed beside Armchair", "pip uninstall datasets")
    elif origin is None or ours not in origin.parents:
        yield Finding(f"`import datasets` finds {origin}", "run Armchair in an environment of its own, by `make setup`")
    else:
        yield Finding("`import datasets` finds Armchair's own")


def imports() -> Iterator[Finding]:
    """The stack really imports, and its byte code is compiled."""
    start = time.perf_counter()
    error = run_python(_STACK)
    seconds = time.perf_counter() - start
    if error:
        fix = _INSTALL + _LIBRARIES if "cannot open shared object file" in error else _SET_UP
        yield Finding(f"the stack does not import ({error})", fix)
    elif seconds > SLOW_IMPORT:
        yield Finding(f"the stack imports, slowly ({seconds:.0f} s): unset PYTHONDONTWRITEBYTECODE if it is set")
    else:
        yield Finding(f"TensorFlow, Sonnet, Reverb, TFDS, EnvLogger and Beam import ({seconds:.1f} s)")


def onednn() -> Iterator[Finding]:
    """oneDNN makes small convolutions a quarter faster and is off by default on some CPUs; the CLI turns it on."""
    if os.environ.get("TF_ENABLE_ONEDNN_OPTS") == "0":
        yield Finding("oneDNN is off (TF_ENABLE_ONEDNN_OPTS=0): image networks train some 20 % slower; unset it")
    else:
        yield Finding("oneDNN is on")


def rendering() -> Iterator[Finding]:
    """OpenGL without a screen, by drawing a frame in another process."""
    try:
        from robot.cell import rendering as gl
    except ModuleNotFoundError as error:
        yield Finding(f"{error.name} is not installed: no simulated cell; the extra [sim] brings it")
        return
    try:
        backend = gl.choose_backend()
    except ArmchairError as error:
        yield Finding(f"no frame can be drawn ({error})", _INSTALL + _GL_PACKAGES)
        return
    fix = "" if gl.draws(backend) else f"unset MUJOCO_GL, or {_INSTALL}{_GL_PACKAGES}"
    yield Finding(f"OpenGL by {backend} " + ("cannot draw a frame" if fix else "draws the cell's cameras"), fix)


def memory() -> Iterator[Finding]:
    """Free memory."""
    free = psutil.virtual_memory().available
    fix = "" if free >= MINIMUM_MEMORY else f"free some: {MINIMUM_MEMORY / 1e9:.0f} GB are wanted"
    yield Finding(f"{free / 1e9:.1f} GB of memory free, {os.cpu_count()} processors", fix)


def disk() -> Iterator[Finding]:
    """Free disk where we stand."""
    free = shutil.disk_usage(Path.cwd()).free
    fix = "" if free >= MINIMUM_DISK else f"free some: {MINIMUM_DISK / 1e9:.0f} GB are wanted"
    yield Finding(f"{free / 1e9:.1f} GB of disk free in {Path.cwd()}", fix)


CHECKS: Mapping[str, Callable[[], Iterator[Finding]]] = {
    check.__name__: check
    for check in (python, glibc, packages, tensorflow, shadows, imports, onednn, rendering, memory, disk)
}
"""The checks of a machine, by name, in the order in which they are made."""


def store_health(path: Path) -> Iterator[Finding]:
    """Every checksum and every row of a store. Raises StoreError if there is no store at `path`."""
    from datasets.store import Store  # imports TensorFlow

    store = Store.open(path)
    problems = store.verify()
    for problem in problems:
        yield Finding(f"{problem.where}: {problem.what}", problem.fix or "restore it from a copy")
    if not problems:
        yield Finding(f"the store {path} is whole")


def run_python(code: str, timeout: float = 120.0) -> str:
    """Runs code in a Python of its own, so that a crash is a finding. Returns "" or the last line of its error."""
    try:
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, timeout=timeout, check=False
        )
    except subprocess.TimeoutExpired:
        return f"no answer in {timeout:.0f} s"
    if done.returncode == 0:
        return ""
    lines = done.stderr.strip().splitlines()
    return lines[-1] if lines else f"exit status {done.returncode}"


def _normal(name: str) -> str:
    return name.lower().replace("_", "-").replace(".", "-")
