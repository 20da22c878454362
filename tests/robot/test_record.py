"""Recording: what is on disk after an episode is exactly what happened, in RLDS's alignment, and nothing else."""

import resource

import dm_env
import numpy as np
import pytest
import tensorflow_datasets as tfds

from datasets import schema
from datasets.episode import Episode
from datasets.errors import ArmchairError, SpecMismatchError, StoreError
from datasets.shards import ShardDirectory
from robot.record import record, recorded
from robot.testing import FakeArm, FakeExpert


def read(directory) -> list[Episode]:
    return list(recorded(directory, "fake"))


def play(env: dm_env.Environment) -> tuple[list[dm_env.TimeStep], list[np.ndarray]]:
    """One episode by the expert: its T timesteps and T - 1 actions."""
    expert, timesteps, actions = FakeExpert(), [env.reset()], []
    while not timesteps[-1].last():
        actions.append(expert.act(timesteps[-1].observation))
        timesteps.append(env.step(actions[-1]))
    return timesteps, actions


def test_a_recorded_episode_is_what_happened(tmp_path):
    with record(FakeArm(seed=3), tmp_path, "fake", policy_id="expert", seed=3) as env:
        timesteps, actions = play(env)
        episode = read(tmp_path)[0]  # on disk at the LAST step already
        assert env.episode_ids == [episode.metadata.episode_id]

    assert episode.num_steps == len(timesteps)
    for name, value in episode.observation.items():
        np.testing.assert_array_equal(value, [t.observation[name] for t in timesteps])
        assert value.dtype == timesteps[0].observation[name].dtype, name
    np.testing.assert_array_equal(episode.action, [*actions, [0, 0]])
    np.testing.assert_array_equal(episode.reward, [*(t.reward for t in timesteps[1:]), 0])
    np.testing.assert_array_equal(episode.is_first, [t.first() for t in timesteps])
    np.testing.assert_array_equal(episode.is_last, [t.last() for t in timesteps])
    assert episode.reward[-2] == 1
    np.testing.assert_array_equal(schema.transition_rewards(episode.extras[schema.IS_SUCCESS]), episode.reward[:-1])
    assert episode.extras[schema.PROGRESS][0] == 0 and episode.extras[schema.PROGRESS][-1] > 0.9


@pytest.mark.parametrize("terminate", [False, True])
def test_only_a_true_terminal_has_discount_zero(tmp_path, terminate):
    with record(FakeArm(terminate=terminate), tmp_path, "fake") as env:
        play(env)
    (episode,) = read(tmp_path)
    assert (episode.discount[:-2] == 1).all()
    assert (episode.discount[-2:] == (0 if terminate else 1)).all()
    np.testing.assert_array_equal(episode.is_terminal, episode.is_last & terminate)


def test_metadata(tmp_path):
    with record(FakeArm(time_limit=1), tmp_path, "fake", policy_id="p", operator="anna", seed=41) as env:
        play(env)
        play(env)
    first, second = (episode.metadata for episode in read(tmp_path))
    assert first.task_id == "fake_reach" and first.robot == "fake_arm" and first.policy_id == "p"
    assert first.verdict == schema.Verdict.FAILURE  # one step is too few
    assert first.operator == "anna" and first.seed == 41
    assert first.episode_id != second.episode_id and first.timestamp > 1_700_000_000


def test_mistakes_are_said_before_anything_moves(tmp_path):
    with pytest.raises(ArmchairError, match=r"no metadata ..colour"):
        record(FakeArm(), tmp_path, "fake", colour="red")
    with pytest.raises(ArmchairError, match="small letters"):
        record(FakeArm(), tmp_path, "My-Data")
    (tmp_path / "fake" / "1.0.0").mkdir(parents=True)
    with pytest.raises(StoreError, match=r"no features.json"):
        record(FakeArm(), tmp_path, "fake")


def test_an_environment_without_a_verdict_is_recorded_as_unknown(tmp_path):
    class Bare(dm_env.Environment):
        def __init__(self):
            self._arm = FakeArm()

        reset = lambda self: self._arm.reset()
        step = lambda self, action: self._arm.step(action)
        observation_spec = lambda self: self._arm.observation_spec()
        action_spec = lambda self: self._arm.action_spec()

    with record(Bare(), tmp_path, "fake") as env:
        play(env)
    (episode,) = read(tmp_path)
    assert episode.metadata.verdict == schema.Verdict.UNKNOWN and not episode.extras


def test_unfinished_episodes_are_dropped_and_said_so(tmp_path, caplog):
    with record(FakeArm(), tmp_path, "fake") as env:
        env.reset()
        env.step(np.zeros(2, np.float32))
        timesteps, _ = play(env)
        env.reset()
    (episode,) = read(tmp_path)
    assert episode.num_steps == len(timesteps)
    assert [r.message.split(":")[0] for r in caplog.records] == [
        "dropped an unfinished episode of 2 steps", "dropped an unfinished episode of 1 steps",
    ]  # fmt: skip


def test_plain_tfds_reads_what_was_recorded_with_its_pictures(tmp_path):
    with record(FakeArm(image_size=(32, 48)), tmp_path, "fake") as env:
        timesteps, _ = play(env)
        play(env)
    dataset = tfds.builder_from_directory(tmp_path / "fake" / "1.0.0").as_dataset(split="train")
    episodes = list(dataset)
    assert len(episodes) == 2
    steps = list(episodes[0]["steps"])
    happened = np.array([t.observation["pixels/front"] for t in timesteps], int)  # [T, H, W, 3]
    for t, step in enumerate(steps):
        frame = step["observation"]["pixels"]["front"].numpy()
        assert frame.shape == (32, 48, 3)
        error = np.abs(frame - happened).mean(axis=(1, 2, 3))  # [T]; JPEG is not exact
        assert error[t] == error.min() and error[t] < 10


def test_a_dataset_refuses_an_environment_with_other_observations(tmp_path):
    with record(FakeArm(image_size=(16, 16)), tmp_path, "fake") as env:
        play(env)
    with pytest.raises(SpecMismatchError, match=r"pixels/front' is absent in the environment but uint8\[16, 16, 3\]"):
        record(FakeArm(), tmp_path, "fake")


def test_recording_goes_on_where_another_recorder_stopped(tmp_path):
    for _ in range(2):
        with record(FakeArm(), tmp_path, "fake") as env:
            play(env)
    assert len({episode.metadata.episode_id for episode in read(tmp_path)}) == 2


def test_what_killed_recorders_did_not_publish_the_next_one_does(tmp_path, monkeypatch):
    class KilledError(BaseException):
        pass

    def killed(directory):
        raise KilledError

    for _ in range(2):
        with monkeypatch.context() as patch, record(FakeArm(), tmp_path, "fake") as env:
            patch.setattr(ShardDirectory, "publish", killed)
            with pytest.raises(KilledError):
                play(env)
    record(FakeArm(), tmp_path, "fake").close()
    dataset = tfds.builder_from_directory(tmp_path / "fake" / "1.0.0")
    assert dataset.info.splits["train"].num_examples == len(read(tmp_path)) == 2


def test_full_disk_is_one_sentence_and_leaves_nothing(tmp_path):
    with record(FakeArm(), tmp_path, "fake") as env:
        play(env)
        before = sorted(p.name for p in tmp_path.rglob("*"))
        limit = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (200, limit[1]))  # no file may grow beyond 200 bytes
        try:
            with pytest.raises(ArmchairError, match="make room there"):
                play(env)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limit)
        assert sorted(p.name for p in tmp_path.rglob("*")) == before
        play(env)  # and it goes on when there is room again
    assert len(read(tmp_path)) == 2
