"""The benchmark of learners' speed: its count of the work, its data and its page."""

import numpy as np
import pytest
import tensorflow as tf

from benchmarks.learners import contestants, flop, ours, page
from benchmarks.learners.flop import Dense
from benchmarks.learners.peers import common
from datasets.errors import ArmchairError
from datasets.feeds import Batch
from datasets.presets import ObservationPreset
from datasets.sequences import SequenceBatch
from pipeline.batch_rl.config import CriticConfig, CrrConfig, CrrTraining
from pipeline.batch_rl.crr import CrrLearner
from pipeline.batch_rl.data import Data


def test_the_work_of_a_layer_is_counted_by_hand():
    assert Dense((2, 3, 4)).forward == 2 * (2 * 3 + 3 * 4)
    assert Dense((2, 3, 4)).backward == 2 * (2 * 3 + 3 * 4) + 2 * 3 * 4  # the weights', and the second layer's inputs


@pytest.mark.parametrize("critic", flop.ATOMS)
def test_a_step_has_the_matrix_products_that_are_counted(critic):
    config = CrrConfig(critic=CriticConfig(distributional=critic == "c51"))
    learner = CrrLearner(config, lambda step: None, flop.OBSERVATION, flop.ACTION, 0)

    @tf.function
    def update():
        columns = (flop.OBSERVATION, flop.ACTION)
        observation, action = (tf.zeros((flop.BATCH, size)) for size in columns)
        reward = tf.zeros(flop.BATCH)
        batch = SequenceBatch.of(Batch(observation, action, reward, reward, observation))
        return learner.update(batch, tf.constant(1, tf.int64), tf.constant([0, 1], tf.int64))

    work = 0
    for op in update.get_concrete_function().graph.get_operations():
        if op.type == "MatMul":
            inner = op.inputs[0].shape[0 if op.get_attr("transpose_a") else 1]
            work += 2 * inner * op.outputs[0].shape.num_elements()
    assert work == pytest.approx(flop.step(critic), rel=1e-3)  # the means of distributions are products, too


def test_the_store_holds_what_the_peers_get(tmp_path):
    ours.make_store(tmp_path / "store")
    data = Data(
        CrrTraining(store=tmp_path / "store", out=tmp_path / "run", task="lift_green",
                    observations=ObservationPreset.PROPRIO)
    )  # fmt: skip
    observation, _, reward = common.episodes()
    assert data.normaliser.mean.shape == (flop.OBSERVATION,) == observation.shape[2:]
    np.testing.assert_array_equal(data.transitions.reward, reward[:, :-1].ravel())
    assert data.transitions.action.shape == (common.EPISODES * (common.STEPS - 1), flop.ACTION)
    sizes = (common.BATCH, common.OBSERVATION, common.ACTION, (common.HIDDEN,) * 3, common.COMPONENTS, common.SAMPLES)
    assert sizes == (flop.BATCH, flop.OBSERVATION, flop.ACTION, flop.HIDDEN, flop.COMPONENTS, flop.SAMPLES)
    assert flop.ATOMS["c51"] == common.ATOMS


def test_the_page_compares_medians():
    peer = contestants.PEERS[0].label
    rates = {(critic, who): rate for critic in flop.ATOMS
             for who, rate in ((page.OURS, [90.0, 100.0, 300.0]), (peer, [50.0, 40.0, 60.0]))}  # fmt: skip
    text = page.tables(page.Measured(rates, limits=[100.0, 200.0, 300.0], resumed=[4.0, 5.0, 6.0]))
    share = 100 * flop.step("c51") / 200e9
    assert f"| {page.OURS} | 100.0 (90.0 to 300.0) |  |  | {share:.2f} |" in text
    assert f"| {peer} | 50.0 (40.0 to 60.0) | **2.00** | 1.25 |" in text
    assert "5.0 (4.0 to 6.0) s" in text


def test_a_peer_that_fails_says_why():
    with pytest.raises(ArmchairError, match="no such thing"):
        contestants.told(["python3", "-c", "raise SystemExit('no such thing')"])
    assert contestants.told(["python3", "-c", "print('noise'); print('rate', 2.5)"]) == {"rate": 2.5}
