"""Finding out of what kind a folder of recordings is."""

from pathlib import Path

from datasets.errors import StoreError
from datasets.readers import envlogger, hdf5, lerobot_layout, rl_unplugged
from datasets.readers.base import NO_DEFAULTS, Defaults, Log
from datasets.readers.d4rl import D4rlLog
from datasets.readers.lerobot import LerobotLog
from datasets.readers.minari import MinariLog
from datasets.readers.rlds import RldsLog
from datasets.readers.robomimic import RobomimicLog
from datasets.readers.sketchy import SketchyLog

_HDF5 = (RobomimicLog, MinariLog, D4rlLog)
_PICKLES = (".pkl", ".pickle")


def open_logs(path: Path, defaults: Defaults = NO_DEFAULTS) -> list[Log]:
    """The logs in a folder: each RLDS/TFDS dataset, log of EnvLogger's, task of RL Unplugged, LeRobot dataset, and HDF5
    file (robomimic's and robosuite's, Minari's, D4RL's) at any depth, or else one Sketchy log. An HDF5 file of no known
    layout is a log of one problem.

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
    envloggers = {path if m.parent == path else m.parents[1] for m in path.rglob(envlogger.STEPS)}
    logs: list[Log] = [RldsLog(folder, defaults) for folder in _in_sight(datasets, path)]
    logs += [envlogger.EnvloggerLog(folder, defaults) for folder in _in_sight(envloggers, path)]
    logs += [rl_unplugged.open_task(folder, defaults) for folder in _in_sight(tasks, path)]
    logs += [LerobotLog(folder, defaults) for folder in _in_sight(lerobots, path)]
    files = _in_sight({file for file in path.rglob("*") if hdf5.is_hdf5(file)}, path)
    in_hdf5 = [hdf5.open_file(file, defaults, _HDF5) for file in files]
    logs += [log for log in in_hdf5 if not isinstance(log, hdf5.StrayFile)]
    logs = logs or [SketchyLog(path, defaults)]
    logs += [log for log in in_hdf5 if isinstance(log, hdf5.StrayFile)]
    if logs := [log for log in logs if log.files()]:
        return logs
    if pickles := sorted(file for file in path.rglob("*") if file.suffix in _PICKLES):
        raise StoreError(
            f"{path} holds pickles ({pickles[0].name}) and no log: a pickle can run any code when it is opened, so "
            "none is; export it as HDF5 or RLDS where you trust it"
        )
    raise StoreError(
        f"{path} holds neither an RLDS/TFDS dataset in TFRecord files (with features.json), nor EnvLogger's logs (with "
        "steps.riegeli), nor RL Unplugged's shards, nor LeRobot datasets (with meta/info.json), nor HDF5 files of "
        "robomimic, robosuite, Minari or D4RL, nor Sketchy episode files: check the path"
    )


def _in_sight(paths: set[Path], root: Path) -> list[Path]:
    """Those that are not hidden, sorted."""
    return sorted(f for f in paths if not any(part.startswith(".") for part in f.relative_to(root).parts))
