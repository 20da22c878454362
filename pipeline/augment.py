"""Augmentation of pictures, inside the graph: each picture gets its own, and (seed, step) alone decides it."""

import tensorflow as tf


def shift(pictures: tf.Tensor, pixels: int, seed: tf.Tensor) -> tf.Tensor:
    """Moves each picture by up to `pixels` each way, repeating its border: a random crop of the padded picture.

    Args:
      pictures: [B, H, W, C].
      pixels: the largest shift.
      seed: int32[2].

    Returns:
      The same shape and dtype.
    """
    batch, height, width = pictures.shape[:3]
    offset = tf.random.stateless_uniform((batch, 2), seed, -pixels, pixels + 1, tf.int32)
    rows = tf.clip_by_value(tf.range(height) + offset[:, :1], 0, height - 1)  # [B, H]
    columns = tf.clip_by_value(tf.range(width) + offset[:, 1:], 0, width - 1)  # [B, W]
    return tf.gather(tf.gather(pictures, rows, axis=1, batch_dims=1), columns, axis=2, batch_dims=1)


def jitter_colours(pictures: tf.Tensor, share: float, seed: tf.Tensor) -> tf.Tensor:
    """Brightens or darkens each picture and tints it: lamps and cameras are not always the same.

    Args:
      pictures: uint8[B, H, W, C].
      share: largest change of brightness, as a share of the range, and of each channel's gain.
      seed: int32[2].

    Returns:
      float32[B, H, W, C] in [0, 255].
    """
    batch, channels = pictures.shape[0], pictures.shape[-1]
    change = tf.random.stateless_uniform((batch, 1, 1, 1 + channels), seed, -share, share)
    pictures = tf.cast(pictures, tf.float32) * (1 + change[..., 1:]) + 255 * change[..., :1]
    return tf.clip_by_value(pictures, 0, 255)
