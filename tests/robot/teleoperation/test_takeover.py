"""A person takes over from a policy: who acts when, what the record says, and that learning sees what was done."""

import tempfile
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datasets import schema
from datasets.errors import ArmchairError
from datasets.feeds import load_transitions
from datasets.query import Query
from datasets.reward_source import RewardSource
from datasets.schema import ActedBy, Verdict
from robot.drivers.environment import RobotConfig, RobotEnvironment
from robot.drivers.fake import SAFETY, FakeCamera, FakeClock, FakeDriver
from robot.env import Safety
from robot.safety import protect
from robot.teleoperation.teleoperation import Phase, TeleoperationError
from tests.robot.teleoperation.bench import RATE, Bench, Counter, QuickArm

POLICY = "tests.robot.teleoperation.bench:Counter"
PERIOD, PATIENCE = 0.1, 0.25  # s; no number of periods is just the patience


class Timed(QuickArm):
    """A step takes a control period of simulated time."""

    control_rate_hz = 1 / PERIOD

    def __init__(self, clock, steps):
        super().__init__(0, time_limit=steps)
        self._clock = clock

    def step(self, action):
        self._clock.sleep(PERIOD)
        return super().step(action)


WISH = st.one_of(st.none(), st.just("leave"), st.floats(0, 1, width=32))  # None: silence, a float: a command


def play(wishes):
    """An episode in which one wish comes before each step; the first is not silence."""
    clock, coming = FakeClock(), iter(wishes)

    def hands(moment):  # after the scene is set, and after each step
        if moment.status.phase in (Phase.READY, Phase.RUNNING):
            match next(coming, None):
                case "leave":
                    bench.teleoperation.leave_to_policy()
                case float(speed):
                    bench.teleoperation.command(np.array([speed, 0], np.float32))

    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(
            Path(folder) / "store", lambda task, seed: Timed(clock, len(wishes)), hands, clock, patience=PATIENCE
        )
        with bench.teleoperation as teleoperation:
            teleoperation.start("fake_reach", "ada", seed=3, policy=POLICY)
            bench.wait(lambda moment: moment.status.phase == Phase.ENDED)
            teleoperation.keep(Verdict.SUCCESS)
        (episode,) = bench.episodes()
    return episode, bench


def model(wishes):
    """Brute force: whose wish each step is, and which."""
    for t in range(len(wishes)):
        fresh = [wish for wish in wishes[max(0, t - 2) : t + 1] if wish is not None]  # of 0, 0.1 and 0.2 s ago
        if not fresh:
            yield ActedBy.NOBODY, 0.0
        elif fresh[-1] == "leave":
            yield ActedBy.POLICY, -0.001 * (t + 1)
        else:
            yield ActedBy.PERSON, fresh[-1]


@settings(max_examples=15, deadline=None)
@given(st.lists(WISH, min_size=1, max_size=14).filter(lambda wishes: wishes[0] is not None))
def test_whatever_is_wished_the_record_says_who_acted_and_how(wishes):
    episode, bench = play(wishes)
    by, speeds = zip(*model(wishes), strict=True)
    assert episode.extras[schema.ACTED_BY].tolist() == [*by, ""]
    np.testing.assert_array_equal(episode.action[:, 0], np.array([*speeds, 0], np.float32))
    shown = [m.status.acted_by for m in bench.moments if m.timestep is not None and m.status.phase is Phase.RUNNING]
    assert shown == list(by)


def test_an_episode_says_whose_it_is(bench):
    bench = bench()
    bench.drive(3, policy=POLICY)
    bench.teleoperation.stop()
    bench.teleoperation.keep(Verdict.SUCCESS)
    (episode,) = bench.episodes()
    metadata = episode.metadata
    assert metadata.episode_type == schema.EpisodeType.DAGGER
    assert (metadata.policy_id, metadata.operator, metadata.verdict) == ("counter", "ada", "success")
    assert episode.extras[schema.ACTED_BY][-2] == ActedBy.NOBODY  # the step of the stop
    (row,) = bench.store.query(Query(episode_type=schema.EpisodeType.DAGGER))
    assert row.dataset == "dagger_fake_reach"
    bench.drive(1)  # without a policy again: a demonstration, which says nothing of this
    bench.teleoperation.stop()
    bench.teleoperation.keep(Verdict.SUCCESS)
    (demonstration,) = (e for e in bench.episodes() if e.metadata.episode_type == schema.EpisodeType.TELEOPERATION)
    assert schema.ACTED_BY not in demonstration.extras
    assert not bench.store.verify()


def test_nothing_moves_before_a_person_has_wished_it(bench):
    bench = bench()
    bench.teleoperation.start("fake_reach", "ada", policy=POLICY)
    assert bench.teleoperation.status.policy_id == "counter"
    time.sleep(10 / RATE)
    assert bench.teleoperation.status.phase is Phase.READY
    bench.teleoperation.leave_to_policy()
    bench.wait(lambda moment: moment.status.acted_by is ActedBy.POLICY)


def test_a_policy_that_nobody_minds_any_more_stands_still(bench):
    bench = bench(patience=0.1)
    bench.teleoperation.start("fake_reach", "ada", policy=POLICY)
    bench.teleoperation.leave_to_policy()
    bench.wait(lambda moment: moment.status.t > 2 and moment.status.acted_by is ActedBy.NOBODY)
    time.sleep(5 / RATE)
    bench.teleoperation.stop()
    bench.teleoperation.keep(Verdict.UNKNOWN)
    (episode,) = bench.episodes()
    acted = (episode.extras[schema.ACTED_BY] == ActedBy.POLICY).tolist()
    driven = sum(acted)
    assert 2 <= driven <= 0.1 * RATE + 2 and all(acted[:driven])
    np.testing.assert_array_equal(episode.action[driven:], 0)


def test_without_a_policy_there_is_nobody_to_leave_it_to(bench):
    bench = bench()
    bench.teleoperation.leave_to_policy()  # nobody listens
    bench.drive(1)
    with pytest.raises(TeleoperationError, match="no policy"):
        bench.teleoperation.leave_to_policy()
    assert bench.teleoperation.status.phase is Phase.RUNNING


@pytest.mark.parametrize(
    ("policy", "told"), [("nobody", "there is no actor"), ("policy:nowhere", r"nowhere is not a policy")]
)
def test_a_policy_that_cannot_be_had_is_one_sentence_and_the_arm_is_free(bench, policy, told):
    bench = bench()
    with pytest.raises(ArmchairError, match=told):
        bench.teleoperation.start("fake_reach", "ada", policy=policy)
    assert bench.arms[0].closed == 1
    bench.drive(1)


class Hasty(Counter):
    """Full speed from the first moment, which no safety filter lets pass."""

    def act(self, observation):
        return np.array([1, 0, 0, 0, 0, 0, 0], np.float32)


def test_learning_sees_what_was_executed_of_the_policys_wishes_and_the_persons(bench):
    clock = FakeClock()

    def robot(task, seed):
        cameras = {"wrist": FakeCamera(clock, (16, 16))}
        env = RobotEnvironment(FakeDriver(clock), cameras, SAFETY, "fake_task", RobotConfig(time_limit=12), clock)
        return protect(env, Safety.AUTO)

    def hands(moment):
        if moment.status.phase in (Phase.READY, Phase.RUNNING):
            if moment.status.t < 6:
                bench.teleoperation.leave_to_policy()
            else:
                bench.teleoperation.command(np.array([0, 1, 0, 0, 0, 0, 0], np.float32))

    bench = bench(robot, hands, clock)
    bench.teleoperation.start("fake_task", "ada", policy="tests.robot.teleoperation.test_takeover:Hasty")
    bench.wait(lambda moment: moment.status.phase is Phase.ENDED)
    bench.teleoperation.keep(Verdict.SUCCESS)
    (episode,) = bench.episodes()
    assert episode.extras[schema.ACTED_BY].tolist() == [ActedBy.POLICY] * 6 + [ActedBy.PERSON] * 6 + [""]
    commanded = episode.extras[schema.COMMANDED_ACTION]  # [T, 7]
    np.testing.assert_array_equal(commanded[:6, 0], 1)
    np.testing.assert_array_equal(commanded[6:-1, 1], 1)
    assert 0 < episode.action[0, 0] < 1 and 0 < episode.action[6, 1] < 1  # the slew limit's doing
    rows = bench.store.query(Query(episode_type=schema.EpisodeType.DAGGER))
    keys = ("sawyer/pinch/pose", "pixels/wrist")
    transitions = load_transitions(bench.store, rows, keys, RewardSource.parse("none"), "fake_task")
    np.testing.assert_array_equal(transitions.action, episode.action[:-1])  # [T - 1, 7]
