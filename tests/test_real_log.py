"""A real robot's log through the same path: BridgeData's WidowX arm, as plain RLDS, by `armchair demo --from`.

Needs the folder `octo_bridge_debug` (25 episodes of BridgeData V2) under $ARMCHAIR_REAL_DATA.
"""

import os
import re
from pathlib import Path

import pytest

from armchair import cli
from datasets.query import Query
from datasets.store import Store
from pipeline import export
from pipeline.metrics import read_metrics

TASK = "put_object_in_place"


@pytest.fixture
def bridge():
    if "ARMCHAIR_REAL_DATA" not in os.environ:
        pytest.skip("ARMCHAIR_REAL_DATA is not set: the folder that holds octo_bridge_debug")
    return Path(os.environ["ARMCHAIR_REAL_DATA"]) / "octo_bridge_debug" / "bridge_dataset" / "1.0.0"


@pytest.mark.slow  # a minute and a half
def test_bridge_to_report(bridge, tmp_path, capfd):
    before = {path: path.read_bytes() for path in bridge.iterdir()}
    out = tmp_path / "demo"
    command = ["demo", "--from", str(bridge), "--task", TASK, "--preset", "smoke", "--out", str(out)]
    assert cli.main(command) == 0
    told = capfd.readouterr()
    assert told.out.splitlines()[-1] == f"{out}/report.html"
    assert re.search(r"duplicates +25\b", told.out)  # its val split repeats its train split
    assert {path: path.read_bytes() for path in bridge.iterdir()} == before

    store = Store.open(out / "store")
    rows = store.query(Query())
    assert len(rows) == 25 and not (out / "store" / "quarantine").exists()
    for row, episode in zip(rows, store.read_many(rows), strict=True):
        assert "is_last was never true" in row.repairs  # so it is in BridgeData's files
        assert episode.is_last[-1] and not episode.is_terminal.any()

    # The reward model looks at the cameras that this robot has, and was not shown what it is judged by.
    card = export.load_card(out / "reward" / "model", "reward_model")
    assert set(card["inputs"]) == {"image_0", "image_1", "image_2", "state"}  # image_3 is black throughout
    kept = {row.episode_id for row in rows if row.split == "test"}
    assert kept and not kept & set(card["trained_on"])
    assert {i: len(values) for i, values in store.predictions(card["model_id"]).items()} == {
        row.episode_id: row.num_steps for row in rows
    }

    for name in ("bc", "crr_learned"):
        policy = export.load_card(out / "policies" / name / "last", "policy")
        assert list(policy["inputs"]) == ["state"] and policy["action"]["shape"] == [7]
        assert policy["dataset"]["episodes"] == 25 - len(kept)
        losses = [line["policy_loss"] for line in read_metrics(out / "policies" / name)]
        assert losses[-1] < losses[0]

    report = (out / "report.html").read_text()
    rows_of = {cells[0]: cells[1:] for cells in _table_rows(report)}
    for policy in ("BC", "CRR, learned reward"):
        shown, held_out = map(float, rows_of[policy])
        assert 0 < shown < 1 and 0 < held_out < 3  # of the actions' variance; two episodes of ten frames tell little
    order = float(rows_of["order as by held-out sketches"][0].split()[0])
    assert 0.5 < order <= 1
    assert rows_of["is_last was never true and is now true at the last step."] == ["25"]
    assert report.count('src="data:video/mp4;base64,') >= 3
    assert "nan" not in re.sub(r'"data:[^"]*"', "", report).lower().split()


def _table_rows(page: str) -> list[list[str]]:
    return [re.findall(r"<td>(.*?)</td>", row, re.DOTALL) for row in re.findall(r"<tr>(<td>.*?)</tr>", page, re.DOTALL)]
