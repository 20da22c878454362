"""What is said of a checkpoint from which training cannot go on."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import tensorflow as tf

from datasets.errors import ArmchairError


@contextlib.contextmanager
def restoring(path: Path | str) -> Iterator[None]:
    """Reads a checkpoint in its block, and asserts there that all of it was consumed.

    Raises:
      ArmchairError: it is damaged, or does not fit.
    """
    try:
        yield
    except (AssertionError, IndexError, ValueError, tf.errors.OpError) as error:  # as TensorFlow has it
        raise ArmchairError(
            f"training cannot go on from {path}: it is damaged, or of another version of Armchair: "
            "train anew into another folder (--out)"
        ) from error
