"""The page of an evaluation tells every verdict and what follows from them, and makes do with what there is."""

import dataclasses
import re
from html import unescape

from armchair import evaluation_report
from robot.evaluate import EvaluateConfig, Evaluation, compare
from robot.loop import EpisodeSummary
from robot.testing import FakeOperator

ARM = "robot.drivers.fake:make_robot"


def evaluation(policy_id: str, verdicts: str) -> Evaluation:
    told = {"s": True, "f": False, "u": None}
    episodes = tuple(EpisodeSummary("reach", policy_id, i, 0.5, 10, told[v]) for i, v in enumerate(verdicts))
    return Evaluation("my_arm:make_robot", episodes, {})


def rows(page: str) -> list[list[str]]:
    """Every row of every table."""
    cells = [
        re.findall(r"<t[dh][^>]*>(.*?)</t[dh]>", row, re.DOTALL) for row in re.findall(r"<tr>.*?</tr>", page, re.DOTALL)
    ]
    return [[unescape(cell).strip() for cell in row] for row in cells]


def write(tmp_path, evaluations, out=None, dataset="evaluation") -> str:
    return evaluation_report.write(tmp_path / "page.html", evaluations, out, dataset).read_text()


def test_rates_differences_and_every_verdict(tmp_path):
    one, other = evaluation("p1", "sssf"), evaluation("p2", "sffu")
    page = write(tmp_path, {"runs/one": one, "runs/two": other})
    told = rows(page)
    assert ["runs/one", "p1", "75 %", "30 to 95 %", "4 of 4", "0.50"] in told
    assert ["runs/two", "p2", "33 %", "6 to 79 %", "3 of 4", "0.50"] in told
    assert ["p1", "p2", "+42 points", "-23 to +76"] in told
    assert ["0", "success", "success"] in told and ["3", "failure", "not judged, return 0.50"] in told
    assert page.count("image/svg+xml") == 1 and "<video" not in page


def test_without_any_verdict_there_are_returns(tmp_path):
    page = write(tmp_path, {"runs/one": evaluation("p1", "uu")})
    assert ["runs/one", "p1", "-", "-", "0 of 2", "0.50"] in rows(page)
    assert "Nobody judged these episodes" in page and "svg+xml" not in page


def test_a_campaign_s_page_has_the_first_videos_interventions_and_overruns(tmp_path):
    config = EvaluateConfig(ARM, "random", episodes=2, out=tmp_path)
    names = ["random", "random_watcher"]
    page = write(tmp_path, dict(zip(names, compare(config, names[1:], FakeOperator("sf")), strict=True)), tmp_path)
    assert page.count("<video") == 2 and page.count("seed 1000000") == 2
    told = {row[0]: row for row in rows(page) if row[1:2] == ["100"]}  # two episodes of 50 steps
    assert set(told) == set(names)
    for _, _, reasons, stops, overruns, jitter in told.values():
        assert re.search(r"(slew|speed): \d+", reasons) and (stops, overruns, jitter) == ("0", "0", "0")


def test_a_simulated_evaluation_has_a_page_too(tmp_path):
    config = EvaluateConfig("robot.testing:FakeArm", "robot.testing:FakeExpert", episodes=2, out=tmp_path)
    (told,) = compare(config, ())
    page = write(tmp_path, {"expert": told}, tmp_path)
    assert "100 %" in page and "Safety" not in page and "<video" not in page  # it has no cameras
    unrecorded = dataclasses.replace(config, out=None)
    assert "100 %" in write(tmp_path, {"expert": compare(unrecorded, ())[0]})
