"""What a worker holds in memory does not grow with the store."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from beam_jobs.config import Format
from datasets import testing
from datasets.store import Store
from tests.beam_jobs.clusters import dask_cluster

CAMERAS = ("basket_front_left", "basket_front_right")
SIZES = (20, 200)  # episodes; decoded, the pictures of the larger store would take 250 MB
TOLERANCE_MB = 60  # what an allocator keeps differs by some 20 MB from run to run

_RUN = """
import sys
from armchair import cli
code = cli.main(sys.argv[1:])
# What getrusage tells begins with the parent's.
(peak,) = [line for line in open("/proc/self/status") if line.startswith("VmHWM:")]
print(code, int(peak.split()[1]) // 1024)
"""


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    root = tmp_path_factory.mktemp("stores")
    for size in SIZES:
        store = Store.create(root / str(size))
        for seed in range(size):
            store.add(testing.make_episode(seed, 50, CAMERAS, (64, 64)), "fake")
        store.publish()
    return root


@pytest.mark.slow
@pytest.mark.parametrize("job", ["ingest", "annotate", "stats", "validate", *(f"export {kind}" for kind in Format)])
def test_ten_times_the_store_takes_the_same_memory(stores, model, tmp_path, job):
    peaks = []
    name, *kind = job.split()
    for size in SIZES:
        store, out = stores / str(size), tmp_path / f"out{size}"
        arguments = {
            "ingest": ["--source", store / "episodes", "--store", out],
            "annotate": ["--store", store, "--model", model],
            "stats": ["--store", store, "--out", out],
            "validate": ["--store", store],
            "export": ["--store", store, "--out", out, "--format", *kind],
        }[name]
        command = [sys.executable, "-c", _RUN, name, *arguments]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        code, peak = map(int, done.stdout.split()[-2:])
        assert code == 0
        peaks.append(peak)
    assert peaks[1] < peaks[0] + TOLERANCE_MB, f"{peaks} MB"


@pytest.mark.slow
def test_ten_times_the_store_takes_the_same_memory_of_a_dask_worker(stores, model, tmp_path):
    peaks = []
    for size in SIZES:
        root = shutil.copytree(stores / str(size), tmp_path / str(size))
        shutil.rmtree(root / "rewards", ignore_errors=True)  # of the test above
        Store(root).rebuild_index()
        with dask_cluster(tmp_path, count=1) as (flags, (worker,)):
            arguments = ["annotate", "--store", root, "--model", model, *flags]
            subprocess.run([sys.executable, "-m", "armchair", *arguments], check=True)
            status = Path(f"/proc/{worker.pid}/status").read_text()
        (peak,) = [line for line in status.splitlines() if line.startswith("VmHWM:")]
        peaks.append(int(peak.split()[1]) // 1024)
        assert len(Store.open(root).predicted_ids("brightness")) == size
    assert peaks[1] < peaks[0] + TOLERANCE_MB, f"{peaks} MB"


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A reward model that looks at both cameras."""
    import tensorflow as tf

    from datasets.features import ArraySpec
    from pipeline import export

    inputs = {f"pixels/{camera}": ArraySpec((64, 64, 3), "uint8") for camera in CAMERAS}

    class Model(tf.Module):
        def __init__(self):
            super().__init__()
            self.scale = tf.Variable(1 / 255)
            self.predict = tf.function(self._predict, input_signature=export.input_signature(inputs))

        def _predict(self, observation):
            means = [tf.reduce_mean(tf.cast(observation[name], tf.float32), (1, 2, 3)) for name in inputs]
            return self.scale * tf.add_n(means) / len(means)

    module = Model()
    card = {
        "kind": "reward_model", "model_id": "brightness", "model_hash": export.fingerprint(module.variables),
        "task_id": "lift_green", "inputs": export.inputs_card(inputs),
    }  # fmt: skip
    return export.save_model(tmp_path_factory.mktemp("model") / "model", module, card)
