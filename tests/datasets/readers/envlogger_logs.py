"""A small environment, and logs of it that EnvLogger's own Riegeli backend writes.

`python -m tests.datasets.readers.envlogger_logs FOLDER OPTIONS` is killed by itself two steps into its fourth episode.
"""

import json
import os
import signal
import sys
from pathlib import Path

import dm_env
import envlogger
import numpy as np
from dm_env import specs
from envlogger.backends import riegeli_backend_writer

LENGTHS = (4, 2, 6)  # steps after the first, of each episode


def at_end(data):
    """Flushes when an episode is done."""
    return data.timestep.last()


class Env(dm_env.Environment):
    """Episodes of given lengths, with a state and a picture that tell episode and step; odd ones time out."""

    def __init__(self, lengths):
        self.lengths, self.episode, self.t = lengths, -1, 0

    def _observation(self):
        colours = np.random.default_rng(100 * self.episode + self.t).integers(0, 255, (3, 4, 3), np.uint8)
        picture = colours.repeat(16, 0).repeat(16, 1)  # [48, 64, 3]
        return {"arm": {"state": np.float64([self.episode, self.t])}, "camera": picture}

    def reset(self):
        self.episode, self.t = self.episode + 1, 0
        return dm_env.restart(self._observation())

    def step(self, action):
        self.t += 1
        reward = 10.0 * self.episode + self.t
        if self.t < self.lengths[self.episode]:
            return dm_env.transition(reward, self._observation(), 0.5)
        end = dm_env.truncation if self.episode % 2 else dm_env.termination
        return end(reward, self._observation())

    def observation_spec(self):
        return {"arm": {"state": specs.Array((2,), np.float64)}, "camera": specs.Array((48, 64, 3), np.uint8)}

    def action_spec(self):
        return specs.BoundedArray((2,), np.float32, -1, 1)


def logged(folder: Path, lengths=LENGTHS, flush=None, **options) -> envlogger.EnvLogger:
    """The environment, inside EnvLogger."""
    folder.mkdir(parents=True, exist_ok=True)
    backend = riegeli_backend_writer.RiegeliBackendWriter
    return envlogger.EnvLogger(
        Env(lengths), backend=backend, data_directory=str(folder), flush_scheduler=flush,
        step_fn=options.pop("step_fn", lambda timestep, action, env: {"lamp": np.float32(env.t)}),
        episode_fn=options.pop("episode_fn", lambda timestep, action, env: {"seed": 7 + env.episode, "who": "anna"}),
        metadata={"arm": "ur5"}, **options,
    )  # fmt: skip


def play(env: envlogger.EnvLogger, lengths) -> None:
    """Episodes, of which the last is left unfinished if its length is less than the environment's."""
    for length in lengths:
        env.reset()
        for t in range(length):
            env.step(np.float32([t, env.episode]) / 100)


def write(folder: Path, lengths=LENGTHS, **options) -> Path:
    """A log that is closed as it should be."""
    with logged(folder, lengths, **options) as env:
        play(env, lengths)
    return folder


def _die(folder: str, options: str) -> None:
    flushes = {"at_end": at_end, "always": lambda data: True, "never": lambda data: False}
    given = json.loads(options)
    env = logged(Path(folder), (*LENGTHS, 5), flush=flushes[given.pop("flush")], **given)
    play(env, (*LENGTHS, 2))
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    _die(*sys.argv[1:])
