"""The processes of `test_store_kill.py`: `python killed_writer.py STORE` starts writers that add episodes.

Importing TensorFlow takes seconds, so this process does it once, runs none of its operations (after one, a fork may
deadlock), and for every line `READERS FIRST LAST [FIRST LAST ...]` on its standard input forks so many readers, and a
writer of each range of seeds. A writer prints its process id with `ready-FIRST` and with the id of every episode that
is safe. A reader compares all that a query finds with what was written, again and again until no writer lives, and
prints `saw-COUNT` when it has found more and all of it right, or what is wrong. `0 dead` says that all of a line are
over.
"""

import os
import select
import sys

import numpy as np

from datasets.query import Query
from datasets.store import Store
from datasets.testing import make_episode


def main(root: str) -> None:
    for line in sys.stdin:
        readers, *numbers = map(int, line.split())
        lives, life = os.pipe()  # it ends when the last process that holds `life` does
        children = [fork(read, root, lives, life) for _ in range(readers)]
        children += [fork(write, root, range(*pair)) for pair in zip(numbers[::2], numbers[1::2], strict=True)]
        os.close(life)
        for child in children:
            os.waitpid(child, 0)
        os.close(lives)
        say(0, "dead")


def fork(work, *arguments) -> int:
    child = os.fork()
    if child == 0:
        work(*arguments)
        os._exit(0)
    return child


def write(root: str, seeds: range) -> None:
    say(os.getpid(), f"ready-{seeds.start}")
    store = Store.create(root)
    for seed in seeds:
        store.add(episode_of(seed), "fake")
        say(os.getpid(), f"fake-{seed}")
    store.publish()


def read(root: str, lives: int, life: int) -> None:
    os.close(life)
    store = Store.open(root)
    seen, over = -1, False
    while not over:
        over, _, _ = select.select([lives], [], [], 0)  # asked before the look, so that the last one is at everything
        rows = store.query(Query())
        if len(rows) < seen:
            say(os.getpid(), f"only-{len(rows)}-after-{seen}")
        for row in rows:
            if not is_as_written(store.read(row), row):
                say(os.getpid(), f"wrong-{row.episode_id}")
        if len(rows) > seen:
            seen = len(rows)
            say(os.getpid(), f"saw-{seen}")


def episode_of(seed: int):
    return make_episode(seed, num_steps=3, cameras=())


def is_as_written(episode, row) -> bool:
    written = episode_of(row.seed)
    fields, wanted = dict(episode.step_fields()), dict(written.step_fields())
    return (
        (episode.metadata, row.num_steps) == (written.metadata, written.num_steps)
        and fields.keys() == wanted.keys()
        and all(np.array_equal(fields[name], values) for name, values in wanted.items())
    )


def say(process: int, what: str) -> None:
    os.write(1, f"{process} {what}\n".encode())  # in one system call, so that lines of two writers do not mix


if __name__ == "__main__":
    main(sys.argv[1])
