"""The benchmark of feeds runs and writes its page."""

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "feeds.py"


@pytest.mark.slow
@pytest.mark.timeout(900)  # minutes, and a machine may be busy
def test_it_reads_every_format_and_writes_a_page(tmp_path):
    size = ["--episodes", "3", "--rounds", "2", "--seconds", "0.1"]
    command = [sys.executable, SCRIPT, *size, "--directory", tmp_path, "--out", tmp_path / "page.md"]
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
    page = (tmp_path / "page.md").read_text()
    for name in (
        "in memory",
        "frames on disk",
        "RLDS, through",
        "RLDS, single",
        "HDF5, by",
        "HDF5 with gzip",
        "HDF5, its",
        "Parquet and MP4",
    ):
        [line] = [line for line in page.splitlines() if line.startswith(f"| {name}")]
        assert line.count("|") == 5
    assert "--episodes 3 --rounds 2 --seconds 0.1 --seed 0" in page
