"""A process of its own that serves a replay, or writes to one. Run as
`python replay_process.py serve ITEMS MIN_SIZE TOLERANCE` (prints the address) or
`python replay_process.py write ADDRESS LENGTH` (an episode of so many transitions, in which every number tells where
it stands).
"""

import sys
import threading

import numpy as np

from datasets import replay
from datasets.feeds import Transitions
from datasets.replay_items import StepItems

ITEMS = StepItems(n_step=3, gamma=0.5)


def episode(length: int, start: int = 0, terminal: bool = False) -> tuple[np.ndarray, Transitions]:
    """A vector for each frame, numbered from `start`, and the transitions between them."""
    number = np.arange(start, start + length, dtype=np.float32)
    discount = np.ones(length, np.float32)
    discount[-1] = not terminal
    frame = np.arange(length, dtype=np.int32)
    transitions = Transitions(
        {}, frame, frame + 1, -number[:, None], number + 0.5, discount, np.zeros(length, np.int32), ("one",), {}
    )
    return np.arange(start, start + length + 1, dtype=np.float32)[:, None], transitions


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        min_size, tolerance = map(int, sys.argv[2:])
        config = replay.ReplayConfig(items=ITEMS, min_size=min_size, tolerance=tolerance, samples_per_insert=1)
        with replay.serve(config, 1, 1) as address:
            print(address, flush=True)
            threading.Event().wait()
    else:
        replay.Writer(sys.argv[2], ITEMS).write(*episode(int(sys.argv[3])))
