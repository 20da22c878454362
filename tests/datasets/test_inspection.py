import dataclasses

import numpy as np
import pytest

from datasets import inspection, mapping, testing
from datasets.errors import StoreError
from datasets.mapping import LogMapping, Part, Turn
from datasets.readers.logs import open_logs
from datasets.store import Store


def make_episode(**observation):
    episode = testing.make_episode(0, 4, cameras=("wrist",))
    pictures = episode.observation["pixels/wrist"]
    given = {name: np.zeros((4, size)) for name, size in observation.items()}
    words = np.array(["put the cup away"] * 4, object)
    return dataclasses.replace(
        episode, observation={"image_0": pictures, **given}, extras={"language_instruction": words, "t": np.arange(4)}
    )


@pytest.fixture(scope="module")
def log(tmp_path_factory):
    store = Store.create(tmp_path_factory.mktemp("store"))
    for number in range(3):
        store.add(testing.make_episode(number, 5, cameras=("wrist",)), "some")
    store.publish()
    [log] = open_logs(store.root / "episodes")
    return log


class TestLook:
    def test_finds_the_first_episode(self, log):
        found = inspection.look(log)
        assert (found.files, found.episodes, found.problems) == (3, 3, ())
        assert found.first.num_steps == 5
        facts = dict(inspection.report(found))
        assert facts["log"] == "some"
        assert facts["files"] == "3 with some 3 episodes"
        assert facts["first episode"] == "5 steps at 10 Hz"

    def test_goes_on_past_a_damaged_one(self, log, tmp_path):
        for file in (*log.files(), log.path / "features.json"):
            (tmp_path / file.name).write_bytes(file.read_bytes())
        (tmp_path / log.files()[0].name).write_bytes(log.files()[0].read_bytes()[:100])
        [damaged] = open_logs(tmp_path)
        found = inspection.look(damaged)
        assert inspection.require(found).num_steps == 5
        assert len(found.problems) == 1

    def test_of_nothing_readable_the_reason_is_told(self, log, tmp_path):
        (tmp_path / "features.json").write_bytes((log.path / "features.json").read_bytes())
        (tmp_path / log.files()[0].name).write_bytes(log.files()[0].read_bytes()[:100])
        [damaged] = open_logs(tmp_path)
        with pytest.raises(StoreError, match="can be read: .* ends within record 0"):
            inspection.require(inspection.look(damaged))


def test_every_field_has_a_line():
    lines = {line["field"]: line for line in inspection.structure(make_episode(state=3))}
    assert set(lines) == {name for name, _ in make_episode(state=3).step_fields()}
    assert (lines["observation/state"]["dtype"], lines["observation/state"]["shape"]) == ("float64", "[3]")
    assert (lines["t"]["values"], lines["language_instruction"]["values"]) == ("0 to 3", "'put the cup away'")
    assert lines["observation/image_0"]["dtype"] == "picture"
    assert lines["observation/image_0"]["shape"].endswith(", 3]")


class TestProposal:
    def test_pictures_joints_and_the_tool_are_guessed(self):
        episode = make_episode(robot0_joint_pos=7, robot0_eef_pos=3, robot0_eef_quat=4, joint_vel=7, state=9)
        assert inspection.propose(episode).observation == {
            "pixels/image_0": (Part("observation/image_0"),),
            "sawyer/joints/angle": (Part("observation/robot0_joint_pos"),),
            "sawyer/joints/velocity": (Part("observation/joint_vel"),),
            "sawyer/tcp/pose": (
                Part("observation/robot0_eef_pos"), Part("observation/robot0_eef_quat", rotation=Turn.XYZW)
            ),
        }  # fmt: skip

    def test_nothing_is_guessed_of_other_sizes(self):
        observation = inspection.propose(make_episode(joint_pos=6, eef_pos=2, eef_quat=4)).observation
        assert set(observation) == {"pixels/image_0"}

    def test_is_a_mapping_that_fits(self, tmp_path):
        episode = make_episode(joint_pos=7, state=3)
        (tmp_path / "m.yaml").write_text(inspection.proposal(episode))
        said = mapping.load_mapping(tmp_path / "m.yaml")
        assert said == inspection.propose(episode)
        assert set(mapping.apply(said, episode).observation) == {"pixels/image_0", "sawyer/joints/angle", "state"}

    def test_lists_what_it_does_not_know(self):
        text = inspection.proposal(make_episode(state=3))
        for name in ("observation/state", "language_instruction", "t"):
            assert f"# {name}: kept under its own name" in text.splitlines()

    def test_our_own_episodes_need_none(self):
        episode = testing.make_episode(0, 4)
        assert inspection.propose(episode).observation == {}
        assert "kept under its own name" not in inspection.proposal(dataclasses.replace(episode, extras={}))

    def test_says_what_the_log_says(self):
        proposed = inspection.propose(make_episode())
        metadata = make_episode().metadata
        assert proposed == LogMapping(
            observation=proposed.observation, robot=metadata.robot or None, task_id=metadata.task_id or None,
            control_rate_hz=metadata.control_rate_hz,
        )  # fmt: skip
