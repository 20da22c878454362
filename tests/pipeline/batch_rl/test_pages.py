"""Every algorithm has a page, and its table of metrics is the code's."""

import dataclasses
from pathlib import Path

import pytest

from pipeline.batch_rl import selection, trainer
from pipeline.batch_rl.config import TRAININGS
from pipeline.batch_rl.fqe import FqeLearner

PAGES = Path(__file__).resolve().parents[3] / "docs" / "algorithms"


@pytest.mark.parametrize(("method", "training"), TRAININGS.items(), ids=lambda config: config.__name__)
def test_the_page_explains_every_metric_as_the_code_does(method, training):
    page = (PAGES / f"{training.name}.md").read_text()
    rows = [line for line in page.splitlines() if line.startswith("| `")]
    assert rows == [f"| `{name}` | {meaning} |" for name, meaning in trainer._LEARNERS[method].METRICS.items()]


def test_the_overview_explains_what_a_ranking_tells_as_the_code_does():
    rows = [line for line in (PAGES / "README.md").read_text().splitlines() if line.startswith("| `")]
    metrics = {**selection.METRICS, **FqeLearner.METRICS}
    assert rows == [f"| `{name}` | {meaning} |" for name, meaning in metrics.items()]
    assert {"policy", "policy_id", "step", *selection.METRICS} == {f.name for f in dataclasses.fields(selection.Score)}


def test_the_overview_names_every_method():
    overview = (PAGES / "README.md").read_text()
    assert all(f"[`{training.name}`]({training.name}.md)" in overview for training in TRAININGS.values())
