"""How TensorFlow uses the cores of this machine: decided once a process, before TensorFlow starts to work."""

import tensorflow as tf

from datasets.console import console


def for_dense_learners() -> None:
    """Settings for learners made of small dense layers; call it before anything else runs in TensorFlow.

    A 256-row matrix product is too small to be worth splitting. One thread an operation and two operations at a time
    let policy and critic, or the two gradients of a layer, run side by side.
    """
    try:
        tf.config.threading.set_intra_op_parallelism_threads(1)
        tf.config.threading.set_inter_op_parallelism_threads(2)
    except RuntimeError:
        console.print("[yellow]TensorFlow is running already: training keeps its thread settings, and may be slower")
