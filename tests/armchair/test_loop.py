"""Rounds of the loop: what is kept of them, and the page about them."""

import dataclasses
import json
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from armchair import cli, demo, loop, loop_report
from armchair.loop import Round
from datasets.predictions import write_predictions
from datasets.store import Store
from datasets.testing import make_episode
from pipeline import export

ROUND = Round(1, "model-1", "policy-1", 4, 50, 10, 40, 0.5, 0.75, 0.97)


def predict(store, model_id, value):
    path = store.prediction_path(model_id, "part")
    values = {row.episode_id: np.full(row.num_steps, value, np.float32) for row in store.query(store.parse(""))}
    write_predictions(path, model_id, "hash", "lift_green", values)
    store.add_predictions(model_id, "hash", "lift_green", path)


def test_the_page_shows_each_rounds_delusions(tmp_path):
    store = Store.create(tmp_path / "store")
    for seed in range(5):  # even ones succeed
        store.add(make_episode(seed, 10, policy_id="policy-1" if seed < 4 else "policy-2"), "fake")
    store.publish()
    predict(store, "model-1", 0.875)
    predict(store, "model-2", 0.25)
    second = dataclasses.replace(
        ROUND, number=2, model_id="model-2", policy_id="policy-2", sketches=24, successes=50, predicted_successes=49,
        auc_episodes=None, auc_frames=0.99,
    )  # fmt: skip
    page = loop_report.write(tmp_path / "report.html", store.root, "lift_green", [ROUND, second]).read_text()
    assert "succeeds in 10 of 50 episodes, the last in 50 of 50" in page
    assert "11 to 33 %" in page and "93 to 100 %" in page  # Wilson
    assert len(re.findall('src="data:video/mp4', page)) == 2  # of policy 1, episodes 1 and 3
    assert page.count("highest prediction 0.88") == 2
    assert "Nothing: every episode of this policy succeeds" in page


def test_the_figure_draws_what_is_known():
    unknown = dataclasses.replace(ROUND, number=2, auc_episodes=None)
    success, auc = loop_report.figure([[ROUND, unknown], [ROUND]]).axes
    assert [line.get_label() for line in success.lines].count("predicted to succeed") == 2
    drawn = [list(zip(*line.get_data(), strict=True)) for line in auc.lines if "newest" in line.get_label()]
    assert drawn == [[(1, 0.5)], [(1, 0.5)]]
    assert len(auc.get_legend().texts) == 2


def test_a_loop_without_rounds_is_refused(tmp_path, capsys):
    assert cli.main(["loop", "--rounds", "0", "--out", str(tmp_path / "run")]) == 2
    assert "a loop of 0 rounds does nothing" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_two_rounds_from_nothing_though_killed(tmp_path, capsys):
    out = tmp_path / "run"
    command = ["loop", "--preset", "smoke", "--rounds", "2", "--out", str(out)]
    with subprocess.Popen([sys.executable, "-m", "armchair", *command], start_new_session=True) as process:
        deadline = time.monotonic() + 600
        while not (out / "round-1" / "policy" / "last").exists():
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.2)
        process.send_signal(signal.SIGKILL)
    assert cli.main(command) == 0, capsys.readouterr().err
    assert capsys.readouterr().out.splitlines()[-1] == f"{out}/report.html"

    first, second = loop.read_rounds(out)
    hunted_each = loop.HUNTED[demo.Preset.SMOKE]
    evaluated = demo.SIZES[demo.Preset.SMOKE].evaluation_episodes
    assert (first.sketches, second.sketches) == (loop.SKETCHES, loop.SKETCHES + hunted_each)
    assert first.model_id != second.model_id and first.policy_id != second.policy_id
    assert first.episodes == second.episodes == evaluated
    store = Store.open(out / "store")
    rows = store.query(store.parse("dataset=evaluation"))
    assert len(rows) == 2 * evaluated and len({row.seed for row in rows}) == len(rows)
    hunted = {s.episode_id for s in store.sketches(loop.TASK)} & {r.episode_id for r in rows}
    assert len(hunted) == hunted_each
    assert {row.policy_id for row in rows if row.episode_id in hunted} == {first.policy_id}
    card = export.load_card(out / "round-2" / "reward" / "model", "reward_model")
    assert hunted <= set(card["trained_on"])
    assert cli.main(command) == 0  # done already
    assert cli.main([*command, "--seed", "1"]) == 2  # another loop
    assert json.loads((out / "round-1" / "round.json").read_text())["number"] == 1
