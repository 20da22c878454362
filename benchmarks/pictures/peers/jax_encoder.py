"""The reward model's encoder by hand in JAX, a batch a call: in a loop of XLA's, its convolutions crawl on a CPU."""

import argparse
import time

import jax
import jax.numpy as jnp
import numpy as np

CHANNELS, BLOCKS, KEYPOINTS, SIDE, FRAMES, TOGETHER = (16, 32, 64), 2, 32, 64, 1024, 10
RATE = 1e-3
LINE = np.linspace(-1, 1, SIDE // 2 ** len(CHANNELS))
GRID = jnp.array([[x, y] for y in LINE for x in LINE])


def new_convolution(key, before, channels, size, scale=2.0):
    """Weights and biases."""
    weights = jax.random.normal(key, (size, size, before, channels)) * (scale / (size * size * before)) ** 0.5
    return weights, jnp.zeros(channels)


def new_norm(channels):
    """Scale and offset."""
    return jnp.ones(channels), jnp.zeros(channels)


def new_model(key):
    """All parameters."""
    groups, before = [], 3
    for channels in CHANNELS:
        key, first, *others = jax.random.split(key, 2 + BLOCKS)
        blocks = [
            (
                new_norm(channels),
                new_convolution(k, channels, channels, 3),
                new_convolution(k, channels, channels, 3, 0.0),
            )
            for k in others
        ]
        groups.append((new_convolution(first, before, channels, 3), blocks))
        before = channels
    key, last, head = jax.random.split(key, 3)
    weights = jax.random.normal(head, (2 * KEYPOINTS, 1)) / (2 * KEYPOINTS) ** 0.5
    return groups, new_norm(before), new_convolution(last, before, KEYPOINTS, 1), (weights, jnp.zeros(1))


def convolve(parameters, x, stride=1):
    """[B, H, W, C]."""
    weights, bias = parameters
    return (
        jax.lax.conv_general_dilated(x, weights, (stride, stride), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))
        + bias
    )


def normalise(parameters, x):
    """Over all of a picture, with a scale and an offset a channel."""
    scale, offset = parameters
    axes = (1, 2, 3)
    return (x - x.mean(axes, keepdims=True)) * jax.lax.rsqrt(x.var(axes, keepdims=True) + 1e-5) * scale + offset


def apply(parameters, pictures):
    """uint8[B, H, W, C] to float32[B]."""
    groups, norm, maps, (weights, bias) = parameters
    x = pictures.astype(jnp.float32) / 127.5 - 1
    for downsample, blocks in groups:
        x = convolve(downsample, x, 2)
        for before, first, second in blocks:
            x = x + convolve(second, jax.nn.elu(convolve(first, jax.nn.elu(normalise(before, x)))))
    x = convolve(maps, jax.nn.elu(normalise(norm, x)))
    attention = jax.nn.softmax(x.reshape(len(x), -1, KEYPOINTS), 1)
    keypoints = jnp.einsum("bpk,pc->bkc", attention, GRID)
    return (keypoints.reshape(len(x), -1) @ weights + bias)[:, 0]


def loss(parameters, pictures, labels):
    """Cross-entropy."""
    logits = apply(parameters, pictures)
    return (jnp.maximum(logits, 0) - logits * labels + jnp.log1p(jnp.exp(-jnp.abs(logits)))).mean()


@jax.jit
def train(data, state, key):
    """One step of Adam on a random batch."""
    parameters, means, squares, count = state
    pictures, labels, frames = *data, jax.random.randint(key, (BATCH,), 0, FRAMES)
    gradients = jax.grad(loss)(parameters, pictures[frames], labels[frames])
    means = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, means, gradients)
    squares = jax.tree.map(lambda s, g: 0.999 * s + 0.001 * g**2, squares, gradients)
    size = RATE * jnp.sqrt(1 - 0.999 ** (count + 1)) / (1 - 0.9 ** (count + 1))
    parameters = jax.tree.map(lambda p, m, s: p - size * m / (jnp.sqrt(s) + 1e-8), parameters, means, squares)
    return parameters, means, squares, count + 1


@jax.jit
def infer(data, parameters, key):
    """One random batch."""
    return apply(parameters, data[0][jax.random.randint(key, (BATCH,), 0, FRAMES)]).sum()


def measure(name, run, seconds):
    """Prints frames a second, on the whole and of the fastest ten batches."""
    for _ in range(2):
        run()
    began, count, fastest = time.perf_counter(), 0, 0.0
    while time.perf_counter() - began < seconds:
        start = time.perf_counter()
        run()
        count += TOGETHER * BATCH
        fastest = max(fastest, TOGETHER * BATCH / (time.perf_counter() - start))
    print(name, count / (time.perf_counter() - began))
    print(f"{name}/fastest", fastest)


def main():
    """Trains on random labels, then infers."""
    rng = np.random.default_rng(0)
    data = (
        jnp.asarray(rng.integers(0, 256, (FRAMES, SIDE, SIDE, 3), np.uint8)),
        jnp.asarray(rng.integers(0, 2, FRAMES), jnp.float32),
    )
    key = jax.random.key(0)
    parameters = new_model(key)
    print("parameters", sum(p.size for p in jax.tree.leaves(parameters)))
    nothing = jax.tree.map(jnp.zeros_like, parameters)
    progress = {"state": (parameters, nothing, nothing, 0)}

    keys = jax.random.split(key, TOGETHER)

    def train_ten():
        for one in keys:
            progress["state"] = train(data, progress["state"], one)
        jax.block_until_ready(progress["state"])

    def infer_ten():
        jax.block_until_ready([infer(data, progress["state"][0], one) for one in keys])

    measure("training", train_ten, options.seconds)
    measure("inference", infer_ten, options.seconds)


parser = argparse.ArgumentParser()
parser.add_argument("--batch", type=int, required=True)
parser.add_argument("--seconds", type=float, required=True)
options = parser.parse_args()
BATCH = options.batch
main()
