"""The benchmark of models that see pictures: its page, and that whoever is measured tells what is asked."""

import ast
from pathlib import Path

import pytest

from benchmarks.learners import contestants
from benchmarks.pictures import __main__ as bench
from benchmarks.pictures import ours
from datasets.errors import ArmchairError
from pipeline.config import EncoderConfig


def test_the_page_compares_medians_of_the_encoder_and_lists_crr():
    rates = {
        bench.OURS: {"training": [90.0, 100.0, 300.0], "inference": [270.0] * 3,
                     "training/fastest": [330.0, 110.0], "inference/fastest": [280.0]},
        bench.CHANNELS_LAST: {"training": [50.0, 40.0, 60.0], "inference": [200.0] * 3,
                              "training/fastest": [50.0, 100.0], "inference/fastest": [280.0]},
        bench.crr(2, "our"): {"training": [7.0, 8.0, 9.0]},
    }  # fmt: skip
    text = bench.tables(rates)
    assert f"| {bench.CHANNELS_LAST} | 50.0 (40.0 to 60.0) | **2.00** | 1.1 | 100.0 | **3.30** |" in text
    assert f"| {bench.CHANNELS_LAST} | 200.0 (200.0 to 200.0) | **1.35** | 1.35 | 280.0 | **1.00** |" in text
    assert "| 2 cameras, our threads | 8.0 (7.0 to 9.0) |" in text


def test_the_peer_has_our_sizes():
    script = Path(bench.__file__).parent / "peers" / "torch_encoder.py"
    line = next(line for line in script.read_text().splitlines() if line.startswith("CHANNELS"))
    channels, blocks, keypoints, side, _ = ast.literal_eval(line.split(" = ")[1])
    config = EncoderConfig()
    assert (channels, blocks, keypoints) == (config.channels, config.blocks, config.keypoints)
    assert side == ours.SIDE


@pytest.mark.parametrize("cameras", [0, 1])
def test_ours_tells_what_it_measures(cameras):
    command = bench.commands(0.0)[bench.crr(cameras, "our") if cameras else bench.OURS]
    command[command.index("--batch") + 1] = "2"
    told = contestants.told(command)
    assert told["training"] >= 0
    assert cameras or (told["inference"] >= 0 and told["parameters"] == 220_289)  # PyTorch's count, of the same layers


def test_models_of_different_sizes_are_not_compared(monkeypatch):
    counts = iter(range(100))
    monkeypatch.setattr(contestants, "prepare", lambda peer: None)
    monkeypatch.setattr(contestants, "told", lambda command: {"parameters": next(counts), "training": 1.0})
    with pytest.raises(ArmchairError, match="differ in their parameters"):
        bench.main(bench.Options(rounds=1))
