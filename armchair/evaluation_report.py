"""The report of an evaluation: how often each policy succeeded, how sure that is, every verdict, and videos."""

import tempfile
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from matplotlib.figure import Figure

from datasets import schema, video
from datasets.episode import Episode
from pipeline.report import Report, Video
from robot.evaluate import Evaluation, differences
from robot.loop import EpisodeSummary
from robot.record import recorded


def write(path: Path, evaluations: Mapping[str, Evaluation], out: Path | None, dataset: str) -> Path:
    """Writes the page and returns its path.

    Args:
      path: the HTML file.
      evaluations: by the policies' names.
      out: where the episodes were recorded, to `out/dataset/1.0.0`; None: nowhere, so that there are no videos.
      dataset: see `out`.
    """
    ids = {e.episode_id: (name, e.seed) for name, evaluation in evaluations.items() for e in evaluation.episodes}
    report = Report(*_title(evaluations))
    _success(report, evaluations)
    if out is not None:
        found = [episode for episode in recorded(out, dataset) if episode.metadata.episode_id in ids]
        by_policy = {name: [e for e in found if ids[e.metadata.episode_id][0] == name] for name in evaluations}
        _videos(report, by_policy)
        _safety(report, by_policy)
    _episodes(report, evaluations)
    return report.write(path)


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
    report.figure(_figure(judged), "Success rate with its 95 % interval.")
    if gains := differences(list(judged.values())):
        report.table(
            ("first", "second", "first minus second", "95 % interval"),
            [
                (d.first, d.second, f"{100 * d.difference:+.0f} points", f"{100 * d.low:+.0f} to {100 * d.high:+.0f}")
                for d in gains
            ],
            "Newcombe's interval for independent rates. That initial conditions are shared makes it rather too wide.",
        )


def _figure(evaluations: Mapping[str, Evaluation]) -> Figure:
    figure = Figure(figsize=(6.5, 0.6 + 0.45 * len(evaluations)))
    axes = figure.subplots()
    for y, evaluation in enumerate(evaluations.values()):
        low, high = (100 * bound for bound in evaluation.interval or (0, 1))
        axes.barh(y, 100 * (evaluation.success_rate or 0), color="#0b6e4f", height=0.6)
        axes.plot([low, high], [y, y], color="black", linewidth=1.5)
    axes.set_yticks(range(len(evaluations)), list(evaluations))
    axes.invert_yaxis()
    axes.set_xlim(0, 100)
    axes.set_xlabel("success, %")
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def _videos(report: Report, episodes: Mapping[str, Sequence[Episode]]) -> None:
    """The first episode of each policy."""
    firsts = {name: theirs[0] for name, theirs in episodes.items() if theirs and theirs[0].image_keys}
    if not firsts:
        return
    report.heading("What the policies do")
    report.text("The first episode of each, not chosen.")
    with tempfile.TemporaryDirectory() as folder:
        clips = []
        for number, (name, episode) in enumerate(firsts.items()):
            clip = video.episode_to_mp4(episode, Path(folder) / f"{number}.mp4")
            clips.append(Video(clip, f"{name}: {episode.metadata.verdict}, seed {episode.metadata.seed}"))
        report.videos(clips)


def _safety(report: Report, episodes: Mapping[str, Sequence[Episode]]) -> None:
    """What the safety filter did, and how well the pace was kept, where there is either."""
    reasons = {name: Counter(_interventions(theirs)) for name, theirs in episodes.items()}
    tags = {name: [_tags(e) for e in theirs] for name, theirs in episodes.items()}
    if not any(reasons.values()) and not any(any(several) for several in tags.values()):
        return
    report.heading("Safety and pace")
    report.table(
        ("policy", "steps", "steps of them changed, by reason", "stops", "overruns", "worst jitter, ms"),
        [
            (
                name,
                sum(episode.num_steps - 1 for episode in theirs),
                ", ".join(f"{reason}: {count}" for reason, count in reasons[name].most_common()) or "none",
                sum("stopped" in told for told in tags[name]),
                sum(int(told.get("overruns", 0)) for told in tags[name]),
                max((int(told.get("jitter_ms", 0)) for told in tags[name]), default=0),
            )
            for name, theirs in episodes.items()
        ],
        "The safety filter makes actions slower, or stops the arm. An overrun is a step that came more than a control "
        "step late; the jitter is that of the worst episode, whose steps were 95 % of the time no later than that.",
    )


def _interventions(episodes: Iterable[Episode]) -> Iterable[str]:
    """Each reason of each step."""
    for episode in episodes:
        for told in episode.extras.get(schema.INTERVENTION, ()):
            yield from filter(None, told.split(","))


def _tags(episode: Episode) -> dict[str, str]:
    """`overruns:0,stopped` -> {"overruns": "0", "stopped": ""}."""
    pairs = (tag.partition(":") for tag in episode.metadata.tags.split(",") if tag)
    return {name: value for name, _, value in pairs}


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
