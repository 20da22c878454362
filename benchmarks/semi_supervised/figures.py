"""The figures of the studies: success by row, or along a quantity that grows."""

import collections
from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.semi_supervised.cells import REFERENCES
from robot.intervals import wilson

Outcomes = Sequence[tuple[int, int]]
"""(successes, episodes) of each seed."""
_GREY, _GREEN = "#8a8f98", "#0b6e4f"
_BAND = 0.25  # of an interval that is shaded, its opacity


def bars(outcomes: Mapping[tuple[str, str], Outcomes], labels: Mapping[str, str]) -> Figure:
    """A panel a column and a line a row: a bar with its interval, and each seed as a dot.

    Args:
      outcomes: by (column, row).
      labels: of rows that are not called by their own name.
    """
    columns, rows = (list(dict.fromkeys(names)) for names in zip(*outcomes, strict=True))
    figure = Figure(figsize=(1.8 + 1.8 * len(columns), 0.9 + 0.24 * len(rows)), layout="constrained")
    panels = figure.subplots(1, len(columns), sharey=True, squeeze=False)[0]
    for column, axes in zip(columns, panels, strict=True):
        for y, row in enumerate(rows):
            if seeds := outcomes.get((column, row)):
                rate, low, high = _interval(seeds)
                axes.barh(y, rate, color=_GREY if row in REFERENCES else _GREEN, height=0.65)
                axes.plot([low, high], [y, y], color="black", linewidth=1.2)
                axes.plot([100 * s / n for s, n in seeds], [y] * len(seeds), "o", color="white", mec="black", ms=3,
                          clip_on=False)  # fmt: skip
        axes.set_title(column, fontsize=8)
        _tidy(axes)
        axes.set(xlim=(0, 100), xlabel="success, %")
        axes.tick_params(axis="y", length=0)
    panels[0].set_yticks(range(len(rows)), [labels.get(row, row) for row in rows])
    panels[0].set_ylim(len(rows) - 0.5, -0.5)
    return figure


def curves(outcomes: Mapping[tuple[str, str], Outcomes], labels: Mapping[str, str], quantity: str) -> Figure:
    """A line a row along the quantity; references, which do not depend on it, are level bands.

    Args:
      outcomes: by (the quantity's value, row), values in the order in which they are drawn, evenly spaced; those of
        references by ("", row).
      labels: of rows that are not called by their own name.
      quantity: the label of the axis.
    """
    values = [value for value in dict.fromkeys(value for value, _ in outcomes) if value]
    rows: dict[str, dict[str, Outcomes]] = collections.defaultdict(dict)
    for (value, row), seeds in outcomes.items():
        rows[row][value] = seeds
    figure = Figure(figsize=(5.5, 3.2), layout="constrained")
    axes = figure.subplots()
    for row, found in rows.items():
        label = labels.get(row, row)
        if row in REFERENCES:
            rate, low, high = _interval(found[""])
            axes.axhline(rate, color=_GREY, linestyle="--" if row == "truth" else ":", label=label)
            axes.axhspan(low, high, color=_GREY, alpha=_BAND, linewidth=0)
            continue
        at = [n for n, value in enumerate(values) if value in found]
        rates, lows, highs = zip(*(_interval(found[values[n]]) for n in at), strict=True)
        (line,) = axes.plot(at, rates, marker="o", ms=4, label=label)
        axes.fill_between(at, lows, highs, color=line.get_color(), alpha=_BAND, linewidth=0)
    axes.set_xticks(range(len(values)), values)
    axes.set(ylim=(0, 100), ylabel="success, %", xlabel=quantity)
    _tidy(axes)
    figure.legend(loc="outside right upper", fontsize=8, frameon=False)
    return figure


def _interval(seeds: Outcomes) -> tuple[float, float, float]:
    """Percentages: of all seeds together, and the bounds of its interval."""
    successes, episodes = (sum(numbers) for numbers in zip(*seeds, strict=True))
    low, high = wilson(successes, episodes)
    return 100 * successes / episodes, 100 * low, 100 * high


def _tidy(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=8)
    axes.xaxis.label.set_size(8)
    axes.yaxis.label.set_size(8)
