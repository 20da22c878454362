"""The report of the loop: success and what the reward model thinks of it, by round, and delusions as videos."""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from armchair.loop import Round
from datasets import video
from datasets.query import Query
from datasets.schema import Verdict
from datasets.store import Store
from pipeline.annotate import review
from pipeline.report import Report, Video
from robot.intervals import wilson

_CLIPS = 2  # of each round's policy: the failures that its reward model rated highest
_TRUE, _PREDICTED, _LOGS = "#0b6e4f", "#c8553d", "#8a8f98"


def write(path: Path, store_path: Path, task: str, rounds: Sequence[Round]) -> Path:
    """Writes the page."""
    store, last = Store.open(store_path), rounds[-1]
    report = Report(
        f"{task}: {len(rounds)} rounds of the loop",
        f"The first reward model learned from {rounds[0].sketches} sketches, all of episodes that succeed. After each "
        "round, those episodes of the newest policy were sketched in which its reward was most wrong, and reward and "
        "policy were trained again from scratch on all that was there. The first policy succeeds in "
        f"{rounds[0].successes} of {rounds[0].episodes} episodes, the last in {last.successes} of {last.episodes}.",
    )
    report.heading("Round by round")
    report.figure(
        figure([rounds]),
        "Left: how many of the newest policy's episodes succeed, with 95 % Wilson intervals, and in how many the "
        "reward model sees success at the end. Where the second is far above the first, the policy exploits its "
        "reward. Right: how well the reward model tells success from failure (ROC-AUC): in the newest policy's "
        "episodes, which it has never seen, and on frames of recorded ones that it was not trained on. Where all or no "
        "episodes succeed there is none.",
    )
    report.table(
        ("round", "sketches", "succeed", "95 % interval", "predicted to", "AUC, its episodes", "AUC, frames of logs"),
        [
            (r.number, r.sketches, f"{r.successes}/{r.episodes}", interval(r), f"{r.predicted_successes}/{r.episodes}",
             number(r.auc_episodes), number(r.auc_logs))
            for r in rounds
        ],
        "Each round has initial states of its own. Everything is measured before that round's episodes are sketched.",
    )  # fmt: skip
    for outcome in rounds:
        _delusions(report, store, task, outcome, rounds, path.parent / "videos")
    return report.write(path)


def figure(loops: Sequence[Sequence[Round]]) -> Figure:
    """Success and ROC-AUC over the rounds; several loops share the panels."""
    drawn = Figure(figsize=(9, 3.2), layout="constrained")
    success, auc = drawn.subplots(1, 2)
    auc.axhline(0.5, color="#d0d0d0", linewidth=0.8)  # chance
    for place, rounds in enumerate(loops):
        numbers = [r.number + 0.05 * (place - (len(loops) - 1) / 2) for r in rounds]  # side by side, to be seen
        low_high = [wilson(r.successes, r.episodes) for r in rounds]
        rates = [100 * r.success_rate for r in rounds]
        errors = [
            [rate - 100 * low for rate, (low, _) in zip(rates, low_high, strict=True)],
            [100 * high - rate for rate, (_, high) in zip(rates, low_high, strict=True)],
        ]
        success.errorbar(numbers, rates, errors, color=_TRUE, marker="o", capsize=3, label="succeed")
        predicted = [100 * r.predicted_successes / r.episodes for r in rounds]
        success.plot(numbers, predicted, color=_PREDICTED, marker="s", linestyle="--", label="predicted to succeed")
        _line(auc, rounds, [r.auc_episodes for r in rounds], _TRUE, "the newest policy's episodes")
        _line(auc, rounds, [r.auc_logs for r in rounds], _LOGS, "frames of logs")
    for axes, title, limits in ((success, "episodes, %", (-3, 103)), (auc, "ROC-AUC of the reward", (0.0, 1.03))):
        axes.set_title(title, fontsize=10)
        axes.set_xlabel("round")
        axes.set_ylim(*limits)
        axes.set_xticks(sorted({r.number for rounds in loops for r in rounds}))
        axes.spines[["top", "right"]].set_visible(False)
        labels = dict(zip(*reversed(axes.get_legend_handles_labels()), strict=True))  # each once
        axes.legend(labels.values(), labels.keys(), fontsize=8, frameon=False)
    return drawn


def interval(outcome: Round) -> str:
    """The Wilson interval of its success rate."""
    low, high = wilson(outcome.successes, outcome.episodes)
    return f"{100 * low:.0f} to {100 * high:.0f} %"


def number(value: float | None) -> str:
    """For a table."""
    return "none" if value is None else f"{value:.3f}"


def _line(axes: Axes, rounds: Sequence[Round], values: Sequence[float | None], colour: str, label: str) -> None:
    known = [(r.number, value) for r, value in zip(rounds, values, strict=True) if value is not None]
    axes.plot([n for n, _ in known], [value for _, value in known], color=colour, marker="o", label=label)


def _delusions(report: Report, store: Store, task: str, outcome: Round, rounds: Sequence[Round], folder: Path) -> None:
    """The failures that a round's own reward model rates highest, with what it says and what the last one says."""
    failed = store.query(Query(task_id=task, policy_id=outcome.policy_id, verdict=Verdict.FAILURE))
    predicted = store.predictions(outcome.model_id)
    worst = sorted(failed, key=lambda row: (-review.highest(predicted[row.episode_id]), row.episode_id))[:_CLIPS]
    report.heading(f"Round {outcome.number}: what its reward took for success")
    if not worst:
        report.text("Nothing: every episode of this policy succeeds.")
        return
    report.text(
        f"The {len(worst)} failures that the reward model of round {outcome.number} rates highest. Under the picture: "
        "its reward of each frame, beside that of the last round's model."
    )
    clips = []
    last = rounds[-1]
    later = store.predictions(last.model_id) if last is not outcome else {}
    for row in worst:
        curves = {f"reward of round {outcome.number}": predicted[row.episode_id]}
        if row.episode_id in later:
            curves[f"reward of round {last.number}"] = later[row.episode_id]
        clip = video.episode_to_mp4(store.read(row), folder / f"{row.episode_id}.mp4", None, curves)
        clips.append(Video(clip, f"not solved; highest prediction {review.highest(predicted[row.episode_id]):.2f}"))
    report.videos(clips)
