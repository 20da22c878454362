import math

import pytest

from datasets.errors import ArmchairError
from pipeline.batch_rl.sentinel import Sentinel


def _fail(text: str) -> None:
    raise AssertionError(f"warned: {text}")


def test_values_above_what_rewards_can_give():
    sentinel = Sentinel((0, 50))
    sentinel.look({"q": 40.0, "critic_loss": 1.0}, 4)
    sentinel.look({"q": 52.0, "critic_loss": 1.0}, 5)  # within 5 %
    with pytest.raises(ArmchairError, match="the mean value is 60 at step 6, but returns lie between 0 and 50"):
        sentinel.look({"q": 60.0, "critic_loss": 1.0}, 6)


def test_values_below_what_rewards_can_give():
    sentinel = Sentinel((0, 50))
    sentinel.look({"q": 3.0}, 1)
    sentinel.look({"q": -2.0}, 2)
    with pytest.raises(ArmchairError, match="the mean value is -3 at step 3"):
        sentinel.look({"q": -3.0}, 3)


def test_rewards_below_zero_leave_a_little_room_above():
    """No return of rewards -1 and 0 is positive, but a critic that learns it may say so for a while."""
    sentinel = Sentinel((-100, 0))
    sentinel.look({"q": 0.5}, 1)
    sentinel.look({"q": 4.0}, 2)
    with pytest.raises(ArmchairError, match="the mean value is 6 "):
        sentinel.look({"q": 6.0}, 3)


def test_a_fresh_critic_may_be_outside():
    """One with atoms says the middle of them, here 50, where no return exceeds 1."""
    sentinel = Sentinel((0, 1))
    for value in (50.0, 52.0, 20.0):
        sentinel.look({"q": value}, 1)
    with pytest.raises(ArmchairError):
        sentinel.look({"q": 53.0}, 1)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite(value):
    with pytest.raises(ArmchairError, match="training diverged: policy_loss is (nan|inf|-inf) at step 7"):
        Sentinel((-math.inf, math.inf)).look({"policy_loss": value}, 7)


@pytest.mark.parametrize(
    ("name", "diagnosis"),
    [
        ("weight_deviation", "as in behaviour cloning"),
        ("action_gradient_norm", "do not depend on the action"),
        ("policy_gradient_norm", "the policy's gradient is dead"),
        ("critic_gradient_norm", "the critic's gradient is dead"),
        ("value_gradient_norm", "the state value's gradient is dead"),
    ],
)
def test_a_training_that_goes_nowhere_is_told_once(name, diagnosis):
    told: list[str] = []
    sentinel = Sentinel((0, 100), told.append)
    sentinel.look({name: 0.0}, 900)  # may still come
    sentinel.look({name: 0.5}, 1_000)
    assert not told
    sentinel.look({name: 0.0}, 1_100)
    sentinel.look({name: 0.0}, 1_200)
    assert len(told) == 1
    assert "training, step 1100" in told[0] and diagnosis in told[0]


def test_without_values_and_weights_there_is_nothing_to_warn_of():
    Sentinel((-math.inf, math.inf), _fail).look({"policy_loss": -3.0, "policy_gradient_norm": 2.0}, 5_000)


def test_messages_name_what_is_trained():
    sentinel = Sentinel((0, 1), print, "the estimate of runs/bc/last")
    with pytest.raises(ArmchairError, match="^the estimate of runs/bc/last diverged: critic_loss is nan"):
        sentinel.look({"critic_loss": math.nan}, 100)
