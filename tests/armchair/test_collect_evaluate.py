"""`armchair collect` and `armchair evaluate`: options in, results on standard output, mistakes in one sentence."""

import json

import pytest

from armchair.cli import main
from robot.record import recorded

ARM = ["--env", "robot.testing:FakeArm", "--actor", "robot.testing:fake_novice"]


def test_collect_prints_the_folder_it_made(tmp_path, capsys):
    assert main(["collect", "--out", str(tmp_path), *ARM, "--episodes", "3", "--seed", "7", "--dataset", "mine"]) == 0
    assert capsys.readouterr().out == f"{tmp_path}/mine/1.0.0\n"
    assert [e.metadata.seed for e in recorded(tmp_path, "mine")] == [7, 8, 9]


def test_evaluate_prints_one_line_and_writes_json(tmp_path, capsys):
    assert main(["evaluate", *ARM, "--episodes", "10", "--result", str(tmp_path / "r.json")]) == 0
    result = json.loads((tmp_path / "r.json").read_text())
    low, high = (100 * x for x in result["wilson_95"])
    rate = f"{10 * result['successes']:.1f} % ({result['successes']}/10, 95 % Wilson {low:.1f}-{high:.1f})\n"
    assert capsys.readouterr().out == rate


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["evaluate"], "give either --policy FOLDER or --actor NAME"),
        (["evaluate", "--policy", "nowhere"], "nowhere is not a policy"),
        (["evaluate", "--actor", "somebody"], "there is no actor 'somebody'"),
        (["collect", "--out", "x", "--env", "lift_blue"], "'lift_blue'"),
        (["collect", "--out", "x", "--dataset", "Bad Name"], "'Bad Name' cannot name a dataset"),
    ],
)
def test_mistakes(arguments, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())  # nothing half-written
