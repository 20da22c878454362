"""The studies of semi-supervised rewards: what their cells are, that nothing runs twice, and the page."""

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks.semi_supervised import cells, figures, logs, page
from benchmarks.semi_supervised.cells import STUDIES, Cell
from benchmarks.semi_supervised.reward_quality import correlation
from benchmarks.semi_supervised.run import judge, reward_config
from datasets.errors import ArmchairError
from datasets.presets import ObservationPreset, select
from datasets.query import split_of
from datasets.store import Store
from datasets.testing import make_episode
from pipeline.reward_learning.config import METHODS, Selection, SqilConfig
from pipeline.reward_learning.train import train
from robot.env import CellConfig, make_env

ROOT = Path(__file__).resolve().parents[2]


def study(name, *options, cwd, **more):
    command = [sys.executable, "-m", "benchmarks.semi_supervised", "--study", name, *options]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False, timeout=850, **more)


def test_the_main_table_leaves_no_method_out():
    found = list(cells.main_table())
    for task in cells.TASKS:
        rows = {(cell.row, cell.seed) for cell in found if cell.task == task and not cell.pixels}
        assert rows == {(r, seed) for r in (*METHODS, *cells.VARIANTS, *cells.REFERENCES) for seed in cells.SEEDS}


@pytest.mark.parametrize("row", METHODS)
def test_a_methods_own_defaults_are_what_is_studied(row):
    config = reward_config(Cell("lift_green", row, 3), logs.SIZES["full"])
    own = {"observations", "without", "seed", "steps", "encoder"}
    changed = {k for k, v in dataclasses.asdict(config).items() if v != dataclasses.asdict(METHODS[row]())[k]}
    assert changed <= own and config.seed == 3


@pytest.mark.parametrize("pixels", [False, True])
@pytest.mark.parametrize("task", [*cells.TASKS, cells.HARDER_TASK])
def test_what_a_reward_does_without_is_there_to_be_left_out(task, pixels):
    config = reward_config(Cell(task, "sup", 0, pixels=pixels), logs.SIZES["full"])
    recorded = make_env(task, 0, CellConfig(cameras=logs.CAMERAS)).observation_spec()
    chosen = select(recorded, config.observations, config.without)
    assert any(name.startswith("pixels/") for name in chosen) == pixels
    assert not any(name.startswith(("sawyer/joints", "wrist")) for name in chosen)


def test_a_reward_is_judged_by_the_test_split_if_there_is_one(tmp_path):
    store = Store.create(tmp_path / "store")
    episodes = [make_episode(seed, cameras=()) for seed in range(30)]
    held_out = [e for e in episodes if split_of(e.metadata.episode_id) == "test"]
    for episode in episodes:
        if split_of(episode.metadata.episode_id) == "train":
            store.add(episode, logs.DATASET)
    selection = Selection(demonstrations="verdict=success")
    config = SqilConfig(observations=ObservationPreset.STATES)
    model = train(store, "lift_green", tmp_path / "run", config, selection)
    assert judge(store.root, model, "lift_green") == {}
    for episode in held_out:
        store.add(episode, logs.DATASET)
    assert judge(store.root, model, "lift_green")["episodes"] == len(held_out) > 0


def write_result(folder, cell, successes, reward=None):
    result = {"cell": dataclasses.asdict(cell), "version": cells.VERSION, "reward": reward, "successes": successes,
              "episodes": 100, "seconds": 60, "seconds_for_the_logs": 60, "date": "2026-01-31",
              "machine": "2 cores"}  # fmt: skip
    (folder / f"{cell.key}.json").write_text(json.dumps(result))


def test_the_page_tells_what_the_results_say_and_how_much_is_missing(tmp_path):
    made = {"bc_all": (40, 50, 60), "ssr": (80, 90, 100), "truth": (90, 90, 90)}
    for row, successes in made.items():
        for seed, count in enumerate(successes):
            reward = {"auc_solved": 0.9 + 0.01 * seed, "precision": None} if row == "ssr" else None
            write_result(tmp_path, Cell("lift_green", row, seed), count, reward)
    text = page.write("main", tmp_path).read_text()
    total = len(list(cells.main_table()))
    assert f"Cells done: 9 of {total}; their times add up to 18 minutes" in text
    (line,) = [line for line in text.splitlines() if line.startswith("| ssr ")]
    assert "| 90 % | 86 to 93 | +40 (+33 to +46) | 1.00 | 80, 90, 100 | 0.910 | – |" in line
    assert "| CRR, true reward |" in text and (tmp_path / "main.svg").exists()


def test_the_readmes_table_is_made_from_the_results(tmp_path):
    for seed in cells.SEEDS:
        write_result(tmp_path, Cell("lift_green", "bc_all", seed), 10)
        write_result(tmp_path, Cell("lift_green", "ssr", seed), 80)
        write_result(tmp_path, Cell("lift_green", "ssr", seed, pixels=True), 70)
    readme = tmp_path / "README.md"
    readme.write_text("before\n<!-- main: begin -->\nold\n<!-- main: end -->\nafter\n")
    for _ in range(2):  # the second time changes nothing
        page.write_readme("main", tmp_path, readme)
        text = readme.read_text()
        assert "| reward | lift_green | lift_green, pixels |" in text
        assert "| ssr | 80 % (75 to 84) | 70 % (65 to 75) |" in text
        assert "old" not in text and text.startswith("before\n") and text.endswith("<!-- main: end -->\nafter\n")
        assert f"![Success row by row]({tmp_path / 'main.svg'})" in text
    readme.write_text("nothing")
    with pytest.raises(ArmchairError, match="does not have the lines"):
        page.write_readme("main", tmp_path, readme)


def test_success_is_drawn_along_what_grows_between_level_references():
    outcomes = {("", "bc_all"): [(30, 100)], ("", "truth"): [(90, 100)]}
    outcomes |= {("2", "ssr"): [(10, 100), (30, 100)], ("5", "ssr"): [(80, 100)], ("5", "sup"): [(50, 100)]}
    (axes,) = figures.curves(outcomes, {"truth": "the truth"}, "annotated episodes").axes
    lines = {line.get_label(): (list(line.get_xdata()), list(line.get_ydata())) for line in axes.lines}
    assert lines["ssr"] == ([0, 1], [20, 80]) and lines["sup"] == ([1], [50])
    assert lines["bc_all"][1] == [30, 30] and lines["the truth"][1] == [90, 90]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["2", "5"]
    assert axes.get_xlabel() == "annotated episodes"


@pytest.mark.parametrize(
    ("name", "values", "quantity"),
    [
        ("how_little", ["2", "5", "10", "20", "50"], "annotated episodes"),
        ("more_unlabelled", ["30", "100", "300", "all"], "unlabelled episodes"),
    ],
)
def test_a_study_of_a_quantity_is_drawn_along_it(tmp_path, monkeypatch, name, values, quantity):
    drawn = []
    curves = figures.curves
    monkeypatch.setattr(figures, "curves", lambda *given: drawn.append(curves(*given)) or drawn[-1])
    for cell in STUDIES[name]((0,)):
        write_result(tmp_path, cell, 50)
    page.write(name, tmp_path)
    (axes,) = drawn[0].axes
    assert [label.get_text() for label in axes.get_xticklabels()] == values
    assert axes.get_xlabel() == quantity


def test_rows_of_all_columns_stand_in_line():
    figure = figures.bars({("a", "ssr"): [(1, 2)], ("a", "truth"): [(2, 2)], ("b", "truth"): [(1, 4)]}, {})
    first, second = figure.axes
    assert [bar.get_width() for bar in first.patches] == [50, 100] and [bar.get_y() for bar in second.patches] == [
        first.patches[1].get_y()
    ]
    assert [label.get_text() for label in first.get_yticklabels()] == ["ssr", "truth"]


@pytest.mark.parametrize("name", [name for name in STUDIES if name != "reward_quality"])
def test_every_study_has_a_page_with_a_figure(name, tmp_path):
    for cell in STUDIES[name]():
        write_result(tmp_path, cell, 50)
    text = page.write(name, tmp_path).read_text()
    assert text.count("| 50 % |") == len({page.group_of(cell) for cell in STUDIES[name]()})
    assert (tmp_path / f"{name}.svg").exists() and f"({name}.svg)" in text


def test_an_empty_page_says_so(tmp_path):
    assert "Cells done: 0 of" in page.write("main", tmp_path).read_text()
    assert "No task has the results of 20 reward models yet." in page.write("reward_quality", tmp_path).read_text()


def test_a_metric_that_decides_success_has_correlation_one(tmp_path):
    rated = [cell for cell in cells.main_table() if cell.method and cell.task == "lift_green"][:25]
    for n, cell in enumerate(rated):
        reward = {"recall": n / 25, "false_positive_mass": -n / 25, "mean_solved": n % 2, "precision": None}
        write_result(tmp_path, cell, 4 * n, reward)
    text = page.write("reward_quality", tmp_path).read_text()
    assert "the closest first: recall at 0.5 (+1.00), false-positive mass (-1.00).\n" in text
    assert "may tell nothing: mean reward of solved frames." in text
    assert "| metric | lift_green (n = 25) |" in text
    assert "| recall at 0.5 | +1.00 (+1.00 to +1.00) |" in text
    assert "| false-positive mass | -1.00 (-1.00 to -1.00) |" in text
    assert "| precision at 0.5 | – |" in text and (tmp_path / "reward_quality.svg").exists()


def test_correlation_of_what_does_not_hang_together_is_uncertain():
    rng = np.random.default_rng(0)
    rho, low, high = correlation(list(zip(rng.random(30), rng.random(30), strict=True)))
    assert low < 0 < high and low <= rho <= high
    assert correlation([(1, 2), (2, 3)]) is None and correlation([(1, 2), (1, 3), (1, 4)]) is None


def test_cells_are_listed_and_what_is_done_is_not_done_again(tmp_path):
    (cell, *others) = cells.smoke()
    for one in (cell, *others):
        write_result(tmp_path, one, 50)
    before = {path: path.read_text() for path in tmp_path.iterdir()}
    ran = study("smoke", "--results", str(tmp_path), "--runs", str(tmp_path / "runs"), cwd=ROOT)
    assert ran.returncode == 0, ran.stderr
    assert ran.stderr.count("done") == len(before)
    assert not (tmp_path / "runs").exists()
    assert all(path.read_text() == text for path, text in before.items())
    key, empty = next(iter(cells.main_table())).key, str(tmp_path / "empty")
    listed = study("main", "--list", "--cell", key, "--results", empty, cwd=ROOT)
    assert "bc_all" in listed.stderr and "to do" in listed.stderr


@pytest.mark.parametrize(
    ("options", "said"), [(("nothing",), "no study 'nothing'"), (("main", "--cell", "beef"), "no cell 'beef'")]
)
def test_mistakes_are_one_sentence(options, said, tmp_path):
    ran = study(*options, cwd=ROOT)
    assert ran.returncode == 1 and said in ran.stderr and "Traceback" not in ran.stderr


@pytest.mark.slow
@pytest.mark.timeout(900)  # minutes, and a machine may be busy
def test_a_study_runs_from_nothing_to_its_page(tmp_path):
    ran = study("smoke", "--results", str(tmp_path / "results"), "--runs", str(tmp_path / "runs"), cwd=ROOT)
    assert ran.returncode == 0, ran.stderr
    results = [json.loads(path.read_text()) for path in (tmp_path / "results").glob("*.json")]
    assert {result["cell"]["row"] for result in results} == {cell.row for cell in cells.smoke()}
    assert all(result["episodes"] == 4 and 0 <= result["successes"] <= 4 for result in results)
    rated = [result["reward"] for result in results if result["cell"]["row"] in METHODS]
    known = [reward["auc_solved"] for reward in rated if reward and reward["auc_solved"] is not None]
    assert rated and all(0 <= auc <= 1 for auc in known)  # a log as small as this may have nothing held out
    assert (tmp_path / "results" / "smoke.md").exists()
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["smoke-lift_green-0"]  # the cells' work is gone
