import json
from pathlib import Path

import h5py
import numpy as np
import pytest
import tensorflow as tf

from beam_jobs.config import IngestConfig
from beam_jobs.ingest import ingest
from datasets import validate
from datasets.query import Query
from datasets.readers.base import Defaults
from datasets.readers.logs import open_logs
from datasets.store import Store

_SAID = {
    "dataset_id": "D4RL/door/human-v2", "minari_version": "0.5.0", "algorithm_name": "people", "total_episodes": 2,
    "env_spec": json.dumps({"id": "AdroitHandDoor-v1", "max_episode_steps": 200}),
}  # fmt: skip


def _put(group, name, values):
    """A space as Minari nests it."""
    if isinstance(values, dict):
        inner = group.create_group(name)
        for key, value in values.items():
            _put(inner, key, value)
    elif isinstance(values, tuple):
        _put(group, name, {f"_index_{n}": value for n, value in enumerate(values)})
    else:
        group[name] = values


def _episode(seed, num=4, nested=True, ends="terminations"):
    rng = np.random.default_rng(seed)
    position = rng.normal(size=(num + 1, 3))
    picture = np.repeat(rng.integers(0, 255, (num + 1, 1, 1, 3), np.uint8), 8, 1).repeat(8, 2)
    flags = {name: (np.arange(num) == num - 1) & (name == ends) for name in ("terminations", "truncations")}
    return {
        "observations": {
            "arm": {"position": position, "pair": (position[:, :1], position[:, 1].astype(np.float32))}, "eye": picture,
        } if nested else position,
        "actions": rng.uniform(-1, 1, (num, 2)).astype(np.float32),
        "rewards": rng.random(num),
        **flags,
        "infos": {"success": np.arange(num + 1) > 2},
    }  # fmt: skip


def _write(root: Path, episodes, attributes=False) -> Path:
    path = root / "data/main_data.hdf5"
    path.parent.mkdir(parents=True)
    with h5py.File(path, "w") as file:
        for name, episode in episodes.items():
            _put(file, name, episode)
            file[name].attrs.update(id=int(name.split("_")[1]), total_steps=4, seed=7)
        if attributes:
            file.attrs.update(_SAID)
    if not attributes:
        (path.parent / "metadata.json").write_text(json.dumps(_SAID))
    return path


def _readings(path, *defaults):
    (log,) = open_logs(path, *defaults)
    return [reading for file in log.files() for reading in log.read(file)]


@pytest.mark.parametrize("attributes", [False, True])  # as Minari 0.5 and 0.4 keep what is said
@pytest.mark.parametrize("ends", ["terminations", "truncations", ""])
def test_every_number_comes_back(tmp_path, attributes, ends):
    episodes = {f"episode_{n}": _episode(n, ends=ends) for n in (10, 9)}
    path = _write(tmp_path, episodes, attributes)
    (log,) = open_logs(tmp_path)
    assert log.name == "minari_D4RL_door_human_v2" and log.count(path) == 2
    readings = _readings(tmp_path, Defaults("x", "adroit", control_rate_hz=30))
    assert [reading.where.partition("#")[2] for reading in readings] == ["episode_9", "episode_10"]
    for reading, wanted in zip(readings, (episodes["episode_9"], episodes["episode_10"]), strict=True):
        episode = reading.episode
        assert reading.problems == () and not validate.validate(episode).errors and episode.num_steps == 5
        seen, position = episode.observation, wanted["observations"]["arm"]["position"]
        assert sorted(seen) == ["arm/pair/_index_0", "arm/pair/_index_1", "arm/position", "eye"]
        np.testing.assert_array_equal(seen["arm/position"], position)
        np.testing.assert_array_equal(seen["arm/pair/_index_0"], position[:, :1])
        np.testing.assert_array_equal(seen["arm/pair/_index_1"], position[:, 1].astype(np.float32))
        decoded = tf.io.decode_jpeg(seen["eye"][4]).numpy()
        np.testing.assert_allclose(decoded, wanted["observations"]["eye"][4], atol=3)
        np.testing.assert_array_equal(episode.action, np.pad(wanted["actions"], ((0, 1), (0, 0))))
        np.testing.assert_array_equal(episode.reward, np.pad(wanted["rewards"].astype(np.float32), (0, 1)))
        np.testing.assert_array_equal(episode.extras["infos/success"], wanted["infos"]["success"])
        terminal = ends == "terminations"
        assert episode.is_terminal[-1] == terminal
        np.testing.assert_array_equal(episode.discount[:4], [1, 1, 1, 0 if terminal else 1])
        said = episode.metadata
        assert (said.task_id, said.robot, said.control_rate_hz, said.seed) == ("AdroitHandDoor-v1", "adroit", 30, 7)
        assert "algorithm_name=people" in said.source
        assert ("neither terminated nor truncated" in said.repairs) == (ends == "")


def test_a_flat_space_and_short_infos(tmp_path):
    episode = _episode(0, nested=False)
    episode["infos"]["cost"] = np.arange(4.0)
    path = _write(tmp_path, {"episode_0": episode})
    (path.parent / "metadata.json").write_text("{")
    (log,) = open_logs(tmp_path)
    assert log.name == f"minari_{tmp_path.name}"
    (reading,) = log.read(path)
    np.testing.assert_array_equal(reading.episode.observation["observation"], episode["observations"])
    np.testing.assert_array_equal(reading.episode.extras["infos/cost"], [0, 1, 2, 3, 3])
    assert "infos/cost had no value for the last step" in reading.episode.metadata.repairs
    assert "metadata.json=damaged" in reading.episode.metadata.source


@pytest.mark.parametrize("lengths", ["one", "various"])
def test_encoded_pictures_are_kept_as_they_are(tmp_path, lengths):
    """Minari 0.5.3 has them: in an array of two dimensions where their lengths happen to be one."""
    episode = _episode(0)
    encoded = [tf.io.encode_jpeg(picture).numpy() for picture in episode["observations"].pop("eye")]
    if lengths == "one":
        encoded = encoded[:1] * 5
    else:
        encoded[2] += b"."  # as good a picture
    path = _write(tmp_path, {"episode_0": episode})
    rows = [np.frombuffer(picture, np.uint8) for picture in encoded]
    with h5py.File(path, "a") as file:
        kind = h5py.vlen_dtype(np.uint8) if lengths == "various" else None
        file["episode_0/observations"].create_dataset("eye", data=rows, dtype=kind)
    (reading,) = _readings(tmp_path)
    assert reading.problems == () and list(reading.episode.observation["eye"]) == encoded


def test_an_action_in_parts(tmp_path):
    episode = _episode(0)
    episode["actions"] = {"arm": np.ones((4, 2)), "grip": np.array([0, 1, 0, 1])}
    _write(tmp_path, {"episode_0": episode})
    (reading,) = _readings(tmp_path)
    np.testing.assert_array_equal(reading.episode.action[:4], [[1, 1, 0], [1, 1, 1], [1, 1, 0], [1, 1, 1]])
    assert "arm float64[2], grip int64[] and is now float32[3]" in reading.episode.metadata.repairs


def _change(episode, **fields):
    episode.update(fields)
    return episode


@pytest.mark.parametrize(
    ("bad", "problem"),
    [
        (_change(_episode(0), actions=np.array([0, 1, 2, 1])), "no action of real numbers (found: action int64[])"),
        (_change(_episode(0), actions={"a": np.zeros((4, 1)), "b": np.zeros((3, 1))}), "3 steps of b instead of 4"),
        (_change(_episode(0), observations=np.zeros((4, 2))), "4 steps of observations/observation instead of 5"),
        (_change(_episode(0), rewards=np.zeros((4, 2))), "rewards that is not one number a step"),
        (_change(_episode(0), rewards=np.array(3.0)), "rewards that is a single value"),
        (_change(_episode(0), terminations=np.zeros(5, bool)), "5 steps of terminations instead of 4"),
        ({"rewards": np.zeros(4)}, "no action of real numbers (found: none)"),
    ],
)
def test_a_bad_episode_costs_only_itself(tmp_path, bad, problem):
    _write(tmp_path, {"episode_0": _episode(0), "episode_1": bad, "episode_2": _episode(2)})
    one, other, last = _readings(tmp_path)
    assert one.episode and last.episode and other.episode is None and problem in other.problems[0]


def test_total_steps_that_do_not_fit_are_said(tmp_path):
    _write(tmp_path, {"episode_0": _episode(0, 3)})
    (reading,) = _readings(tmp_path)
    assert "total_steps was 4 for 3 actions" in reading.episode.metadata.repairs


def test_ingest(tmp_path):
    _write(tmp_path / "door", {f"episode_{n}": _episode(n) for n in range(3)})
    summary = ingest(IngestConfig((tmp_path / "door",), tmp_path / "store"))
    assert (summary.added, summary.problems) == (3, ())
    store = Store.open(tmp_path / "store")
    stored = {e.metadata.source.partition(";")[0][-1]: e for e in store.read_many(store.query(Query()))}
    for number, episode in stored.items():
        wanted = _episode(int(number))["observations"]["arm"]["position"]
        np.testing.assert_array_equal(episode.observation["arm/position"], wanted)
    assert len(stored) == 3 and store.verify() == []
