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
from pipeline.reward_learning.figures import calibration_figure, curves_figure, draw_curves, draw_still
from pipeline.reward_learning.quality import JUDGED_BY, NOT_KNOWN, Quality, RatedEpisode, judge, ordered_pairs

SHOWN = 12
"""Episodes whose curves are drawn."""
EXPLAINED = (
    "Order: share of frame pairs of one episode that are predicted in the right order, of those that differ by more "
    f"than {JUDGED_BY.sketch_gap} in the sketch or in true progress; its interval is a bootstrap over episodes. "
    "ROC-AUC: the chance that a frame (or episode) of success is predicted higher than one of failure. Average "
    "precision: area under precision over recall. Return: the sum over an episode, of predictions and of solved "
    "frames. False-positive mass: the share of all predicted reward that falls on unsolved frames; the less the better."
)
"""What the numbers of a table mean."""
CALIBRATION = (
    "Calibration: of the frames that are predicted alike, the share that solves the task. A ranking loss asks for "
    "order, so only the two ends are meant to be right."
)
"""What the calibration figure shows."""
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
    return assess_together(store, [model_path], max_episodes)[0]


def assess_together(store: Store, model_paths: Sequence[Path], max_episodes: int) -> list[Assessment]:
    """Judges reward models for one task by the same episodes, on which none of them was trained.

    Raises:
      ArmchairError: if a model is not there, or there is no episode to judge them by.
      SpecMismatchError: if the episodes lack what a model looks at.
    """
    models = [export.load_model(path, "reward_model") for path in model_paths]
    rows = held_out(store, [card for _, card in models], max_episodes)
    assessments = []
    for model, card in models:
        episodes = rate(store, rows, model, card)
        assessments.append(Assessment(card, episodes, judge(episodes, card["model_id"])))
    return assessments


def report(store: Store, model_path: Path, directory: Path, max_episodes: int) -> Quality:
    """Writes `report.html` and `metrics.json` about a reward model into a folder. Raises ArmchairError as `assess`."""
    assessment = assess(store, model_path, max_episodes)
    card, quality = assessment.card, assessment.quality
    page = Report(
        f"Reward model {card['model_id']}",
        f"Learned by {card['method']} from {card['supervision']['summary']}; judged by "
        f"{quality.episodes} episodes that it has not seen.",
    )
    describe(page, store, assessment)
    page.write(directory / "report.html")
    files.write_atomically(directory / "metrics.json", json.dumps(dataclasses.asdict(quality), indent=2))
    return quality


def held_out(store: Store, cards: Sequence[dict[str, Any]], max_episodes: int) -> list[EpisodeRow]:
    """Episodes to judge models by: none was trained on them, sketched or of the models' task; sketched ones first.

    Args:
      store: to choose from.
      cards: of one or more models, for the same task.
      max_episodes: the most that are chosen.

    Raises:
      ArmchairError: if there are none, or none is asked for.
    """
    if max_episodes < 1:
        raise ArmchairError(f"{max_episodes} episodes cannot judge a reward model: ask for at least one")
    task_id, trained_on = cards[0]["task_id"], {name for card in cards for name in card["trained_on"]}
    sketched = {row.episode_id: row for row in store.query(Query(has_sketch=task_id))}
    of_task = {row.episode_id: row for row in store.query(Query(task_id=task_id))}
    rows = [row for row in (of_task | sketched).values() if row.episode_id not in trained_on]
    if not rows:
        ids = ", ".join(card["model_id"] for card in cards)
        raise ArmchairError(
            f"{store.root} has no episode of {task_id!r} that was held out from the training of {ids}: ingest some more"
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
        page.figure(calibration_figure({"": quality.calibration}), f"{CALIBRATION} Labels: frames.")
    page.heading("Prediction, sketch and true progress")
    page.figure(
        curves_figure({"prediction": episodes[:SHOWN]}),
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


def _stills_figure(store: Store, episode: RatedEpisode, card: dict[str, Any]) -> Figure:
    cameras = [name for name, spec in export.card_inputs(card).items() if spec.is_image]
    figure = Figure(figsize=(9, 2.2 + 1.2 * len(cameras)), layout="constrained")
    grid = figure.add_gridspec(1 + len(cameras), _STILLS, height_ratios=[1.5] + [1] * len(cameras))
    axes = figure.add_subplot(grid[0, :])
    draw_curves(axes, {"prediction": episode})
    axes.legend(fontsize=7)
    shown = np.linspace(0, len(episode.predicted) - 1, _STILLS).round().astype(int)
    observation = store.read(episode.episode_id).observation
    for row, camera in enumerate(cameras, start=1):
        for column, picture in enumerate(video.decode_frames(observation[camera][shown])):
            draw_still(figure.add_subplot(grid[row, column]), picture, f"frame {shown[column]}")
    return figure
