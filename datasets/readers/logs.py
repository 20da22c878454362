"""Finding out of what kind a folder of recordings is."""

from pathlib import Path

from datasets.errors import StoreError
from datasets.readers import lerobot_layout, rl_unplugged
from datasets.readers.base import NO_DEFAULTS, Defaults, Log
from datasets.readers.lerobot import LerobotLog
from datasets.readers.rlds import RldsLog
from datasets.readers.sketchy import SketchyLog


def open_logs(path: Path, defaults: Defaults = NO_DEFAULTS) -> list[Log]:
    """The logs in a folder: each RLDS/TFDS dataset, each task of RL Unplugged and each LeRobot dataset at any depth, or
    else one Sketchy log.

    Raises:
      StoreError: if there is no such folder or nothing known in it.
    """
    if not path.is_dir():
        raise StoreError(f"{path} is not a folder: give one that holds recorded episodes")
    datasets = {mark.parent for mark in path.rglob("features.json")}
    tasks = {shard.parent for shard in path.rglob("train-*") if rl_unplugged.is_shard(shard)}
    lerobots = {
        mark.parents[1] for mark in path.rglob(lerobot_layout.INFO) if lerobot_layout.is_dataset(mark.parents[1])
    }
    logs: list[Log] = [RldsLog(folder, defaults) for folder in _in_sight(datasets, path)]
    logs += [rl_unplugged.open_task(folder, defaults) for folder in _in_sight(tasks, path)]
    logs += [LerobotLog(folder, defaults) for folder in _in_sight(lerobots, path)]
    logs = logs or [SketchyLog(path, defaults)]
    if logs := [log for log in logs if log.files()]:
        return logs
    raise StoreError(
        f"{path} holds neither an RLDS/TFDS dataset in TFRecord files (with features.json), nor RL Unplugged's shards, "
        "nor a LeRobot dataset (with meta/info.json), nor Sketchy episode files: check the path"
    )


def _in_sight(folders: set[Path], root: Path) -> list[Path]:
    """Those that are not hidden, sorted."""
    return sorted(f for f in folders if not any(part.startswith(".") for part in f.relative_to(root).parts))
