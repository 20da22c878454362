"""The report of the demo: what came out, what it was made from, and videos."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from armchair.demo import Contender
from datasets import video
from datasets.query import Query
from datasets.schema import Verdict
from datasets.store import EpisodeRow, Store
from pipeline import export
from pipeline.metrics import read_metrics
from pipeline.report import Report, Video
from robot.evaluate import Evaluation
from robot.intervals import difference

_CLIPS = 2  # of each policy: the first evaluation episodes, not chosen
_JUDGED = 60  # held-out episodes that the reward model is judged by
_COLOURS = ("#8a8f98", "#0b6e4f", "#c8553d")  # BC, learned reward, true reward


def simulated(path: Path, store_path: Path, model: Path, task: str, results: Mapping[Contender, Evaluation]) -> Path:
    """Writes the report of a demo on the simulated cell."""
    store = Store.open(store_path)
    card = export.load_card(model, "reward_model")
    by_name = {contender.name: evaluation for contender, evaluation in results.items()}
    bc, learned = by_name["bc"], by_name["crr_learned"]
    report = Report(
        f"{task}: a policy from logs and {card['num_sketches']} sketches",
        f"A reward model learned {task} from {card['num_sketches']} sketched episodes and rated everything that was "
        f"ever logged. Trained on nothing but these logs, CRR now solves {_percent(learned)} of its episodes; "
        f"behaviour cloning of the same logs solves {_percent(bc)}.",
    )
    report.heading("Success")
    report.table(
        ("policy", "success", "95 % interval", "episodes", "mean return"),
        [
            (c.label, _percent(e), _interval(e), len(e.episodes), f"{e.mean_return:.1f}")
            for c, e in results.items()
        ],
        "Ground truth of the simulator, on initial states that no policy has seen; the same ones for all. "
        "Intervals are Wilson's.",
    )  # fmt: skip
    gain, low, high = difference(learned.successes or 0, len(learned.episodes), bc.successes or 0, len(bc.episodes))
    report.text(
        f"CRR on the learned reward minus BC: {100 * gain:+.0f} points "
        f"(95 % interval {100 * low:+.0f} to {100 * high:+.0f})."
    )
    report.figure(_success_figure(results), "Success rate with its 95 % interval.")
    report.heading("What the policies do")
    report.text(
        f"The first {_CLIPS} evaluation episodes of each policy, not chosen. Under the picture: the learned reward of "
        "each frame, which the policy never saw while acting."
    )
    predictions = store.predictions(card["model_id"])
    for contender, evaluation in results.items():
        shown = [(e.episode_id, _verdict(bool(e.success))) for e in evaluation.episodes[:_CLIPS]]
        report.videos(_clips(store, path.parent / "videos", contender.label, shown, predictions))
    _reward_section(report, store, model)
    _data_section(report, store, [r for c in results for r in store.query(Query.parse(c.training.query))], task)
    _training_section(report, results)
    return report.write(path)


def logged(path: Path, store_path: Path, model: Path, task: str, policies: Mapping[Contender, Path]) -> Path:
    """Writes the report of a demo on a log, where nothing can be tried out."""
    from pipeline.batch_rl import offline

    store = Store.open(store_path)
    card = export.load_card(model, "reward_model")
    rows = store.query(Query())
    report = Report(
        f"{task}: policies from a log, without a robot",
        f"{len(rows)} logged episodes were taken in, {card['num_sketches']} of them sketched by a simulated annotator "
        "who takes the time that has passed for progress, all rated by the reward model that was learned from these "
        "sketches, and two policies trained on them. Without the robot nothing can be tried out: what follows is what "
        "the log itself can tell.",
    )
    report.heading("Policies against the log")
    held_out = [row for row in rows if row.split == "test"]
    report.table(
        ("policy", "error, episodes trained on", "error, episodes held out"),
        [
            (c.label, *(f"{offline.action_error(store, part, policy):.3f}" for part in (rows, held_out)))
            for c, policy in policies.items()
        ],
        "Mean squared error between the policy's and the logged actions, as a share of the actions' variance: 0 "
        "repeats the log, 1 is no better than the mean action.",
    )  # fmt: skip
    _reward_section(report, store, model)
    predictions = store.predictions(card["model_id"])
    report.heading("Episodes with their learned reward")
    shown = [(row.episode_id, row.split) for row in rows[: 2 * _CLIPS]]
    report.videos(_clips(store, path.parent / "videos", task, shown, predictions))
    _data_section(report, store, rows, task)
    _training_section(report, policies)
    return report.write(path)


def _percent(evaluation: Evaluation) -> str:
    return f"{100 * (evaluation.success_rate or 0):.0f} %"


def _interval(evaluation: Evaluation) -> str:
    low, high = evaluation.interval or (0, 1)
    return f"{100 * low:.0f} to {100 * high:.0f} %"


def _verdict(success: bool) -> str:
    return "solved" if success else "not solved"


def _success_figure(results: Mapping[Contender, Evaluation]) -> Figure:
    figure = Figure(figsize=(6.5, 0.6 + 0.45 * len(results)))
    axes = figure.subplots()
    for y, (evaluation, colour) in enumerate(zip(results.values(), _COLOURS, strict=True)):
        rate, (low, high) = evaluation.success_rate or 0, evaluation.interval or (0, 1)
        axes.barh(y, 100 * rate, color=colour, height=0.6)
        axes.plot([100 * low, 100 * high], [y, y], color="black", linewidth=1.5)
        axes.text(100 * high + 1.5, y, f"{100 * rate:.0f} %", va="center")
    axes.set_yticks(range(len(results)), [contender.label for contender in results])
    axes.invert_yaxis()
    axes.set_xlim(0, 110)
    axes.set_xlabel("success, %")
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def _clips(
    store: Store, folder: Path, label: str, shown: Iterable[tuple[str, str]], predictions: Mapping[str, np.ndarray]
) -> list[Video]:
    """(episode id, remark) -> clips with the learned reward under the picture."""
    clips = []
    for episode_id, remark in shown:
        curves = {"learned reward": predictions[episode_id]}
        clip = video.episode_to_mp4(store.read(episode_id), folder / f"{episode_id}.mp4", curves=curves)
        clips.append(Video(clip, f"{label}: {remark}"))
    return clips


def _reward_section(report: Report, store: Store, model: Path) -> None:
    from pipeline.reward_learning import evaluate

    report.heading("The learned reward")
    evaluate.describe(report, store, evaluate.assess(store, model, _JUDGED))


def _data_section(report: Report, store: Store, rows: Iterable[EpisodeRow], task: str) -> None:
    """What was trained on, by who acted."""
    groups: dict[tuple[str, str], dict[str, EpisodeRow]] = defaultdict(dict)
    for row in rows:
        groups[row.task_id, row.policy_id][row.episode_id] = row
    sketched = {sketch.episode_id for sketch in store.sketches(task)}
    table = []
    for (task_id, policy_id), episodes in sorted(groups.items()):
        solved = sum(row.verdict == Verdict.SUCCESS for row in episodes.values())
        judged = sum(row.verdict != Verdict.UNKNOWN for row in episodes.values())
        share = f"{100 * solved / judged:.0f} %" if judged else "not judged"
        steps = sum(row.num_steps for row in episodes.values())
        table.append((policy_id or "not known", task_id, len(episodes), steps, share, len(sketched & set(episodes))))
    report.heading("The log")
    report.table(
        ("who acted", "task", "episodes", "frames", "solved its task", "sketched"), table,
        "Rewards were known of none of these frames before the sketches. The learners never see verdicts.",
    )  # fmt: skip


def _training_section(report: Report, contenders: Iterable[Contender]) -> None:
    figure = Figure(figsize=(9, 2.6), layout="constrained")
    panels = figure.subplots(1, 3)
    for contender, colour in zip(contenders, _COLOURS, strict=False):
        lines = read_metrics(contender.training.out)
        steps = [line["step"] for line in lines]
        for axes, name in zip(panels, ("policy_loss", "q", "weight"), strict=True):
            if name in lines[-1]:
                axes.plot(steps, [line[name] for line in lines], color=colour, label=contender.label)
            axes.set_title(name.replace("_", " "), fontsize=10)
            axes.set_xlabel("updates")
            axes.spines[["top", "right"]].set_visible(False)
    panels[0].legend(fontsize=8, frameon=False)
    report.heading("Training")
    report.figure(figure, "Policy loss; mean value of the data's actions; mean weight of an imitated action (BC: 1).")
