"""Finding out of what kind a folder of recordings is."""

from pathlib import Path

from datasets.errors import StoreError
from datasets.readers.base import NO_DEFAULTS, Defaults, Log
from datasets.readers.rlds import RldsLog
from datasets.readers.sketchy import SketchyLog


def open_logs(path: Path, defaults: Defaults = NO_DEFAULTS) -> list[Log]:
    """The logs in a folder: every RLDS/TFDS dataset in it at any depth, or else one Sketchy log.

    Raises:
      StoreError: if there is no such folder or nothing known in it.
    """
    if not path.is_dir():
        raise StoreError(f"{path} is not a folder: give one that holds recorded episodes")
    marks = sorted(path.rglob("features.json"))
    hidden = [mark for mark in marks if any(part.startswith(".") for part in mark.relative_to(path).parts)]
    logs: list[Log] = [RldsLog(mark.parent, defaults) for mark in marks if mark not in hidden] or [
        SketchyLog(path, defaults)
    ]
    if logs := [log for log in logs if log.files()]:
        return logs
    raise StoreError(
        f"{path} holds neither an RLDS/TFDS dataset in TFRecord files (with features.json) nor Sketchy episode files: "
        "check the path"
    )
