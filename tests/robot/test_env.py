"""Robots by name. What each of them does is tested with it."""

import pytest

from datasets.errors import ArmchairError
from robot.env import CellConfig, make_env

BLIND = CellConfig(cameras=())


def test_a_task_of_the_cell_has_a_long_and_a_short_name():
    with make_env("sim:lift_green", 3, BLIND) as long, make_env("lift_green", 3, BLIND) as short:
        assert long.task_id == short.task_id == "lift_green"
        first, second = long.reset().observation, short.reset().observation
        assert all((first[name] == second[name]).all() for name in first)


@pytest.mark.parametrize("name", ["sim:juggle", "juggle", "sim:"])
def test_a_task_that_is_none_is_told(name):
    with pytest.raises(ArmchairError, match=r"There is no task .*: choose one of .*lift_green.*franka:HOST"):
        make_env(name, 0)


@pytest.mark.parametrize(
    ("name", "task"),
    [("robot.testing:FakeArm", None), ("gym:Pendulum-v1", "Pendulum-v1")],
)
def test_others_are_named_by_their_module_or_their_id(name, task):
    if name.startswith("gym:"):
        pytest.importorskip("gymnasium")
    with make_env(name, 0) as env:
        assert env.reset().first() and task in (None, env.task_id)


def test_an_arm_without_a_file_is_told_what_to_write():
    with pytest.raises(ArmchairError, match=r"where franka:172.16.0.2 may move: write .* docs/your_own_arm.md .*--arm"):
        make_env("franka:172.16.0.2", 0)
    with pytest.raises(ArmchairError, match="franka:HOST"):
        make_env("franka:", 0)


@pytest.mark.parametrize("name", ["lift_green", "sim:lift_green", "robot.testing:FakeArm"])
def test_a_file_for_who_has_none_is_refused(name, tmp_path):
    with pytest.raises(ArmchairError, match=r"arm.yaml describes a Franka arm, not .*: leave it out"):
        make_env(name, 0, arm=tmp_path / "arm.yaml")
