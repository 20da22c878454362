"""d3rlpy's CRR. Its distribution is of quantiles. No logs and no checkpoints, which ours has."""

import common
import d3rlpy
import numpy as np


def main():
    """Fits for as long as is asked for."""
    options = common.options()
    observation, action, reward = common.episodes()
    ends = np.zeros(reward.shape, np.float32)
    ends[:, -1] = 1
    dataset = d3rlpy.dataset.MDPDataset(
        observation.reshape(-1, common.OBSERVATION), action.reshape(-1, common.ACTION), reward.reshape(-1, 1),
        np.zeros(reward.size, np.float32), ends.ravel(),
    )  # fmt: skip
    encoder = d3rlpy.models.VectorEncoderFactory([common.HIDDEN] * 3)
    quantiles = d3rlpy.models.QRQFunctionFactory(n_quantiles=common.ATOMS)
    crr = d3rlpy.algos.CRRConfig(
        batch_size=common.BATCH, n_action_samples=common.SAMPLES, actor_encoder_factory=encoder,
        critic_encoder_factory=encoder,
        q_func_factory=quantiles if options.critic == "c51" else d3rlpy.models.MeanQFunctionFactory(),
    ).create(device="cpu:0")  # fmt: skip
    crr.build_with_dataset(dataset)
    common.measure(lambda: crr.update(dataset.sample_transition_batch(common.BATCH)), options.seconds, chunk=1)


main()
