"""Figures of predicted rewards: of one model or of several, over the same episodes.

Models differ in the style of their lines as well as in colour, so that a page can be read by anybody and in print.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from pipeline.reward_learning.quality import CalibrationBin, RatedEpisode

_COLOURS = ("#0072b2", "#009e73", "#cc79a7", "#000000", "#56b4e9", "#882255")  # distinct for colour-blind people
_LINES: tuple[Any, ...] = ("-", "--", "-.", (0, (1, 1)), (0, (3, 1, 1, 1, 1, 1)))
_MARKERS = "os^Dv"
_HATCHES = ("", "//", "..", "xx", "--")
_SKETCH = "#e69f00"  # no model's


def style(number: int) -> dict[str, Any]:
    """How matplotlib shall draw the line of a model, by its number: thirty are different."""
    line = number % len(_LINES)
    return {"color": _COLOURS[number % len(_COLOURS)], "linestyle": _LINES[line], "linewidth": 1.3}


def marker(number: int) -> str:
    """The marker of a model's points, to go with its `style`."""
    return _MARKERS[number % len(_MARKERS)]


def fill(number: int) -> dict[str, Any]:
    """How matplotlib shall draw the bars of a model, to go with its `style`."""
    return {"color": style(number)["color"], "hatch": _HATCHES[number % len(_HATCHES)], "edgecolor": "white"}


def draw_curves(axes: Any, rated: Mapping[str, RatedEpisode]) -> None:
    """Draws predictions for one episode over what else is known of its frames.

    Args:
      axes: of matplotlib.
      rated: the same episode as it is rated by each model, under the model's name in the legend.
    """
    episode = next(iter(rated.values()))
    if episode.progress is not None:
        axes.plot(episode.progress, color="0.8", linewidth=3.5, label="true progress")
    for sketch in episode.sketches:
        axes.plot(sketch, color=_SKETCH, linestyle=":", linewidth=1.6, label="sketch")
    for number, (name, prediction) in enumerate(rated.items()):
        axes.plot(prediction.predicted, label=name, **style(number))
    axes.set(ylim=(-0.03, 1.03), xlim=(0, max(1, len(episode.predicted) - 1)))
    axes.tick_params(labelsize=6)


def curves_figure(models: Mapping[str, Sequence[RatedEpisode]]) -> Figure:
    """The curves of some episodes, beside each other, with one legend.

    Args:
      models: name -> the episodes as the model rates them, the same ones in the same order for all.
    """
    episodes = list(zip(*models.values(), strict=True))
    columns = min(4, len(episodes))
    rows = -(-len(episodes) // columns)
    figure = Figure(figsize=(9, 1.7 * rows + 0.4), layout="constrained")
    legend: dict[str, Any] = {}
    for number, rated in enumerate(episodes):
        axes = figure.add_subplot(rows, columns, number + 1)
        axes.set_title(rated[0].episode_id, fontsize=7)
        draw_curves(axes, dict(zip(models, rated, strict=True)))
        handles, labels = axes.get_legend_handles_labels()
        legend |= dict(zip(labels, handles, strict=True))
    order = [name for name in ("true progress", "sketch", *models) if name in legend]
    figure.legend(
        [legend[name] for name in order], order, loc="outside upper center", ncols=4, fontsize=8, frameon=False,
        handlelength=3,
    )  # fmt: skip
    return figure


def calibration_figure(models: Mapping[str, Sequence[CalibrationBin]]) -> Figure:
    """The share of solved frames over the prediction, name -> bins; of a single model also how many frames."""
    figure = Figure(figsize=(4 if len(models) == 1 else 6, 3), layout="constrained")
    axes = figure.add_subplot()
    axes.plot([0, 1], [0, 1], color="0.8", linewidth=3.5)
    for number, (name, bins) in enumerate(models.items()):
        points = [b.predicted for b in bins], [b.solved for b in bins]
        axes.plot(*points, marker=marker(number), markersize=4, label=name, **style(number))
    if len(models) == 1:  # the numbers of several would lie on each other
        for b in next(iter(models.values())):
            axes.annotate(
                f"{b.frames}", (b.predicted, b.solved), (0, 5), textcoords="offset points", ha="center", fontsize=6
            )
    else:
        figure.legend(loc="outside right upper", fontsize=8, frameon=False, handlelength=3)
    axes.set(xlabel="predicted reward", ylabel="share of solved frames", xlim=(0, 1), ylim=(-0.05, 1.1))
    return figure


def draw_still(axes: Any, picture: np.ndarray, title: str) -> None:
    """Draws a frame, uint8[H, W, C], without axes."""
    axes.imshow(picture, cmap="gray")  # the map counts for pictures of one channel only
    axes.set_title(title, fontsize=6, pad=2)
    axes.set_axis_off()
