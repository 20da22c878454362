"""What each job is told. Kept apart from the jobs, so that a command line answers before Beam is imported."""

import dataclasses
from pathlib import Path

from datasets.readers.base import NO_DEFAULTS, Defaults


@dataclasses.dataclass(frozen=True)
class IngestConfig:
    """Takes recorded episodes, or any RLDS/TFDS, RL Unplugged, LeRobot or Sketchy folder, into a store.

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


@dataclasses.dataclass(frozen=True)
class AnnotateConfig:
    """Writes a reward model's predictions for every episode that a query selects and that has none of this model yet.

    Options that are not listed here are handed to Beam (--runner, --direct_num_workers, ...).
    """

    store: Path
    """Folder of the store."""
    model: Path
    """Folder of the reward model."""
    query: str = ""
    """Which episodes, for example "task_id=lift_green verdict=success"; empty: all of them."""
    batch_size: int = 128
    """Frames that the model rates at once; always as many (the last batch is padded), so that numbers do not depend on
    how many episodes there are. 128: larger ones are no faster on a CPU, and a worker stays small."""
