"""Describes a data set: means, deviations and quantiles of every number, and a page with plots and pictures.

```
python -m beam_jobs.stats --store runs/store --out runs/card --query dataset=bridge
```
The numbers are the same whatever the runner and however often it was stopped: see `beam_jobs.parts`.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from apache_beam.options.pipeline_options import PipelineOptions
from matplotlib.figure import Figure

from beam_jobs import parts
from beam_jobs.config import StatsConfig
from beam_jobs.options import run_as_script
from beam_jobs.parts import Summary
from datasets import video
from datasets.errors import BadEpisodeError
from datasets.features import StepSpec
from datasets.store import EpisodeRow, Store
from datasets.writers.statistics import StatisticsWriter, read_statistics
from pipeline.report import Report, Video

_CLIPS = 3  # episodes shown: the first, the middle and the last of the query
_ACROSS = 4  # plots side by side
_BINS = 40
_COLUMNS = 8  # of a vector, drawn over each other; more cannot be told apart
_LISTED = 32  # columns of a vector that get a line; an embedding's tell nobody anything


def stats(config: StatsConfig, options: PipelineOptions | None = None) -> Summary:
    """Runs the job.

    Args:
      config: of which episodes, and where to.
      options: Beam's; by default FnApiRunner in this process.

    Raises:
      ArmchairError: as `parts.run`.
    """
    summary, rows = parts.run("stats", config, _writer, options, {})
    store = Store.open(config.store)
    write_card(config.out, store, rows, str(store.parse(config.query)))
    return summary


def _writer(spec: StepSpec, rows: Sequence[EpisodeRow]) -> StatisticsWriter:
    return StatisticsWriter(spec, sum(row.num_steps for row in rows))


def write_card(out: Path, store: Store, rows: Sequence[EpisodeRow], query: str) -> Path:
    """The page about the statistics in `out`; see `Report`."""
    told, sample = read_statistics(out)
    report = Report(
        f"Data: {query or store.root.name}",
        f"{told['episodes']:,} episodes, {told['frames']:,} frames, {told['hours']:.2f} hours of "
        f"{', '.join(told['robots'])}.",
    )
    report.heading("Episodes")
    for name in ("tasks", "types", "policies", "verdicts", "splits"):
        report.table((name, "episodes"), [(k, f"{v:,}") for k, v in told[name].items()], f"Episodes by {name}.")
    lengths = [row.num_steps for row in rows]
    report.figure(_histograms({"frames an episode": np.array(lengths)[:, None]}), "Lengths of the episodes.")
    report.heading("Pictures")
    cameras = tuple(name for name, spec in store.spec(rows[0].dataset).observation.items() if spec.is_image)
    if cameras:
        report.videos(_clips(report, out, store, rows, cameras))
    report.heading("Numbers")
    report.figure(_histograms(sample), "Distribution of each number over a sample of frames, a colour a column.")
    report.table(("field", "column", "mean", "std", "min", "1 %", "median", "99 %", "max"), _lines(told["fields"]), "")
    return report.write(out / "card.html")


def _clips(report: Report, out: Path, store: Store, rows: Sequence[EpisodeRow], cameras: Sequence[str]) -> list[Video]:
    """Some episodes' videos. The numbers of one with a broken picture count all the same, so the page tells."""
    clips = []
    for number in sorted({0, len(rows) // 2, len(rows) - 1})[:_CLIPS]:
        row = rows[number]
        path = out / "videos" / f"{row.episode_id}.mp4"
        try:
            video.episode_to_mp4(store.read(row), path, cameras)
        except BadEpisodeError as error:
            report.text(f"Of {row.episode_id} there is no video: {error}.")
            continue
        clips.append(Video(path, f"{row.episode_id}: {row.task_id or 'unknown task'}, {row.verdict}"))
    return clips


def _histograms(sample: Mapping[str, np.ndarray]) -> Figure:
    """A plot for each field, [n, D]."""
    shown = {name: rows for name, rows in sample.items() if len(rows)}
    down = -(-len(shown) // _ACROSS)
    figure = Figure(figsize=(3.2 * min(len(shown), _ACROSS), 1.9 * down), layout="constrained")
    for place, (name, rows) in enumerate(shown.items(), start=1):
        axes = figure.add_subplot(down, min(len(shown), _ACROSS), place)
        numbers = np.asarray(rows, np.float64)
        edges = np.linspace(numbers.min(), max(numbers.max(), numbers.min() + 1e-9), _BINS + 1)
        for column in numbers.T[:_COLUMNS]:
            axes.stairs(np.histogram(column, edges)[0], edges)
        axes.set_title(name, fontsize=7)
        axes.tick_params(labelsize=6)
        axes.set_yticks([])
    return figure


def _lines(fields: Mapping[str, Any]) -> list[tuple[object, ...]]:
    lines = []
    for name, told in fields.items():
        for column, (mean, std, low, high) in enumerate(
            zip(told["mean"][:_LISTED], told["std"], told["low"], told["high"], strict=False)
        ):
            quantiles = [q[column] for q in told["quantiles"]] or [float("nan")] * 7
            numbers = (mean, std, low, quantiles[0], quantiles[3], quantiles[-1], high)
            lines.append((name, column, *(f"{x:.4g}" for x in numbers)))
    return lines


def main(config: StatsConfig, options: PipelineOptions) -> None:
    """Runs the job, and prints where the page is.

    Raises:
      ArmchairError: as `stats`, and at the end if episodes were left out.
    """
    summary = stats(config, options)
    summary.print()
    print(f"see {config.out / 'card.html'}")
    summary.raise_problems(config.store)


if __name__ == "__main__":
    run_as_script("stats", StatsConfig)
