"""One battery over every task of the cell."""

import dataclasses
import math

import dm_env
import mujoco
import numpy as np
import pytest
from absl.testing import absltest
from dm_env import test_utils

from datasets import schema
from datasets.errors import ArmchairError, SpecMismatchError
from robot.cell import arm, environment, tasks
from robot.env import CAMERAS, TASKS, CellConfig, make_env
from robot.experts import make_expert, random_watcher

BLIND = CellConfig(cameras=())


@pytest.fixture(params=TASKS)
def task(request):
    return request.param


def _actions(seed, count):
    return np.random.default_rng(seed).uniform(-1, 1, (count, 7)).astype(np.float32)


def _life_cycle(task_id):
    """dm_env's own contract test, with action sequences that pass the end of an episode."""

    class Contract(test_utils.EnvironmentTestMixin, absltest.TestCase):
        def make_object_under_test(self):
            return make_env(task_id, 0, dataclasses.replace(BLIND, time_limit=8))

        def make_action_sequence(self):
            yield from _actions(0, 20)

    Contract.__name__ = Contract.__qualname__ = f"Contract_{task_id}"
    return Contract


for _task in TASKS:
    globals()[f"Contract_{_task}"] = _life_cycle(_task)


def test_observations_are_in_the_vocabulary(task):
    env = make_env(task, 0)
    spec = env.observation_spec()
    for name, array in spec.items():
        feature = schema.OBSERVATIONS[name]
        assert array.name == name
        assert array.dtype == feature.dtype
        assert len(array.shape) == len(feature.shape)
        assert all(known in (None, size) for known, size in zip(feature.shape, array.shape, strict=True))
    assert {f"pixels/{camera}" for camera in CAMERAS} <= set(spec)


def test_what_only_a_simulator_knows_is_declared_privileged(task):
    names = make_env(task, 0).observation_spec()
    objects = {f"objects/{colour}/{what}" for colour in ("green", "red") for what in ("pose", "from_pinch")}
    assert {n for n in names if schema.is_privileged(n)} == objects


def test_objects_are_seen_from_the_pinch_point(task):
    env = make_env(task, 0)
    observation = env.reset().observation
    for colour in ("green", "red"):
        offset = observation[f"objects/{colour}/pose"][:3] - observation["sawyer/pinch/pose"][:3]
        np.testing.assert_allclose(observation[f"objects/{colour}/from_pinch"], offset, atol=1e-6)


def test_all_tasks_have_one_observation_and_action_spec():
    specs = [(e.observation_spec(), e.action_spec()) for e in (make_env(t, 0) for t in TASKS)]
    assert all(spec == specs[0] for spec in specs)


def test_feature_only_cell_leaves_out_the_pictures(task):
    with_pictures, without = make_env(task, 0).observation_spec(), make_env(task, 0, BLIND).observation_spec()
    assert {n for n in with_pictures if not n.startswith("pixels/")} == set(without)
    assert set(make_env(task, 0, BLIND).reset().observation) == set(without)


def test_same_seed_same_episodes_bit_for_bit(task):
    def play():
        env = make_env(task, 5, dataclasses.replace(BLIND, time_limit=15))
        return [env.reset() if action is None else env.step(action) for action in (None, *_actions(1, 40))]

    for one, other in zip(play(), play(), strict=True):
        assert one.step_type == other.step_type
        assert one.reward == other.reward
        for name, value in one.observation.items():
            np.testing.assert_array_equal(value, other.observation[name], name)


def test_start_of_an_episode_depends_on_seed_and_number_alone(task):
    acted, idle, other = (make_env(task, seed, BLIND) for seed in (5, 5, 6))
    for env in (acted, idle, other):
        env.reset()
    for action in _actions(2, 10):
        acted.step(action)
    starts = [env.reset().observation["objects/green/pose"] for env in (acted, idle, other)]
    np.testing.assert_array_equal(starts[0], starts[1])
    assert not np.array_equal(starts[0], starts[2])


def test_observations_of_the_past_stay_as_they_were(task):
    env = make_env(task, 0, BLIND)
    first = env.reset().observation
    before = {name: value.copy() for name, value in first.items()}
    for action in _actions(0, 5):
        env.step(action)
    for name, value in first.items():
        np.testing.assert_array_equal(value, before[name], name)


def test_an_episode_is_truncated_at_the_time_limit_with_discount_one(task):
    limit = tasks.TASKS[task].time_limit
    env = make_env(task, 0, BLIND)
    env.reset()
    steps = [env.step(np.zeros(7, np.float32)) for _ in range(limit)]
    assert [step.step_type for step in steps] == [dm_env.StepType.MID] * (limit - 1) + [dm_env.StepType.LAST]
    assert {step.discount for step in steps} == {1.0}
    assert env.step(np.zeros(7, np.float32)).first()


@pytest.mark.parametrize("actor", ["expert", "watcher"])
def test_reward_success_and_progress_agree(task, actor):
    env = make_env(task, 3, BLIND)
    acting = make_expert(task, 0, noise=0.1) if actor == "expert" else random_watcher(0)
    timestep = env.reset()
    assert not env.is_success()
    while not timestep.last():
        timestep = env.step(acting.act(timestep.observation))
        assert timestep.reward == float(env.is_success())
        assert 0 <= env.progress() <= 1
        assert (env.progress() >= 0.9) >= env.is_success()


def test_progress_rises_while_the_expert_works(task):
    env, expert = make_env(task, 4, BLIND), make_expert(task, 0)
    timestep, progress = env.reset(), []
    while not timestep.last():
        progress.append(env.progress())
        timestep = env.step(expert.act(timestep.observation))
    done = progress.index(1.0)
    assert progress[0] < 0.35
    assert min(np.diff(progress[: done + 1])) > -0.05
    assert min(progress[done:]) == 1.0


def test_starts_are_valid_unsolved_and_at_rest(task):
    env = make_env(task, 11, BLIND)
    for _ in range(20):
        observation = env.reset().observation
        assert not env.is_success()
        pinch, green, red = (observation[k] for k in ("sawyer/pinch/pose", "objects/green/pose", "objects/red/pose"))
        assert (pinch[:3] > environment.PINCH_LOW - 0.005).all() and (pinch[:3] < environment.PINCH_HIGH + 0.005).all()
        np.testing.assert_allclose(np.abs(pinch[3:]), [0, 1, 0, 0], atol=0.02)  # pointing down
        assert np.linalg.norm(green[:2] - red[:2]) > environment.OBJECT_DISTANCE - 0.005
        assert np.abs(env.data.qvel).max() < 0.05


def test_start_heights_are_those_of_objects_that_stand_on_the_floor(task):
    env = make_env(task, 0, BLIND)
    observation = env.reset().observation
    assert observation["objects/green/pose"][2] == pytest.approx(tasks.TASKS[task].green_rest, abs=1e-3)
    assert observation["objects/red/pose"][2] == pytest.approx(tasks.TASKS[task].red_rest, abs=1e-3)


def test_constants_of_the_tasks_are_those_of_the_models():
    env = make_env("lift_green", 0, BLIND)
    np.testing.assert_allclose(env.model.geom("green").size, tasks.GREEN_HALF)
    np.testing.assert_allclose(env.model.geom("red").size, tasks.RED_HALF)
    env = make_env("insert_green", 0, BLIND)
    bottom = env.model.geom("red").pos[2] + env.model.geom("red").size[2]
    assert pytest.approx(bottom + env.model.geom("green").size[2]) == tasks.INSERTED_HEIGHT
    assert env.model.geom("floor").pos[2] + env.model.geom("floor").size[2] == pytest.approx(0)
    assert pytest.approx(2 * env.model.actuator("fingers").ctrlrange[1]) == arm.STROKE


@pytest.mark.parametrize("axis", range(3))
def test_actions_move_the_pinch_point_along_the_axes_of_the_base(axis):
    env = make_env("lift_green", 0, BLIND)
    env.reset()
    start, action = env.data.site("pinch").xpos.copy(), np.zeros(7)
    action[axis] = 0.5 if axis == 2 else -0.5 * np.sign(start[axis] - (0.6, 0)[axis])  # inwards
    positions = []
    for _ in range(8):
        env.step(action)
        positions.append(env.data.site("pinch").xpos - start)
    speed = (positions[7] - positions[3])[axis] / 0.4  # once the servo has caught up
    assert speed == pytest.approx(action[axis] * schema.MAX_LINEAR, rel=0.1)
    assert np.abs(np.delete(positions, axis, axis=1)).max() < 0.003


@pytest.mark.parametrize("axis", range(3))
def test_actions_turn_the_gripper_about_the_axes_of_the_base(axis):
    env = make_env("lift_green", 0, BLIND)
    env.reset()
    action = np.zeros(7)
    action[3 + axis] = 0.5
    start = env.data.site("pinch").xmat.reshape(3, 3).copy()
    for _ in range(8):
        env.step(action)
    turn = env.data.site("pinch").xmat.reshape(3, 3) @ start.T
    vector = np.array([turn[2, 1] - turn[1, 2], turn[0, 2] - turn[2, 0], turn[1, 0] - turn[0, 1]]) / 2
    assert vector[axis] == pytest.approx(math.sin(0.5 * schema.MAX_ANGULAR * 0.7), rel=0.15)
    assert np.abs(np.delete(vector, axis)).max() < 0.03


def test_tool_velocity_is_that_of_the_pinch_point_in_its_own_frame():
    env = make_env("lift_green", 0, BLIND)
    env.reset()
    for _ in range(6):
        timestep = env.step(np.array([0, 0, 0.5, 0, 0, 0, 0]))
    velocity = timestep.observation["sawyer/tcp/velocity"]
    np.testing.assert_allclose(velocity[:3], [0, 0, -0.5 * schema.MAX_LINEAR], atol=0.01)  # the tool's z points down
    np.testing.assert_allclose(velocity[3:], 0, atol=0.05)


def test_the_gripper_closes_and_opens():
    env = make_env("lift_green", 0, BLIND)
    env.reset()
    for sign, opening in ((1, 0.0), (-1, arm.STROKE)):
        for _ in range(12):
            observation = env.step(np.array([0, 0, 0.1, 0, 0, 0, sign])).observation
        assert observation["gripper/opening"] == pytest.approx(opening, abs=0.003)
        assert observation["gripper/command"] == pytest.approx(opening, abs=1e-6)
        assert observation["gripper/grasp"] == 0


def test_the_pinch_point_stays_in_its_workspace():
    env = make_env("lift_green", 0, dataclasses.replace(BLIND, time_limit=1000))
    env.reset()
    for side, name in enumerate(("green", "red")):
        env.data.joint(name).qpos[:3] = 1.0, 0.2 * side, 0.025  # out of the way
    for corner in ((1, 1, 1), (-1, 1, -1), (1, -1, -1), (-1, -1, 1)):
        for _ in range(40):
            env.step(np.array([*corner, 0, 0, 0, 0.0]))
            pinch = env.data.site("pinch").xpos
            assert (pinch > arm.WORKSPACE_LOW - 0.01).all() and (pinch < arm.WORKSPACE_HIGH + 0.01).all()


def test_violent_actions_keep_the_simulation_finite():
    env = make_env("stack_green_on_red", 0, dataclasses.replace(BLIND, time_limit=1000))
    env.reset()
    for action in np.sign(_actions(3, 300)):
        observation = env.step(action).observation
    assert all(np.isfinite(value).all() for value in observation.values())
    assert not any(env.data.warning[kind].number for kind in range(mujoco.mjtWarning.mjNWARNING))


def test_actions_beyond_the_bounds_are_clipped():
    envs = [make_env("lift_green", 0, BLIND) for _ in range(2)]
    for env in envs:
        env.reset()
    a, b = (env.step(scale * np.ones(7)).observation for env, scale in zip(envs, (1, 7), strict=True))
    np.testing.assert_array_equal(a["sawyer/joints/angle"], b["sawyer/joints/angle"])


@pytest.mark.parametrize("action", [np.zeros(6), np.full(7, np.nan), 0.0])
def test_a_wrong_action_is_refused_in_one_sentence(action):
    env = make_env("lift_green", 0, BLIND)
    env.reset()
    with pytest.raises(SpecMismatchError, match="7 numbers"):
        env.step(action)


def test_unknown_names_are_refused_in_one_sentence():
    with pytest.raises(ArmchairError, match=r"lift_blue.*lift_green"):
        make_env("lift_blue", 0)
    with pytest.raises(ArmchairError, match=r"ceiling.*wrist"):
        make_env("lift_green", 0, CellConfig(cameras=("ceiling",)))
