import os
from pathlib import Path

import pytest
import tensorflow as tf

from datasets.features import ArraySpec
from pipeline import export

INPUTS = {"sawyer/joints/angle": ArraySpec((7,), "float32")}


class _Model(tf.Module):
    """Tells something of the joints; `toil` makes it slow."""

    def __init__(self, seed, toil):
        super().__init__()
        self.weights = tf.Variable(tf.random.stateless_normal((7, 1), (seed, 0)))
        self.busy = tf.Variable(tf.eye(512))

        def predict(observation):
            value = (observation["sawyer/joints/angle"] @ self.weights)[:, 0]  # [B]
            start = [self.busy.value()]
            (same,) = tf.while_loop(lambda _: True, lambda x: [x @ self.busy], start, maximum_iterations=toil)
            return tf.sigmoid(value) * same[0, 0]

        self.predict = tf.function(predict, input_signature=export.input_signature(INPUTS))


@pytest.fixture(scope="session")
def save_reward_model():
    """Saves a reward model of joint angles in a folder, and returns that."""

    def save(path, model_id, seed=0, toil=0):
        module = _Model(seed, toil)
        card = {
            "kind": "reward_model", "model_id": model_id, "model_hash": export.fingerprint(module.variables),
            "task_id": "lift_green", "inputs": export.inputs_card(INPUTS),
        }  # fmt: skip
        return export.save_model(path, module, card)

    return save


@pytest.fixture
def real():
    """Folder of real recordings."""
    if "ARMCHAIR_REAL_DATA" not in os.environ:
        pytest.skip("real recordings are read only where ARMCHAIR_REAL_DATA says where they are")
    return Path(os.environ["ARMCHAIR_REAL_DATA"])
