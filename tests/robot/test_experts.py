"""Experts solve their tasks, get worse with noise, and are functions of the observation."""

import numpy as np
import pytest

from datasets.errors import ArmchairError
from robot.env import TASKS, CellConfig, make_env
from robot.experts import make_expert, random_watcher

BLIND = CellConfig(cameras=())


def _successes(task, actor, episodes, seed=100):
    """How many episodes end solved."""
    env, count = make_env(task, seed, BLIND), 0
    for episode in range(episodes):
        actor.reset(episode)
        timestep = env.reset()
        while not timestep.last():
            timestep = env.step(actor.act(timestep.observation))
        count += env.is_success()
    return count


def _observations(task="lift_green", count=30, seed=0):
    env, actor = make_env(task, seed, BLIND), random_watcher(seed)
    timestep = env.reset()
    for _ in range(count):
        yield timestep.observation
        timestep = env.step(actor.act(timestep.observation))


@pytest.mark.parametrize("task", TASKS)
def test_expert_solves_its_task(task):
    assert _successes(task, make_expert(task, 0), 8) == 8


@pytest.mark.slow
@pytest.mark.parametrize("task", TASKS)
def test_expert_solves_its_task_nearly_always(task):
    assert _successes(task, make_expert(task, 0), 50, seed=200) >= 48


def test_noise_grades_experts():
    successes = [_successes("lift_green", make_expert("lift_green", 0, noise=noise), 12) for noise in (0, 0.3, 0.7)]
    assert successes[0] == 12
    assert successes[0] > successes[1] > successes[2]


def test_slower_experts_take_longer():
    def steps_to_success(speed):
        env, expert = make_env("lift_green", 0, BLIND), make_expert("lift_green", 0, speed=speed)
        timestep, steps = env.reset(), 0
        while not env.is_success():
            timestep, steps = env.step(expert.act(timestep.observation)), steps + 1
        return steps

    assert steps_to_success(0.6) > steps_to_success(1.0)


@pytest.mark.parametrize("task", TASKS)
def test_expert_is_a_function_of_the_observation(task):
    observations = list(_observations())
    forwards, backwards = make_expert(task, 0), make_expert(task, 1)
    there = [forwards.act(o) for o in observations]
    back = [backwards.act(o) for o in reversed(observations)]
    np.testing.assert_array_equal(there, back[::-1])


@pytest.mark.parametrize("expert", TASKS)
@pytest.mark.parametrize("task", TASKS)
def test_every_expert_acts_in_every_task(expert, task):
    actor = make_expert(expert, 0, noise=1.0)
    for observation in _observations(task, count=10):
        action = actor.act(observation)
        assert action.shape == (7,) and action.dtype == np.float32 and np.abs(action).max() <= 1


@pytest.mark.parametrize("make", [lambda seed: make_expert("lift_green", seed, noise=0.3), random_watcher])
def test_actors_are_determined_by_their_seed(make):
    observations = list(_observations())

    def play(actor, seed=None):
        actor.reset(seed)
        return [actor.act(o) for o in observations]

    np.testing.assert_array_equal(play(make(3)), play(make(3)))
    np.testing.assert_array_equal(play(make(3), 9), play(make(4), 9))
    assert not np.array_equal(play(make(3)), play(make(4)))
    actor = make(3)
    assert not np.array_equal(play(actor), play(actor))  # episodes of one actor differ


def test_noise_has_the_standard_deviation_that_is_asked_for():
    observation = next(_observations())
    clean, noisy = make_expert("lift_green", 0), make_expert("lift_green", 0, noise=0.1)
    noise = np.array([noisy.act(observation) - clean.act(observation) for _ in range(4000)])[100:]
    inside = np.abs(clean.act(observation)) < 0.5  # the clipped ones have less
    np.testing.assert_allclose(noise[:, inside].std(axis=0), 0.1, rtol=0.15)


def test_policy_ids_tell_behaviours_apart():
    assert make_expert("lift_green", 0, noise=0.3).policy_id == "expert/lift_green/noise=0.30"
    assert make_expert("lift_green", 0, speed=0.8).policy_id == "expert/lift_green/noise=0.00/speed=0.80"
    assert random_watcher(0).policy_id == "random_watcher"


def test_random_watcher_roams_and_grips():
    env, actor = make_env("lift_green", 0, BLIND), random_watcher(0)
    places, openings = [], []
    for _ in range(5):
        timestep = env.reset()
        while not timestep.last():
            timestep = env.step(actor.act(timestep.observation))
            places.append(timestep.observation["sawyer/pinch/pose"][:3])
            openings.append(timestep.observation["gripper/opening"][0])
    assert (np.ptp(places, axis=0) > (0.18, 0.18, 0.15)).all()
    assert min(openings) < 0.01 and max(openings) > 0.08


def test_unknown_task_is_refused():
    with pytest.raises(ArmchairError, match="lift_blue"):
        make_expert("lift_blue", 0)
