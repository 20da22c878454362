"""Thread settings, each in a process of its own, as TensorFlow takes them once."""

import subprocess
import sys

import pytest

_TELL = """
import os
os.sched_getaffinity = lambda process: set(range({cores}))
from pipeline import threads
import tensorflow as tf
threads.{settings}
print(tf.config.threading.get_intra_op_parallelism_threads(), tf.config.threading.get_inter_op_parallelism_threads())
"""


@pytest.mark.parametrize(
    ("settings", "cores", "wanted"),
    [("for_dense_learners()", 8, "1 2"), ("for_pictures()", 1, "1 1"), ("for_pictures()", 2, "1 2"),
     ("for_pictures()", 8, "4 2"), ("for_policies(see_pictures=True)", 8, "4 2"),
     ("for_policies(see_pictures=False)", 8, "1 2")],
)  # fmt: skip
def test_settings_follow_the_cores(settings, cores, wanted):
    code = _TELL.format(settings=settings, cores=cores)
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert told.strip() == wanted
