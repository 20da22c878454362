"""Networks shared by reward models and policies: input normalisation, image encoder, layer-norm MLP (Sonnet)."""

from collections.abc import Callable, Mapping, Sequence
from typing import Self

import numpy as np
import sonnet as snt
import tensorflow as tf

_MIN_STD = 1e-4  # an entry that varies less is constant: it is centred but not blown up
_CLIP = 10.0  # standard deviations; keeps one broken sensor from drowning all others


class Normaliser(tf.Module):
    """Numeric observations to one standardised vector, with the data's mean and deviation stored beside the weights.

    They are variables that no optimiser touches, so checkpoints, SavedModels and fingerprints contain them.
    """

    def __init__(self, keys: Sequence[str], mean: np.ndarray, std: np.ndarray, name: str | None = None):
        """Makes the module.

        Args:
          keys: names of the observations, in the order of concatenation.
          mean: float32[D] over the flattened, concatenated observations.
          std: float32[D]; entries that hardly vary are taken as 1.
          name: of the module.
        """
        super().__init__(name)
        self.keys = tuple(keys)
        std = np.where(np.asarray(std) < _MIN_STD, 1.0, std)
        self.mean = tf.Variable(mean, dtype=tf.float32, trainable=False, name="mean")
        self.std = tf.Variable(std, dtype=tf.float32, trainable=False, name="std")

    @classmethod
    def fit(cls, observations: Mapping[str, np.ndarray]) -> Self:
        """The module for a data set `{name: [N, ...]}`; keys are concatenated in sorted order."""
        keys = sorted(observations)
        columns = [np.reshape(observations[k], (len(observations[k]), -1)).astype(np.float64) for k in keys]
        flat = np.concatenate(columns, axis=1) if columns else np.zeros((1, 0))  # [N, D]
        return cls(keys, flat.mean(0), flat.std(0))

    def __call__(self, observation: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """`{name: [B, ...]}`, of any numeric dtype, to float32[B, D]. Other names are ignored."""
        if not self.keys:
            return tf.zeros((tf.shape(next(iter(observation.values())))[0], 0))
        columns = [tf.cast(snt.flatten(observation[k]), tf.float32) for k in self.keys]
        flat = tf.concat(columns, axis=-1)  # [B, D]
        return tf.clip_by_value((flat - self.mean) / self.std, -_CLIP, _CLIP)


class LayerNormMLP(snt.Module):
    """Linear, LayerNorm, tanh, then ELU layers: the trunk that D4PG, CRR and the reward models share.

    Normalising the first layer keeps features of very different scales from saturating the rest.
    """

    def __init__(self, layer_sizes: Sequence[int], activate_final: bool = True, name: str | None = None):
        """Makes the module.

        Args:
          layer_sizes: widths; the first belongs to the normalised tanh layer.
          activate_final: whether the last layer is followed by its ELU (a trunk) or not (an output).
          name: of the module.
        """
        super().__init__(name)
        self._first = _NormalisedLinear(layer_sizes[0])
        self._rest = snt.nets.MLP(
            layer_sizes[1:], w_init=_uniform(), activation=tf.nn.elu, activate_final=activate_final
        )

    def __call__(self, inputs: tf.Tensor) -> tf.Tensor:
        """float32[B, D] to float32[B, layer_sizes[-1]]."""
        return self._rest(tf.tanh(self._first(inputs)))


class _NormalisedLinear(snt.Module):
    """A linear layer whose outputs pass through a LayerNorm (Ba et al. 2016).

    The mean over a row's outputs is linear in its inputs: taken from the weights, it need not be taken from every row.
    Of so few inputs, such passes over the outputs cost more than the matrix product.
    """

    def __init__(self, size: int):
        super().__init__()
        self._size = size

    @snt.once
    def _initialise(self, inputs: tf.Tensor) -> None:
        self.w = tf.Variable(_uniform()((inputs.shape[-1], self._size), inputs.dtype), name="w")
        self.b = tf.Variable(tf.zeros(self._size), name="b")
        self.scale = tf.Variable(tf.ones(self._size), name="scale")
        self.offset = tf.Variable(tf.zeros(self._size), name="offset")

    def __call__(self, inputs: tf.Tensor) -> tf.Tensor:
        self._initialise(inputs)
        weights = self.w - tf.reduce_mean(self.w, -1, keepdims=True)
        centred = tf.matmul(inputs, weights) + (self.b - tf.reduce_mean(self.b))  # [B, size]; each row's mean is 0
        variance = tf.reduce_mean(tf.square(centred), -1, keepdims=True)  # [B, 1]
        return centred * tf.math.rsqrt(variance + 1e-5) * self.scale + self.offset  # 1e-5: Sonnet's


def _uniform() -> snt.initializers.Initializer:
    # Uniform with variance 1 / (3 fan_out): what Acme's agents use; its scale matters little behind a layer norm.
    return snt.initializers.VarianceScaling(distribution="uniform", mode="fan_out", scale=0.333)


class Lstm(snt.Module):
    """A long short-term memory (Hochreiter and Schmidhuber 1997, with a forget gate) over stretches of time.

    One native operation for a whole stretch, which also gives the state before every step: critics of other actions
    than the logged ones begin there. For gradients, its length must be known to the graph.
    """

    def __init__(self, size: int, name: str | None = None):
        """Makes a memory of `size` cells; its state is their outputs and their contents: float32[B, 2 size]."""
        super().__init__(name)
        self._size = size

    @snt.once
    def _build(self, input_size: int) -> None:
        fan_in = input_size + self._size
        glorot = snt.initializers.VarianceScaling(1.0, "fan_avg", "uniform")
        self._weights = tf.Variable(glorot((fan_in, 4 * self._size), tf.float32), name="weights")
        bias = np.zeros((4, self._size), np.float32)  # gates: input, forget, candidate, output
        bias[1] = 1  # remember at first (Jozefowicz et al. 2015)
        self._bias = tf.Variable(bias.ravel(), name="bias")

    def __call__(self, inputs: tf.Tensor, state: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """One step after the other.

        Args:
          inputs: float32[L, B, D], time first.
          state: float32[B, 2 H], before the first step; zeros to begin with.

        Returns:
          Outputs float32[L, B, H]; states float32[L + 1, B, 2 H], before the first step and after each.
        """
        self._build(inputs.shape[-1])
        output, cell = tf.split(state, 2, -1)
        outputs, cells = _remember(inputs, output, cell, self._weights, self._bias)
        return outputs, tf.concat([state[None], tf.concat([outputs, cells], -1)], 0)


@tf.custom_gradient
def _remember(
    inputs: tf.Tensor, output: tf.Tensor, cell: tf.Tensor, weights: tf.Tensor, bias: tf.Tensor
) -> tuple[tuple[tf.Tensor, tf.Tensor], Callable[[tf.Tensor, tf.Tensor], tuple[tf.Tensor, ...]]]:
    """Outputs and cells float32[L, B, H] after each step, and their gradient.

    TensorFlow's own gradient of the operation takes the forget and the candidate gate for each other (2.15, on CPUs),
    and adds up the weights' step by step, in small products that each pass over all of them. Here the steps only find
    the gates' gradients; one product for all steps then does the rest.
    """
    size = output.shape[-1]
    unused = tf.zeros((size,))  # peepholes
    now = tf.raw_ops.BlockLSTMV2(
        seq_len_max=tf.shape(inputs, tf.int64)[0], x=inputs, cs_prev=cell, h_prev=output, w=weights, wci=unused,
        wcf=unused, wco=unused, b=bias, cell_clip=0.0, use_peephole=False,
    )  # fmt: skip

    def gradient(of_output: tf.Tensor, of_cell: tf.Tensor) -> tuple[tf.Tensor, ...]:
        before, cell_before = tf.concat([output[None], now.h], 0)[:-1], tf.concat([cell[None], now.cs], 0)[:-1]
        # What a change of the cell, and one of the output, would ask of the gates before their nonlinearities.
        by_cell = tf.concat(
            [now.ci * now.i * (1 - now.i), cell_before * now.f * (1 - now.f), now.i * (1 - now.ci**2)], -1
        )
        by_output = now.co * now.o * (1 - now.o)
        cell_by_output = now.o * (1 - now.co**2)
        back = weights[-size:]  # [H, 4 H]
        gates = []
        output_later, cell_later = tf.zeros_like(output), tf.zeros_like(cell)
        for t in reversed(range(inputs.shape[0])):
            output_now = of_output[t] + output_later
            cell_now = of_cell[t] + cell_later + output_now * cell_by_output[t]
            gates.append(tf.concat([tf.tile(cell_now, (1, 3)) * by_cell[t], output_now * by_output[t]], -1))
            output_later, cell_later = tf.matmul(gates[-1], back, transpose_b=True), cell_now * now.f[t]
        of_gates = tf.reshape(tf.stack(gates[::-1]), (-1, 4 * size))  # [L B, 4 H]
        seen = tf.reshape(tf.concat([inputs, before], -1), (-1, weights.shape[0]))  # [L B, D + H]
        of_inputs = tf.reshape(tf.matmul(of_gates, weights[:-size], transpose_b=True), tf.shape(inputs))
        of_weights = tf.matmul(seen, of_gates, transpose_a=True)
        return of_inputs, output_later, cell_later, of_weights, tf.reduce_sum(of_gates, 0)

    return (now.h, now.cs), gradient


class ResidualEncoder(snt.Module):
    """A picture to keypoints: residual groups, a 1x1 convolution to K maps, spatial softmax.

    The halves of a batch are branches of the graph, side by side (see `threads.for_pictures`): so few channels give a
    convolution too little to do for threads of its own to pay.
    """

    def __init__(self, channels: Sequence[int], blocks: int, keypoints: int, name: str | None = None):
        """Makes the module.

        Args:
          channels: of each group; a group halves height and width.
          blocks: residual blocks in a group.
          keypoints: K, maps of the spatial softmax.
          name: of the module.
        """
        super().__init__(name)
        self._groups = [(_conv(c, 3, stride=2), [_ResidualBlock(c) for _ in range(blocks)]) for c in channels]
        self._norm = _layer_norm()
        self._maps = _conv(keypoints, 1)

    def __call__(self, image: tf.Tensor) -> tf.Tensor:
        """uint8 or float32 in [0, 255], [B, H, W, C], to keypoints float32[B, 2 K] in [-1, 1]."""
        if (count := image.shape[0]) is None:  # as in what is exported, where a robot shows one picture at a time
            several = tf.shape(image)[0] > 1
            return tf.cond(several, lambda: self._halves(image), lambda: self._keypoints(image))
        return self._halves(image) if count > 1 else self._keypoints(image)

    def _halves(self, image: tf.Tensor) -> tf.Tensor:
        count = image.shape[0] or tf.shape(image)[0]
        rest = count // 2
        # No half is empty, as convolutions take none: of an odd number of pictures, the middle one is in both.
        first, second = self._keypoints(image[: count - rest]), self._keypoints(image[rest:])
        return tf.concat([first[:rest], second], 0)

    def _keypoints(self, image: tf.Tensor) -> tf.Tensor:
        x = tf.cast(image, tf.float32) / 127.5 - 1.0
        for downsample, blocks in self._groups:
            x = downsample(x)  # [B, H / 2, W / 2, channels]
            for block in blocks:
                x = block(x)
        return spatial_softmax(self._maps(tf.nn.elu(self._norm(x))))


class _ResidualBlock(snt.Module):
    """x + conv(elu(conv(elu(norm(x))))); the last convolution starts at zero, so a fresh block passes x through."""

    def __init__(self, channels: int):
        super().__init__()
        self._norm = _layer_norm()
        self._in = _conv(channels, 3)
        self._out = snt.Conv2D(channels, 3, w_init=snt.initializers.Zeros())

    def __call__(self, x: tf.Tensor) -> tf.Tensor:
        return x + self._out(tf.nn.elu(self._in(tf.nn.elu(self._norm(x)))))


def _conv(channels: int, kernel: int, stride: int = 1) -> snt.Conv2D:
    initialiser = snt.initializers.VarianceScaling(scale=2.0, mode="fan_in", distribution="truncated_normal")
    return snt.Conv2D(channels, kernel, stride=stride, w_init=initialiser)


def _layer_norm() -> snt.LayerNorm:
    return snt.LayerNorm(axis=slice(1, None), create_scale=True, create_offset=True)


def spatial_softmax(maps: tf.Tensor) -> tf.Tensor:
    """Expected image coordinates under each map's softmax.

    Args:
      maps: float32[B, H, W, K], logits.

    Returns:
      float32[B, 2 K]: K horizontal, then K vertical coordinates; -1 is left or top, 1 right or bottom.
    """
    height, width, count = maps.shape[1:]
    attention = tf.nn.softmax(tf.reshape(maps, (-1, height * width, count)), axis=1)  # [B, H W, K]
    y, x = np.meshgrid(np.linspace(-1, 1, height), np.linspace(-1, 1, width), indexing="ij")
    grid = tf.constant(np.stack([x.ravel(), y.ravel()]), tf.float32)  # [2, H W]
    return tf.reshape(tf.einsum("bpk,cp->bck", attention, grid), (-1, 2 * count))


def resize(pictures: tf.Tensor, size: tuple[int, int]) -> tf.Tensor:
    """uint8[B, H, W, C] to uint8[B, *size, C], averaging over areas; as they are if the size is right already."""
    if tuple(pictures.shape[1:3]) == tuple(size):
        return tf.convert_to_tensor(pictures)
    return tf.cast(tf.round(tf.image.resize(pictures, size, tf.image.ResizeMethod.AREA)), tf.uint8)
