"""`armchair collect` and `armchair evaluate`: options in, results on standard output, mistakes in one sentence."""

import json

import pytest

from armchair.cli import main
from datasets import schema
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


def test_a_real_arm_has_a_safety_filter_unless_it_is_turned_off(tmp_path, capsys):
    arm = ["--env", "robot.drivers.fake:make_robot", "--actor", "random_watcher", "--episodes", "1"]
    for dataset, options in (("safe", []), ("bare", ["--safety", "off"])):
        assert main(["collect", "--out", str(tmp_path), *arm, "--dataset", dataset, *options]) == 0
        (episode,) = recorded(tmp_path, dataset)
        assert (schema.INTERVENTION in episode.extras) == (dataset == "safe")
    assert main(["evaluate", *arm]) == 0
    assert "tells no success" in capsys.readouterr().out


def test_the_simulated_cell_has_a_safety_filter_if_it_is_asked_to(tmp_path):
    for dataset, options in (("safe", ["--safety", "on"]), ("bare", [])):
        options += ["--dataset", dataset, "--env", "reach_green", "--actor", "expert:reach_green", "--cell.cameras"]
        assert main(["collect", "--out", str(tmp_path), "--episodes", "1", *options]) == 0
        (episode,) = recorded(tmp_path, dataset)
        assert (schema.INTERVENTION in episode.extras) == (dataset == "safe")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["evaluate"], "give either --policy FOLDER or --actor NAME"),
        (["evaluate", "--policy", "nowhere"], "nowhere is not a policy"),
        (["evaluate", "--actor", "somebody"], "there is no actor 'somebody'"),
        (["collect", "--out", "x", "--env", "lift_blue"], "'lift_blue'"),
        (["collect", "--out", "x", "--dataset", "Bad Name"], "'Bad Name' cannot name a dataset"),
        (["collect", "--out", "x", "--safety", "on", *ARM], "'fake_arm' has no safety limits"),
    ],
)
def test_mistakes(arguments, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())  # nothing half-written
