"""Shared networks: normalisation, spatial softmax, encoder."""

import numpy as np
import pytest
import sonnet as snt
import tensorflow as tf

from pipeline.networks import LayerNormMLP, Lstm, Normaliser, ResidualEncoder, spatial_softmax


def test_normaliser_standardises_and_leaves_constants_alone():
    rng = np.random.default_rng(0)
    data = {"b": rng.normal(5, 3, (500, 2)), "a": np.full((500, 1), 7, np.int64)}
    normaliser = Normaliser.fit(data)
    flat = normaliser({k: tf.constant(v) for k, v in data.items()}).numpy()
    assert flat.shape == (500, 3) and flat.dtype == np.float32
    np.testing.assert_array_equal(flat[:, 0], 0)  # "a" comes first and never varies
    np.testing.assert_allclose(flat[:, 1:].mean(0), 0, atol=1e-5)
    np.testing.assert_allclose(flat[:, 1:].std(0), 1, atol=1e-5)


def test_normaliser_clips_broken_sensors_and_is_not_trained():
    normaliser = Normaliser(["x"], np.zeros(1), np.ones(1))
    assert normaliser({"x": tf.constant([[1e9]])}).numpy() == pytest.approx(10)
    assert not normaliser.trainable_variables and len(normaliser.variables) == 2


def test_normaliser_without_keys_gives_an_empty_vector():
    assert Normaliser.fit({})({"pixels": tf.zeros((4, 8, 8, 3))}).shape == (4, 0)


@pytest.mark.parametrize(("row", "column"), [(0, 0), (2, 5), (3, 1)])
def test_spatial_softmax_finds_a_peak(row, column):
    maps = np.zeros((1, 4, 6, 1), np.float32)
    maps[0, row, column, 0] = 100
    expected = [-1 + 2 * column / 5, -1 + 2 * row / 3]
    np.testing.assert_allclose(spatial_softmax(tf.constant(maps))[0], expected, atol=1e-5)


def test_spatial_softmax_keeps_maps_apart():
    maps = np.random.default_rng(0).normal(size=(2, 5, 5, 3)).astype(np.float32)
    together = spatial_softmax(tf.constant(maps)).numpy()  # [2, 6]
    for k in range(3):
        np.testing.assert_allclose(
            spatial_softmax(tf.constant(maps[..., k : k + 1])), together[:, [k, 3 + k]], atol=1e-6
        )


def test_encoder_shape_range_and_gradients():
    encoder = ResidualEncoder(channels=(4, 8), blocks=1, keypoints=6)
    image = tf.cast(tf.random.stateless_uniform((3, 16, 24, 3), (0, 0), 0, 255, tf.int32), tf.uint8)
    with tf.GradientTape() as tape:
        points = encoder(image)
        loss = tf.reduce_sum(points**2)
    assert points.shape == (3, 12) and np.abs(points).max() <= 1
    assert all(g is not None for g in tape.gradient(loss, encoder.trainable_variables))


@pytest.mark.parametrize("count", [1, 2, 5])
@pytest.mark.parametrize("known", [True, False], ids=["known size", "unknown size"])
def test_encoder_halves_a_batch_and_every_picture_counts_once(count, known):
    encoder = ResidualEncoder(channels=(4, 8), blocks=1, keypoints=6)
    image = tf.cast(tf.random.stateless_uniform((count, 16, 24, 3), (0, 0), 0, 255, tf.int32), tf.uint8)
    alone = tf.concat([encoder(picture[None]) for picture in image], 0)
    weights = tf.random.stateless_normal((count, 12), (0, 1))  # each output counts differently

    @tf.function(input_signature=[tf.TensorSpec((count if known else None, 16, 24, 3), tf.uint8)])
    def learn(image):
        with tf.GradientTape() as tape:
            points = encoder(image)
            loss = tf.reduce_sum(weights * points)
        return points, tape.gradient(loss, encoder.trainable_variables)

    points, gradients = learn(image)
    np.testing.assert_allclose(points, alone, atol=1e-5)
    with tf.GradientTape() as tape:
        loss = tf.add_n([tf.reduce_sum(w * encoder(i[None])[0]) for w, i in zip(weights, image, strict=True)])
    for gradient, wanted in zip(gradients, tape.gradient(loss, encoder.trainable_variables), strict=True):
        np.testing.assert_allclose(gradient, wanted, atol=1e-4 * max(1, np.abs(wanted).max()))


def test_layer_norm_mlp_hides_input_scale():
    mlp = LayerNormMLP((32, 8))
    x = tf.random.stateless_normal((4, 5), (1, 2))
    np.testing.assert_allclose(mlp(x), mlp(1000 * x), atol=1e-3)


def test_the_first_layer_of_a_layer_norm_mlp_is_sonnets_linear_and_layer_norm():
    rng = np.random.default_rng(0)
    mlp = LayerNormMLP((32,))
    x = tf.constant(rng.normal(2.0, 3.0, (16, 5)), tf.float32)
    mlp(x)
    linear, norm = snt.Linear(32), snt.LayerNorm(axis=-1, create_scale=True, create_offset=True)
    norm(linear(x))
    fast = {v.name.split("/")[-1]: v for v in mlp.variables}
    plain = {v.name.split("/")[-1]: v for v in (*linear.variables, *norm.variables)}
    assert fast.keys() == plain.keys() == {"w:0", "b:0", "scale:0", "offset:0"}
    for name, variable in fast.items():
        variable.assign(rng.normal(0.7, 1.0, variable.shape))
        plain[name].assign(variable)
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(x)
        outputs = mlp(x), tf.tanh(norm(linear(x)))
        losses = [tf.reduce_sum(tf.cumsum(output) ** 2) for output in outputs]
    np.testing.assert_allclose(*outputs, atol=1e-5)
    for one, other in [(x, x), *((fast[name], plain[name]) for name in fast)]:
        gradient = tape.gradient(losses[1], other)
        np.testing.assert_allclose(tape.gradient(losses[0], one), gradient, atol=1e-4 * np.abs(gradient).max())


def test_layer_norm_mlp_output_may_be_linear():
    x = tf.random.stateless_normal((256, 5), (1, 2))
    assert LayerNormMLP((32, 8))(x).numpy().min() >= -1  # ELU
    assert np.abs(LayerNormMLP((32, 1), activate_final=False)(x)).max() > 0


def test_a_picture_that_comes_alone_is_looked_at_once():
    encoder = ResidualEncoder(channels=(4,), blocks=1, keypoints=2)
    encoder(tf.zeros((1, 8, 8, 3)))
    looks, look = [], encoder._keypoints

    def counting(image):
        tf.numpy_function(lambda count: looks.append(int(count)), [tf.shape(image)[0]], [])
        return look(image)

    encoder._keypoints = counting
    exported = tf.function(encoder.__call__, input_signature=[tf.TensorSpec((None, 8, 8, 3))])
    for call in (exported, encoder):
        looks.clear()
        call(tf.zeros((1, 8, 8, 3)))
        assert looks == [1]
        looks.clear()
        call(tf.zeros((6, 8, 8, 3)))
        assert looks == [3, 3]


class TestLstm:
    def test_is_what_its_equations_say(self):
        tf.random.set_seed(0)
        memory = Lstm(3)
        rng = np.random.default_rng(0)
        inputs, state = (
            rng.standard_normal((4, 2, 5)).astype(np.float32),
            rng.standard_normal((2, 6)).astype(np.float32),
        )
        outputs, states = memory(tf.constant(inputs), tf.constant(state))
        weights, bias = (v.numpy() for v in (memory._weights, memory._bias))
        output, cell = np.split(state, 2, -1)
        np.testing.assert_array_equal(states[0], state)
        for step in range(4):
            gates = np.concatenate([inputs[step], output], -1) @ weights + bias
            take, keep, candidate, give = np.split(gates, 4, -1)
            sigmoid = lambda x: 1 / (1 + np.exp(-x))
            cell = sigmoid(keep) * cell + sigmoid(take) * np.tanh(candidate)
            output = sigmoid(give) * np.tanh(cell)
            np.testing.assert_allclose(outputs[step], output, atol=1e-5)
            np.testing.assert_allclose(states[step + 1], np.concatenate([output, cell], -1), atol=1e-5)

    def test_remembers_at_first(self):
        memory = Lstm(3)
        memory(tf.zeros((1, 1, 2)), tf.zeros((1, 6)))
        np.testing.assert_array_equal(memory._bias, [0] * 3 + [1] * 3 + [0] * 6)

    def test_a_stretch_in_two_parts_is_the_same(self):
        tf.random.set_seed(0)
        memory, inputs = Lstm(3), tf.random.stateless_normal((5, 2, 4), (1, 2))
        whole, _ = memory(inputs, tf.zeros((2, 6)))
        _, first = memory(inputs[:2], tf.zeros((2, 6)))
        rest, _ = memory(inputs[2:], first[-1])
        np.testing.assert_allclose(whole[2:], rest, atol=1e-6)

    @pytest.mark.parametrize("length", [1, 5])
    def test_its_gradient_is_that_of_its_equations(self, length):
        tf.random.set_seed(0)
        memory, inputs, state = (
            Lstm(3), tf.random.stateless_normal((length, 2, 4), (1, 2)), tf.random.stateless_normal((2, 6), (3, 4))
        )  # fmt: skip
        memory(inputs, state)
        asked = (
            tf.random.stateless_normal((length, 2, 3), (5, 6)),
            tf.random.stateless_normal((length + 1, 2, 6), (7, 8)),
        )

        def by_hand(inputs, state):
            output, cell = tf.split(state, 2, -1)
            outputs, states = [], [state]
            for step in range(length):
                take, keep, candidate, give = tf.split(
                    tf.concat([inputs[step], output], -1) @ memory._weights + memory._bias, 4, -1
                )
                cell = tf.sigmoid(keep) * cell + tf.sigmoid(take) * tf.tanh(candidate)
                output = tf.sigmoid(give) * tf.tanh(cell)
                outputs.append(output)
                states.append(tf.concat([output, cell], -1))
            return tf.stack(outputs), tf.stack(states)

        @tf.function
        def gradients(call):
            with tf.GradientTape() as tape:
                tape.watch([inputs, state])
                total = sum(
                    tf.reduce_sum(part * weight) for part, weight in zip(call(inputs, state), asked, strict=True)
                )
            return tape.gradient(total, [inputs, state, *memory.trainable_variables])

        for ours, theirs in zip(gradients(memory), gradients(by_hand), strict=True):
            np.testing.assert_allclose(ours, theirs, atol=1e-5)
