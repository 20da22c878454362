"""What the scripts of all peers share: the data, and the clock. Needs NumPy alone, of any version."""

import argparse
import time

import numpy as np

BATCH, OBSERVATION, ACTION, HIDDEN, COMPONENTS, SAMPLES, ATOMS = 256, 24, 7, 256, 5, 4, 51
EPISODES, STEPS = 400, 50
WARM_UP = 200  # steps


def options():
    """The command line: what the critic predicts, and for how long to measure."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--critic", choices=("scalar", "c51"), required=True)
    parser.add_argument("--seconds", type=float, required=True)
    return parser.parse_args()


def episodes():
    """Observations [E, T, 24], actions [E, T, 7] and rewards [E, T], all float32."""
    rng = np.random.default_rng(0)
    observation = rng.uniform(-1, 1, (EPISODES, STEPS, OBSERVATION)).astype(np.float32)
    action = rng.uniform(-1, 1, (EPISODES, STEPS, ACTION)).astype(np.float32)
    reward = rng.integers(0, 2, (EPISODES, STEPS)).astype(np.float32)
    return observation, action, reward


def measure(run, seconds, chunk):
    """Prints steps a second; `run` makes `chunk` steps, and returns when they are done."""
    for _ in range(max(1, WARM_UP // chunk)):
        run()
    began, steps = time.perf_counter(), 0
    while time.perf_counter() - began < seconds:
        run()
        steps += chunk
    print("steps_per_second", steps / (time.perf_counter() - began))
