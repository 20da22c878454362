"""The benchmark of a policy's thinking measures real policies, and its page holds what the project asks for."""

from pathlib import Path

import numpy as np
import pytest

from benchmarks.policy_latency import POLICIES, export_policy, row, time_calls

PAGE = Path(__file__).resolve().parents[2] / "docs" / "results" / "costs.md"


@pytest.mark.parametrize(
    ("pictures", "memory"), [(False, 0), pytest.param(True, 3, marks=pytest.mark.slow)], ids=["numbers", "everything"]
)
def test_every_call_of_a_policy_is_timed(tmp_path, pictures, memory):
    seconds = time_calls(export_policy(tmp_path / "policy", pictures, memory), calls=4, rounds=2)
    assert seconds.shape == (2, 4) and (seconds > 0).all()


def test_a_row_tells_medians_of_rounds_and_the_longest_call():
    seconds = np.repeat([[0.001], [0.002], [0.006]], 100, axis=1)
    seconds[0, 0] = 0.5
    assert row("numbers", seconds).endswith("| 2.00 (1.00 to 6.00) | 5.99 (2.00 to 6.00) | 500.0 |")


@pytest.mark.parametrize("name", POLICIES)
def test_the_page_tells_of_every_policy_that_it_thinks_fast_enough(name):
    [line] = [line for line in PAGE.read_text().splitlines() if line.startswith(f"| {name} |")]
    tail = float(line.split("|")[3].split()[0])
    assert tail <= (40 if "cameras" in name else 10)
