"""The cell's pictures: what they show, that they are reproducible, and what happens without OpenGL."""

import dataclasses
import os
import subprocess
import sys

import numpy as np
import pytest

from datasets.errors import ArmchairError
from robot.cell import rendering
from robot.env import CAMERAS, TASKS, CellConfig, Variation, make_env
from robot.experts import make_expert

BLIND = CellConfig(cameras=())


@pytest.fixture(autouse=True, scope="module")
def _opengl():
    try:
        rendering.choose_backend()
    except ArmchairError as error:
        pytest.skip(f"nothing can be drawn on this machine: {error}")


def _green(picture):
    """Where a picture is green, bool[H, W]."""
    red, green, blue = (picture[..., channel].astype(int) for channel in range(3))
    return (green > 90) & (green > 2 * red) & (green > 2 * blue)


def _red(picture):
    red, green, blue = (picture[..., channel].astype(int) for channel in range(3))
    return (red > 150) & (red > 3 * green) & (red > 3 * blue)


@pytest.fixture
def env():
    env = make_env("lift_green", 0, BLIND)
    env.reset()
    yield env
    env.close()


@pytest.mark.parametrize("task", TASKS)
def test_pictures_fit_their_spec(task):
    env = make_env(task, 0, CellConfig(image_size=(24, 32)))
    for timestep in (env.reset(), env.step(np.zeros(7))):
        for camera in CAMERAS:
            name = f"pixels/{camera}"
            env.observation_spec()[name].validate(timestep.observation[name])
    env.close()


@pytest.mark.parametrize("camera", CAMERAS[:2])
def test_basket_cameras_see_both_objects_wherever_they_start(camera):
    env = make_env("lift_green", 3, CellConfig(cameras=(camera,)))
    seen = [env.reset().observation[f"pixels/{camera}"] for _ in range(10)]
    assert np.median([_green(picture).sum() for picture in seen]) > 15  # of 64 x 64 pixels
    assert np.median([_red(picture).sum() for picture in seen]) > 25
    assert sum(_green(picture).sum() >= 5 for picture in seen) >= 9  # the other object or the hand may hide it
    env.close()


def test_every_camera_sees_the_block_grasped_and_lifted():
    env = make_env("lift_green", 1)
    expert = make_expert("lift_green", 0)
    timestep = start = env.reset()
    while not timestep.last():
        timestep = env.step(expert.act(timestep.observation))
    for camera in CAMERAS:
        before, after = start.observation[f"pixels/{camera}"], timestep.observation[f"pixels/{camera}"]
        assert _green(after).sum() > 20, camera
        if camera == "wrist":  # between the fingers: below the middle, centred
            rows, columns = np.nonzero(_green(after))
            assert rows.mean() > 32 and abs(columns.mean() - 32) < 5
        else:
            assert np.nonzero(_green(after))[0].mean() < np.nonzero(_green(before))[0].mean() - 10  # higher up
    env.close()


def test_pictures_have_the_size_that_is_asked_for(env):
    assert env.render("wrist", 120, 160).shape == (120, 160, 3)
    assert env.render("basket_front_left", 960, 1280).dtype == np.uint8
    np.testing.assert_array_equal(env.render("wrist", 64, 64), env.render("wrist", 64, 64))


def test_cells_that_take_turns_do_not_disturb_each_other():
    def pictures(env, count=3):
        env.reset()
        for _ in range(count):
            yield env.render("basket_front_left", 64, 64)
            env.step(np.ones(7))

    alone = [list(pictures(make_env(task, 2, BLIND))) for task in ("lift_green", "insert_green")]
    turns = zip(*(pictures(make_env(task, 2, BLIND)) for task in ("lift_green", "insert_green")), strict=True)
    for one, other in zip(alone, zip(*turns, strict=True), strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_closed_cell_can_draw_again(env):
    before = env.render("wrist", 32, 32)
    env.close()
    env.close()
    np.testing.assert_array_equal(env.render("wrist", 32, 32), before)


@pytest.mark.parametrize("what", ["colour", "light", "camera"])
def test_variation_changes_looks_but_not_poses(what):
    plain, varied, again = (
        make_env("lift_green", 4, dataclasses.replace(CellConfig(cameras=CAMERAS[:1]), variation=variation))
        for variation in (Variation(), Variation(**{what: 0.1}), Variation(**{what: 0.1}))
    )
    episodes = [[env.reset().observation for _ in range(2)] for env in (plain, varied, again)]
    for a, b, c in zip(*episodes, strict=True):
        np.testing.assert_array_equal(a["objects/green/pose"], b["objects/green/pose"])
        assert not np.array_equal(a["pixels/basket_front_left"], b["pixels/basket_front_left"])
        np.testing.assert_array_equal(b["pixels/basket_front_left"], c["pixels/basket_front_left"])
    for env in (plain, varied, again):
        env.close()


def test_wrong_pictures_are_refused_in_one_sentence(env):
    with pytest.raises(ArmchairError, match=r"ceiling.*wrist"):
        env.render("ceiling", 64, 64)
    with pytest.raises(ArmchairError, match="960 x 1280"):
        env.render("wrist", 2000, 64)


def _python(code, **environment):
    """Runs code in a fresh interpreter; a variable that is None is unset."""
    variables = {k: v for k, v in os.environ.items() if k != "PYOPENGL_PLATFORM"} | environment
    variables = {k: v for k, v in variables.items() if v is not None}
    return subprocess.run([sys.executable, "-c", code], env=variables, capture_output=True, text=True, check=False)


def test_an_existing_choice_of_backend_is_respected():
    chosen = rendering.choose_backend()
    code = "from robot.cell import rendering; rendering.draws = None; print(rendering.choose_backend())"
    assert _python(code, MUJOCO_GL=chosen).stdout.strip() == chosen


def test_the_backend_is_chosen_even_after_mujoco_was_imported():
    code = (
        "import mujoco; from robot.env import *; e = make_env('lift_green', 0); "
        "print(e.reset().observation['pixels/wrist'].mean() > 10)"
    )
    result = _python(code, MUJOCO_GL=None)
    assert result.stdout.strip() == "True", result.stderr
    assert not result.stderr


def test_without_opengl_one_sentence_names_the_packages():
    code = """
from datasets.errors import ArmchairError
from robot.cell import rendering
from robot.env import *
rendering.draws = lambda backend: False
make_env('lift_green', 0, CellConfig(cameras=())).reset()
try:
    make_env('lift_green', 0).reset()
except ArmchairError as error:
    print(error)
"""
    message = _python(code, MUJOCO_GL=None).stdout
    assert "libegl1" in message and "libosmesa6" in message


def test_a_backend_that_armchair_does_not_know_is_refused():
    code = """
from datasets.errors import ArmchairError
from robot.cell import rendering
try:
    rendering.choose_backend()
except ArmchairError as error:
    print(error)
"""
    assert "unset it" in _python(code, MUJOCO_GL="glfw").stdout


def test_a_feature_only_cell_never_loads_opengl():
    code = """
import sys
from robot.env import *
make_env('lift_green', 0, CellConfig(cameras=())).reset()
print(sorted({'mujoco.egl', 'mujoco.osmesa'} & set(sys.modules)))
"""
    assert _python(code, MUJOCO_GL=None).stdout.strip() == "[]"


def test_a_cell_that_nobody_closed_goes_quietly_at_exit():
    """Also where something else made weakref's exit handler before mujoco made its own."""
    code = """
import weakref
from robot.env import make_env
weakref.finalize(make_env, print)
env = make_env('lift_green', 0)
env.reset()
"""
    assert _python(code, MUJOCO_GL=None).stderr == ""
