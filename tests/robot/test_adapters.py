"""Anyone's environment becomes one of ours: flat observations, float32, discounts, verdicts."""

import sys
import types
from pathlib import Path

import dm_env
import gymnasium
import numpy as np
import pytest
from absl.testing import absltest
from dm_env import specs, test_utils
from gymnasium import spaces

from datasets.errors import ArmchairError
from robot.adapters import make_external
from robot.testing import FakeArm

FETCH = "gym:gymnasium_robotics:FetchReach-v4"


class Counter(gymnasium.Env):
    """Counts; ends at `stop`, by itself or by a time limit. Every kind of observation that is taken."""

    observation_space = spaces.Dict(
        {
            "arm": spaces.Dict({"angle": spaces.Box(-9, 9, (3,), np.float64), "grasp": spaces.Discrete(2)}),
            "picture": spaces.Box(0, 255, (4, 4, 3), np.uint8),
        }
    )
    action_space = spaces.Box(np.array([-2.0, 0.0]), np.array([2.0, 5.0]), dtype=np.float64)
    metadata = {"render_fps": 25}  # noqa: RUF012

    def __init__(self, terminates: bool, verdict: str | None = None):
        self._terminates, self._verdict = terminates, verdict

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self._count, self._start = 0, self.np_random.uniform(-1, 1, 3)
        return self._observe(), {}

    def step(self, action):
        assert action.dtype == np.float64
        self._count += 1
        over = self._count == 3
        info = {self._verdict: float(over)} if self._verdict else {}
        return self._observe(), action.sum(), over and self._terminates, over and not self._terminates, info

    def _observe(self):
        angle = self._start + self._count
        return {"arm": {"angle": angle, "grasp": self._count % 2}, "picture": np.zeros((4, 4, 3), np.uint8)}


class Nested(dm_env.Environment):
    """A dm_env with a nested observation and float64 actions, whose seed is given at construction."""

    def __init__(self, seed: int):
        self.given = seed

    def reset(self):
        return dm_env.restart({"a": {"b": np.float64(self.given)}})

    def step(self, action):
        return dm_env.termination(1.0, {"a": {"b": action.sum()}})

    def observation_spec(self):
        return {"a": {"b": specs.Array((), np.float64)}}

    def action_spec(self):
        return specs.BoundedArray((2,), np.float64, -1, 1)


@pytest.fixture(autouse=True)
def mine(monkeypatch):
    """A module `mine` with factories."""
    module = types.ModuleType("mine")
    module.terminates = lambda: Counter(True, "success")
    module.truncates = lambda: Counter(False)
    module.Nested = Nested
    module.number = lambda: 3
    module.discrete = lambda: gymnasium.make("CartPole-v1")
    monkeypatch.setitem(sys.modules, "mine", module)


def run(env, action) -> list[dm_env.TimeStep]:
    timesteps = [env.reset()]
    while not timesteps[-1].last():
        timesteps.append(env.step(action))
    return timesteps


def test_gymnasium_observations_become_flat_and_float32():
    env = make_external("mine:terminates", seed=0)
    assert {k: (v.shape, v.dtype.name) for k, v in env.observation_spec().items()} == {
        "arm/angle": ((3,), "float32"), "arm/grasp": ((1,), "int64"), "picture": ((4, 4, 3), "uint8"),
    }  # fmt: skip
    for timestep in run(env, np.float32([1, 2])):
        for name, spec in env.observation_spec().items():
            spec.validate(timestep.observation[name])
    assert env.control_rate_hz == 25 and env.task_id == "terminates" and env.robot == "Counter"


def test_gymnasium_actions_keep_their_bounds():
    spec = make_external("mine:terminates", seed=0).action_spec()
    assert spec.dtype == np.float32
    np.testing.assert_array_equal(spec.minimum, [-2, 0])
    np.testing.assert_array_equal(spec.maximum, [2, 5])


@pytest.mark.parametrize(("name", "discount"), [("mine:terminates", 0), ("mine:truncates", 1)])
def test_only_termination_has_discount_zero(name, discount):
    timesteps = run(make_external(name, seed=0), np.float32([1, 2]))
    assert [t.discount for t in timesteps] == [None, 1, 1, discount]
    assert [t.reward for t in timesteps] == [None, 3, 3, 3]
    assert timesteps[-1].last()


def test_success_is_what_info_says_and_none_if_it_says_nothing():
    env = make_external("mine:terminates", seed=0)
    env.reset()
    assert [env.step(np.zeros(2)) and env.is_success() for _ in range(3)] == [False, False, True]
    silent = make_external("mine:truncates", seed=0)
    run(silent, np.zeros(2))
    assert silent.is_success() is None


def test_a_seed_fixes_the_episode_whatever_ran_before():
    env = make_external("mine:terminates", seed=5)
    first, second = (run(env, np.zeros(2))[0].observation["arm/angle"] for _ in range(2))
    assert (first != second).any()  # unseeded resets go on
    env.seed(5)
    np.testing.assert_array_equal(first, run(env, np.zeros(2))[0].observation["arm/angle"])


def test_dm_env_is_flattened_and_gets_its_seed():
    env = make_external("mine:Nested", seed=7)
    assert env.reset().observation == {"a/b": 7}
    assert env.step(np.float32([0.5, 0.25])).observation["a/b"].dtype == np.float64  # as the environment has it
    assert list(env.observation_spec()) == ["a/b"] and env.action_spec().dtype == np.float32
    assert env.given == 7 and env.task_id == "Nested"
    assert make_external("robot.testing:FakeArm", seed=0).task_id == "fake_reach"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nowhere:make", "no module 'nowhere'"),
        ("mine:nothing", "no 'nothing'"),
        ("mine:number", "returned a int"),
        ("mine:__name__", "not a callable"),
        ("mine:discrete", "vector of real numbers"),
        ("gym:Nothing-v0", "Gymnasium cannot make 'Nothing-v0'"),
        ("gym:nowhere:Nothing-v0", "Gymnasium cannot make 'nowhere:Nothing-v0'"),
    ],
)
def test_mistakes_are_one_sentence(name, message):
    with pytest.raises(ArmchairError, match=message):
        make_external(name, seed=0)


def test_a_module_that_needs_another_one_names_it(tmp_path, monkeypatch):
    (tmp_path / "needy.py").write_text("import robosuite_that_is_not_there\n")
    monkeypatch.chdir(tmp_path)  # modules in the current folder are found
    with pytest.raises(ArmchairError, match="needs the module 'robosuite_that_is_not_there'"):
        make_external("needy:make", seed=0)
    monkeypatch.setattr(sys, "path", [p for p in sys.path if Path(p) != tmp_path])


class TestFakeArm(test_utils.EnvironmentTestMixin, absltest.TestCase):
    """The fake arm keeps dm_env's contract."""

    def make_object_under_test(self):
        return FakeArm(image_size=(8, 8), time_limit=3)


class TestGymnasium(test_utils.EnvironmentTestMixin, absltest.TestCase):
    """So does an adapted environment."""

    def make_object_under_test(self):
        return make_external("mine:terminates", seed=0)


@pytest.mark.filterwarnings("ignore:.*:DeprecationWarning")
def test_gymnasium_robotics():
    pytest.importorskip("gymnasium_robotics", reason="the extra [envs] is not installed")
    env = make_external(FETCH, seed=1)
    timesteps = run(env, np.zeros(4, np.float32))
    assert len(timesteps) == 51 and timesteps[-1].discount == 1  # its time limit is 50 steps
    assert set(env.observation_spec()) == {"achieved_goal", "desired_goal", "observation"}
    assert timesteps[-1].observation["observation"].dtype == np.float32
    assert env.is_success() is False and env.task_id == "FetchReach-v4"
    env.seed(1)
    again = run(env, np.zeros(4, np.float32))
    for name in env.observation_spec():
        np.testing.assert_array_equal(timesteps[-1].observation[name], again[-1].observation[name])
