"""The limits: each rule with numbers worked by hand, and what holds of any sequence of actions."""

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datasets import schema
from datasets.errors import ArmchairError
from robot.limits import Box, Limiter, Reason, SafetyConfig
from robot.rotations import rotate, tilt_and_turn

PERIOD = 0.1  # s
WORKSPACE = Box((0.4, -0.2, 0.0), (0.8, 0.2, 0.3))
CONFIG = SafetyConfig(WORKSPACE)
POST = Box((0.55, -0.05, 0.0), (0.65, 0.05, 0.15))  # in the middle of the workspace
MIDDLE = np.array([0.6, 0.0, 0.2])
DOWN = np.array([0.0, 1.0, 0.0, 0.0])  # wxyz
STILL = np.zeros(7, np.float32)


def pose(place=MIDDLE, quaternion=DOWN):
    return np.concatenate([place, quaternion])


def action(linear=(0, 0, 0), angular=(0, 0, 0), gripper=0.0):
    return np.array([*linear, *angular, gripper], np.float32)


def limit(wanted, previous=STILL, place=MIDDLE, quaternion=DOWN, config=CONFIG):
    return Limiter(config, PERIOD).limit(np.asarray(wanted, np.float32), previous, pose(place, quaternion))


def rotated(quaternion, velocity, seconds=PERIOD):
    """A quaternion (wxyz) after turning at an angular velocity in the base frame."""
    return np.array(rotate(list(quaternion), (np.asarray(velocity, float) * seconds).tolist()))


def test_what_is_safe_is_left_alone_to_the_bit():
    wanted = action((0.1, -0.2, 0.3), (0.1, 0.2, -0.1), 1.0)
    limited = limit(wanted)
    assert limited.reasons == ()
    np.testing.assert_array_equal(limited.action, wanted)


def test_actions_are_clipped_to_their_bounds():
    limited = limit(action(gripper=-7), previous=STILL)
    np.testing.assert_array_equal(limited.action, action(gripper=-1))
    assert limited.reasons == (Reason.CLIP,)


def test_velocities_are_scaled_and_keep_their_direction():
    previous = action((0.6, 0.6, 0), (0, 0.6, 0.6))
    limited = limit(action((1, 1, 0), (0, 1, 1)), previous)
    half = 1 / math.sqrt(2)  # both lengths were sqrt(2) of their limits
    np.testing.assert_allclose(limited.action, action((half, half, 0), (0, half, half)), atol=1e-6)
    assert limited.reasons == (Reason.SPEED,)


def test_velocities_change_by_the_acceleration_times_the_period():
    limited = limit(action((1, 0, 0), (0, 0, -1)), previous=action((-1, 0, 0), (0, 0, 1)))
    # -0.15 + 1.0 * 0.1 = -0.05 m/s, a third of the unit; 0.8 - 5.0 * 0.1 = 0.3 rad/s, 3/8 of it
    np.testing.assert_allclose(limited.action, action((-1 / 3, 0, 0), (0, 0, 0.375)), atol=1e-6)
    assert limited.reasons == (Reason.SLEW,)


@pytest.mark.parametrize(("distance", "speed"), [(0.03, 0.15), (0.02, 0.10), (0.01, 0.05), (0.0, 0.0), (-0.01, 0.0)])
def test_towards_a_wall_the_speed_is_the_distance_by_the_braking_time(distance, speed):
    for axis, sign in ((0, 1), (1, -1), (2, 1)):
        wall = np.array(WORKSPACE.high if sign > 0 else WORKSPACE.low)
        place, wanted = MIDDLE.copy(), np.zeros(3)
        place[axis], wanted[axis] = wall[axis] - sign * distance, sign
        moving = limit(action(wanted), previous=action(wanted), place=place).action[:3] * schema.MAX_LINEAR
        np.testing.assert_allclose(moving, sign * speed * np.abs(wanted), atol=1e-6)


def test_outside_of_the_workspace_the_arm_may_come_back_but_is_not_pulled():
    outside = np.array([0.85, 0, 0.2])
    assert limit(STILL, place=outside).action[0] == 0
    assert limit(action((1, 0, 0)), place=outside).reasons == (Reason.WALL,)
    inwards = action((-0.5, 0, 0))
    np.testing.assert_array_equal(limit(inwards, place=outside).action, inwards)


def test_the_arm_slides_along_a_wall():
    limited = limit(action((0.4, 0.5, 0)), place=np.array([0.8, 0, 0.2]))
    np.testing.assert_allclose(limited.action, action((0, 0.5, 0)), atol=1e-6)
    assert limited.reasons == (Reason.WALL,)


def test_a_wall_comes_before_the_slew_limit():
    limited = limit(action((1, 0, 0)), previous=action((1, 0, 0)), place=np.array([0.8, 0, 0.2]))
    assert limited.action[0] == 0


def test_towards_a_keep_out_box_the_arm_slows_down_beyond_it_does_not():
    config = dataclasses.replace(CONFIG, keep_out=(POST,))
    down = action((0, 0, -0.5))
    above = limit(down, place=np.array([0.6, 0, 0.16]), config=config)  # 1 cm over its top
    assert above.reasons == (Reason.WALL,)
    np.testing.assert_allclose(above.action[2] * schema.MAX_LINEAR, -0.01 / 0.2, atol=1e-6)
    beside = limit(down, place=np.array([0.7, 0, 0.16]), config=config)
    assert beside.reasons == ()
    away = limit(action((0, 0, 0.5)), place=np.array([0.6, 0, 0.16]), config=config)
    assert away.reasons == ()


def test_inside_of_a_keep_out_box_only_the_way_out_is_open():
    config = dataclasses.replace(CONFIG, keep_out=(POST,))
    place = np.array([0.6, 0, 0.14])  # 1 cm under its top
    np.testing.assert_array_equal(limit(action((0.5, 0.5, -0.5)), place=place, config=config).action, STILL)
    np.testing.assert_array_equal(limit(STILL, place=place, config=config).action, STILL)
    np.testing.assert_allclose(
        limit(action((0.3, 0, 0.5)), place=place, config=config).action, action((0, 0, 0.5)), atol=1e-6
    )


@pytest.mark.parametrize("degrees", [0, 10, 25, -40])
@pytest.mark.parametrize("turn", [0, 60, -80])
def test_tilt_and_turn_of_a_gripper(degrees, turn):
    quaternion = rotated(rotated(DOWN, (0, 0, math.radians(turn)), 1), (math.radians(degrees), 0, 0), 1)
    for sign in (1, -1):  # a quaternion and its opposite are the same rotation
        tilt, tilting, turned, _ = tilt_and_turn((sign * quaternion).tolist())
        assert tilt == pytest.approx(math.radians(abs(degrees)), abs=1e-9)
        assert turned == pytest.approx(math.radians(turn), abs=1e-9)
        if degrees:
            np.testing.assert_allclose(tilting, [np.sign(degrees), 0, 0], atol=1e-9)


@given(st.integers(0, 2**32 - 1))
def test_rates_of_tilt_and_turn_are_their_derivatives(seed):
    rng = np.random.default_rng(seed)
    quaternion = rotated(DOWN, rng.uniform(-1, 1, 3), 1)
    velocity = rng.uniform(-1, 1, 3)
    tilt, tilting, turn, turning = tilt_and_turn(quaternion.tolist())
    small = 1e-6
    later_tilt, _, later_turn, _ = tilt_and_turn(rotated(quaternion, velocity, small).tolist())
    if tilt > 1e-3:
        assert (later_tilt - tilt) / small == pytest.approx(np.dot(tilting, velocity), abs=2e-3)
    assert (later_turn - turn) / small == pytest.approx(np.dot(turning, velocity), abs=2e-3)


def test_towards_the_greatest_tilt_the_arm_turns_slower_and_may_still_turn_about_the_vertical():
    quaternion = rotated(DOWN, (math.radians(30) - 0.02, 0, 0), 1)
    limited = limit(action(angular=(0.4, 0, 0.3)), previous=action(angular=(0.4, 0, 0.3)), quaternion=quaternion)
    assert limited.reasons == (Reason.ROTATION,)
    _, tilting, _, turning = tilt_and_turn(quaternion.tolist())
    velocity = limited.action[3:6] * schema.MAX_ANGULAR
    assert velocity @ tilting == pytest.approx(0.02 / 0.2, abs=1e-5)
    assert velocity @ turning == pytest.approx(0.3 * schema.MAX_ANGULAR, abs=1e-5)
    assert limit(action(angular=(-0.5, 0, 0)), quaternion=quaternion).reasons == ()


def test_towards_the_greatest_turn_the_arm_turns_slower():
    quaternion = rotated(DOWN, (0, 0, math.radians(90) - 0.02), 1)
    limited = limit(action(angular=(0, 0, 0.5)), previous=action(angular=(0, 0, 0.5)), quaternion=quaternion)
    np.testing.assert_allclose(limited.action[3:6] * schema.MAX_ANGULAR, [0, 0, 0.02 / 0.2], atol=1e-5)
    assert limit(action(angular=(0, 0, -0.5)), quaternion=quaternion).reasons == ()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"max_linear_acceleration": 0.5}, "could not brake within 0.2 s"),
        ({"max_angular": 1.2}, "could not brake within 0.2 s"),
        ({"max_tilt": 2.0}, "limits of rotation"),
        ({"debounce": 0}, "greater than 0"),
    ],
)
def test_limits_that_are_none_are_refused(wrong, message):
    with pytest.raises(ArmchairError, match=message):
        SafetyConfig(WORKSPACE, **wrong)


def test_a_box_inside_out_and_a_period_that_is_too_long_are_refused():
    with pytest.raises(ArmchairError, match="is no box"):
        Box((0, 0, 0), (1, 0, 1))
    with pytest.raises(ArmchairError, match="through a wall"):
        Limiter(CONFIG, 0.25)


@st.composite
def cases(draw):
    """A configuration, a start outside of its keep-out boxes, and actions, from tame to wild, that often go one way."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    boxes = []
    for _ in range(draw(st.integers(0, 3))):
        low = rng.uniform(WORKSPACE.low, WORKSPACE.high)
        boxes.append(Box(tuple(low), tuple(low + rng.uniform(0.02, 0.2, 3))))
    speed = draw(st.sampled_from([0.05, 0.15, 0.25]))
    time = draw(st.sampled_from([0.1, 0.2, 0.4]))
    config = SafetyConfig(
        WORKSPACE, tuple(boxes), max_linear=speed, braking_time=time, max_tilt=0.3, max_turn=0.8,
        max_linear_acceleration=speed / time * draw(st.sampled_from([1, 1.5])), max_angular_acceleration=1 / time,
    )  # fmt: skip
    place = next(
        place
        for place in rng.uniform(WORKSPACE.low, WORKSPACE.high, (1000, 3))
        if not any((place > box.low).all() and (place < box.high).all() for box in boxes)
    )
    scale, persistence = draw(st.sampled_from([0.5, 1.0, 3.0])), draw(st.sampled_from([1, 5, 20]))
    actions = np.repeat(rng.normal(0, scale, (60, 7)), persistence, axis=0)[:60]
    if boxes and draw(st.booleans()):  # along the diagonals of the nearest box, where one face takes over from another
        corners = np.array([np.where(rng.random(3) < 0.5, box.low, box.high) for box in boxes])
        corner = corners[np.linalg.norm(corners - place, axis=1).argmin()]
        actions[:, :3] = 0.2 * actions[:, :3] + (corner - place) / np.abs(corner - place).max()
    return config, place, actions.astype(np.float32)


@given(cases())
@settings(max_examples=100)
def test_any_sequence_of_actions_keeps_to_all_limits_at_once(case):
    config, place, actions = case
    limiter, another = Limiter(config, PERIOD), Limiter(config, PERIOD)
    quaternion, before = DOWN, STILL
    for wanted in actions:
        executed, reasons = limiter.limit(wanted, before, pose(place, quaternion))
        again = limiter.limit(executed, before, pose(place, quaternion))
        assert (again.action == executed).all() and again.reasons == ()  # idempotent
        once_more = another.limit(wanted, before, pose(place, quaternion))
        assert (once_more.action == executed).all() and once_more.reasons == reasons  # deterministic
        assert (executed != wanted).any() == bool(reasons)

        linear, angular = executed[:3] * schema.MAX_LINEAR, executed[3:6] * schema.MAX_ANGULAR
        assert np.abs(executed).max() <= 1 + 1e-6
        assert np.linalg.norm(linear) <= config.max_linear + 1e-6
        assert np.linalg.norm(angular) <= config.max_angular + 1e-6
        change = executed.astype(float) - before
        assert np.abs(change[:3]).max() * schema.MAX_LINEAR <= config.max_linear_acceleration * PERIOD + 1e-5
        assert np.abs(change[3:6]).max() * schema.MAX_ANGULAR <= config.max_angular_acceleration * PERIOD + 1e-5

        place, quaternion, before = place + linear * PERIOD, rotated(quaternion, angular), executed
        assert (place >= np.array(WORKSPACE.low) - 1e-6).all() and (place <= np.array(WORKSPACE.high) + 1e-6).all()
        for box in config.keep_out:
            assert not ((place > np.array(box.low) + 1e-6).all() and (place < np.array(box.high) - 1e-6).all())
        tilt, _, turn, _ = tilt_and_turn(quaternion.tolist())
        assert tilt <= config.max_tilt + math.radians(1) and abs(turn) <= config.max_turn + math.radians(1)
