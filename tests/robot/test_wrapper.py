"""An environment around another one."""

import pickle

import numpy as np
import pytest

from robot.testing import FakeArm
from robot.wrapper import Wrapper


def test_everything_of_the_inner_environment_shows_through():
    inner = FakeArm(seed=1)
    outer = Wrapper(inner)
    for name in ("observation_spec", "action_spec", "reward_spec", "discount_spec"):
        assert getattr(outer, name)() == getattr(inner, name)()
    assert outer.robot == inner.robot and outer.is_success() == inner.is_success()
    with pytest.raises(AttributeError, match="no_such_thing"):
        _ = outer.no_such_thing
    assert outer.reset().first()
    action = np.full(outer.action_spec().shape, 0.5, np.float32)
    for _ in range(3):
        outer.step(action)
    np.testing.assert_array_equal(outer.step(action).observation["arm/position"], inner._position)


def test_it_can_be_pickled():
    assert pickle.loads(pickle.dumps(Wrapper(FakeArm(seed=1)))).robot == FakeArm(seed=1).robot
