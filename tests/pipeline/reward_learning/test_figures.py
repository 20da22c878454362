"""Figures of several models: told apart without colours, each named once."""

import numpy as np

from pipeline.reward_learning import figures
from pipeline.reward_learning.quality import CalibrationBin, RatedEpisode

_RISING = np.linspace(0, 1, 9, dtype=np.float32)


def test_thirty_models_have_thirty_styles_and_neighbours_differ_in_line_and_marker_too():
    styles = [figures.style(n) for n in range(30)]
    assert len({str(style) for style in styles}) == 30
    for n in range(29):
        assert styles[n]["linestyle"] != styles[n + 1]["linestyle"]
        assert styles[n]["color"] != styles[n + 1]["color"]
        assert figures.marker(n) != figures.marker(n + 1)
        assert figures.fill(n)["hatch"] != figures.fill(n + 1)["hatch"]


def test_curves_have_one_legend_with_each_name_once_whichever_episode_has_it():
    plain = RatedEpisode("a", _RISING, (), None, None)
    known = RatedEpisode("b", _RISING, (_RISING, _RISING**2), _RISING, _RISING > 0.9)
    figure = figures.curves_figure({"one": [plain, known], "other": [plain, known]})
    assert [axes.get_title() for axes in figure.axes] == ["a", "b"]
    assert [len(axes.lines) for axes in figure.axes] == [2, 5]
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["true progress", "sketch", "one", "other"]


def test_calibration_of_one_model_has_counts_and_of_several_names():
    bins = (CalibrationBin(0.1, 7, 0.15, 0.0), CalibrationBin(0.9, 3, 0.95, 1.0))
    (axes,) = figures.calibration_figure({"": bins}).axes
    assert [text.get_text() for text in axes.texts] == ["7", "3"]
    figure = figures.calibration_figure({"one": bins, "other": bins[:1], "none": ()})
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["one", "other", "none"]
    assert not figure.axes[0].texts
