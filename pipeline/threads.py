"""How TensorFlow uses the cores of this machine: decided once a process, before TensorFlow starts to work."""

import os

import tensorflow as tf

from datasets.console import console


def for_dense_learners() -> None:
    """Settings for learners made of small dense layers; call it before anything else runs in TensorFlow.

    A 256-row matrix product is too small to be worth splitting. One thread an operation and two operations at a time
    let policy and critic, or the two gradients of a layer, run side by side.
    """
    _set(each=1, side_by_side=2)


def for_pictures() -> None:
    """Settings for models that see pictures; call it before anything else runs in TensorFlow.

    The two halves of a batch run side by side (see `networks.ResidualEncoder`), each with half of the cores.
    """
    cores = len(os.sched_getaffinity(0))
    _set(each=max(1, cores // 2), side_by_side=min(2, cores))


def for_policies(see_pictures: bool) -> None:
    """Settings for whatever learns of policies, by what these see."""
    (for_pictures if see_pictures else for_dense_learners)()


def _set(each: int, side_by_side: int) -> None:
    try:
        tf.config.threading.set_intra_op_parallelism_threads(each)
        tf.config.threading.set_inter_op_parallelism_threads(side_by_side)
    except RuntimeError:
        console.print("[yellow]TensorFlow is running already: training keeps its thread settings, and may be slower")
