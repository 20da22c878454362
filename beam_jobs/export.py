"""Writes episodes of a store in a format that others read.

```
python -m beam_jobs.export --store runs/store --out runs/rlds --format rlds --rewards model:tgr_i-1a2b3c4d
```
Interrupted, it goes on where it was: see `beam_jobs.parts`.
"""

import dataclasses
from collections.abc import Sequence

from apache_beam.options.pipeline_options import PipelineOptions

from beam_jobs import parts
from beam_jobs.config import ExportConfig, Format
from beam_jobs.options import beam_options, run_as_script
from beam_jobs.parts import Job, Summary
from datasets.store import EpisodeRow, Store
from datasets.writers import base
from datasets.writers.base import Writer
from datasets.writers.mp4 import Mp4Writer
from datasets.writers.rlds import RldsWriter
from datasets.writers.robomimic import RobomimicWriter


def export(config: ExportConfig, options: PipelineOptions | None = None) -> Summary:
    """Runs the job.

    Args:
      config: what, how, and where to.
      options: Beam's; by default FnApiRunner in this process.

    Raises:
      ArmchairError: as `parts.run`, and if the query selects nothing or episodes of several kinds.
    """
    config = dataclasses.replace(config, store=config.store.absolute(), out=config.out.absolute())
    store = Store.open(config.store)
    query = store.parse(config.query)
    rows = store.query(query, require=True)
    plan = {name: str(getattr(config, name)) for name in ("format", "rewards", "task", "name")} | {"query": str(query)}
    job = Job("export", config.store, config.out, plan, config.rewards, config.task)
    return parts.run(job, _writer(config, store, rows), rows, options or beam_options())


def _writer(config: ExportConfig, store: Store, rows: Sequence[EpisodeRow]) -> Writer:
    spec = base.spec_of(store, rows)
    match config.format:
        case Format.RLDS:
            return RldsWriter(config.name, spec)
        case Format.ROBOMIMIC:
            return RobomimicWriter(config.name, spec)
        case Format.MP4:
            return Mp4Writer(config.store, spec)


def main(config: ExportConfig, options: PipelineOptions) -> None:
    """Runs the job, and prints what was written.

    Raises:
      ArmchairError: as `export`, and at the end if episodes were left out.
    """
    summary = export(config, options)
    summary.print()
    summary.raise_problems(config.store)


if __name__ == "__main__":
    run_as_script("export", ExportConfig)
