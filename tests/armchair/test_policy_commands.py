"""`armchair train` and `armchair select`: what they do before a learner runs, and policies that are really tried."""

import functools
import json

import pytest

from armchair.cli import main
from beam_jobs.config import IngestConfig
from beam_jobs.ingest import ingest
from datasets.errors import ArmchairError
from datasets.features import ArraySpec
from pipeline import export, threads
from pipeline.batch_rl import selection, trainer
from pipeline.batch_rl.config import BcConfig, BcTraining, PolicyConfig
from robot.cell import rendering
from robot.collect import CollectConfig, collect
from robot.env import CellConfig
from robot.plan import PlanLine

NUMBERS, PICTURE = {"state": ArraySpec((3,), "float32")}, {"pixels/front": ArraySpec((8, 8, 3), "uint8")}


@pytest.fixture
def called(monkeypatch) -> list[str]:
    """Which thread settings were chosen, and what ran afterwards."""
    calls: list[str] = []
    for name in ("for_dense_learners", "for_pictures"):
        monkeypatch.setattr(threads, name, functools.partial(calls.append, name))
    monkeypatch.setattr(trainer, "train", lambda config: calls.append("train"))

    def rank(config):
        calls.append("rank")
        raise ArmchairError("enough")

    monkeypatch.setattr(selection, "rank", rank)
    return calls


@pytest.mark.parametrize(("sees", "wanted"), [("states", "for_dense_learners"), ("pixels", "for_pictures")])
def test_train_chooses_threads_by_what_the_policy_sees(called, tmp_path, sees, wanted):
    options = ["--store", str(tmp_path), "--out", str(tmp_path / "run"), "--task", "lift_green", "--observations", sees]
    assert main(["train", "crr", *options]) == 0
    assert called == [wanted, "train"]


@pytest.mark.parametrize(
    ("inputs", "wanted"),
    [((NUMBERS, NUMBERS), "for_dense_learners"), ((NUMBERS, NUMBERS | PICTURE), "for_pictures")],
    ids=["numbers", "pictures, too"],
)
def test_select_chooses_threads_by_what_the_policies_see(called, tmp_path, inputs, wanted):
    for step, specs in enumerate(inputs):
        folder = tmp_path / "run" / "snapshots" / f"{step:08d}"
        folder.mkdir(parents=True)
        (folder / "card.json").write_text(json.dumps({"kind": "policy", "inputs": export.inputs_card(specs)}))
    options = ["--runs", str(tmp_path / "run"), "--store", str(tmp_path), "--task", "lift_green"]
    assert main(["select", *options]) == 2
    assert called == [wanted, "rank"]


@pytest.mark.slow
def test_select_runs_the_policies_where_it_can(tmp_path, capsys):
    """Two snapshots that have learned next to nothing."""
    try:
        rendering.choose_backend()
    except Exception as error:
        pytest.skip(f"nothing can be drawn on this machine: {error}")
    plan = (PlanLine("lift_green", "expert:lift_green:0.1", episodes=2),)
    collect(CollectConfig(tmp_path / "logs", plan, cell=CellConfig(cameras=())))
    ingest(IngestConfig((tmp_path / "logs",), tmp_path / "store"))
    small = {"steps": 10, "fused": 5, "checkpoint_every": 10, "snapshot_every": 5, "batch_size": 16}
    method = BcConfig(policy=PolicyConfig((16,), components=2))
    trainer.train(BcTraining(tmp_path / "store", tmp_path / "run", "lift_green", method=method, **small))
    options = f"--store {tmp_path / 'store'} --task lift_green --steps 20 --batch-size 16"
    options += f" --method.critic.layer-sizes 16 --robot sim:lift_green --episodes 2 --result {tmp_path / 'r.json'}"
    assert main(["select", "--runs", str(tmp_path / "run"), *options.split()]) == 0
    result = json.loads((tmp_path / "r.json").read_text())
    assert sorted(entry["step"] for entry in result["ranking"]) == [5, 10]
    assert all(entry["success"] in (0, 0.5, 1) for entry in result["ranking"])
    assert result["rank_correlation"].keys() == {"value", "td_error", "action_gap"}
    told = capsys.readouterr()
    assert told.out.splitlines()[0].split()[-1] == "success"
    assert "rank correlation of action_gap and success (Spearman): " in told.err
