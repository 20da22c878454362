"""The victim of `test_record_kill.py`: `python killed_recorder.py DIRECTORY` records until it is killed.

TensorFlow takes seconds to import, so this process imports it once, runs none of its operations (after one, a fork may
deadlock), and forks a recorder for every line on its standard input. Each recorder prints its process id, and then
the id of every episode that it holds to be safe.
"""

import itertools
import os
import sys

from robot.record import record
from robot.testing import FakeArm, FakeExpert


def main(directory: str) -> None:
    for seed in map(int, sys.stdin):
        child = os.fork()
        if child == 0:
            record_for_ever(directory, seed)
        os.waitpid(child, 0)
        say("dead")


def record_for_ever(directory: str, seed: int) -> None:
    say(str(os.getpid()))
    expert = FakeExpert(seed)
    with record(FakeArm(seed, image_size=(16, 16), time_limit=2), directory, "fake", policy_id=str(seed)) as env:
        for episode in itertools.count():
            timestep = env.reset()
            while not timestep.last():
                timestep = env.step(expert.act(timestep.observation))
            say(env.episode_ids[episode])


def say(line: str) -> None:
    os.write(1, f"{line}\n".encode())


if __name__ == "__main__":
    main(sys.argv[1])
