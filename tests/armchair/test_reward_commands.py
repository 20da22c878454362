"""`armchair sketch` and `armchair reward` from the command line, on a fake store."""

import json

import pytest

from armchair import cli
from datasets.store import Store
from datasets.testing import make_episode


@pytest.fixture(name="root")
def _root(tmp_path):
    store = Store.create(tmp_path / "store")
    for seed in range(12):
        store.add(make_episode(seed, num_steps=12), "fake")
    return tmp_path


def test_sketch_train_report(root):
    store, sketches, run = str(root / "store"), str(root / "sketches.jsonl"), str(root / "run")
    assert cli.main(["sketch", "simulate", "--store", store, "--task", "lift_green", "--count", "9"]) == 0
    assert cli.main(["sketch", "export", "--store", store, "--task", "lift_green", "--out", sketches]) == 0
    assert (root / "sketches.jsonl").read_text().count("\n") == 9
    assert cli.main(["sketch", "import", "--store", store, "--file", sketches]) == 0
    options = ["--observations", "states", "--steps", "20", "--batch-pairs", "4", "--hidden", "16"]
    assert cli.main(["reward", "train", "--store", store, "--task", "lift_green", "--out", run, *options]) == 0
    assert cli.main(["reward", "report", "--model", f"{run}/model", "--store", store]) == 0
    metrics = json.loads((root / "run" / "report" / "metrics.json").read_text())
    assert metrics["episodes"] >= 3
    assert (root / "run" / "report" / "report.html").exists()


def test_compare(root, capsys, monkeypatch):
    monkeypatch.chdir(root)
    store = ["--store", "store"]
    assert cli.main(["sketch", "simulate", *store, "--task", "lift_green", "--count", "9"]) == 0
    options = ["--task", "lift_green", "--observations", "states", "--batch-pairs", "4", "--hidden", "16"]
    for name, steps in (("short", "2"), ("long", "10")):
        assert cli.main(["reward", "train", *store, "--out", name, "--steps", steps, *options]) == 0
    assert cli.main(["reward", "compare", "short/model", "long/model", *store, "--out", "both", "--episodes", "3"]) == 0
    told = capsys.readouterr()
    assert told.out.split()[:2] == ["short", "long"]
    assert "false-positive mass" in told.out
    assert "wrote both/compare.html" in told.err
    assert [model["name"] for model in json.loads((root / "both/compare.json").read_text())["models"]] == [
        "short",
        "long",
    ]
    assert (root / "both" / "compare.html").exists()


def test_train_by_a_method_of_demonstrations(root, capsys):
    store = str(root / "store")
    args = ["reward", "train", "--method", "oril", "--store", store, "--task", "lift_green", "--out", str(root / "run")]
    options = [
        "--demonstrations",
        "verdict=success limit=4",
        "--observations",
        "states",
        "--steps",
        "4",
        "--eta",
        "0.3",
    ]
    assert cli.main([*args, *options]) == 0
    card = json.loads((root / "run/model/card.json").read_text())
    assert card["method"] == "oril" and card["config"]["eta"] == 0.3 and card["config"]["steps"] == 4
    assert cli.main(["reward", "report", "--model", str(root / "run/model"), "--store", store]) == 0
    assert "Learned by oril from 4 demonstrations" in (root / "run/report/report.html").read_text()


@pytest.mark.parametrize("given", [["--method", "ssr"], ["--method=ssr"]])
def test_help_of_a_method_teaches_it(capsys, given):
    with pytest.raises(SystemExit) as stop:
        cli.main(["reward", "train", *given, "--help"])
    assert stop.value.code == 0
    told = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert "SUP-and-flat, whose flat labels are then refined, round by round" in told
    assert "--refinement.rounds INT" in told or "--rounds INT" in told
    assert "--eta" not in told and "--batch-pairs" not in told  # of other methods


def test_help_of_compare_teaches(capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main(["reward", "compare", "--help"])
    assert stop.value.code == 0
    told = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert "two or more reward models for one task on episodes that none of them was trained on" in told
    assert "armchair reward compare runs/one/model runs/other/model --store runs/store" in told


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["sketch", "import", "--file", "absent.jsonl"], "absent.jsonl is not there"),
        (["sketch", "simulate", "--task", "juggle"], "no episode to sketch"),
        (["reward", "train", "--task", "lift_green", "--out", "run"], "no sketches for the task"),
        (["reward", "train", "--task", "lift_green", "--out", "run", "--method", "oril"], "which episodes these are"),
        (["reward", "train", "--task", "lift_green", "--out", "run", "--method", "magic"], "no method 'magic'"),
        (["reward", "train", "--task", "lift_green", "--out", "run", "--steps", "0"], "steps is 0"),
        (["reward", "report", "--model", "absent"], "absent is not a model folder"),
    ],
)
def test_mistakes_are_one_sentence(root, monkeypatch, capsys, args, said):
    monkeypatch.chdir(root)
    assert cli.main([*args, "--store", str(root / "store")]) == 2
    errors = capsys.readouterr().err
    assert said in " ".join(errors.split())
    assert "Traceback" not in errors
    assert not (root / "run").exists()
