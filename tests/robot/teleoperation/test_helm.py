"""Whose wish the next action is: what has been said last, while it is fresh."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from datasets.schema import ActedBy
from robot.drivers.fake import FakeClock
from robot.teleoperation.helm import Helm, TeleoperationError

PATIENCE = 0.325
PROPOSED = np.array([0.5, 0.5], np.float32)


def test_before_anybody_has_wished_anything_nobody_drives():
    helm = Helm(2, True, PATIENCE, FakeClock())
    action, by = helm.choose(PROPOSED)
    assert not action.any() and action.shape == (2,) and by is ActedBy.NOBODY and not helm.was_taken


def test_a_leave_without_a_policy_is_refused():
    helm = Helm(2, False, PATIENCE, FakeClock())
    with pytest.raises(TeleoperationError, match="no policy"):
        helm.leave_to_policy()
    assert not helm.was_taken


def test_once_closed_nobody_drives_any_more():
    helm = Helm(2, True, PATIENCE, FakeClock())
    helm.close()
    helm.command(np.ones(2))
    assert helm.choose(PROPOSED).by is ActedBy.NOBODY
    helm.leave_to_policy()
    assert helm.choose(PROPOSED).by is ActedBy.NOBODY


def test_devices_add_up_and_a_silent_one_counts_for_nothing():
    clock = FakeClock()
    helm = Helm(2, True, PATIENCE, clock)
    helm.command(np.array([0.0, 1.0], np.float32))  # the page: nothing is pressed, the gripper closes
    helm.command(np.array([0.75, 0.5], np.float32), "mouse")
    np.testing.assert_array_equal(helm.choose(PROPOSED).action, [0.75, 1.0])  # clipped
    clock.sleep(0.2)
    helm.leave_to_policy()
    assert helm.choose(PROPOSED).by is ActedBy.PERSON  # who moves another device takes over
    clock.sleep(0.2)
    assert helm.choose(PROPOSED).by is ActedBy.POLICY
    clock.sleep(0.2)
    assert helm.choose(PROPOSED).by is ActedBy.NOBODY


EVENTS = st.one_of(
    st.floats(-1, 1, width=32),  # a command
    st.floats(1.01, 9) | st.just(float("nan")),  # no command
    st.just("leave"),
    st.integers(0, 9).map(lambda tenths: ("silence", 0.05 + tenths / 10)),  # s; never a sum that is just the patience
)


@given(st.lists(EVENTS, max_size=30))
def test_the_latest_wish_counts_while_it_is_fresh(events):
    clock = FakeClock()
    helm = Helm(2, True, PATIENCE, clock)
    said, age = None, 0.0
    for event in events:
        if isinstance(event, tuple):
            clock.sleep(event[1])
            age += event[1]
        elif event == "leave":
            helm.leave_to_policy()
            said, age = PROPOSED, 0.0
        elif abs(event) <= 1:
            helm.command(np.array([event, 0], np.float32))
            said, age = np.array([event, 0], np.float32), 0.0
        else:
            with pytest.raises(TeleoperationError, match="2 numbers"):
                helm.command(np.array([event, 0], np.float32))
        action, by = helm.choose(PROPOSED)
        if said is None or age > PATIENCE + 1e-9:
            assert by is ActedBy.NOBODY and not action.any()
        else:
            assert by is (ActedBy.POLICY if said is PROPOSED else ActedBy.PERSON)
            np.testing.assert_array_equal(action, said)
