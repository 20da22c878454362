import dataclasses
import io
import os
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds

from datasets import features, testing, validate
from datasets.errors import StoreError
from datasets.readers.base import Defaults
from datasets.readers.logs import open_logs
from datasets.shards import ShardDirectory

_F = tfds.features


def _write(path: Path, steps: dict, examples: list[dict], name="foreign", split="train", **more) -> Path:
    """An RLDS folder with one shard; `examples` are lists of steps."""
    layout = _F.FeaturesDict({"steps": _F.Dataset(steps), **more})
    path.mkdir(parents=True)
    layout.save_config(os.fspath(path))
    with tf.io.TFRecordWriter(os.fspath(path / f"{name}-{split}.tfrecord-00000-of-00001")) as writer:
        for example in examples:
            writer.write(layout.serialize_example(example))
    return path


def _episodes(log):
    return [reading for file in log.files() for reading in log.read(file)]


def _only(path):
    (log,) = open_logs(path)
    (reading,) = _episodes(log)
    assert reading.problems == ()
    return reading.episode


def _recorded(path: Path, episodes) -> Path:
    shards = ShardDirectory.create(path, "ours", features.step_spec(episodes[0]))
    for episode in episodes:
        shards.append(features.serialize(episode, shards.features))
    return path


def test_our_own_recordings_come_back_exactly(tmp_path):
    episodes = [testing.make_episode(seed, 4, tags="a,b", repairs="x") for seed in range(3)]
    (log,) = open_logs(_recorded(tmp_path / "ours" / "1.0.0", episodes).parents[1])
    assert log.name == "ours" and [log.count(file) for file in log.files()] == [1, 1, 1]
    for reading, episode in zip(_episodes(log), episodes, strict=True):
        assert reading.episode.metadata == episode.metadata
        for (name, array), (wanted_name, wanted) in zip(
            reading.episode.step_fields(), episode.step_fields(), strict=True
        ):
            assert name == wanted_name
            np.testing.assert_array_equal(array, wanted)


def test_a_foreign_episode_in_every_form(tmp_path):
    rng = np.random.default_rng(0)
    steps = {
        "observation": {
            "cam": _F.Image(shape=(None, None, 3), encoding_format="png"),
            "depth": _F.Image(shape=(4, 5, 1), dtype=np.float32, encoding_format="png"),
            "raw": _F.Tensor(shape=(16, 16, 3), dtype=np.uint8),
            "packed": _F.Tensor(shape=(3,), dtype=np.float64, encoding="zlib"),
        },
        "action": {"b": _F.Scalar(np.bool_), "a": {"x": _F.Tensor(shape=(2,), dtype=np.float64)}},
        "reward": _F.Scalar(np.float64),
        "instruction": _F.Text(),
        "note": _F.Scalar(tf.string),
    }
    frames = rng.integers(0, 255, (3, 6, 7, 3), np.uint8)
    depth = rng.random((3, 4, 5, 1), np.float32)
    example = {
        "steps": [
            {
                "observation": {
                    "cam": frames[t], "depth": depth[t], "raw": np.full((16, 16, 3), 40 * t, np.uint8),
                    "packed": np.full(3, t, np.float64),
                },
                "action": {"b": t == 1, "a": {"x": np.array([t, -t], np.float64)}},
                "reward": t / 2, "instruction": "grüße", "note": b"n",
            }
            for t in range(3)
        ],
        "episode_metadata": {"operator": "o", "has_cam": True},
    }  # fmt: skip
    metadata = {"operator": _F.Text(), "has_cam": _F.Scalar(np.bool_)}
    path = _write(tmp_path / "foreign" / "1.0.0", steps, [example], episode_metadata=metadata)
    (log,) = open_logs(path, Defaults("wipe", "widowx", control_rate_hz=5.0))
    (reading,) = _episodes(log)
    episode = reading.episode

    np.testing.assert_array_equal(episode.action, np.float32([[0, 0, 0], [1, -1, 1], [2, -2, 0]]))  # a/x, then b
    np.testing.assert_array_equal(episode.reward, np.float32([0, 0.5, 1]))
    np.testing.assert_allclose(episode.observation["depth"], depth)
    np.testing.assert_array_equal(episode.observation["packed"], [[0] * 3, [1] * 3, [2] * 3])
    np.testing.assert_array_equal(tf.io.decode_png(episode.observation["cam"][1]), frames[1])
    np.testing.assert_allclose(tf.io.decode_jpeg(episode.observation["raw"][2]), 80, atol=2)
    assert episode.image_keys == ("cam", "raw")
    assert list(episode.extras["instruction"]) == ["grüße"] * 3 and list(episode.extras["note"]) == ["n"] * 3
    assert list(episode.is_first) == [True, False, False] and list(episode.is_last) == [False, False, True]
    assert list(episode.discount) == [1, 1, 1] and episode.extras["has_cam"].all()
    said = episode.metadata
    assert (said.task_id, said.robot, said.control_rate_hz) == ("wipe", "widowx", 5.0)
    assert "operator=o" in said.source and str(path) in said.source
    assert "discount, is_first, is_last, is_terminal were absent" in said.repairs
    assert "raw was raw pixels" in said.repairs
    assert "action/a/x float64[2], action/b bool" in said.repairs
    assert not validate.validate(episode).errors


def test_the_id_of_a_foreign_episode_is_its_content(tmp_path):
    steps = {"observation": _F.Tensor(shape=(2,), dtype=np.float32), "action": _F.Scalar(np.float32)}
    example = {"steps": [{"observation": np.float32([1, t]), "action": np.float32(t)} for t in range(2)]}
    other = {"steps": [{"observation": np.float32([1, t]), "action": np.float32(t + 1)} for t in range(2)]}
    one = _only(_write(tmp_path / "a", steps, [example], name="a"))
    again = _only(_write(tmp_path / "b", steps, [example], name="b", split="val"))
    different = _only(_write(tmp_path / "c", steps, [other]))
    assert one.metadata.episode_id == again.metadata.episode_id != different.metadata.episode_id
    assert one.action.shape == (2, 1) and list(one.observation) == ["observation"]


@pytest.mark.parametrize(
    ("steps", "step", "problem"),
    [
        ({"observation": {"x": _F.Scalar(np.float32)}}, {"observation": {"x": 0.0}}, "no action of real numbers"),
        (
            {"observation": {"x": _F.Scalar(np.float32)}, "action": _F.Scalar(np.int64)},
            {"observation": {"x": 0.0}, "action": 1},
            "action int64",
        ),
        ({"action": _F.Scalar(np.float32)}, {"action": 1.0}, "no observation among action"),
    ],
)
def test_what_is_no_robot_episode_is_said(tmp_path, steps, step, problem):
    (log,) = open_logs(_write(tmp_path / "x", steps, [{"steps": [step, step]}]))
    (reading,) = _episodes(log)
    assert reading.episode is None and reading.record
    assert problem in reading.problems[0]


def _three_episodes(path):
    """A shard of three episodes, and the places where its records start."""
    episodes = [testing.make_episode(seed, 3) for seed in range(3)]
    shards = ShardDirectory.create(path, "ours", features.step_spec(episodes[0]))
    records = [features.serialize(episode, shards.features) for episode in episodes]
    file = path / "ours-train.tfrecord-00000-of-00001"
    with tf.io.TFRecordWriter(os.fspath(file)) as writer:
        for record in records:
            writer.write(record)
    return file, np.cumsum([0, *(len(record) + 16 for record in records)])


def _damage(file, place):
    content = bytearray(file.read_bytes())
    content[place] ^= 0xFF
    file.write_bytes(content)


@pytest.mark.parametrize(
    ("damage", "good", "problem"),
    [
        (lambda file, starts: _damage(file, starts[1] + 100), ["fake-0", None, "fake-2"], "fails its checksum"),
        (lambda file, starts: _damage(file, starts[2] - 1), ["fake-0", None, "fake-2"], "fails its checksum"),
        (lambda file, starts: _damage(file, starts[1]), ["fake-0", None], "is damaged from byte"),  # the length itself
        (lambda file, starts: os.truncate(file, starts[3] - 10), ["fake-0", "fake-1", None], "ends within record 2"),
        (lambda file, starts: os.truncate(file, starts[2] + 5), ["fake-0", "fake-1", None], "is damaged from byte"),
        (lambda file, starts: os.truncate(file, 0), [], ""),
    ],
)
def test_a_damaged_file_gives_its_good_episodes(tmp_path, damage, good, problem):
    file, starts = _three_episodes(tmp_path / "ours")
    damage(file, starts)
    (log,) = open_logs(tmp_path)
    readings = _episodes(log)
    assert [reading.episode and reading.episode.metadata.episode_id for reading in readings] == good
    assert log.count(file) == len(good)
    for reading in readings:
        if reading.episode is None:
            assert problem in reading.problems[0] and str(file) in reading.problems[0]


def test_a_missing_shard_is_said(tmp_path):
    file, _ = _three_episodes(tmp_path / "ours")
    file.rename(file.with_name("ours-train.tfrecord-00000-of-00002"))
    (log,) = open_logs(tmp_path)
    readings = _episodes(log)
    assert [reading.episode is None for reading in readings] == [False] * 3 + [True]
    assert "00001-of-00002 is not there" in readings[-1].problems[0]


def test_wrong_folders_are_one_sentence(tmp_path):
    with pytest.raises(StoreError, match="is not a folder"):
        open_logs(tmp_path / "nowhere")
    with pytest.raises(StoreError, match="neither an RLDS/TFDS dataset"):
        open_logs(tmp_path)
    file, _ = _three_episodes(tmp_path / "ours")
    (file.parent / "features.json").write_text("{")
    (log,) = open_logs(tmp_path)
    with pytest.raises(StoreError, match=r"features\.json cannot be read"):
        _episodes(log)


def test_an_envlogger_log(tmp_path):
    """Shards that EnvLogger's own TFDS backend wrote, which are named without a total."""
    import dm_env
    import envlogger
    from envlogger.backends import tfds_backend_writer

    class Env(dm_env.Environment):
        def reset(self):
            self._t = 0
            return dm_env.restart(np.zeros(2, np.float32))

        def step(self, action):
            self._t += 1
            observation = np.full(2, self._t, np.float32)
            return dm_env.termination(1.0, observation) if self._t == 3 else dm_env.transition(0.5, observation)

        def observation_spec(self):
            return dm_env.specs.Array((2,), np.float32)

        def action_spec(self):
            return dm_env.specs.BoundedArray((1,), np.float32, -1, 1)

    config = tfds.rlds.rlds_base.DatasetConfig(
        name="log", observation_info=_F.Tensor(shape=(2,), dtype=np.float32),
        action_info=_F.Tensor(shape=(1,), dtype=np.float32), reward_info=_F.Scalar(np.float64),
        discount_info=_F.Scalar(np.float64),
    )  # fmt: skip
    backend = tfds_backend_writer.TFDSBackendWriter(
        data_directory=os.fspath(tmp_path), split_name="train", max_episodes_per_file=2, ds_config=config
    )
    with envlogger.EnvLogger(Env(), backend=backend) as env:
        for _ in range(3):
            timestep = env.reset()
            while not timestep.last():
                timestep = env.step(np.float32([timestep.observation[0]]))
    (log,) = open_logs(tmp_path)
    assert [file.name for file in log.files()] == ["log-train.tfrecord-00000", "log-train.tfrecord-00001"]
    readings = _episodes(log)
    assert len(readings) == 3 and all(reading.episode for reading in readings)
    episode, _ = validate.repair(readings[0].episode)
    np.testing.assert_array_equal(episode.action[:-1, 0], [0, 1, 2])
    np.testing.assert_array_equal(episode.reward[:-1], np.float32([0.5, 0.5, 1]))
    assert episode.is_terminal[-1] and not validate.validate(episode).errors


@pytest.fixture
def bridge():
    if "ARMCHAIR_REAL_DATA" not in os.environ:
        pytest.skip("real recordings are read only where ARMCHAIR_REAL_DATA says where they are")
    return Path(os.environ["ARMCHAIR_REAL_DATA"]) / "octo_bridge_debug"


def test_real_bridge_data_equals_what_plain_tfds_reads(bridge):
    (log,) = open_logs(bridge)
    split = dataclasses.replace(log, split="train")
    ours = [reading.episode for reading in _episodes(split)]
    builder = tfds.builder_from_directory(os.fspath(log.path))
    plain = list(builder.as_dataset("train", shuffle_files=False))
    assert len(ours) == len(plain) == 25 and len(_episodes(log)) == 50
    assert len({reading.episode.metadata.episode_id for reading in _episodes(log)}) == 25  # val repeats train
    steps = [list(tfds.as_numpy(example["steps"])) for example in plain]
    for episode, wanted in zip(ours, steps, strict=True):
        np.testing.assert_array_equal(episode.action, [step["action"] for step in wanted])
        np.testing.assert_array_equal(episode.observation["state"], [step["observation"]["state"] for step in wanted])
        assert list(episode.extras["language_instruction"]) == [s["language_instruction"].decode() for s in wanted]
        picture = tf.io.decode_jpeg(episode.observation["image_0"][4])
        np.testing.assert_array_equal(picture, wanted[4]["observation"]["image_0"])
    report = "\n".join(map(str, validate.validate(ours[0]).problems))
    for defect in ("is_last: is not true", "image_3: is black", "has_image_0: is false", "reward: is 0 throughout"):
        assert defect in report
    mended, repairs = validate.repair(ours[0])
    assert repairs and not validate.validate(mended).errors


def test_pictures_are_kept_as_bytes(tmp_path):
    """Nothing is decoded and encoded again."""
    picture = tf.io.encode_jpeg(np.full((6, 7, 3), 99, np.uint8), quality=33).numpy()
    steps = {
        "observation": {"cam": _F.Image(shape=(None, None, 3), encoding_format="jpeg")},
        "action": _F.Tensor(shape=(1,), dtype=np.float32),
    }
    example = [{"observation": {"cam": io.BytesIO(picture)}, "action": np.zeros(1, np.float32)} for _ in range(2)]
    episode = _only(_write(tmp_path / "x", steps, [{"steps": example}]))
    assert list(episode.observation["cam"]) == [picture, picture]
