"""`armchair robot look` and `armchair robot clear`: what is said of a robot while nothing moves."""

import numpy as np
import pytest
from PIL import Image

from armchair.cli import main
from robot.drivers.fake import FakeDriver

ARM = "robot.drivers.fake:make_robot"


@pytest.fixture
def motions(monkeypatch) -> list[str]:
    """The calls of the fake arm that would move a real one, and those that let it recover."""
    calls: list[str] = []
    for name in ("home", "move", "recover"):
        original = getattr(FakeDriver, name)

        def noted(driver, *args, name=name, original=original):
            calls.append(name)
            return original(driver, *args)

        monkeypatch.setattr(FakeDriver, name, noted)
    return calls


def test_look_tells_measurements_and_limits_and_moves_nothing(tmp_path, capsys, motions):
    assert main(["robot", "look", "--robot", ARM, "--pictures", str(tmp_path / "seen")]) == 0
    lines = [line.strip() for line in capsys.readouterr().out.splitlines() if "limit " not in line]
    facts = dict(line.split(maxsplit=1) for line in lines)
    assert facts["robot"] == "fake_robot" and motions == []
    assert facts["sawyer/pinch/pose"] == "0.6 0 0.2 0 1 0 0 m, quaternion wxyz"
    files = sorted((tmp_path / "seen").iterdir())
    assert files and all(np.asarray(Image.open(file)).ndim == 3 for file in files)
    assert {file.stem for file in files} == {key.replace("/", ".") for key in facts if key.startswith("pixels/")}


def test_look_tells_the_limits_of_an_arm(capsys, motions):
    assert main(["robot", "look", "--robot", ARM]) == 0
    out = capsys.readouterr().out
    assert "limit workspace" in out and "limit max_linear" in out


def test_look_resets_a_simulation(capsys):
    assert main(["robot", "look", "--robot", "robot.testing:FakeArm"]) == 0
    assert "limit" not in capsys.readouterr().out


def test_look_refuses_to_move_an_arm_for_it(capsys, monkeypatch, motions):
    monkeypatch.setattr("robot.drivers.environment.RobotEnvironment.look", None)
    assert main(["robot", "look", "--robot", ARM]) == 2
    assert "would go home to be looked at" in capsys.readouterr().err and motions == []


def test_clear_lets_the_arm_recover_in_a_persons_name(capsys, motions):
    assert main(["robot", "clear", "--robot", ARM, "--operator", "ada"]) == 0
    assert motions == ["recover"]
    assert "ada has cleared" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--robot", ARM, "--operator", " "], "who has looked at the arm?"),
        (["--robot", "robot.testing:FakeArm", "--operator", "ada"], "there is no stop to clear"),
        (["--robot", "franka:", "--operator", "ada"], "where is the arm?"),
    ],
)
def test_clear_refuses(capsys, motions, options, told):
    assert main(["robot", "clear", *options]) == 2
    assert told in " ".join(capsys.readouterr().err.split()) and motions == []
