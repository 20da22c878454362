"""Augmentation: within its bounds, each picture on its own, decided by the seed."""

import numpy as np
import pytest
import tensorflow as tf

from pipeline.augment import jitter_colours, shift

_PICTURES = np.random.default_rng(0).integers(0, 256, (40, 10, 12, 3), np.uint8)
_SEED = tf.constant([3, 7])


def test_shift_is_a_crop_of_the_edge_padded_picture():
    shifted = shift(tf.constant(_PICTURES), 2, _SEED).numpy()
    padded = np.pad(_PICTURES, ((0, 0), (2, 2), (2, 2), (0, 0)), mode="edge")
    seen = set()
    for before, after in zip(padded, shifted, strict=True):
        crops = {(y, x) for y in range(5) for x in range(5) if (before[y : y + 10, x : x + 12] == after).all()}
        assert len(crops) == 1
        seen |= crops
    assert len(seen) > 10  # pictures move independently
    np.testing.assert_array_equal(shift(tf.constant(_PICTURES), 0, _SEED), _PICTURES)


def test_jitter_stays_in_range_and_near():
    jittered = jitter_colours(tf.constant(_PICTURES), 0.1, _SEED).numpy()
    assert jittered.dtype == np.float32
    assert 0 <= jittered.min() <= jittered.max() <= 255
    change = np.abs(jittered - _PICTURES)
    assert 1 < change.mean() < 30
    assert change.max() <= 0.2 * 255 + 1e-3
    np.testing.assert_array_equal(jitter_colours(tf.constant(_PICTURES), 0.0, _SEED), _PICTURES)


@pytest.mark.parametrize("function", [lambda p, s: shift(p, 2, s), lambda p, s: jitter_colours(p, 0.1, s)])
def test_the_seed_decides(function):
    pictures = tf.constant(_PICTURES)
    np.testing.assert_array_equal(function(pictures, _SEED), function(pictures, _SEED))
    assert not np.array_equal(function(pictures, _SEED), function(pictures, tf.constant([3, 8])))
