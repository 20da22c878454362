"""Writes episodes of a store in a format that others read.

```
python -m beam_jobs.export --store runs/store --out runs/rlds --format rlds --rewards model:tgr_i-1a2b3c4d
```
Interrupted, it goes on where it was: see `beam_jobs.parts`.
"""

import functools
from collections.abc import Sequence

from apache_beam.options.pipeline_options import PipelineOptions

from beam_jobs import parts
from beam_jobs.config import ExportConfig, Format
from beam_jobs.options import run_as_script
from beam_jobs.parts import Summary
from datasets.features import StepSpec
from datasets.schema import Verdict
from datasets.store import EpisodeRow
from datasets.writers.base import Writer
from datasets.writers.lerobot import LerobotWriter
from datasets.writers.mp4 import Mp4Writer
from datasets.writers.rlds import RldsWriter
from datasets.writers.robomimic import RobomimicWriter


def export(config: ExportConfig, options: PipelineOptions | None = None) -> Summary:
    """Runs the job.

    Args:
      config: what, how, and where to.
      options: Beam's; by default FnApiRunner in this process.

    Raises:
      ArmchairError: as `parts.run`.
    """
    decides = {"format": str(config.format), "name": config.name}
    return parts.run("export", config, functools.partial(_writer, config), options, decides)[0]


def _writer(config: ExportConfig, spec: StepSpec, rows: Sequence[EpisodeRow]) -> Writer:
    match config.format:
        case Format.RLDS:
            return RldsWriter(config.name, spec)
        case Format.ROBOMIMIC:
            return RobomimicWriter(config.name, spec)
        case Format.LEROBOT:
            return LerobotWriter(spec, judged=all(row.verdict != Verdict.UNKNOWN for row in rows))
        case Format.MP4:
            return Mp4Writer(config.store.absolute(), spec)


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
