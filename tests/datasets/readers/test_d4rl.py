from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from tensorflow_datasets.d4rl import dataset_utils

from beam_jobs.config import IngestConfig
from beam_jobs.ingest import ingest
from datasets import validate
from datasets.query import Query
from datasets.readers import d4rl
from datasets.readers.logs import open_logs
from datasets.store import Store
from tests.datasets.readers import tfds_steps


def _flat(lengths, terminal, seed=0):
    """The arrays of a file of episodes of so many actions, and the frames of each, one more."""
    rng = np.random.default_rng(seed)
    frames = [rng.normal(size=(n + 1, 3)).astype(np.float32) for n in lengths]
    total, ends = sum(lengths), np.cumsum(lengths) - 1
    arrays = {
        "observations": np.concatenate([f[:-1] for f in frames]),
        "next_observations": np.concatenate([f[1:] for f in frames]),
        "actions": rng.uniform(-1, 1, (total, 2)).astype(np.float32),
        "rewards": rng.random(total).astype(np.float32),
        "terminals": np.zeros(total, bool), "timeouts": np.zeros(total, bool),
        "infos/qpos": rng.normal(size=(total, 4)),
    }  # fmt: skip
    arrays["terminals"][ends[np.array(terminal)]] = True
    arrays["timeouts"][ends[~np.array(terminal)]] = True
    return arrays, frames


def _write(folder: Path, arrays, without=()) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    with h5py.File(folder / "hopper-v2.hdf5", "w") as file:
        for name, values in arrays.items():
            if name not in without:
                file[name] = values
    return folder / "hopper-v2.hdf5"


def _readings(path):
    (log,) = open_logs(path)
    assert log.name == "d4rl_hopper_v2"
    return [reading for file in log.files() for reading in log.read(file)]


def _episodes(path):
    readings = _readings(path)
    for reading in readings:
        assert reading.problems == () and not validate.validate(reading.episode).errors
    return [reading.episode for reading in readings]


_EPISODES = st.lists(st.tuples(st.integers(1, 7), st.booleans()), min_size=1, max_size=5)


@settings(max_examples=40, deadline=None)
@given(episodes=_EPISODES, has_next=st.booleans(), has_timeouts=st.booleans(), block=st.integers(1, 9))
def test_every_step_comes_back(tmp_path_factory, episodes, has_next, has_timeouts, block):
    lengths, terminal = zip(*episodes, strict=True)
    arrays, frames = _flat(lengths, terminal)
    if not (has_next or has_timeouts):  # then episodes are told apart by terminals alone
        terminal = (True,) * len(lengths)
        arrays, frames = _flat(lengths, terminal)
    without = [name for name, has in (("next_observations", has_next), ("timeouts", has_timeouts)) if not has]
    path = tmp_path_factory.mktemp("d4rl")
    _write(path, arrays, without)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(d4rl, "_BLOCK", block)
        found = _episodes(path)
    assert len(found) == len(lengths)
    start = 0
    for episode, seen, num, is_terminal in zip(found, frames, lengths, terminal, strict=True):
        rows = slice(start, start + num)
        frames_wanted = seen if has_next else np.concatenate([seen[:-1], seen[-2:-1]]) if is_terminal else seen[:-1]
        np.testing.assert_array_equal(episode.observation["observation"], frames_wanted)
        np.testing.assert_array_equal(episode.action[:num], arrays["actions"][rows])
        np.testing.assert_array_equal(episode.reward[:num], arrays["rewards"][rows])
        np.testing.assert_array_equal(episode.extras["infos/qpos"][:num], arrays["infos/qpos"][rows])
        assert list(episode.extras) == ["infos/qpos"]
        assert episode.is_terminal[-1] == is_terminal and (episode.discount[num - 1] == 0) == is_terminal
        assert (episode.discount[: num - 1] == 1).all()
        said = episode.metadata.repairs
        assert ("the frame before it is repeated" in said) == (is_terminal and not has_next)
        assert ("The outcome of the last action was not there" in said) == (not is_terminal and not has_next)
        assert ("There were no timeouts" in said) == (not has_timeouts)
        start += num


@settings(max_examples=40, deadline=None)
@given(episodes=_EPISODES, has_next=st.booleans(), column=st.booleans())
def test_tfds_reads_the_same(tmp_path_factory, episodes, has_next, column):
    """But for what is after the last action, where TFDS has less to go by, and for one mistake of its own."""
    lengths, terminal = zip(*episodes, strict=True)
    assume(sum(lengths) > 1)  # of a single step TFDS makes a number
    arrays, frames = _flat(lengths, terminal)
    if column:
        arrays["rewards"] = arrays["rewards"][:, None]
    folder = tmp_path_factory.mktemp("d4rl")
    path = _write(folder, arrays, [] if has_next else ["next_observations"])
    theirs = [told["steps"] for _, told in dataset_utils.generate_examples(str(path))]
    for n, (episode, steps) in enumerate(zip(_episodes(folder), theirs, strict=True)):
        steps["observation"] = {"observation": steps["observation"]}
        found = tfds_steps.differences(episode, steps)
        wanted = {}
        if has_next or terminal[n]:  # there is a step after the last action
            wanted["infos/qpos"] = [lengths[n]]  # TFDS: 0; ours: as before
            if not terminal[n]:
                wanted["discount"] = [lengths[n]]  # TFDS: always 0
            # TFDS: of every episode, the last next observation of the file; where there are none, 0. Ours: the
            # episode's own; where there are none, a terminal state is as the frame before it.
            if not has_next or n < len(episodes) - 1:
                wanted["observation/observation"] = [lengths[n]]
        assert found == wanted
        if has_next:
            np.testing.assert_array_equal(steps["observation"]["observation"][-1], frames[-1][-1])


def test_a_file_that_is_cut_says_so(tmp_path):
    arrays, _ = _flat([4, 4], [False, False])
    path = _write(tmp_path, {name: values[:-1] for name, values in arrays.items()})
    whole, cut = _episodes(tmp_path)
    assert "The log ends here" in cut.metadata.repairs and "The log ends here" not in whole.metadata.repairs
    (log,) = open_logs(tmp_path)
    assert log.count(path) == 2


def test_what_is_not_of_the_steps_is_named(tmp_path):
    arrays, _ = _flat([4, 4], [True, False])
    more = {"metadata/algorithm": "SAC", "metadata/iteration": 3, "metadata/policy/weight": np.zeros((3, 2))}
    _write(tmp_path, arrays | more)
    for episode in _episodes(tmp_path):
        assert "metadata/algorithm=SAC; metadata/iteration=3" in episode.metadata.source
        assert "metadata/policy/weight are not of the steps" in episode.metadata.repairs


@pytest.mark.parametrize("name", ["observations", "actions", "rewards", "terminals", "timeouts", "next_observations"])
@pytest.mark.parametrize("change", [lambda a: a[:-1], lambda a: np.concatenate([a, a[-1:]])])
def test_lengths_that_disagree_cost_the_last_episode(tmp_path, name, change):
    arrays, frames = _flat([4, 3, 4], [True, False, False])
    _write(tmp_path, arrays | {name: change(arrays[name])})
    one, other, *bad = _readings(tmp_path)
    np.testing.assert_array_equal(one.episode.observation["observation"], frames[0])
    np.testing.assert_array_equal(other.episode.observation["observation"], frames[1])
    assert bad and any("leave it out" in p for r in bad for p in r.problems)


def test_discrete_actions_are_refused(tmp_path):
    arrays, _ = _flat([4, 4], [True, False])
    _write(tmp_path, arrays | {"actions": np.zeros(8, int)})
    assert all(r.episode is None and "no action of real numbers" in r.problems[0] for r in _readings(tmp_path))


def test_nan_does_not_cut_an_episode(tmp_path):
    arrays, _ = _flat([6], [True])
    for name, row in (("observations", 3), ("next_observations", 2)):
        arrays[name][row] = np.nan
    _write(tmp_path, arrays, ["timeouts"])
    (reading,) = _readings(tmp_path)
    assert any("NaN" in str(e) for e in validate.validate(reading.episode).errors)


def test_an_empty_file_of_this_layout_has_no_episodes(tmp_path):
    arrays, _ = _flat([1], [True])
    path = _write(tmp_path, {name: values[:0] for name, values in arrays.items()})
    assert _readings(tmp_path) == []
    (log,) = open_logs(tmp_path)
    assert log.count(path) == 0


def test_ingest(tmp_path):
    arrays, frames = _flat([4, 3, 5], [True, False, True])
    _write(tmp_path / "log", arrays)
    for wanted in ((3, 0), (0, 3)):
        summary = ingest(IngestConfig((tmp_path / "log",), tmp_path / "store"))
        assert (summary.added, summary.duplicates) == wanted and summary.problems == ()
    store = Store.open(tmp_path / "store")
    found = {e.num_steps: e for e in store.read_many(store.query(Query(task_id="hopper-v2")))}
    for seen in frames:
        np.testing.assert_array_equal(found[len(seen)].observation["observation"], seen)
    assert store.verify() == []
