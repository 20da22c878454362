"""Episodes on an arm: in a balanced order, judged blindly, resumed after any end, and never without a person's yes."""

import io
import json
import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from datasets import schema
from datasets.errors import ArmchairError
from datasets.schema import Verdict
from robot.campaign.campaign import CampaignStoppedError
from robot.collect import CollectConfig, collect
from robot.drivers import fake
from robot.drivers.base import DriverError
from robot.evaluate import EvaluateConfig, compare, evaluate
from robot.record import recorded
from robot.safety import EmergencyStopError
from robot.stage import PlanLine, in_order
from robot.testing import FakeOperator

ARM = "robot.drivers.fake:make_robot"
HERE = "tests.robot.campaign.test_campaign"
LEFT, RIGHT, CLUMSY = f"{HERE}:left", f"{HERE}:right", f"{HERE}:clumsy"


class Mover:
    """Moves along y; its id is a word that nobody may hear."""

    def __init__(self, policy_id: str, speed: float):
        self.policy_id, self._action = policy_id, np.array([0, speed, 0, 0, 0, 0, 0], np.float32)

    def reset(self, seed=None):
        self._steps = 0

    def act(self, observation):
        return self._action


class Clumsy(Mover):
    """Asks for no action at all in episodes of even seeds."""

    def reset(self, seed=None):
        self._even = seed % 2 == 0

    def act(self, observation):
        return np.full(7, np.nan) if self._even else self._action


def left(seed):
    return Mover("zebra", 0.2)


def right(seed):
    return Mover("okapi", -0.2)


def clumsy(seed):
    return Clumsy("tapir", 0.1)


class Person(FakeOperator):
    """Answers what was scripted for the questions that have it as an answer, and yes to the others."""

    def __init__(self, *script: str, verdicts: str = "s"):
        super().__init__(verdicts)
        self._script = list(script)

    def ask(self, question):
        usual = super().ask(question)
        if self._script and self._script[0] in question.answers:
            return self._script.pop(0)
        return usual

    @property
    def heard(self) -> str:
        return "\n".join([*self.told, *(f"{q.text} {q.answers}" for q in self.asked)])


def config(folder: Path, **changes) -> EvaluateConfig:
    return EvaluateConfig(**{"env": ARM, "actor": LEFT, "episodes": 3, "seed": 10, "out": folder} | changes)


def played(out: Path, dataset: str = "evaluation") -> list[tuple[str, int]]:
    """Whole episodes: their policies and seeds."""
    metadata = [episode.metadata for episode in recorded(out, dataset)]
    return [(m.policy_id, m.seed) for m in metadata if not schema.PARTS & set(m.tags.split(","))]


def interrupted(out: Path) -> list[int]:
    """The lengths of those that were interrupted."""
    return [e.num_steps for e in recorded(out, "evaluation") if schema.INTERRUPTED in e.metadata.tags.split(",")]


class Moves:
    """Counts what the fake arms of a test are asked to do."""

    def __init__(self, monkeypatch):
        self.homes = self.moves = 0
        home, move = fake.FakeDriver.home, fake.FakeDriver.move

        def counted_home(driver):
            self.homes += 1
            home(driver)

        def counted_move(driver, *arguments):
            self.moves += 1
            move(driver, *arguments)

        monkeypatch.setattr(fake.FakeDriver, "home", counted_home)
        monkeypatch.setattr(fake.FakeDriver, "move", counted_move)


def test_turns_are_balanced_random_and_seeded():
    plan = [PlanLine(ARM, actor, 40, seed=7) for actor in "abc"]
    order = in_order(plan, interleave=True)
    for i in range(40):
        block = order[3 * i : 3 * i + 3]
        assert {job.seed for job in block} == {7 + i} and {job.actor for job in block} == set("abc")
    assert all(7 < count < 20 for count in Counter(job.actor for job in order[::3]).values())  # who begins a block
    assert in_order(plan, interleave=True) == order
    assert in_order([PlanLine(ARM, actor, 40, seed=8) for actor in "abc"], True)[::3] != order[::3]
    assert in_order(plan, interleave=False) == [job for line in plan for job in line.jobs()]
    uneven = in_order([PlanLine(ARM, "a", 1), PlanLine(ARM, "b", 3)], interleave=True)
    assert [job.actor for job in uneven[2:]] == ["b", "b"]


def test_policies_act_in_turns_and_verdicts_are_kept_with_who_gave_them(tmp_path):
    person = Person(verdicts="sfu")
    one, other = compare(config(tmp_path), [RIGHT], person)
    order = played(tmp_path)
    assert len(order) == 6 and [seed for _, seed in order] == [10, 10, 11, 11, 12, 12]
    assert all({order[i][0], order[i + 1][0]} == {"zebra", "okapi"} for i in (0, 2, 4))
    metadata = [episode.metadata for episode in recorded(tmp_path, "evaluation")]
    assert [m.verdict for m in metadata] == [*2 * (Verdict.SUCCESS, Verdict.FAILURE, Verdict.UNKNOWN)]
    assert {m.operator for m in metadata} == {"ada"} and [m.initial_condition for m in metadata[::2]] == [
        "10",
        "11",
        "12",
    ]
    assert (one.policy_id, other.policy_id) == ("zebra", "okapi")
    assert one.judged + other.judged == 4 and one.successes + other.successes == 2
    assert [e.seed for e in one.episodes] == [e.seed for e in other.episodes] == [10, 11, 12]
    plan = json.loads((tmp_path / "campaign" / "plan.json").read_text())
    assert [(episode["policy_id"], episode["seed"]) for episode in plan["order"]] == order


def test_nobody_is_told_who_acts(tmp_path, capfd, caplog):
    person = Person("x")  # one is repeated, too
    compare(config(tmp_path), [RIGHT], person)
    said = person.heard + caplog.text + "".join(capfd.readouterr())
    assert "Episode 3 of 6" in said
    assert not [name for name in ("zebra", "okapi", HERE) if name in said]


def test_a_person_who_says_no_to_the_checklist_moves_nothing(tmp_path, monkeypatch):
    moves = Moves(monkeypatch)
    with pytest.raises(CampaignStoppedError, match="nothing has moved"):
        evaluate(config(tmp_path), Person("no"))
    assert (moves.homes, moves.moves) == (0, 0) and not played(tmp_path)
    evaluate(config(tmp_path), Person())
    assert moves.homes == 3 and len(played(tmp_path)) == 3


@pytest.mark.parametrize(
    ("changes", "operator", "message"),
    [
        ({}, None, "a real arm, and nobody is beside it"),
        ({"out": None}, Person(), "say where with --out"),
        ({"workers": 2}, Person(), "leave out --workers"),
        ({"actor": f"{HERE}:right"}, Person(), "planned twice"),
    ],
)
def test_what_is_refused_moves_nothing(tmp_path, monkeypatch, changes, operator, message):
    moves = Moves(monkeypatch)
    with pytest.raises(ArmchairError, match=message):
        compare(config(tmp_path, **changes), [RIGHT], operator)
    assert (moves.homes, moves.moves) == (0, 0) and not list(tmp_path.iterdir())


def test_a_real_arm_is_not_mixed_with_others(tmp_path, monkeypatch):
    moves = Moves(monkeypatch)
    plan = (PlanLine(ARM, "random", 1), PlanLine("robot.testing:FakeArm", "random", 1))
    for lines in (plan, plan[::-1]):
        with pytest.raises(ArmchairError, match="plan episodes on it alone"):
            collect(CollectConfig(tmp_path, lines), Person())
    assert (moves.homes, moves.moves) == (0, 0)


def test_collecting_takes_turns_if_it_is_asked_to(tmp_path):
    plan = tuple(PlanLine(ARM, actor, 4) for actor in (LEFT, RIGHT))
    collect(CollectConfig(tmp_path / "turns", plan, interleave=True), Person())
    assert [seed for _, seed in played(tmp_path / "turns", "recorded")] == [0, 0, 1, 1, 2, 2, 3, 3]
    collect(CollectConfig(tmp_path / "rows", plan), Person())
    assert [who for who, _ in played(tmp_path / "rows", "recorded")] == 4 * ["zebra"] + 4 * ["okapi"]


def test_a_discarded_episode_is_played_again(tmp_path, monkeypatch):
    moves = Moves(monkeypatch)
    evaluate(config(tmp_path, episodes=2), Person("f", "x", "x", "s"))
    metadata = [episode.metadata for episode in recorded(tmp_path, "evaluation")]
    assert [(m.seed, m.verdict) for m in metadata] == [(10, Verdict.FAILURE), (11, Verdict.SUCCESS)]
    assert moves.moves == 4 * 50
    assert not (tmp_path / "campaign" / "overlay.png").exists()  # what was discarded is no example of how to begin


def test_who_stops_goes_on_there_and_is_asked_nothing_twice(tmp_path):
    person = Person("q")
    with pytest.raises(CampaignStoppedError, match="stopped before episode 1 of 6"):
        compare(config(tmp_path), [RIGHT], person)
    with pytest.raises(CampaignStoppedError, match="stopped before episode 3 of 6"):
        compare(config(tmp_path), [RIGHT], Person("", "s", "", "s", "q"))
    before = played(tmp_path)
    person = Person("f")
    compare(config(tmp_path), [RIGHT], person)
    plan = json.loads((tmp_path / "campaign" / "plan.json").read_text())
    assert len(before) == 2 and played(tmp_path)[:2] == before
    assert played(tmp_path) == [(episode["policy_id"], episode["seed"]) for episode in plan["order"]]
    assert sum("s" in question.answers for question in person.asked) == 4
    silent = Person()
    compare(config(tmp_path), [RIGHT], silent)  # all is done: nothing to ask
    assert not silent.asked and len(played(tmp_path)) == 6


def test_another_plan_is_refused_before_anything_moves(tmp_path, monkeypatch):
    evaluate(config(tmp_path), Person())
    moves = Moves(monkeypatch)
    for changes in ({"episodes": 4}, {"actor": RIGHT}, {"seed": 11}, {"dataset": "another"}):
        with pytest.raises(ArmchairError, match=r"holds another campaign \(see .*plan.json\)"):
            evaluate(config(tmp_path, **changes), Person())
    assert (moves.homes, moves.moves) == (0, 0)


def test_the_order_on_disk_is_kept_to(tmp_path):
    with pytest.raises(CampaignStoppedError):
        compare(config(tmp_path), [RIGHT], Person("q"))
    path = tmp_path / "campaign" / "plan.json"
    plan = json.loads(path.read_text())
    plan["order"].reverse()  # as if another version had shuffled in another way
    path.write_text(json.dumps(plan))
    compare(config(tmp_path), [RIGHT], Person())
    assert played(tmp_path) == [(episode["policy_id"], episode["seed"]) for episode in plan["order"]]


class TestInitialConditions:
    def test_the_first_episode_is_the_reference_and_then_there_is_an_overlay(self, tmp_path):
        person = Person()
        compare(config(tmp_path, episodes=1), [RIGHT], person)
        overlay = tmp_path / "campaign" / "overlay.png"
        assert [question.picture for question in person.asked] == [None, None, None, None, overlay, None]
        first = next(recorded(tmp_path, "evaluation"))
        for camera in first.image_keys:
            kept = tmp_path / "campaign" / "initial" / "10" / f"{camera.replace('/', '.')}.jpg"
            assert kept.read_bytes() == first.observation[camera][0]

    def test_the_overlay_is_then_and_now_and_drawn_anew_on_demand(self, tmp_path, monkeypatch):
        out, moves, table, seen, homes = tmp_path / "campaign", Moves(monkeypatch), {"shade": 40}, [], []
        monkeypatch.setattr(fake.FakeCamera, "_take", lambda camera: fake.Frame(
            camera._clock.monotonic(), np.full(camera.shape, table["shade"], np.uint8)))  # fmt: skip

        class Looking(Person):
            def ask(self, question):
                if "begins as an earlier one did" in question.text:
                    table["shade"] = 200
                if question.picture:
                    seen.append(np.asarray(Image.open(io.BytesIO(question.picture.read_bytes()))))
                    homes.append(moves.homes)
                    table["shade"] = 120  # the person has moved something
                return super().ask(question)

        compare(config(tmp_path, episodes=1), [RIGHT], Looking("r"))
        first, again = seen
        assert homes[0] == homes[1]  # to look again moves nothing
        assert first.shape[0] == 3 * 256 + 2 * 4 and first.shape[1] == 3 * 256 + 2 * 4
        for picture, now in ((first, 200), (again, 120)):
            centres = [int(picture[128, 128 + 260 * column].mean()) for column in range(3)]
            assert centres == pytest.approx([40, now, (40 + now) / 2], abs=2)
        assert (out / "initial" / "10").is_dir()

    def test_may_be_those_of_an_earlier_campaign(self, tmp_path):
        evaluate(config(tmp_path / "one", episodes=2), Person())
        initial = tmp_path / "one" / "campaign" / "initial"
        person = Person()
        evaluate(config(tmp_path / "two", actor=RIGHT, episodes=3, initial=initial), person)
        assert sum(question.picture is not None for question in person.asked) == 2
        assert sorted(path.name for path in initial.iterdir()) == ["10", "11", "12"]

    def test_of_other_cameras_are_refused(self, tmp_path):
        (tmp_path / "initial" / "10").mkdir(parents=True)
        with pytest.raises(ArmchairError, match="are of other cameras"):
            evaluate(config(tmp_path / "out", initial=tmp_path / "initial"), Person())


class TestAnEmergencyStop:
    def test_is_judged_and_ends_the_campaign_which_goes_on_after_it(self, tmp_path):
        person = Person("f")
        with pytest.raises(EmergencyStopError, match="look after it"):
            evaluate(config(tmp_path, actor=CLUMSY), person)
        assert "The arm was stopped (malformed" in person.asked[-1].text
        (stopped,) = recorded(tmp_path, "evaluation")
        assert "stopped" in stopped.metadata.tags and stopped.metadata.verdict == Verdict.FAILURE
        with pytest.raises(EmergencyStopError):
            evaluate(config(tmp_path, actor=CLUMSY), Person("s", "f"))
        assert evaluate(config(tmp_path, actor=CLUMSY), Person()).successes == 1
        assert [seed for _, seed in played(tmp_path)] == [10, 11, 12]

    def test_that_is_discarded_is_repeated_when_it_goes_on(self, tmp_path):
        with pytest.raises(EmergencyStopError):
            evaluate(config(tmp_path, actor=CLUMSY), Person("x"))
        assert not played(tmp_path)

    def test_by_ctrl_c_repeats_that_episode(self, tmp_path, monkeypatch):
        move, steps = fake.FakeDriver.move, iter(range(1000))

        def disturbed(driver, *arguments):
            if next(steps) == 70:  # in the second episode
                raise KeyboardInterrupt
            move(driver, *arguments)

        monkeypatch.setattr(fake.FakeDriver, "move", disturbed)
        with pytest.raises(KeyboardInterrupt):
            compare(config(tmp_path), [RIGHT], Person())
        assert len(played(tmp_path)) == 1 and interrupted(tmp_path) == [21]
        compare(config(tmp_path), [RIGHT], Person())
        plan = json.loads((tmp_path / "campaign" / "plan.json").read_text())
        assert played(tmp_path) == [(episode["policy_id"], episode["seed"]) for episode in plan["order"]]


def test_an_arm_that_fails_leaves_what_it_did_and_the_episode_is_repeated(tmp_path, monkeypatch):
    state, calls = fake.FakeDriver.state, []

    def dying(driver):
        calls.append(driver)
        if len(calls) == 30:  # in the first episode
            raise ConnectionError("the cable")
        return state(driver)

    monkeypatch.setattr(fake.FakeDriver, "state", dying)
    with pytest.raises(DriverError, match="the cable"):
        evaluate(config(tmp_path, episodes=2), Person())
    (failed,) = recorded(tmp_path, "evaluation")
    assert failed.metadata.tags.split(",")[-1] == "arm_failed" and "stopped" in failed.metadata.tags
    assert failed.metadata.verdict == Verdict.UNKNOWN and 1 < failed.num_steps < 30

    person = Person()
    assert evaluate(config(tmp_path, episodes=2), person).successes == 2
    assert "Episode 1 of 2" in person.heard
    assert played(tmp_path) == [("zebra", 10), ("zebra", 11)]


@pytest.mark.slow
@pytest.mark.parametrize("moment", ["acting", "judging"])
def test_a_killed_campaign_goes_on_where_it_was(tmp_path, moment):
    victim = [sys.executable, Path(__file__).with_name("killed_campaign.py"), tmp_path, moment]
    root = Path(__file__).parents[3]
    process = subprocess.run(
        victim, check=False, env=os.environ | {"PYTHONPATH": f"{root}"}, cwd=root, capture_output=True, timeout=120
    )
    assert process.returncode == -signal.SIGKILL, process.stderr.decode()
    before = played(tmp_path)
    verdicts = [episode.metadata.verdict for episode in recorded(tmp_path, "evaluation")]
    assert len(before) == 2 and verdicts == [Verdict.SUCCESS] * 2
    person = Person("f")
    compare(config(tmp_path), [RIGHT], person)
    plan = json.loads((tmp_path / "campaign" / "plan.json").read_text())
    assert played(tmp_path) == [(episode["policy_id"], episode["seed"]) for episode in plan["order"]]
    assert played(tmp_path)[:2] == before
    assert interrupted(tmp_path) == [20 if moment == "acting" else 51]
    assert sum("s" in question.answers for question in person.asked) == 4
