"""The report of the demo: what came out, what it was made from, and videos."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from armchair.demo import Contender
from armchair.evaluation_report import success_figure
from datasets import video
from datasets.episode import Episode
from datasets.query import Query
from datasets.schema import Verdict
from datasets.store import EpisodeRow, Store
from pipeline import export
from pipeline.batch_rl import offline
from pipeline.metrics import read_metrics
from pipeline.report import Report, Video
from robot.evaluate import Evaluation
from robot.intervals import difference

_CLIPS = 2  # of each policy: the first evaluation episodes, not chosen
_JUDGED = 60  # held-out episodes that the reward model is judged by
_TELLING = 20  # evaluation episodes; of fewer, an interval spans some 40 points
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
        "Intervals are Wilson's. Return: the steps that an episode spent in success, summed without discount.",
    )  # fmt: skip
    gain, low, high = difference(learned.successes or 0, len(learned.episodes), bc.successes or 0, len(bc.episodes))
    report.text(
        f"CRR on the learned reward minus BC: {100 * gain:+.0f} points (95 % interval {100 * low:+.0f} to "
        f"{100 * high:+.0f})."
    )
    if len(bc.episodes) < _TELLING:
        report.text("So few episodes say nothing of the methods: this run shows only that every stage works.")
    report.figure(
        success_figure({c.label: evaluation for c, evaluation in results.items()}, _COLOURS),
        "Success rate with its 95 % interval.",
    )
    report.heading("What the policies do")
    policy = export.load_card(next(iter(results)).training.out / "last", "policy")
    report.text(
        f"The first {_CLIPS} evaluation episodes of each policy, not chosen. Under the picture: the learned reward of "
        "each frame, which the policy never saw while acting. The reward model looks at the pictures; the policies do "
        f"not, they get {_listed(policy['inputs'])}."
    )
    predictions = store.predictions(card["model_id"])
    for contender, evaluation in results.items():
        shown = [(e.episode_id, _verdict(bool(e.success))) for e in evaluation.episodes[:_CLIPS]]
        report.videos(_clips(store, path.parent / "videos", contender.label, shown, predictions))
    _reward_section(report, store, model)
    _data_section(report, store, [r for c in results for r in store.query(store.parse(c.training.query))], task)
    _training_section(report, results)
    return report.write(path)


def logged(path: Path, store_path: Path, model: Path, task: str, policies: Mapping[Contender, Path]) -> Path:
    """Writes the report of a demo on a log, where nothing can be tried out."""
    store = Store.open(store_path)
    card = export.load_card(model, "reward_model")
    shown, kept = (store.query(Query(task_id=task, split=split)) for split in ("train", "test"))
    report = Report(
        f"{task}: policies from a log, without a robot",
        f"{len(shown) + len(kept)} logged episodes of {task} were taken in, and {len(kept)} of them held out. A "
        f"simulated annotator, who takes the time that has passed for progress, sketched {card['num_sketches']} of the "
        "others; a reward model learned from the sketches and rated every frame; and two policies were trained on the "
        "log and its learned rewards. No robot moved: what follows is what the log itself can tell, and which policy "
        "would succeed more often is not among it.",
    )
    report.heading("Policies against the log")
    _against_the_log(report, store, shown, kept, policies)
    clock = (
        "The sketches here follow the clock, and so does what the model is judged by: later frames are taken for "
        "better ones. That suits demonstrations that succeed; for anything else, draw sketches and import them with "
        "`armchair sketch import`."
    )
    _reward_section(report, store, model, clock)
    report.heading("Episodes with their learned reward")
    cameras = [name for name, spec in export.card_inputs(card).items() if spec.is_image]
    remarks = [(row.episode_id, "held out") for row in kept[:_CLIPS]]
    remarks += [(row.episode_id, "in the training split") for row in shown[:_CLIPS]]
    predictions = store.predictions(card["model_id"])
    report.videos(_clips(store, path.parent / "videos", task, remarks, predictions, cameras))
    _data_section(report, store, shown + kept, task)
    _training_section(report, policies)
    return report.write(path)


def _against_the_log(
    report: Report,
    store: Store,
    shown: Sequence[EpisodeRow],
    kept: Sequence[EpisodeRow],
    policies: Mapping[Contender, Path],
) -> None:
    """How far the policies' actions are from the logged ones."""
    card = export.load_card(next(iter(policies.values())), "policy")
    report.text(
        f"The policies see {_listed(card['inputs'])}. Only the reward model looks at the pictures, so what no sensor "
        "but a camera tells, such as where things lie, the policies cannot know."
    )
    parts = {f"{len(rows)} episodes {what}": rows for rows, what in ((shown, "trained on"), (kept, "held out")) if rows}
    report.table(
        ("error of actions", *parts),
        [
            (contender.label, *(f"{offline.action_error(store, rows, policy):.3f}" for rows in parts.values()))
            for contender, policy in policies.items()
        ],
        "Mean squared error between the policy's and the logged actions, as a share of the actions' variance: 0 "
        "repeats the log, 1 is no better than the mean action. BC is asked for nothing else; CRR is meant to leave the "
        "log where its critic expects more reward from another action.",
    )  # fmt: skip
    row = (kept or shown)[0]
    report.figure(
        _actions_figure(store.read(row), policies),
        f"Actions over the steps of one episode ({row.episode_id}, {'held out' if kept else 'trained on'}), in the "
        "units of the log: what the robot did, and what each policy would have done in its place.",
    )


def _actions_figure(episode: Episode, policies: Mapping[Contender, Path]) -> Figure:
    actions = episode.action[:-1]  # [T - 1, A]; the last one is not valid
    columns = min(4, actions.shape[1])
    rows = -(-actions.shape[1] // columns)
    figure = Figure(figsize=(9, 1.7 * rows + 0.4), layout="constrained")
    panels = [figure.add_subplot(rows, columns, number + 1) for number in range(actions.shape[1])]
    curves = [("log", "black", actions)]
    for (contender, path), colour in zip(policies.items(), _COLOURS, strict=False):
        policy, card = export.load_model(path, "policy")
        curves.append((contender.label, colour, offline.actions_along(policy, card, episode)[:-1]))
    for number, axes in enumerate(panels):
        for label, colour, values in curves:
            axes.plot(values[:, number], color=colour, label=label, linewidth=1.2)
        axes.set_title(f"action {number}", fontsize=8)
        axes.tick_params(labelsize=6)
        axes.spines[["top", "right"]].set_visible(False)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=3, fontsize=8, frameon=False)
    return figure


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(names))


def _percent(evaluation: Evaluation) -> str:
    return f"{100 * (evaluation.success_rate or 0):.0f} %"


def _interval(evaluation: Evaluation) -> str:
    low, high = evaluation.interval or (0, 1)
    return f"{100 * low:.0f} to {100 * high:.0f} %"


def _verdict(success: bool) -> str:
    return "solved" if success else "not solved"


def _clips(
    store: Store,
    folder: Path,
    label: str,
    shown: Iterable[tuple[str, str]],
    predictions: Mapping[str, np.ndarray],
    cameras: Sequence[str] | None = None,
) -> list[Video]:
    """(episode id, remark) -> clips with the learned reward under the picture."""
    clips = []
    for episode_id, remark in shown:
        curves = {"learned reward": predictions[episode_id]}
        clip = video.episode_to_mp4(store.read(episode_id), folder / f"{episode_id}.mp4", cameras, curves)
        clips.append(Video(clip, f"{label}: {remark}"))
    return clips


def _reward_section(report: Report, store: Store, model: Path, remark: str = "") -> None:
    from pipeline.reward_learning import evaluate

    report.heading("The learned reward")
    if remark:
        report.text(remark)
    card = export.load_card(model, "reward_model")
    if {row.episode_id for row in store.query(Query(task_id=card["task_id"]))} <= set(card["trained_on"]):
        report.text("Every episode was sketched to learn from, so there is none to judge the reward model by.")
        return
    evaluate.describe(report, store, evaluate.assess(store, model, _JUDGED))


def _data_section(report: Report, store: Store, rows: Sequence[EpisodeRow], task: str) -> None:
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
    repairs = Counter(row.repairs for row in rows if row.repairs)
    if repairs:
        report.table(("mended on the way in", "episodes"), repairs.most_common(), "Kept in each episode's metadata.")


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
