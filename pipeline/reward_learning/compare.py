"""One page about several reward models for a task, judged by the same episodes, on which none of them was trained.

It shows where the models differ, not only by how much: in which phase of the task, on which episodes, and which frames
each of them takes for solved that are not.
"""

import dataclasses
import json
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from datasets import files, video
from datasets.errors import ArmchairError
from datasets.store import Store
from pipeline import export
from pipeline.report import Report
from pipeline.reward_learning import figures
from pipeline.reward_learning.comparison import (
    PHASES,
    PHASES_BEGIN,
    Comparison,
    Contender,
    FalsePositive,
    disagreements,
    false_positives,
    phases,
)
from pipeline.reward_learning.evaluate import CALIBRATION, EXPLAINED, SHOWN, Assessment, assess_together
from pipeline.reward_learning.quality import ABOVE, JUDGED_BY

_FALSE_POSITIVES = 6  # frames shown of each model
_DISAGREEMENTS = 8  # episodes shown
_SOLVED = (
    f"A frame is solved where the simulator says so or, where there was none, where its mean sketch is above "
    f"{JUDGED_BY.success_above}."
)


def compare(store: Store, folders: Sequence[Path], directory: Path, max_episodes: int) -> Comparison:
    """Writes `compare.html` and `compare.json` about two or more reward models into a folder.

    Raises:
      ArmchairError: if a model is not there, there is only one, one is there twice, their tasks differ, or every
        episode was trained on by one of them.
      SpecMismatchError: if the episodes lack what a model looks at.
    """
    names = name_models(folders)
    assessments = dict(zip(names, assess_together(store, folders, max_episodes), strict=True))
    contenders = [
        Contender(
            name,
            str(folder),
            assessment.quality,
            phases(assessment.episodes),
            false_positives(assessment.episodes, _FALSE_POSITIVES),
        )
        for (name, assessment), folder in zip(assessments.items(), folders, strict=True)
    ]
    rated = [assessment.episodes for assessment in assessments.values()]
    ids = tuple(episode.episode_id for episode in rated[0])
    task_id = assessments[names[0]].card["task_id"]
    comparison = Comparison(task_id, ids, tuple(contenders), disagreements(rated))
    _page(store, comparison, assessments).write(directory / "compare.html")
    files.write_atomically(directory / "compare.json", json.dumps(dataclasses.asdict(comparison), indent=2))
    return comparison


def name_models(folders: Sequence[Path]) -> list[str]:
    """A name for the model in each folder, all different: that of its run if possible, or else the model's id.

    Raises:
      ArmchairError: if the models cannot be compared; that is found without loading one.
    """
    if len(folders) < 2:
        raise ArmchairError("a comparison needs at least two reward models: give their folders one after the other")
    seen: dict[str, Path] = {}
    task_id = export.load_card(folders[0], "reward_model")["task_id"]
    for folder in folders:
        card = export.load_card(folder, "reward_model")
        model_id = card["model_id"]
        if card["task_id"] != task_id:
            raise ArmchairError(
                f"{folders[0]} is for the task {task_id!r} but {folder} for {card['task_id']!r}: "
                "compare models for one task"
            )
        if model_id in seen:
            raise ArmchairError(
                f"the model {model_id} is given twice, as {seen[model_id]} and as {folder}: compare different ones"
            )
        seen[model_id] = folder
    resolved = [folder.resolve() for folder in folders]
    names = [folder.parent.name if folder.name == "model" else folder.name for folder in resolved]
    return names if len(set(names)) == len(names) else list(seen)


def _page(store: Store, comparison: Comparison, assessments: Mapping[str, Assessment]) -> Report:
    models = comparison.models
    quality = models[0].quality
    page = Report(
        f"Reward models for {comparison.task_id}",
        f"{len(models)} models, judged by {quality.episodes} episodes on which none of them was trained; "
        f"{quality.sketched} of these are sketched.",
    )
    page.table(
        ("model", "method", "learned from", "looks at", "folder"),
        [(model.name, *_facts(assessments[model.name]), model.folder) for model in models],
        "The models, and what they were made from.",
    )
    page.table(("", *assessments), comparison.table(), f"{EXPLAINED} –: not known.")
    calibration = {name: each.quality.calibration for name, each in assessments.items()}
    if quality.calibration:
        page.heading("Calibration")
        page.figure(figures.calibration_figure(calibration), CALIBRATION)
    if any(phase.frames for phase in models[0].phases):
        begins = ", ".join(f"{begin:g}" for begin in PHASES_BEGIN)
        page.heading("Phases of the task")
        page.figure(_phases_figure(models), f"Share of the frames of a phase that are predicted above {ABOVE}.")
        page.table(
            ("phase", "frames", *(model.name for model in models)),
            [(phase.name, f"{phase.frames:,}", *_counts(models, n)) for n, phase in enumerate(models[0].phases)],
            f"How many are predicted above {ABOVE}. A good reward has all of the last phase and none of the others. "
            f"Phases begin at {begins} of true progress or, where that is not known, of the mean sketch. {_SOLVED}",
        )
    page.heading("Predictions, sketch and true progress")
    page.figure(
        figures.curves_figure({name: each.episodes[:SHOWN] for name, each in assessments.items()}),
        "Held-out episodes over frames. A sketch has its own scale; only its order counts.",
    )
    _disagreements_section(page, comparison, assessments)
    _false_positives_section(page, store, models, assessments)
    return page


def _disagreements_section(page: Report, comparison: Comparison, assessments: Mapping[str, Assessment]) -> None:
    shown = comparison.disagreements[:_DISAGREEMENTS]
    number = {episode_id: n for n, episode_id in enumerate(comparison.episodes)}
    page.heading("Where the models disagree")
    page.figure(
        figures.curves_figure(
            {name: [each.episodes[number[d.episode_id]] for d in shown] for name, each in assessments.items()}
        ),
        "The episodes on which predictions are farthest apart, the farthest first: by "
        f"{shown[0].difference:.2f} to {shown[-1].difference:.2f}, as a mean over frames and over pairs of models.",
    )


def _false_positives_section(
    page: Report, store: Store, models: Sequence[Contender], assessments: Mapping[str, Assessment]
) -> None:
    """The frames that fool each model; nothing where there are no pictures."""
    drawn = [
        (model, figure)
        for model in models
        if (figure := _stills_figure(store, model.false_positives, _cameras(assessments[model.name])))
    ]
    if drawn:
        page.heading("False positives")
        page.text(
            "The unsolved frames that each model rates highest, at most one an episode, through the cameras that it "
            f"looks at (or the episode's first one, if at none). {_SOLVED}"
        )
    for model, figure in drawn:
        page.figure(figure, f"{model.name}: episode, frame and prediction.")


def _cameras(assessment: Assessment) -> list[str]:
    return [name for name, spec in export.card_inputs(assessment.card).items() if spec.is_image]


def _facts(assessment: Assessment) -> tuple[str, str, str]:
    """How and from what a model was learned, and what it looks at."""
    card = assessment.card
    cameras = ", ".join(camera.removeprefix("pixels/") for camera in _cameras(assessment))
    return card["method"], card["supervision"]["summary"], cameras or "numbers only"


def _counts(models: Sequence[Contender], number: int) -> list[str]:
    """The cells of the phase with a number."""
    phase = [model.phases[number] for model in models]
    return [f"{p.above:,} ({100 * p.above / p.frames:.1f} %)" if p.frames else "–" for p in phase]


def _phases_figure(models: Sequence[Contender]) -> Figure:
    figure = Figure(figsize=(9, 2.8), layout="constrained")
    axes = figure.add_subplot()
    width = 0.8 / len(models)
    for number, model in enumerate(models):
        shares = [100 * phase.above / phase.frames if phase.frames else 0 for phase in model.phases]
        x = np.arange(len(PHASES)) + (number - (len(models) - 1) / 2) * width
        bars = axes.bar(x, shares, 0.9 * width, label=model.name, **figures.fill(number))
        labels = [f"{s:.0f}" if phase.frames else "" for s, phase in zip(shares, model.phases, strict=True)]
        axes.bar_label(bars, labels, fontsize=7, padding=1)
    axes.set(ylim=(0, 109), ylabel=f"predicted above {ABOVE}, %", xticks=range(len(PHASES)), xticklabels=PHASES)
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside upper center", ncols=4, fontsize=8, frameon=False)
    return figure


def _stills_figure(store: Store, found: Sequence[FalsePositive], cameras: Sequence[str]) -> Figure | None:
    """The frames beside each other, a row for each camera; None if there are no pictures.

    Args:
      store: that has the episodes.
      found: which frames.
      cameras: that the model looks at; without any, each episode's first one is shown.
    """
    columns = []
    for each in found:
        episode = store.read(each.episode_id)
        shown = [episode.observation[camera][[each.frame]] for camera in cameras or episode.image_keys[:1]]
        if shown:
            columns.append((each, [video.decode_frames(encoded)[0] for encoded in shown]))
    if not columns:
        return None
    rows = max(1, len(cameras))
    figure = Figure(figsize=(9, 0.5 + 1.45 * rows), layout="constrained")
    for column, (each, pictures) in enumerate(columns):
        title = f"{textwrap.fill(each.episode_id, 20)}\nframe {each.frame}: {each.predicted:.2f}"
        for row, picture in enumerate(pictures):
            axes = figure.add_subplot(rows, _FALSE_POSITIVES, row * _FALSE_POSITIVES + column + 1)
            figures.draw_still(axes, picture, "" if row else title)
    return figure
