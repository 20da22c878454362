import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from scipy.spatial.transform import Rotation

from datasets import mapping, testing
from datasets.errors import ArmchairError, BadEpisodeError
from datasets.mapping import LogMapping, Part, Turn, Unit, apply, load_mapping

ROWS = np.arange(30, dtype=np.float64).reshape(3, 10) / 10


def make_episode(**fields):
    episode = testing.make_episode(0, 3, cameras=("wrist",))
    observation = {"state": ROWS, "grip": np.array([0, 1, 1]), "pixels/wrist": episode.observation["pixels/wrist"]}
    words = np.array(["lift it"] * 3, object)
    return dataclasses.replace(episode, observation=observation, extras={"language_instruction": words, **fields})


def mapped(target="x", *parts):
    return apply(LogMapping(observation={target: parts}), make_episode()).observation[target]


class TestApply:
    def test_without_a_mapping_nothing_changes(self):
        episode = make_episode()
        assert apply(mapping.NO_MAPPING, episode) is episode

    def test_parts_come_side_by_side_and_their_sources_are_gone(self):
        episode = apply(
            LogMapping(observation={"x": (Part("observation/grip"), Part("observation/state", (2, 4)))}), make_episode()
        )
        np.testing.assert_array_equal(episode.observation["x"], np.stack([[0, 1, 1], *ROWS[:, 2:4].T], 1))
        assert set(episode.observation) == {"x", "pixels/wrist"}
        assert "x was observation/grip + observation/state[2:4]." in episode.metadata.repairs

    def test_what_nobody_names_keeps_its_name(self):
        episode = apply(LogMapping(observation={"x": (Part("observation/state"),)}), make_episode())
        assert set(episode.observation) == {"x", "grip", "pixels/wrist"}
        assert set(episode.extras) == {"language_instruction"}

    def test_pictures_are_renamed_as_they_are(self):
        episode = make_episode()
        other = apply(LogMapping(observation={"pixels/usbcam0": (Part("observation/pixels/wrist"),)}), episode)
        assert other.observation["pixels/usbcam0"] is episode.observation["pixels/wrist"]
        assert "pixels/wrist" not in other.observation

    def test_drops_what_is_not_wanted_and_says_so(self):
        episode = apply(LogMapping(drop=("language_instruction", "observation/grip")), make_episode())
        assert not episode.extras
        assert set(episode.observation) == {"state", "pixels/wrist"}
        assert "language_instruction, observation/grip: dropped" in episode.metadata.repairs

    def test_a_field_may_be_taken_twice(self):
        episode = apply(
            LogMapping(observation={"a": (Part("action"),), "state": (Part("observation/state", (0, 1)),)}),
            make_episode(),
        )
        np.testing.assert_array_equal(episode.observation["a"], episode.action)
        np.testing.assert_array_equal(episode.observation["state"], ROWS[:, :1])

    def test_an_action_is_float32_of_rank_2(self):
        episode = apply(LogMapping(action=(Part("observation/grip"),)), make_episode())
        assert episode.action.dtype == np.float32
        np.testing.assert_array_equal(episode.action, [[0], [1], [1]])

    def test_names_of_the_vocabulary_get_its_dtype(self):
        assert mapped("sawyer/joints/angle", Part("observation/state", (0, 7))).dtype == np.float32
        assert mapped("gripper/grasp", Part("observation/state", (0, 1))).dtype == np.int64
        assert mapped("x", Part("observation/state", (0, 7))).dtype == np.float64

    @pytest.mark.parametrize(
        ("unit", "factor"),
        [(Unit.CENTIMETRE, 0.01), (Unit.MILLIMETRE, 0.001), (Unit.DEGREE, 0.017453292519943295), (Unit.METRE, 1.0),
         (Unit.DEGREE_A_SECOND, 0.017453292519943295), (Unit.MILLIMETRE_A_SECOND, 0.001), (Unit.RADIAN, 1.0)],
    )  # fmt: skip
    def test_units_become_ours(self, unit, factor):
        np.testing.assert_allclose(mapped("x", Part("observation/state", unit=unit)), ROWS * factor)

    def test_says_what_the_log_does_not(self):
        said = LogMapping(
            robot="widowx", task_id="sweep", control_rate_hz=5.0, action_space="pose increments", frame="base"
        )
        metadata = apply(said, make_episode()).metadata
        assert (metadata.robot, metadata.task_id, metadata.control_rate_hz) == ("widowx", "sweep", 5.0)
        assert metadata.source.endswith("action_space=pose increments; frame=base")

    def test_what_it_does_not_say_stays(self):
        before = make_episode().metadata
        after = apply(LogMapping(robot="widowx"), make_episode()).metadata
        assert (after.task_id, after.control_rate_hz) == (before.task_id, before.control_rate_hz)

    @pytest.mark.parametrize(
        ("said", "told"),
        [
            (LogMapping(observation={"x": (Part("observation/nothing"),)}), "names observation/nothing, which is not"),
            (LogMapping(drop=("nothing",)), "names nothing, which is not there to drop: choose among language_"),
            (LogMapping(drop=("reward",)), "names reward, which is not there to drop"),
            (LogMapping(observation={"x": (Part("observation/state", (8, 11)),)}), "has 10 columns"),
            (LogMapping(observation={"x": (Part("observation/state", (3, 3)),)}), "has 10 columns"),
            (LogMapping(action=(Part("observation/pixels/wrist"),)), "no vector of numbers"),
            (LogMapping(action=(Part("language_instruction"),)), "no vector of numbers"),
            (LogMapping(observation={"x": (Part("observation/state", (0, 3), rotation=Turn.XYZW),)}), "has 4 columns"),
        ],
    )
    def test_what_does_not_fit_is_told(self, said, told):
        with pytest.raises(BadEpisodeError, match=told):
            apply(said, make_episode())


ANGLES = npst.arrays(np.float64, (4, 3), elements=st.floats(-1.5, 1.5))


class TestRotations:
    def turned(self, rows, turn):
        episode = testing.make_episode(0, 4, cameras=())
        episode = dataclasses.replace(episode, observation={"r": rows})
        return apply(LogMapping(observation={"q": (Part("observation/r", rotation=turn),)}), episode).observation["q"]

    @given(ANGLES)
    def test_all_ways_to_write_one_are_the_same(self, angles):
        rotation = Rotation.from_euler("xyz", angles)
        xyzw = rotation.as_quat(canonical=True)
        quaternions = {
            Turn.RPY: angles, Turn.XYZW: xyzw, Turn.WXYZ: xyzw[:, [3, 0, 1, 2]],
            Turn.ROTATION_VECTOR: rotation.as_rotvec(),
        }  # fmt: skip
        for turn, rows in quaternions.items():
            np.testing.assert_allclose(self.turned(rows, turn), xyzw[:, [3, 0, 1, 2]], atol=1e-12)

    def test_a_quarter_turn_about_z(self):
        half = np.sqrt(0.5)
        for turn, row in {Turn.RPY: [0, 0, np.pi / 2], Turn.XYZW: [0, 0, half, half]}.items():
            np.testing.assert_allclose(self.turned(np.tile(row, (4, 1)), turn), [[half, 0, 0, half]] * 4)

    def test_roll_comes_before_yaw(self):
        # First a quarter turn about x, then one about the fixed z: y goes to z and stays; x goes to y.
        quaternion = self.turned(np.tile([np.pi / 2, 0, np.pi / 2], (4, 1)), Turn.RPY)[0]
        matrix = Rotation.from_quat(np.roll(quaternion, -1)).as_matrix()
        np.testing.assert_allclose(matrix @ [0, 1, 0], [0, 0, 1], atol=1e-12)
        np.testing.assert_allclose(matrix @ [1, 0, 0], [0, 1, 0], atol=1e-12)


class TestFile:
    def write(self, tmp_path, text):
        path = tmp_path / "mapping.yaml"
        path.write_text(text)
        return path

    def test_is_read(self, tmp_path):
        path = self.write(
            tmp_path,
            """
            robot: widowx
            control_rate_hz: 5
            observation:
              sawyer/tcp/pose:
              - {source: observation/state, columns: [0, 3], unit: mm}
              - {source: observation/state, columns: [3, 6], rotation: rpy}
              pixels/wrist: observation/image_0
              x: {source: observation/x}
            action: action
            drop: [observation/image_3]
            """,
        )
        assert load_mapping(path) == LogMapping(
            observation={
                "sawyer/tcp/pose": (
                    Part("observation/state", (0, 3), Unit.MILLIMETRE),
                    Part("observation/state", (3, 6), rotation=Turn.RPY),
                ),
                "pixels/wrist": (Part("observation/image_0"),),
                "x": (Part("observation/x"),),
            },
            action=(Part("action"),), drop=("observation/image_3",), robot="widowx", control_rate_hz=5.0,
        )  # fmt: skip

    def test_the_example_of_the_module_can_be_read(self, tmp_path):
        text = mapping.__doc__.split("```yaml\n")[1].split("```")[0]
        assert load_mapping(self.write(tmp_path, text)).robot == "widowx"

    def test_what_is_written_is_read(self, tmp_path):
        said = LogMapping(
            observation={"a": (Part("observation/b", (1, 2), Unit.DEGREE),), "c": (Part("d", rotation=Turn.XYZW),)},
            action=(Part("action", (0, 3)),), drop=("e",), task_id="t", frame="base",
        )  # fmt: skip
        assert load_mapping(self.write(tmp_path, mapping.dump_mapping(said))) == said

    def test_an_empty_one_is_none(self, tmp_path):
        assert load_mapping(self.write(tmp_path, "")) == mapping.NO_MAPPING

    @pytest.mark.parametrize(
        ("text", "told"),
        [
            ("observation: {x: {source: a, unit: parsec}}", "observation.x.0.unit"),
            ("observation: {x: {soucre: a}}", "observation.x.0.source"),
            ("robott: widowx", "robott"),
            ("observation: {x: []}", "observation.x"),
            ("- a", "cannot be used"),
            ("a: [", "is not YAML"),
        ],
    )
    def test_mistakes_are_told_with_their_place(self, tmp_path, text, told):
        with pytest.raises(ArmchairError, match=told):
            load_mapping(self.write(tmp_path, text))

    def test_a_missing_one_is_told(self, tmp_path):
        with pytest.raises(ArmchairError, match=r"nothing.yaml cannot be read: No such file"):
            load_mapping(tmp_path / "nothing.yaml")


def test_what_is_not_mapped_is_listed():
    said = LogMapping(
        observation={"x": (Part("observation/state", (0, 1)),), "grip": (Part("observation/grip"),)},
        action=(Part("observation/state"),), drop=("language_instruction",),
    )  # fmt: skip
    assert mapping.unmapped(make_episode(), said) == ["action", "observation/pixels/wrist"]
