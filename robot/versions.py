"""Which software made a recording or a result, and on which machine."""

import functools
import importlib.metadata
import math
import os
import platform


@functools.cache
def version_of(distribution: str) -> str:
    """Version of an installed distribution; "unknown" for one that was never installed, only put on the path."""
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return "unknown"


def machine() -> str:
    """This one's size, as results tell it."""
    memory = math.ceil(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30)
    return f"{os.cpu_count()} cores ({platform.machine()}), {memory} GiB, no GPU used"


def onednn() -> str:
    """Whether TensorFlow uses oneDNN in what `armchair` starts: it does, unless a user forbids it."""
    return "off" if os.environ.get("TF_ENABLE_ONEDNN_OPTS") == "0" else "on"


def versions() -> dict[str, str]:
    """Of everything that bears on how an episode goes."""
    # What is installed twice under two names is reported once.
    tensorflow = next(
        (v for name in ("tensorflow", "tensorflow-cpu") if (v := version_of(name)) != "unknown"), "unknown"
    )
    names = ("armchair", "mujoco", "numpy")
    return {"python": platform.python_version(), "tensorflow": tensorflow, **{name: version_of(name) for name in names}}
