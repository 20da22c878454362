"""Acme's recurrent CRR in TensorFlow, given networks without a memory and sequences of one transition.

So it does the work of a feed-forward CRR: each memory would only make it slower. Its critic is C51 always.
"""

from typing import NamedTuple

import common
import sonnet as snt
import tensorflow as tf
from acme.agents.tf.crr import RCRRLearner
from acme.tf import networks
from acme.utils import loggers


def policy():
    """A trunk, and a mixture over actions."""
    head = networks.MultivariateGaussianMixture(common.ACTION, common.COMPONENTS)
    return snt.DeepRNN([networks.LayerNormMLP([common.HIDDEN] * 3, activate_final=True), head])


def critic():
    """A trunk over both, and C51."""
    trunk = networks.LayerNormMLP([common.HIDDEN] * 3, activate_final=True)
    head = networks.DiscreteValuedHead(0.0, 100.0, common.ATOMS)
    return networks.CriticDeepRNN([networks.CriticMultiplexer(critic_network=trunk), head])


class Sequences(NamedTuple):
    """What the learner reads of a batch, each [B, 2, ...]."""

    observation: tf.Tensor
    action: tf.Tensor
    reward: tf.Tensor
    discount: tf.Tensor


def batches():
    """Drawn from memory, inside TensorFlow."""
    logged = [tf.constant(part) for part in common.episodes()]
    rng = tf.random.Generator.from_seed(0)

    def draw(_):
        episode = rng.uniform((common.BATCH, 1), 0, common.EPISODES, tf.int32)
        begin = rng.uniform((common.BATCH, 1), 0, common.STEPS - 1, tf.int32)
        places = tf.stack([tf.tile(episode, (1, 2)), begin + tf.range(2)], -1)  # [B, 2, 2]
        return Sequences(*(tf.gather_nd(part, places) for part in logged), tf.ones((common.BATCH, 2)))

    return tf.data.Dataset.range(2**40).map(draw).prefetch(4)


def main():
    """Steps the learner for as long as is asked for."""
    options = common.options()
    parts = policy(), critic(), policy(), critic()
    observation, action = tf.zeros((1, common.OBSERVATION)), tf.zeros((1, common.ACTION))
    for network in parts[::2]:
        network(observation, network.initial_state(1))
    for network in parts[1::2]:
        network(observation, action, network.initial_state(1))
    learner = RCRRLearner(*parts, dataset=batches(), logger=loggers.NoOpLogger())
    common.measure(learner.step, options.seconds, chunk=1)


main()
