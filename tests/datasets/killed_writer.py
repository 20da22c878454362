"""The victims of `test_store_kill.py`: `python killed_writer.py STORE` starts writers that add episodes.

Importing TensorFlow takes seconds, so this process does it once, runs none of its operations (after one, a fork may
deadlock), and for every line `FIRST LAST [FIRST LAST ...]` on its standard input forks a writer of each range of seeds.
A writer prints its process id with `ready-FIRST` and with the id of every episode that is safe; `0 dead` says that all
of a line are over.
"""

import os
import sys

from datasets.store import Store
from datasets.testing import make_episode


def main(root: str) -> None:
    for line in sys.stdin:
        numbers = map(int, line.split())
        writers = []
        for first, last in zip(numbers, numbers, strict=True):
            writers.append(os.fork())
            if writers[-1] == 0:
                write(root, range(first, last))
        for writer in writers:
            os.waitpid(writer, 0)
        say(0, "dead")


def write(root: str, seeds: range) -> None:
    say(os.getpid(), f"ready-{seeds.start}")
    store = Store.create(root)
    for seed in seeds:
        store.add(make_episode(seed, num_steps=3, cameras=()), "fake")
        say(os.getpid(), f"fake-{seed}")
    store.publish()
    os._exit(0)


def say(process: int, what: str) -> None:
    os.write(1, f"{process} {what}\n".encode())  # in one system call, so that lines of two writers do not mix


if __name__ == "__main__":
    main(sys.argv[1])
