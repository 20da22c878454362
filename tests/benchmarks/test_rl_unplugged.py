"""The study on the control suite: its data, what its cells are, that it runs, and its page."""

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.rl_unplugged import data, page
from benchmarks.rl_unplugged.cells import Cell

ROOT = Path(__file__).resolve().parents[2]


class TestThin:
    @given(st.lists(st.floats(0, 1000), min_size=1, max_size=60), st.integers(0, 9))
    def test_two_thirds_of_the_successes_go_and_nothing_else(self, returns, seed):
        kept = data.thin(returns, seed)
        success = [value >= 0.7 * max(returns) for value in returns]
        assert kept == sorted(set(kept))
        assert {n for n in range(len(returns)) if not success[n]} <= set(kept)
        assert sum(success[n] for n in kept) == round(sum(success) / 3)

    def test_which_successes_stay_is_left_to_chance(self):
        counts = np.bincount([n for seed in range(600) for n in data.thin([1.0] * 6, seed)])
        assert counts.min() > 150 and counts.max() < 250  # 200 each, deviation 12


class TestPlay:
    def test_episodes_are_what_the_environments_did(self):
        suite = pytest.importorskip("benchmarks.rl_unplugged.suite")
        pytest.importorskip("dm_control")
        from datasets import validate

        rng = np.random.default_rng(0)
        actions = rng.uniform(-1, 1, (1000, 2, 1)).astype(np.float32)
        given_actions = iter(actions)
        envs = [suite.make("cartpole_swingup", seed) for seed in (0, 1)]
        episodes = suite.play(envs, lambda observation: next(given_actions), "random")
        for seed, episode in enumerate(episodes):
            assert not validate.validate(episode).errors
            env = suite.make("cartpole_swingup", seed)
            steps = [env.reset(), *(env.step(action) for action in actions[:, seed])]
            assert episode.num_steps == 1001 and steps[-1].last() and not episode.is_terminal.any()
            np.testing.assert_array_equal(episode.action[:-1], actions[:, seed])
            np.testing.assert_array_equal(episode.reward[:-1], np.float32([step.reward for step in steps[1:]]))
            position = np.float32([step.observation["position"] for step in steps])
            np.testing.assert_array_equal(episode.observation["position"], position)


@pytest.mark.slow
def test_the_online_agent_acts_and_learns_from_its_replay(monkeypatch):
    pytest.importorskip("dm_control")
    from benchmarks.rl_unplugged import online

    learned = []
    run = online.D4pgLearner.run
    monkeypatch.setattr(online.D4pgLearner, "run", lambda self, count: learned.append(run(self, count)))
    config = online.OnlineConfig(episodes=4, side_by_side=2, samples_per_insert=2.0)
    seen = online.learn("cartpole_swingup", config)
    assert len(seen) == 4 and len({episode.metadata.episode_id for episode in seen}) == 4
    assert len(learned) == 2 and all(np.isfinite(value) for metrics in learned for value in metrics.values())
    first = seen[0].action[:-1]
    assert first.min() >= -1 and first.max() <= 1 and 0.2 < first.std() < 0.4  # a fresh policy is at 0: noise alone
    solved = online.learn("cartpole_swingup", dataclasses.replace(config, solved=0.0))
    assert seen and not solved


def _write(folder, row, seed, returns):
    facts = {
        "online_episodes": 168, "online_return": 824.0, "episodes": 120, "mean_return": 322.0,
        "quartiles": [100.0, 200.0, 500.0], "highest_return": 847.0,
    }  # fmt: skip
    snapshots = [{"step": 10 * n, "return": value, "episodes": 20} for n, value in enumerate(returns, start=1)]
    cell = Cell("walker_walk", row, seed)
    result = {
        "cell": dataclasses.asdict(cell), "version": 1, "data": facts, "snapshots": snapshots, "seconds": 90,
        "date": "2026-01-31", "machine": "2 cores",
    }  # fmt: skip
    (folder / f"{cell.key}.json").write_text(json.dumps(result))


def test_the_page_tells_what_the_results_say(tmp_path):
    _write(tmp_path, "crr_exp", 0, [400.0, 700.0, 500.0])
    _write(tmp_path, "crr_exp", 1, [100.0, 200.0, 600.0])
    _write(tmp_path, "bc", 0, [1.0, 2.0, 3.0])
    text = page.write("walker_walk", tmp_path).read_text()
    assert "Cells done: 3 of 18\n" in text
    (line,) = [line for line in text.splitlines() if line.startswith("| crr_exp ")]
    assert [part.strip() for part in line.split("|")[2:5]] == ["550 ± 71", "500, 600", "650 ± 71"]
    assert "| bc | 3 | 3 | 3 |" in text
    assert "The data are 120 of them: mean return 322" in text


@pytest.mark.slow
def test_the_study_runs(tmp_path):
    pytest.importorskip("dm_control")
    command = [sys.executable, "-m", "benchmarks.rl_unplugged", "--study", "smoke", "--runs", tmp_path / "runs",
               "--results", tmp_path / "results"]  # fmt: skip
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=280)
    assert done.returncode == 0, done.stderr
    results = [json.loads(path.read_text()) for path in (tmp_path / "results").glob("*.json")]
    assert [len(result["snapshots"]) for result in results] == [2, 2]
    assert all(0 <= snapshot["return"] <= 1000 for result in results for snapshot in result["snapshots"])
    assert "| crr_exp |" in (tmp_path / "results" / "smoke.md").read_text()
