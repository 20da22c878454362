"""The study of offline learners: what its cells are, that it runs, and its page."""

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.batch_rl import cells, page
from benchmarks.batch_rl.cells import Cell
from pipeline.batch_rl.config import TRAININGS

ROOT = Path(__file__).resolve().parents[2]


def test_no_method_is_left_out():
    assert {type(method) for method in cells.METHODS.values()} == set(TRAININGS)


def _write(folder, row, seed, outcomes):
    """(promised value, successes) of each snapshot."""
    snapshots = [
        {"step": 10 * n, "value": value, "td_error": -value, "action_gap": 1.0, "successes": successes, "episodes": 100}
        for n, (value, successes) in enumerate(outcomes, start=1)
    ]
    cell = Cell("lift_green", row, seed)
    result = {
        "cell": dataclasses.asdict(cell), "version": 1, "snapshots": snapshots, "seconds": 60,
        "seconds_for_the_store": 60, "date": "2026-01-31", "machine": "2 cores",
    }  # fmt: skip
    (folder / f"{cell.key}.json").write_text(json.dumps(result))


def test_the_page_tells_what_the_results_say(tmp_path):
    _write(tmp_path, "crr", 0, [(3.0, 40), (5.0, 70), (4.0, 50)])
    _write(tmp_path, "crr", 1, [(1.0, 80), (3.0, 60), (2.0, 70)])
    text = page.write("learners", tmp_path).read_text()
    assert f"Cells done: 2 of {len(list(cells.learners()))}; their times add up to 4 minutes" in text
    (line,) = [line for line in text.splitlines() if line.startswith("| crr ")]
    last, each, best, chosen = [part.strip() for part in line.split("|")[2:6]]
    assert last.startswith("60 % (53 to 67)") and each == "50, 70"
    assert best.startswith("75 %")  # 70 and 80
    assert chosen.startswith("65 %")  # 70 and 60
    assert "| promised value | +1.00, -1.00 | +0.00 |" in text
    assert "| TD error | -1.00, +1.00 | +0.00 |" in text
    assert "| action gap | +0.00, +0.00 | +0.00 |" in text  # all are equal
    assert "CRR+" not in text


def test_the_page_compares_what_was_changed_on_the_same_seeds(tmp_path):
    _write(tmp_path, "crr", 0, [(1.0, 10), (2.0, 50)])
    _write(tmp_path, "crr", 1, [(1.0, 10), (2.0, 0)])  # a seed that the other row has not
    _write(tmp_path, "crr_scalar", 0, [(1.0, 90), (2.0, 70)])
    text = page.write("learners", tmp_path).read_text()
    (line,) = [line for line in text.splitlines() if line.startswith("| a scalar critic")]
    scalar, base, points, seeds = [part.strip() for part in line.split("|")[2:6]]
    assert scalar.startswith("`crr_scalar`: 70 %") and base.startswith("50 %")
    assert points.startswith("+20 (+6 to +33)") and seeds == "0"  # Newcombe's interval, by hand
    assert "the random watcher" not in text


@pytest.mark.slow
@pytest.mark.timeout(900)  # minutes, and a machine may be busy
@pytest.mark.parametrize(("study", "row"), [("smoke", "crr_memory"), ("smoke_pixels", "crr_pixels")])
def test_the_study_runs(tmp_path, study, row):
    command = [sys.executable, "-m", "benchmarks.batch_rl", "--study", study, "--runs", tmp_path / "runs",
               "--results", tmp_path / "results"]  # fmt: skip
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, done.stderr
    results = [json.loads(path.read_text()) for path in (tmp_path / "results").glob("*.json")]
    assert [len(result["snapshots"]) for result in results] == [3, 3]
    assert all(snapshot["episodes"] == 4 for result in results for snapshot in result["snapshots"])
    assert f"| {row} |" in (tmp_path / "results" / f"{study}.md").read_text()
    again = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=100)
    assert "done" in again.stderr
