"""`armchair demo --from` on logs smaller and stranger than BridgeData."""

import dataclasses
import re

import pytest

from armchair import cli, demo
from datasets import features
from datasets.shards import ShardDirectory
from datasets.store import Store
from datasets.testing import make_episode
from pipeline import export

FEW = ("fake-0", "fake-1", "fake-3")  # all of the training split


@pytest.fixture
def tiny(monkeypatch):
    sizes = demo.SIZES[demo.Preset.SMOKE]
    sizes = dataclasses.replace(sizes, reward=dataclasses.replace(sizes.reward, steps=10), policy_steps=100)
    monkeypatch.setattr(demo, "SIZES", {demo.Preset.SMOKE: sizes})


@pytest.mark.parametrize("cameras", [(), pytest.param(("basket_front_left",), marks=pytest.mark.slow)])
def test_a_log_of_which_nothing_can_be_held_out(cameras, tiny, tmp_path, capsys):
    episodes = [make_episode(int(name[5:]), num_steps=12, cameras=cameras) for name in FEW]
    log = ShardDirectory.create(tmp_path / "log" / "1.0.0", "log", features.step_spec(episodes[0]))
    for episode in episodes:
        log.append(features.serialize(episode, log.features))
    out = tmp_path / "out"
    command = ["demo", "--from", str(log.path), "--task", "lift_green", "--preset", "smoke", "--out", str(out)]
    assert cli.main(command) == 0, capsys.readouterr().err
    assert capsys.readouterr().out.splitlines()[-1] == f"{out}/report.html"

    store = Store.open(out / "store")
    assert {sketch.episode_id for sketch in store.sketches("lift_green")} == set(FEW)
    inputs = export.load_card(out / "reward" / "model", "reward_model")["inputs"]
    assert [name for name in inputs if name.startswith("pixels/")] == [f"pixels/{camera}" for camera in cameras]
    report = (out / "report.html").read_text()
    assert "3 episodes trained on" in report and "held out</th>" not in report
    assert "there is none to judge the reward model by" in report
    assert len(re.findall('src="data:video/mp4', report)) == 2

    assert cli.main(command) == 0  # done already
    assert cli.main([*command, "--seed", "1"]) == 2  # another demo
