"""The subject of `test_bounded_memory.py`: `python frame_reader.py STORE MEMORY` reads batches of pictures.

Prints how many bytes the pictures take up, and the most memory that the process had of its own, in bytes.
"""

import math
import sys
from pathlib import Path

import numpy as np
import tensorflow as tf

from datasets import feeds
from datasets.feeds import Group, TransitionFeed
from datasets.query import Query
from datasets.reward_source import RewardKind, RewardSource
from datasets.store import Store


def main(root: str, memory: str) -> None:
    store = Store.open(root)
    rows = store.query(Query())
    keys = ("pixels/basket_front_left", "pixels/wrist")
    transitions = feeds.load_transitions(store, rows, keys, RewardSource(RewardKind.NONE), "lift_green", int(memory))
    group = Group(np.arange(len(transitions), dtype=np.int32), 64)
    feed = TransitionFeed(tf.zeros((sum(row.num_steps for row in rows), 0)), transitions, [group], 0)

    @tf.function
    def brightness(first: tf.Tensor, count: tf.Tensor) -> tf.Tensor:
        total = tf.zeros((), tf.int64)
        for step in tf.range(first, first + count):
            for picture in feed(step).next_observation.pictures.values():
                total += tf.reduce_sum(tf.cast(picture, tf.int64))
        return total

    total = 0
    for first in range(0, 300, 100):
        total += int(brightness(tf.constant(first, tf.int64), tf.constant(100, tf.int64)))
    assert total
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    peak = int(status["VmHWM"].split()[0]) * 1024
    print(sum(math.prod(array.shape) for array in transitions.pictures.values()), peak)


if __name__ == "__main__":
    main(*sys.argv[1:])
