"""Adam through TensorFlow's own fused kernel: many steps of it fit into one `tf.function`, and it checkpoints."""

from collections.abc import Sequence

import tensorflow as tf


class Adam(tf.Module):
    """Adam (Kingma and Ba, 2015) with decoupled weight decay (Loshchilov and Hutter, 2019).

    Its state is made at construction, so that a checkpoint of this module restores bit for bit. Per variable
    this is one operation, where an optimiser written in TensorFlow operations spends a dozen.
    """

    def __init__(
        self,
        parameters: Sequence[tf.Variable],
        weight_decay: float = 0.0,
        beta1: float = 0.9,
        beta2: float = 0.999,
        epsilon: float = 1e-8,
        name: str | None = None,
    ):
        """Makes the optimiser of `parameters`, which are updated in this order.

        Args:
          parameters: what to train.
          weight_decay: per step, matrices and kernels shrink by the step size times this; biases do not.
          beta1: decay of the mean of gradients.
          beta2: decay of the mean of squared gradients.
          epsilon: keeps the division finite.
          name: of the module.
        """
        super().__init__(name)
        self._parameters = list(parameters)
        self._decay = weight_decay
        self._beta1, self._beta2, self._epsilon = beta1, beta2, epsilon
        self._steps = tf.Variable(0, dtype=tf.int64, trainable=False, name="steps")
        self._means = [tf.Variable(tf.zeros_like(p), trainable=False, name="mean") for p in parameters]
        self._squares = [tf.Variable(tf.zeros_like(p), trainable=False, name="square") for p in parameters]

    def apply(self, gradients: Sequence[tf.Tensor], learning_rate: float | tf.Tensor) -> None:
        """One step of size `learning_rate` down the gradients, given in the order of the parameters."""
        steps = tf.cast(self._steps.assign_add(1), tf.float32)
        power1, power2 = tf.pow(self._beta1, steps), tf.pow(self._beta2, steps)
        for parameter, mean, square, gradient in zip(
            self._parameters, self._means, self._squares, gradients, strict=True
        ):
            if self._decay and parameter.shape.rank > 1:
                parameter.assign_sub(learning_rate * self._decay * parameter)
            tf.raw_ops.ResourceApplyAdam(
                var=parameter.handle, m=mean.handle, v=square.handle, beta1_power=power1, beta2_power=power2,
                lr=learning_rate, beta1=self._beta1, beta2=self._beta2, epsilon=self._epsilon, grad=gradient,
            )  # fmt: skip
