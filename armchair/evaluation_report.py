"""The report of an evaluation: how often each policy succeeded, how sure that is, every verdict, and videos."""

import dataclasses
import itertools
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.figure import Figure

from datasets import schema, video
from datasets.episode import Episode
from pipeline.report import Report, Video
from robot.evaluate import Evaluation, differences
from robot.loop import EpisodeSummary
from robot.record import recorded

_COLOUR = "#0b6e4f"


def write(path: Path, evaluations: Mapping[str, Evaluation], out: Path | None, dataset: str) -> Path:
    """Writes the page and returns its path.

    Args:
      path: the HTML file.
      evaluations: by the policies' names.
      out: where the episodes were recorded, to `out/dataset/1.0.0`; None: nowhere, so that there are no videos.
      dataset: see `out`.
    """
    report = Report(*_title(evaluations))
    _success(report, evaluations)
    if out is not None:
        records = _records(evaluations, out, dataset)
        _videos(report, {name: record.first for name, record in records.items() if record.first is not None})
        if any(record.reasons or record.is_paced for record in records.values()):
            _safety(report, records)
    _episodes(report, evaluations)
    return report.write(path)


@dataclasses.dataclass
class _Record:
    """What the recorded episodes of one policy tell."""

    first: Episode | None = None  # the one of the lowest seed
    steps: int = 0
    reasons: Counter[str] = dataclasses.field(default_factory=Counter)  # why actions were changed, and how often
    stops: int = 0
    is_paced: bool = False
    overruns: int = 0
    jitter_ms: int = 0  # of the worst episode

    def add(self, episode: Episode) -> None:
        self.steps += episode.num_steps - 1
        for told in episode.extras.get(schema.INTERVENTION, ()):
            self.reasons.update(filter(None, told.split(",")))
        tags = dict(tag.partition(":")[::2] for tag in episode.metadata.tags.split(","))
        self.stops += "stopped" in tags
        self.is_paced |= "overruns" in tags
        self.overruns += int(tags.get("overruns", 0))
        self.jitter_ms = max(self.jitter_ms, int(tags.get("jitter_ms", 0)))


def _records(evaluations: Mapping[str, Evaluation], out: Path, dataset: str) -> dict[str, _Record]:
    """By the policies' names; one episode after the other, as their pictures may be large."""
    names = {e.episode_id: name for name, evaluation in evaluations.items() for e in evaluation.episodes}
    firsts = {evaluation.episodes[0].episode_id for evaluation in evaluations.values()}
    records = {name: _Record() for name in evaluations}
    for episode in recorded(out, dataset):
        if name := names.get(episode.metadata.episode_id):
            records[name].add(episode)
            if episode.metadata.episode_id in firsts:
                records[name].first = episode
    return records


def _title(evaluations: Mapping[str, Evaluation]) -> tuple[str, str]:
    one, *others = evaluations.values()
    task, count = one.episodes[0].task_id, len(one.episodes)
    who = f"{len(evaluations)} policies" if others else "A policy"
    each = " each, in turns and all from the same initial conditions" if others else ""
    return f"{task}: {who.lower()} evaluated", f"{who} acted in {one.env}, for {count} episodes{each}."


def _success(report: Report, evaluations: Mapping[str, Evaluation]) -> None:
    report.heading("Success")
    report.table(
        ("policy", "id", "success", "95 % interval", "judged", "mean return"),
        [
            (name, e.policy_id, _percent(e), _interval(e), f"{e.judged} of {len(e.episodes)}", f"{e.mean_return:.2f}")
            for name, e in evaluations.items()
        ],
        "Of the episodes that were judged; intervals are Wilson's. Return: the sum of the environment's rewards.",
    )
    judged = {name: evaluation for name, evaluation in evaluations.items() if evaluation.judged}
    if not judged:
        report.text("Nobody judged these episodes, neither the environment nor a person.")
        return
    report.figure(success_figure(judged), "Success rate with its 95 % interval.")
    if gains := differences(list(judged.values())):
        report.table(
            ("first", "second", "first minus second", "95 % interval"),
            [
                (d.first, d.second, f"{100 * d.difference:+.0f} points", f"{100 * d.low:+.0f} to {100 * d.high:+.0f}")
                for d in gains
            ],
            "Newcombe's interval for independent rates. That initial conditions are shared makes it rather too wide.",
        )


def success_figure(evaluations: Mapping[str, Evaluation], colours: Sequence[str] = (_COLOUR,)) -> Figure:
    """A bar for each policy, by its name for people, with its 95 % interval; `colours` are used in turns."""
    figure = Figure(figsize=(6.5, 0.6 + 0.45 * len(evaluations)))
    axes = figure.subplots()
    for y, (evaluation, colour) in enumerate(zip(evaluations.values(), itertools.cycle(colours), strict=False)):
        rate, (low, high) = evaluation.success_rate or 0, evaluation.interval or (0, 1)
        axes.barh(y, 100 * rate, color=colour, height=0.6)
        axes.plot([100 * low, 100 * high], [y, y], color="black", linewidth=1.5)
        axes.text(100 * high + 1.5, y, f"{100 * rate:.0f} %", va="center")
    axes.set_yticks(range(len(evaluations)), list(evaluations))
    axes.invert_yaxis()
    axes.set_xlim(0, 110)
    axes.set_xlabel("success, %")
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def _videos(report: Report, firsts: Mapping[str, Episode]) -> None:
    """The first episode of each policy, where there are pictures."""
    seen = {name: episode for name, episode in firsts.items() if episode.image_keys}
    if not seen:
        return
    report.heading("What the policies do")
    report.text("The first episode of each, not chosen.")
    with tempfile.TemporaryDirectory() as folder:
        clips = []
        for number, (name, episode) in enumerate(seen.items()):
            clip = video.episode_to_mp4(episode, Path(folder) / f"{number}.mp4")
            clips.append(Video(clip, f"{name}: {episode.metadata.verdict}, seed {episode.metadata.seed}"))
        report.videos(clips)


def _safety(report: Report, records: Mapping[str, _Record]) -> None:
    """What the safety filter did, and how well the pace was kept."""
    report.heading("Safety and pace")
    report.table(
        ("policy", "steps", "of them changed, by reason", "stops", "overruns", "worst jitter, ms"),
        [
            (
                name,
                record.steps,
                ", ".join(f"{reason}: {count}" for reason, count in record.reasons.most_common()) or "none",
                record.stops,
                record.overruns if record.is_paced else "-",
                record.jitter_ms if record.is_paced else "-",
            )
            for name, record in records.items()
        ],
        "The safety filter makes actions slower, or stops the arm; a step may be changed for several reasons. An "
        "overrun is a step that came more than a control step late. Of an episode's steps, 95 % came at most its "
        "jitter late.",
    )


def _episodes(report: Report, evaluations: Mapping[str, Evaluation]) -> None:
    report.heading("Every episode")
    rows: dict[int, dict[str, EpisodeSummary]] = {}
    for name, evaluation in evaluations.items():
        for episode in evaluation.episodes:
            rows.setdefault(episode.seed, {})[name] = episode
    report.table(
        ("seed", *evaluations),
        [(seed, *(_verdict(theirs[name]) for name in evaluations)) for seed, theirs in sorted(rows.items())],
        "A seed stands for an initial condition.",
    )


def _verdict(episode: EpisodeSummary) -> str:
    if episode.success is None:
        return f"not judged, return {episode.return_:.2f}"
    return "success" if episode.success else "failure"


def _percent(evaluation: Evaluation) -> str:
    return "-" if evaluation.success_rate is None else f"{100 * evaluation.success_rate:.0f} %"


def _interval(evaluation: Evaluation) -> str:
    if evaluation.interval is None:
        return "-"
    low, high = evaluation.interval
    return f"{100 * low:.0f} to {100 * high:.0f} %"
