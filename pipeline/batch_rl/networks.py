"""What policies and critics are made of.

Observations arrive as one standardised vector (see `pipeline.networks` and `eye`). L is time, B the batch, and N the
rows that are left of both, as a stretch may be shorter than L.
"""

from collections.abc import Callable, Sequence

import sonnet as snt
import tensorflow as tf

from pipeline.networks import LayerNormMLP, Lstm

Rows = Callable[[tf.Tensor], tf.Tensor]
"""[L, B, ...] to [N, ...]: a method of `datasets.sequences.SequenceBatch`."""


class Body(snt.Module):
    """A trunk of dense layers, and a memory behind it if it has one. Its state then is the memory's; else it is empty.

    The state of a batch of B is float32[B, S], and zeros at the beginning of an episode or of a sampled stretch.
    """

    def __init__(self, layer_sizes: Sequence[int], memory: int):
        """Makes a body with so many cells of memory; 0 for none."""
        super().__init__()
        self._trunk = LayerNormMLP(layer_sizes)
        self._memory = Lstm(memory) if memory else None
        self.state_size = 2 * memory  # S

    def __call__(self, inputs: tf.Tensor, state: tf.Tensor | None = None) -> tuple[tf.Tensor, tf.Tensor]:
        """One step.

        Args:
          inputs: float32[B, D].
          state: float32[B, S], before the step; None to begin with.

        Returns:
          Outputs float32[B, H], and the state after the step.
        """
        outputs, states = self._go(self._trunk(inputs)[None], state)
        return outputs[0], states[1]

    def unroll(self, inputs: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Steps float32[L, B, D], from the beginning: outputs float32[L, B, H], states float32[L + 1, B, S]."""
        return self._go(snt.BatchApply(self._trunk)(inputs), None)

    def states(self, inputs: tf.Tensor) -> tf.Tensor:
        """Of `unroll`, which this does not do where there is no state; L may be 0."""
        length, batch = tf.unstack(tf.shape(inputs)[:2])
        if self._memory is None or inputs.shape[0] == 0:
            return tf.zeros((length + 1, batch, self.state_size))
        return self.unroll(inputs)[1]

    def _go(self, seen: tf.Tensor, state: tf.Tensor | None) -> tuple[tf.Tensor, tf.Tensor]:
        length, batch = tf.unstack(tf.shape(seen)[:2])
        if self._memory is None:
            return seen, tf.zeros((length + 1, batch, 0))
        return self._memory(seen, tf.zeros((batch, self.state_size)) if state is None else state)
