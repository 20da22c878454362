"""The reward-quality report: a model against sketches and true progress of episodes that it never saw."""

import dataclasses
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from matplotlib.figure import Figure

from datasets import files, schema, video
from datasets.catalogue import EpisodeRow
from datasets.console import track
from datasets.errors import ArmchairError
from datasets.query import Query
from datasets.store import Store
from pipeline import export
from pipeline.report import Report
from pipeline.reward_learning.data import observations
from pipeline.reward_learning.quality import JUDGED_BY, NOT_KNOWN, Quality, RatedEpisode, judge, ordered_pairs

EXPLAINED = (
    f"Order: share of frame pairs of one episode that are predicted in the right order, of those that differ by more "
    f"than {JUDGED_BY.sketch_gap} in the sketch or in true progress. ROC-AUC: the chance that a frame (or episode) of "
    "success is predicted higher than one of failure. Average precision: area under precision over recall. "
    "Return: the sum over an episode, of predictions and of solved frames. False-positive mass: the share of all "
    "predicted reward that falls on unsolved frames; the less the better, as for the mean on unsolved frames."
)
"""What the numbers of a table mean."""
_CURVES = 12  # episodes whose curves are drawn
_WORST = 3  # episodes whose frames are shown
_STILLS = 8  # frames of each


@dataclasses.dataclass(frozen=True, eq=False)
class Assessment:
    """A reward model, held-out episodes that it has rated, and how good it is on them."""

    card: dict[str, Any]
    episodes: list[RatedEpisode]
    quality: Quality


def assess(store: Store, model_path: Path, max_episodes: int) -> Assessment:
    """Judges a reward model by episodes that it was not trained on.

    Raises:
      ArmchairError: if there is no such model, or no episode to judge it by.
      SpecMismatchError: if the episodes lack what the model looks at.
    """
    model, card = export.load_model(model_path, "reward_model")
    episodes = rate(store, held_out(store, card, max_episodes), model, card)
    return Assessment(card, episodes, judge(episodes, card["model_id"]))


def report(store: Store, model_path: Path, directory: Path, max_episodes: int) -> Quality:
    """Writes `report.html` and `metrics.json` about a reward model into a folder. Raises ArmchairError as `assess`."""
    assessment = assess(store, model_path, max_episodes)
    card, quality = assessment.card, assessment.quality
    page = Report(
        f"Reward model {card['model_id']}",
        f"Learned from {card['num_sketches']} sketches of {len(card['trained_on'])} episodes; judged by "
        f"{quality.episodes} episodes that it has not seen.",
    )
    describe(page, store, assessment)
    page.write(directory / "report.html")
    files.write_atomically(directory / "metrics.json", json.dumps(dataclasses.asdict(quality), indent=2))
    return quality


def held_out(store: Store, card: dict[str, Any], max_episodes: int) -> list[EpisodeRow]:
    """Episodes to judge a model by: not trained on, sketched or of the model's task; sketched ones first.

    Raises:
      ArmchairError: if there are none.
    """
    task_id, trained_on = card["task_id"], set(card["trained_on"])
    sketched = {row.episode_id: row for row in store.query(Query(has_sketch=task_id))}
    of_task = {row.episode_id: row for row in store.query(Query(task_id=task_id))}
    rows = [row for row in (of_task | sketched).values() if row.episode_id not in trained_on]
    if not rows:
        raise ArmchairError(
            f"{store.root} has no episode of {task_id!r} that {card['model_id']} was not trained on: ingest some more"
        )

    def order(row: EpisodeRow) -> tuple[bool, bytes]:
        return row.episode_id not in sketched, hashlib.sha256(row.episode_id.encode()).digest()  # else at random

    return sorted(rows, key=order)[:max_episodes]


def rate(store: Store, rows: Sequence[EpisodeRow], model: Any, card: dict[str, Any]) -> list[RatedEpisode]:
    """Runs a loaded reward model over episodes, and puts beside it what else is known of their frames.

    Raises:
      SpecMismatchError: if an episode lacks what the model looks at.
    """
    inputs, task_id = export.card_inputs(card), card["task_id"]
    sketches: dict[str, list[np.ndarray]] = {}
    for sketch in store.sketches(task_id, [row.episode_id for row in rows]):
        sketches.setdefault(sketch.episode_id, []).append(sketch.values)
    rated = []
    for episode in track(store.read_many(rows), "rating held-out episodes", len(rows)):
        observation = {name: tf.constant(array) for name, array in observations(episode, inputs).items()}
        of_task = episode.metadata.task_id == task_id  # what a simulator recorded is about the episode's own task
        known = {name: np.ravel(array) for name, array in episode.extras.items() if of_task}
        rated.append(
            RatedEpisode(
                episode.metadata.episode_id,
                model.predict(observation).numpy(),
                tuple(sketches.get(episode.metadata.episode_id, ())),
                known.get(schema.PROGRESS),
                known.get(schema.IS_SUCCESS),
            )
        )
    return rated


def describe(page: Report, store: Store, assessment: Assessment) -> None:
    """Adds tables and figures about a reward model to a report."""
    card, episodes, quality = assessment.card, assessment.episodes, assessment.quality
    page.table(
        ("", "value"), [(name, value) for name, value in quality.summary().items() if value != NOT_KNOWN], EXPLAINED
    )
    if quality.calibration:
        page.figure(
            _calibration_figure(quality),
            "Calibration: of the frames that are predicted alike, the share that solves the task. The ranking loss "
            "asks for order, so only the two ends are meant to be right.",
        )
    page.heading("Prediction, sketch and true progress")
    page.figure(
        _curves_figure(episodes[:_CURVES]),
        "Held-out episodes over frames. A sketch has its own scale; only its order counts.",
    )
    worst = _worst(episodes)
    if worst:
        page.heading("Worst episodes")
    for accuracy, episode in worst:
        page.figure(
            _stills_figure(store, episode, card),
            f"Episode {episode.episode_id}: {100 * accuracy:.1f} % of its pairs are in the right order.",
        )


def _worst(episodes: Sequence[RatedEpisode]) -> list[tuple[float, RatedEpisode]]:
    """The least well ordered episodes with their accuracy, by true progress or else by the first sketch."""
    scored = []
    for episode in episodes:
        reference = episode.progress if episode.progress is not None else next(iter(episode.sketches), None)
        if reference is not None:
            right, total = ordered_pairs(episode.predicted, reference, JUDGED_BY.sketch_gap)
            if total:
                scored.append((right / total, episode))
    return sorted(scored, key=lambda item: item[0])[:_WORST]


def _draw_curves(axes: Any, episode: RatedEpisode) -> None:
    if episode.progress is not None:
        axes.plot(episode.progress, color="0.6", linestyle="--", label="true progress")
    for sketch in episode.sketches:
        axes.plot(sketch, color="tab:orange", label="sketch")
    axes.plot(episode.predicted, color="tab:blue", label="prediction")
    axes.set(ylim=(-0.03, 1.03), xlim=(0, max(1, len(episode.predicted) - 1)))
    axes.tick_params(labelsize=6)


def _curves_figure(episodes: Sequence[RatedEpisode]) -> Figure:
    columns = min(4, len(episodes))
    rows = -(-len(episodes) // columns)
    figure = Figure(figsize=(9, 1.7 * rows + 0.4), layout="constrained")
    legend: dict[str, Any] = {}
    for number, episode in enumerate(episodes):
        axes = figure.add_subplot(rows, columns, number + 1)
        axes.set_title(episode.episode_id, fontsize=7)
        _draw_curves(axes, episode)
        handles, labels = axes.get_legend_handles_labels()
        legend |= dict(zip(labels, handles, strict=True))
    figure.legend(list(legend.values()), list(legend), loc="outside upper center", ncols=3, fontsize=8, frameon=False)
    return figure


def _calibration_figure(quality: Quality) -> Figure:
    figure = Figure(figsize=(4, 3), layout="constrained")
    axes = figure.add_subplot()
    axes.plot([0, 1], [0, 1], color="0.7", linestyle="--")
    axes.plot([b.predicted for b in quality.calibration], [b.solved for b in quality.calibration], "o-")
    for b in quality.calibration:
        axes.annotate(
            f"{b.frames}", (b.predicted, b.solved), (0, 5), textcoords="offset points", ha="center", fontsize=6
        )
    axes.set(
        xlabel="predicted reward (labels: frames)", ylabel="share of solved frames", xlim=(0, 1), ylim=(-0.05, 1.1)
    )
    return figure


def _stills_figure(store: Store, episode: RatedEpisode, card: dict[str, Any]) -> Figure:
    cameras = [name for name, spec in export.card_inputs(card).items() if spec.is_image]
    figure = Figure(figsize=(9, 2.2 + 1.2 * len(cameras)), layout="constrained")
    grid = figure.add_gridspec(1 + len(cameras), _STILLS, height_ratios=[1.5] + [1] * len(cameras))
    axes = figure.add_subplot(grid[0, :])
    _draw_curves(axes, episode)
    axes.legend(fontsize=7)
    shown = np.linspace(0, len(episode.predicted) - 1, _STILLS).round().astype(int)
    observation = store.read(episode.episode_id).observation
    for row, camera in enumerate(cameras, start=1):
        for column, picture in enumerate(video.decode_frames(observation[camera][shown])):
            still = figure.add_subplot(grid[row, column])
            still.imshow(picture, cmap="gray")  # the map counts for pictures of one channel only
            still.set_title(f"frame {shown[column]}", fontsize=6, pad=2)
            still.set_axis_off()
    return figure
