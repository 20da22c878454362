"""`armchair collect` and `armchair evaluate`: options in, results on standard output, mistakes in one sentence."""

import json
import os
import re
import subprocess
import sys

import pytest

from armchair.cli import main
from armchair.commands import evaluate as evaluate_command
from datasets import schema
from robot.campaign import operators
from robot.record import recorded
from robot.testing import FakeOperator

NOVICE, EXPERT = "robot.testing:fake_novice", "robot.testing:FakeExpert"
FAKE = ["--robot", "robot.testing:FakeArm", "--policies", NOVICE]
ARM = ["--robot", "robot.drivers.fake:make_robot", "--policies", "random_watcher"]


@pytest.fixture
def operator(monkeypatch) -> FakeOperator:
    """Who answers in place of the terminal."""
    person = FakeOperator("sfu")
    for module in (operators, evaluate_command):
        monkeypatch.setattr(module, "Terminal", lambda name: person)
    return person


def test_collect_prints_the_folder_it_made(tmp_path, capsys):
    assert main(["collect", "--out", str(tmp_path), *FAKE, "--episodes", "3", "--seed", "7", "--dataset", "mine"]) == 0
    assert capsys.readouterr().out == f"{tmp_path}/mine/1.0.0\n"
    assert [e.metadata.seed for e in recorded(tmp_path, "mine")] == [7, 8, 9]


def test_collect_with_several_in_turns_and_one_after_the_other(tmp_path, capsys):
    for dataset, options in (("rows", []), ("turns", ["--interleave"])):
        arguments = [*FAKE, EXPERT, "--episodes", "3", "--dataset", dataset, *options]
        assert main(["collect", "--out", str(tmp_path), *arguments]) == 0
    err = capsys.readouterr().err
    assert "3 episodes of fake_expert_0.5: " in err and "3 episodes of fake_expert_0: 3 successes, 36 steps" in err
    assert [e.metadata.seed for e in recorded(tmp_path, "rows")] == [0, 1, 2, 0, 1, 2]
    assert [e.metadata.seed for e in recorded(tmp_path, "turns")] == [0, 0, 1, 1, 2, 2]


def test_evaluate_prints_one_line_and_writes_json(tmp_path, capsys):
    assert main(["evaluate", *FAKE, "--episodes", "10", "--result", str(tmp_path / "r.json")]) == 0
    result = json.loads((tmp_path / "r.json").read_text())
    low, high = (100 * x for x in result["wilson_95"])
    rate = f"{10 * result['successes']:.1f} % ({result['successes']}/10, 95 % Wilson {low:.1f}-{high:.1f})\n"
    assert capsys.readouterr().out == rate


def test_evaluate_compares_several_on_the_same_seeds(tmp_path, capsys):
    options = ["--episodes", "10", "--out", str(tmp_path)]
    assert main(["evaluate", *FAKE, EXPERT, *options, "--result", str(tmp_path / "r.json")]) == 0
    novice, expert, gain = capsys.readouterr().out.splitlines()
    result = json.loads((tmp_path / "r.json").read_text())
    assert novice.startswith(f"{NOVICE}: ") and expert.startswith(f"{EXPERT}: 100.0 % (10/10, ")
    assert [e["seed"] for e in result["policies"][NOVICE]["episodes"]] == list(range(1_000_000, 1_000_010))
    (difference,) = result["differences"]
    assert difference["difference"] == pytest.approx(result["policies"][NOVICE]["success_rate"] - 1)
    assert gain.startswith(f"fake_expert_0.5 - fake_expert_0: {100 * difference['difference']:+.1f} points")


def test_a_real_arm_has_a_safety_filter_unless_it_is_turned_off(tmp_path, operator):
    for dataset, options in (("safe", []), ("bare", ["--safety", "off"])):
        out = tmp_path / dataset
        assert main(["collect", "--out", str(out), *ARM, "--episodes", "1", "--dataset", dataset, *options]) == 0
        (episode,) = recorded(out, dataset)
        assert (schema.INTERVENTION in episode.extras) == (dataset == "safe")


def test_a_real_arm_s_episodes_are_judged_by_a_person(tmp_path, operator, capsys):
    options = ["--episodes", "2", "--out", str(tmp_path), "--report", str(tmp_path / "report.html")]
    assert main(["evaluate", *ARM, "random", *options]) == 0
    told = capsys.readouterr().out.splitlines()
    assert len(told) == 3 and "not judged" in "".join(told)
    assert [e.metadata.verdict for e in recorded(tmp_path, "evaluation")] == [
        "success",
        "failure",
        "unknown",
        "success",
    ]
    page = (tmp_path / "report.html").read_text()
    assert page.count("<video") == 2 and "overruns" in page and "speed: " in page and "not judged" in page


def test_a_real_arm_does_not_move_where_nobody_can_answer(tmp_path):
    command = [sys.executable, "-m", "armchair", "evaluate", *ARM, "--out", tmp_path]
    done = subprocess.run(command, check=False, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120)
    assert done.returncode == 2 and "start the command in a terminal" in done.stderr
    assert not (tmp_path / "evaluation").exists()


@pytest.mark.slow
def test_a_person_at_a_terminal_runs_a_campaign(tmp_path):
    """The questions come on a terminal, and are answered there; what was typed before is no answer."""
    master, slave = os.openpty()
    command = [sys.executable, "-m", "armchair", "evaluate", *ARM, "--out", tmp_path, "--episodes", "1"]
    command += ["--operator", "grace"]
    process = subprocess.Popen(
        command, stdin=slave, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, bufsize=0
    )

    def answer(text: str) -> str:
        heard = ""
        while not re.search(r"^\[.*\]$", heard, re.MULTILINE):
            letter = process.stderr.read(1)
            assert letter, f"it ended after {heard!r}"
            heard += letter
        os.write(master, f"{text}\n".encode())
        return heard

    os.write(master, b"yes\n")  # too early
    assert "button is in your hand" in answer("perhaps")
    assert answer("yes").lstrip().startswith("[yes: it does, no: do not move]")
    answer("")
    answer("S")
    out, _ = process.communicate(timeout=60)
    os.close(master)
    os.close(slave)
    assert process.returncode == 0 and out.startswith("100.0 % (1/1, ")
    (episode,) = recorded(tmp_path, "evaluation")
    assert episode.metadata.operator == "grace" and episode.metadata.verdict == "success"


def test_the_simulated_cell_has_a_safety_filter_if_it_is_asked_to(tmp_path):
    for dataset, options in (("safe", ["--safety", "on"]), ("bare", [])):
        options += ["--dataset", dataset, "--robot", "reach_green", "--policy", "expert:reach_green", "--cell.cameras"]
        assert main(["collect", "--out", str(tmp_path), "--episodes", "1", *options]) == 0
        (episode,) = recorded(tmp_path, dataset)
        assert (schema.INTERVENTION in episode.extras) == (dataset == "safe")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["evaluate"], "whom to evaluate?"),
        (["evaluate", "--policies"], "whom to evaluate?"),
        (["evaluate", "--policy", "nowhere"], "no actor 'nowhere', and no such folder"),
        (["evaluate", "--policy", "policy:nowhere"], "nowhere is not a policy"),
        (["evaluate", *FAKE, "robot.testing:fake_novice"], "planned twice"),
        (["evaluate", *ARM], "say where with --out"),
        (["collect", "--out", "x", "--policies"], "who is to act?"),
        (["collect", "--out", "x", "--robot", "lift_blue"], "'lift_blue'"),
        (["collect", "--out", "x", "--dataset", "Bad Name"], "'Bad Name' cannot name a dataset"),
        (["collect", "--out", "x", "--safety", "on", *FAKE], "'fake_arm' has no safety limits"),
    ],
)
def test_mistakes(arguments, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())  # nothing half-written
