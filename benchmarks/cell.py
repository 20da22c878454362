"""What the simulated cell costs: control steps a second against bare MuJoCo, and milliseconds a picture.

    python benchmarks/cell.py [--rounds 40]

The same episode of a noisy expert is replayed by the feature-only cell (`cameras=()`) and by a bare loop that only
sets the recorded controls and calls `mj_step`, so that both go through nearly the same contacts. They take turns, the
clock is the thread's own processor time, and the ratio is the median over the turns, so that other programs disturb
little. The project asks for a ratio of at least 0.7. Then each camera draws 64x64 pictures (wall time). Prints one JSON
line to standard output; about 15 seconds on an idle core.
"""

import argparse
import json
import statistics
import time

import mujoco
import numpy as np

from datasets import schema
from datasets.console import track
from robot.cell import rendering
from robot.cell.environment import Cell
from robot.env import CAMERAS, CellConfig, make_env
from robot.experts import make_expert

SEED = 0
PICTURES = 20  # drawn a round by each camera


def _new_cell() -> Cell:
    cell = make_env("lift_green", SEED, CellConfig(cameras=()))
    assert isinstance(cell, Cell)
    return cell


def record_episode() -> tuple[list[np.ndarray], list[np.ndarray]]:
    """The actions of one noisy episode, float32[7] each, and the controls at the end of each step, float64[8]."""
    cell, expert = _new_cell(), make_expert("lift_green", SEED, noise=0.2)
    actions, controls = [], []
    timestep = cell.reset()
    while not timestep.last():
        actions.append(expert.act(timestep.observation))
        timestep = cell.step(actions[-1])
        controls.append(cell.data.ctrl.copy())
    return actions, controls


def time_cell(actions: list[np.ndarray]) -> float:
    """Processor seconds that the cell takes for the episode, without its reset."""
    cell = _new_cell()
    cell.reset()
    start = time.thread_time()
    for action in actions:
        cell.step(action)
    return time.thread_time() - start


def time_bare(controls: list[np.ndarray]) -> float:
    """Processor seconds that MuJoCo alone takes for the same number of simulation steps from the same start."""
    cell = _new_cell()
    cell.reset()
    model, data = cell.model, cell.data
    substeps = round(1 / (schema.CONTROL_RATE_HZ * model.opt.timestep))
    start = time.thread_time()
    for control in controls:
        data.ctrl[:] = control
        mujoco.mj_step(model, data, substeps)
    return time.thread_time() - start


def main() -> None:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=40, help="turns of each contestant")
    rounds = parser.parse_args().rounds

    actions, controls = record_episode()
    seconds: dict[str, list[float]] = {"cell": [], "bare": []}
    resets: list[float] = []
    pictures: dict[str, list[float]] = {camera: [] for camera in CAMERAS}
    cell = _new_cell()
    for _ in track(range(rounds), "benchmark"):
        seconds["cell"].append(time_cell(actions))
        seconds["bare"].append(time_bare(controls))
        start = time.perf_counter()
        cell.reset()
        resets.append(time.perf_counter() - start)
        for camera, times in pictures.items():
            cell.render(camera, 64, 64)
            start = time.perf_counter()
            for _ in range(PICTURES):
                cell.render(camera, 64, 64)
            times.append((time.perf_counter() - start) / PICTURES)
    cell.close()

    ratios = [bare / cell for cell, bare in zip(seconds["cell"], seconds["bare"], strict=True)]
    rate = {name: len(actions) / statistics.median(times) for name, times in seconds.items()}
    result = {
        "cell_steps_per_s": round(rate["cell"]),
        "bare_steps_per_s": round(rate["bare"]),
        "ratio": round(statistics.median(ratios), 3),
        "reset_ms": round(1e3 * statistics.median(resets), 2),
        "opengl": rendering.choose_backend(),
        "ms_per_64x64": {camera: round(1e3 * statistics.median(times), 2) for camera, times in pictures.items()},
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
