"""CRR by hand in JAX: ten steps a call, batches gathered inside, and as little else as it takes."""

import functools

import common
import jax
import jax.numpy as jnp

FUSED, PERIOD, RATE, GAMMA, CLIP, MIN_SCALE = 10, 100, 3e-4, 0.99, 40.0, 0.2
SUPPORT = jnp.linspace(0.0, 1 / (1 - GAMMA), common.ATOMS)


def network(key, inputs, outputs):
    """Weights and biases of each layer, and the layer norm's scale and offset."""
    sizes = [inputs, *[common.HIDDEN] * 3, outputs]
    keys = jax.random.split(key, 4)
    layers = [
        (jax.random.normal(k, (m, n)) / m**0.5, jnp.zeros(n)) for k, m, n in zip(keys, sizes, sizes[1:], strict=False)
    ]
    return layers, jnp.ones(common.HIDDEN), jnp.zeros(common.HIDDEN)


def apply(parameters, x):
    """[..., inputs] to [..., outputs]."""
    ((weights, bias), *hidden, head), scale, offset = parameters
    x = x @ weights + bias
    x = (x - x.mean(-1, keepdims=True)) * jax.lax.rsqrt(x.var(-1, keepdims=True) + 1e-5) * scale + offset
    x = jnp.tanh(x)
    for weights, bias in hidden:
        x = jax.nn.elu(x @ weights + bias)
    return x @ head[0] + head[1]


def mixture(parameters, observation):
    """Logits [B, K], means and scales [B, K, A]."""
    made = apply(parameters, observation)
    shape = (-1, common.COMPONENTS, common.ACTION)
    logits, mean, scale = jnp.split(made, [common.COMPONENTS, common.COMPONENTS * (1 + common.ACTION)], -1)
    return logits, mean.reshape(shape), jax.nn.softplus(scale.reshape(shape)) + MIN_SCALE


def log_prob(made, action):
    """[B]."""
    logits, mean, scale = made
    z = (action[:, None] - mean) / scale
    each = -(0.5 * z**2 + jnp.log(scale) + 0.5 * jnp.log(2 * jnp.pi)).sum(-1)
    return jax.nn.logsumexp(jax.nn.log_softmax(logits) + each, -1)


def sample(made, key, count):
    """[count, B, A]."""
    logits, mean, scale = made
    one, other = jax.random.split(key)
    component = jax.random.categorical(one, logits, shape=(count, len(logits)))[..., None, None]
    mean, scale = (jnp.take_along_axis(part[None], component, 2)[:, :, 0] for part in (mean, scale))
    return mean + scale * jax.random.normal(other, mean.shape)


def judge(parameters, observation, action):
    """What the critic predicts."""
    return apply(parameters, jnp.concatenate([observation, action], -1))


def mean_value(predicted):
    """Of a scalar or a distribution."""
    return predicted[..., 0] if predicted.shape[-1] == 1 else jax.nn.softmax(predicted) @ SUPPORT


def project(probabilities, reward):
    """Back on the atoms, by a segment sum."""
    place = jnp.clip(reward[:, None] + GAMMA * SUPPORT, SUPPORT[0], SUPPORT[-1]) / (SUPPORT[1] - SUPPORT[0])
    lower = jnp.clip(jnp.floor(place), 0, common.ATOMS - 2)
    upper_part = place - lower
    index = (lower.astype(int) + common.ATOMS * jnp.arange(len(reward))[:, None]).ravel()
    flat = jnp.zeros(probabilities.size)
    flat = flat.at[index].add((probabilities * (1 - upper_part)).ravel())
    return flat.at[index + 1].add((probabilities * upper_part).ravel()).reshape(probabilities.shape)


def critic_loss(parameters, target, observation, action, reward):
    """And what was predicted; `target` is the target critic's prediction of where the transition led."""
    predicted = judge(parameters, observation, action)
    if predicted.shape[-1] == 1:
        return 0.5 * ((reward + GAMMA * target[:, 0] - predicted[:, 0]) ** 2).mean(), predicted
    return -(project(jax.nn.softmax(target), reward) * jax.nn.log_softmax(predicted)).sum(-1).mean(), predicted


def adam(parameters, gradients, state, count):
    """One step, clipped."""
    norm = jnp.sqrt(sum((g**2).sum() for g in jax.tree.leaves(gradients)))
    gradients = jax.tree.map(lambda g: g * jnp.minimum(1.0, CLIP / norm), gradients)
    means = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, state[0], gradients)
    squares = jax.tree.map(lambda s, g: 0.999 * s + 0.001 * g**2, state[1], gradients)
    size = RATE * jnp.sqrt(1 - 0.999**count) / (1 - 0.9**count)
    parameters = jax.tree.map(lambda p, m, s: p - size * m / (jnp.sqrt(s) + 1e-8), parameters, means, squares)
    return parameters, (means, squares)


def update(data, state, step):
    """One step of both networks."""
    policy, critic, targets, of_policy, of_critic = state
    targets = jax.lax.cond(step % PERIOD == 0, lambda: (policy, critic), lambda: targets)
    draws, for_target, for_policy = jax.random.split(jax.random.fold_in(jax.random.key(0), step), 3)
    episode, begin = jax.random.randint(draws, (2, common.BATCH), 0, jnp.array([[common.EPISODES], [common.STEPS - 1]]))
    observation, action, reward = (part[episode, begin] for part in data)
    following = data[0][episode, begin + 1]
    led_to = judge(targets[1], following, sample(mixture(targets[0], following), for_target, 1)[0])
    learn = jax.value_and_grad(critic_loss, has_aux=True)
    (_, predicted), critic_gradient = learn(critic, led_to, observation, action, reward)

    def policy_loss(parameters):
        made = mixture(parameters, observation)
        actions = sample(jax.lax.stop_gradient(made), for_policy, common.SAMPLES)
        repeated = jnp.broadcast_to(observation, (common.SAMPLES, *observation.shape))
        advantage = mean_value(predicted) - mean_value(judge(critic, repeated, actions)).mean(0)
        weight = jax.lax.stop_gradient(jnp.minimum(jnp.exp(advantage), 20.0))
        return -(weight * log_prob(made, action)).mean()

    policy_gradient = jax.grad(policy_loss)(policy)
    policy, of_policy = adam(policy, policy_gradient, of_policy, step + 1)
    critic, of_critic = adam(critic, critic_gradient, of_critic, step + 1)
    return policy, critic, targets, of_policy, of_critic


@functools.partial(jax.jit, donate_argnums=1)
def many(data, state, step):
    """Ten steps."""
    return jax.lax.scan(lambda state, s: (update(data, state, s), None), state, step + jnp.arange(FUSED))[0]


def main():
    """Runs for as long as is asked for."""
    options = common.options()
    outputs = {"scalar": 1, "c51": common.ATOMS}[options.critic]
    one, other = jax.random.split(jax.random.key(0))
    policy = network(one, common.OBSERVATION, common.COMPONENTS * (1 + 2 * common.ACTION))
    critic = network(other, common.OBSERVATION + common.ACTION, outputs)

    def fresh(parameters):
        return jax.tree.map(jnp.zeros_like, parameters), jax.tree.map(jnp.zeros_like, parameters)

    data = tuple(map(jnp.asarray, common.episodes()))
    copies = jax.tree.map(jnp.copy, (policy, critic))
    progress = {"state": (policy, critic, copies, fresh(policy), fresh(critic)), "step": 0}

    def run():
        progress["state"] = jax.block_until_ready(many(data, progress["state"], progress["step"]))
        progress["step"] += FUSED

    common.measure(run, options.seconds, FUSED)


main()
