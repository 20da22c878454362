"""What studies have in common: cells that are told apart, results that are found again, and where they were made."""

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import studies
from benchmarks.batch_rl import cells as batch_rl
from benchmarks.rl_unplugged import cells as rl_unplugged
from benchmarks.semi_supervised import cells as semi_supervised

ROOT = Path(__file__).resolve().parents[2]
MODULES = {"batch_rl": batch_rl, "rl_unplugged": rl_unplugged, "semi_supervised": semi_supervised}
OTHERWISE = {
    "task": "x", "row": "y", "seed": 9, "size": "quick", "pixels": True, "teaching": 5, "unlabelled": 30,
    "trouble": semi_supervised.Trouble.WRONG,
}  # fmt: skip
"""Another value of each field that a cell may have."""


@pytest.mark.parametrize(("module", "name"), [(m, name) for m, found in MODULES.items() for name in found.STUDIES])
def test_every_cell_of_a_study_is_another_one(module, name):
    found = list(MODULES[module].STUDIES[name]())
    assert len({cell.key for cell in found}) == len(found) > 1


@pytest.mark.parametrize("module", MODULES)
def test_a_key_changes_with_everything_that_decides_a_cell(module, monkeypatch):
    found = MODULES[module]
    cell = found.Cell("lift_green", "crr", 0)
    names = [field.name for field in dataclasses.fields(cell)]
    keys = {cell.key, *(dataclasses.replace(cell, **{name: OTHERWISE[name]}).key for name in names)}
    assert len(keys) == 1 + len(names)
    monkeypatch.setattr(found, "VERSION", found.VERSION + 1)
    assert cell.key not in keys


def test_done_cells_are_found_with_their_results_in_the_order_of_the_study(tmp_path):
    cells = [rl_unplugged.Cell("walker_walk", row, 0) for row in ("bc", "d4pg", "crr_exp")]
    for number in (2, 0):
        (tmp_path / f"{cells[number].key}.json").write_text(json.dumps({"number": number}))
    assert studies.read(cells, tmp_path) == [(cells[0], {"number": 0}), (cells[2], {"number": 2})]


def test_when_and_where():
    def made(day, machine="2 cores", **more):
        return {"date": f"2026-01-{day}", "machine": machine, **more}

    assert studies.when_and_where([]) == "- Date: –; machine: –; oneDNN: –"
    one = studies.when_and_where([made(31, onednn="on"), made(31, onednn="on")])
    assert one == "- Date: 2026-01-31; machine: 2 cores; oneDNN: on"
    several = studies.when_and_where([made(31, "8 cores", onednn="on"), made(29), made(30)])
    assert several == "- Date: 2026-01-29 to 2026-01-31; machine: 2 cores; 8 cores; oneDNN: not recorded, on"


def test_cells_run_as_users_do_with_onednn_and_say_so(tmp_path):
    told = (
        "import sys; from pathlib import Path; from benchmarks import studies\n"
        "from benchmarks.rl_unplugged.cells import Cell\n"
        "assert 'tensorflow' not in sys.modules, 'it would not look any more'\n"
        "folder = Path(sys.argv[1])\n"
        "result = studies.once(Cell('x', 'bc', 0), 1, folder, folder, lambda work: work.mkdir(parents=True) or {})\n"
        "print(result['onednn'])"
    )
    environment = {k: v for k, v in os.environ.items() if k != "TF_ENABLE_ONEDNN_OPTS"}
    for given, wanted in ({}, "on"), ({"TF_ENABLE_ONEDNN_OPTS": "0"}, "off"):
        command = [sys.executable, "-c", told, tmp_path / wanted]
        done = subprocess.run(command, env=environment | given, cwd=ROOT, capture_output=True, text=True, check=True)
        assert done.stdout.strip() == wanted
