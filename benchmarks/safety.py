"""What the safety filter costs: milliseconds a control step, with three keep-out boxes and wild actions.

    python benchmarks/safety.py [--rounds 20]

An arm that costs nothing, at a new place each time, takes the same actions with and without the filter; the clock is
the thread's own processor time, and the cost is the median over the rounds. The project asks for at most 0.2 ms. Prints
one JSON line; about five seconds.
"""

import argparse
import json
import statistics
import time

import dm_env
import numpy as np
from dm_env import specs

from datasets import schema
from robot.limits import Box, SafetyConfig
from robot.safety import SafeEnvironment

STEPS = 500
WORKSPACE = Box((0.43, -0.17, 0.02), (0.77, 0.17, 0.30))
KEEP_OUT = tuple(Box((x, 0, 0), (x + 0.05, 0.1, 0.1)) for x in (0.45, 0.55, 0.65))
_SENSORS = ("sawyer/pinch/pose", "wrist/force", "wrist/torque")


class Arm(dm_env.Environment):
    """Is at random places of the workspace, turned by up to a third of a radian, whatever it is told."""

    def __init__(self) -> None:
        rng = np.random.default_rng(0)
        places = rng.uniform(WORKSPACE.low, WORKSPACE.high, (STEPS + 1, 3))
        turned = np.array([0, 1, 0, 0]) + rng.uniform(-0.15, 0.15, (STEPS + 1, 4))
        turned /= np.linalg.norm(turned, axis=1, keepdims=True)
        poses = np.concatenate([places, turned], axis=1).astype(np.float32)
        still = np.zeros(3, np.float32)
        self._observations = [dict(zip(_SENSORS, (pose, still, still), strict=True)) for pose in poses]

    def reset(self) -> dm_env.TimeStep:
        """Starts an episode."""
        self._steps = 0
        return dm_env.restart(self._observations[0])

    def step(self, action: np.ndarray) -> dm_env.TimeStep:
        """Takes a step."""
        del action
        self._steps += 1
        return dm_env.transition(0.0, self._observations[self._steps])

    def observation_spec(self) -> dict[str, specs.Array]:
        """What the filter wants."""
        return {name: specs.Array(schema.OBSERVATIONS[name].shape, np.float32, name) for name in _SENSORS}

    def action_spec(self) -> specs.BoundedArray:
        """The vocabulary's."""
        return specs.BoundedArray((len(schema.ACTION_NAMES),), np.float32, -1, 1)


def time_steps(env: dm_env.Environment, actions: np.ndarray) -> float:
    """Processor seconds of one episode, without its reset."""
    env.reset()
    start = time.thread_time()
    for action in actions:
        env.step(action)
    return time.thread_time() - start


def main() -> None:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=20, help="episodes with and without the filter")
    rounds = parser.parse_args().rounds

    actions = np.random.default_rng(0).normal(0, 1, (STEPS, len(schema.ACTION_NAMES))).astype(np.float32)
    bare, safe = Arm(), SafeEnvironment(Arm(), SafetyConfig(WORKSPACE, KEEP_OUT))
    costs = sorted((time_steps(safe, actions) - time_steps(bare, actions)) / STEPS for _ in range(rounds))
    result = {
        "filter_ms_a_step": round(1e3 * statistics.median(costs), 3),
        "best_and_worst_round": [round(1e3 * costs[0], 3), round(1e3 * costs[-1], 3)],
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
