"""The limit: 256x256 matrix products in TensorFlow, two at a time, and nothing else. Prints GFLOP/s."""

import argparse
import os
import time

os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")  # as `armchair` does for its users; before TensorFlow comes
import tensorflow as tf

from pipeline import threads

SIZE, CHAIN = 256, 50  # products one after the other; long, so that starting them costs nothing


@tf.function
def products(inputs: list[tf.Tensor], weights: list[tf.Tensor]) -> list[tf.Tensor]:
    """Two chains, side by side."""
    for _ in range(CHAIN):
        inputs = [tf.matmul(x, w) for x, w in zip(inputs, weights, strict=True)]
    return inputs


def main() -> None:
    """Measures for as long as is asked for; the fastest call counts, as it is a limit."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, required=True)
    seconds = parser.parse_args().seconds
    threads.for_dense_learners()
    inputs, weights = ([tf.random.normal((SIZE, SIZE), stddev=SIZE**-0.5) for _ in range(2)] for _ in range(2))
    products(inputs, weights)
    times = []
    began = time.perf_counter()
    while time.perf_counter() - began < seconds:
        start = time.perf_counter()
        products(inputs, weights)
        times.append(time.perf_counter() - start)
    times.sort()
    print("gflops", len(inputs) * CHAIN * 2 * SIZE**3 / times[len(times) // 2] / 1e9)


if __name__ == "__main__":
    main()
