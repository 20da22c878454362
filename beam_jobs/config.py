"""What each job is told. Kept apart from the jobs, so that a command line answers before Beam is imported."""

import dataclasses
import enum
from pathlib import Path
from typing import Annotated

import tyro

from datasets.readers.base import NO_DEFAULTS, Defaults


@dataclasses.dataclass(frozen=True)
class IngestConfig:
    """Takes recorded episodes into a store: any folder of RLDS/TFDS, RL Unplugged, LeRobot or Sketchy, and any HDF5
    files of robomimic, robosuite, Minari or D4RL.

    Options that are not listed here are handed to Beam (--runner, --direct_num_workers, ...).
    """

    source: tuple[Path, ...]
    """Folders with episodes."""
    store: Path
    """Folder of the store; made if it is not there."""
    dataset: str | None = None
    """Name of the dataset to put them into, instead of the source's own."""
    repair: bool = True
    """Mend what has one right answer, such as an is_last that is never true, and note it in the episode."""
    defaults: Defaults = NO_DEFAULTS
    """What the source does not say of its episodes."""
    keep_duplicates: bool = False
    """Store episodes too whose steps are those of another episode in the store, instead of telling of which."""
    mapping: Path | None = None
    """YAML file that says which names of the source become which of ours; `armchair ingest inspect` proposes one."""


@dataclasses.dataclass(frozen=True)
class AnnotateConfig:
    """Writes predictions of reward models for every episode that a query selects and that has none of them yet.

    Options that are not listed here are handed to Beam (--runner, --direct_num_workers, ...).
    """

    store: Path
    """Folder of the store."""
    model: tuple[Path, ...]
    """Folders of reward models; several together read and decode each frame once."""
    query: str = ""
    """Which episodes, for example "task_id=lift_green verdict=success"; empty: all of them."""
    batch_size: int = 128
    """Frames that the model rates at once; always as many (the last batch is padded), so that numbers do not depend on
    how many episodes there are. 128: larger ones are no faster on a CPU, and a worker stays small."""


class Format(enum.StrEnum):
    """What others read."""

    RLDS = "rlds"  # a TFDS folder: tfds.builder_from_directory, and Open X-Embodiment's tools
    ROBOMIMIC = "robomimic"  # one HDF5 file: robomimic, robosuite
    LEROBOT = "lerobot"  # tables and videos, version 3.0: LeRobot
    MP4 = "mp4"  # a video an episode, for people


@dataclasses.dataclass(frozen=True)
class ExportConfig:
    """Writes the episodes that a query selects in a format that others read.

    Options that are not listed here are handed to Beam (--runner, --direct_num_workers, ...).
    """

    store: Path
    """Folder of the store."""
    out: Path
    """Folder to write; an export that was stopped goes on."""
    format: Annotated[Format, tyro.conf.EnumChoicesFromValues]
    """Of what is written."""
    query: str = ""
    """Which episodes, for example "task_id=lift_green verdict=success"; empty: all of them."""
    rewards: str = "logged"
    """Which rewards to write: logged (as they are in the episodes), none, sketch or model:<model id>."""
    task: str = ""
    """The task that sketches rate; needed with --rewards sketch."""
    name: str = "armchair"
    """Of the dataset or the file."""


@dataclasses.dataclass(frozen=True)
class StatsConfig:
    """Describes the episodes that a query selects: statistics for normalising, and a page for people.

    Options that are not listed here are handed to Beam (--runner, --direct_num_workers, ...).
    """

    store: Path
    """Folder of the store."""
    out: Path
    """Folder to write: stats.json, sample.npz and card.html."""
    query: str = ""
    """Which episodes, all of one dataset, for example "dataset=bridge"; empty: all of them."""
    rewards: str = "logged"
    """Which rewards to describe: logged (as they are in the episodes), none, sketch or model:<model id>."""
    task: str = ""
    """The task that sketches rate; needed with --rewards sketch."""


@dataclasses.dataclass(frozen=True)
class ValidateConfig:
    """Looks at every number and every picture of the episodes that a query selects, and tells what is wrong with them.

    Options that are not listed here are handed to Beam (--runner, --direct_num_workers, ...).
    """

    store: Path
    """Folder of the store."""
    query: str = ""
    """Which episodes, for example "dataset=bridge"; empty: all of them."""
    out: Path | None = None
    """File to write what is found to, a JSON object a line."""
