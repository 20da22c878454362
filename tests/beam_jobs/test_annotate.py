import dataclasses
import hashlib
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from armchair import cli
from beam_jobs.annotate import Rater, annotate
from beam_jobs.config import AnnotateConfig
from beam_jobs.options import beam_options
from datasets import testing, video
from datasets.errors import ArmchairError, SpecMismatchError, StoreError
from datasets.features import ArraySpec
from datasets.query import Query
from datasets.store import Store
from pipeline import export

CAMERA = "pixels/basket_front_left"
INPUTS = {CAMERA: ArraySpec((16, 16, 3), "uint8"), "sawyer/joints/angle": ArraySpec((7,), "float32")}


class _Model(tf.Module):
    """A random projection of pictures and numbers, squashed into [0, 1]; `toil` makes it slow."""

    def __init__(self, inputs=INPUTS, seed=0, toil=0, squash=tf.sigmoid):
        super().__init__()
        sizes = {k: int(np.prod(v.shape)) for k, v in inputs.items()}
        self.weights = {
            k: tf.Variable(tf.random.stateless_normal((n, 1), (seed, i)) / n) for i, (k, n) in enumerate(sizes.items())
        }
        self.busy = tf.Variable(tf.eye(512))

        def predict(observation):
            flat = {k: tf.reshape(tf.cast(v, tf.float32), (-1, sizes[k])) for k, v in observation.items()}
            value = tf.add_n([flat[k] @ self.weights[k] for k in sorted(flat)])[:, 0]  # [B]
            start = [self.busy.value()]
            (same,) = tf.while_loop(lambda _: True, lambda x: [x @ self.busy], start, maximum_iterations=toil)
            return squash(value) * same[0, 0]

        self.predict = tf.function(predict, input_signature=export.input_signature(inputs))


def _save(path, inputs=INPUTS, model_id="rm", **model) -> Path:
    module = _Model(inputs, **model)
    card = {
        "kind": "reward_model", "model_id": model_id, "model_hash": export.fingerprint(module.variables),
        "task_id": "lift_green", "inputs": export.inputs_card(inputs),
    }  # fmt: skip
    return export.save_model(path, module, card)


def _fill(root, count=40, **episode) -> Store:
    store = Store.create(root)
    for seed in range(count):
        store.add(testing.make_episode(seed, 2 + seed % 7, **episode), "fake")
    store.publish()
    return store


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A store with 40 episodes (three blocks) and a model: copied, never written to."""
    path = tmp_path_factory.mktemp("home")
    _fill(path / "store")
    _save(path / "model")
    return path


@pytest.fixture
def root(home, tmp_path):
    shutil.copytree(home / "store", tmp_path / "store")
    return tmp_path / "store"


def _side_shards(root: Path) -> dict[str, str]:
    paths = (root / "rewards" / "predictions").rglob("*.parquet")
    return {str(p.relative_to(root)): hashlib.sha256(p.read_bytes()).hexdigest() for p in paths}


def _raw(root: Path) -> dict[str, str]:
    paths = (p for p in (root / "episodes").rglob("*") if p.is_file())
    return {str(p): hashlib.sha256(p.read_bytes()).hexdigest() + str(p.stat().st_mtime_ns) for p in paths}


def test_every_frame_is_rated_as_the_model_rates_it(home, root):
    raw = _raw(root)
    summary = annotate(AnnotateConfig(root, (home / "model",), batch_size=8))
    assert (summary.rated, summary.frames, summary.already, summary.problems) == (
        40,
        sum(2 + seed % 7 for seed in range(40)),
        0,
        (),
    )
    store = Store.open(root)
    predictions = store.predictions("rm")
    module, _ = export.load_model(home / "model", "reward_model")
    rows = store.query(Query())
    assert len(predictions) == len(rows) == 40
    for row in rows:
        observation = {k: v for k, v in store.read(row).observation.items() if k in INPUTS}
        observation[CAMERA] = video.decode_frames(observation[CAMERA])
        expected = module.predict(observation)
        assert predictions[row.episode_id].dtype == np.float32
        np.testing.assert_allclose(predictions[row.episode_id], expected, rtol=1e-5)
    assert _raw(root) == raw and store.verify() == []
    assert [card["model_id"] for card in store.models()] == ["rm"]
    assert not [path for path in root.iterdir() if path.name.startswith(".job")]


def test_twice_gives_identical_bytes(home, root, tmp_path):
    config = AnnotateConfig(root, (home / "model",))
    annotate(config)
    shards = _side_shards(root)
    assert len(shards) == 3
    again = annotate(config)
    assert (again.rated, again.already) == (0, 40) and _side_shards(root) == shards
    shutil.copytree(home / "store", tmp_path / "other")
    annotate(AnnotateConfig(tmp_path / "other", (home / "model",)))
    assert _side_shards(tmp_path / "other") == shards  # a run of its own, too
    for path in (root / "rewards").rglob("*-00001-*.parquet"):
        path.unlink()
    Store(root).rebuild_index()
    assert annotate(config).rated == 16 and _side_shards(root) == shards


def test_a_query_selects_and_another_model_is_apart(home, root, tmp_path):
    assert annotate(AnnotateConfig(root, (home / "model",), "verdict=success")).rated == 20
    other = _save(tmp_path / "model2", model_id="rm2", seed=5)
    assert annotate(AnnotateConfig(root, (other,))).rated == 40
    store = Store.open(root)
    assert len(store.predictions("rm")) == 20 and len(store.predictions("rm2")) == 40
    assert annotate(AnnotateConfig(root, (home / "model",))).rated == 20  # the rest


def test_mistakes_are_one_sentence_before_anything_runs(home, root, tmp_path):
    with pytest.raises(StoreError, match=r"no episode in .* matches task_id=stack"):
        annotate(AnnotateConfig(root, (home / "model",), "task_id=stack"))
    wrist = _save(tmp_path / "wrist", {"pixels/wrist": ArraySpec((16, 16, 3), "uint8")})
    with pytest.raises(SpecMismatchError, match=r"looks at pixels/wrist .*dataset fake has nothing: select other"):
        annotate(AnnotateConfig(root, (wrist,)))
    large = _save(tmp_path / "large", {CAMERA: ArraySpec((64, 64, 3), "uint8")})
    with pytest.raises(SpecMismatchError, match=r"\(uint8\[64, 64, 3\]\), for which .* has uint8\[16, 16, 3\]"):
        annotate(AnnotateConfig(root, (large,)))
    with pytest.raises(ArmchairError, match="not a model folder"):
        annotate(AnnotateConfig(root, (tmp_path,)))
    with pytest.raises(StoreError, match="not a store"):
        annotate(AnnotateConfig(tmp_path / "nowhere", (home / "model",)))
    assert not (root / "rewards").exists() and not (tmp_path / "nowhere").exists()


def test_each_picture_is_decoded_once_for_all_models(home, root, tmp_path, monkeypatch):
    decode, decoded = video.decode_frames, []

    def counted(encoded):
        decoded.append(len(encoded))
        return decode(encoded)

    monkeypatch.setattr(video, "decode_frames", counted)
    other = _save(tmp_path / "model2", model_id="rm2", seed=5)
    summary = annotate(AnnotateConfig(root, (home / "model", other)))
    assert (summary.rated, summary.models) == (40, 2)
    assert len(decoded) == 40 and sum(decoded) == summary.frames


def test_other_weights_need_another_name(home, root, tmp_path):
    annotate(AnnotateConfig(root, (home / "model",)))
    shards = _side_shards(root)
    with pytest.raises(StoreError, match="rm"):
        annotate(AnnotateConfig(root, (_save(tmp_path / "again", seed=1),)))
    assert _side_shards(root) == shards


def test_a_model_that_gives_nonsense_writes_nothing(root, tmp_path):
    broken = _save(tmp_path / "broken", squash=lambda value: value * np.nan)
    with pytest.raises(ArmchairError, match=r"model rm gives nan to nan for .*, and nothing better for any other"):
        annotate(AnnotateConfig(root, (broken,)))
    assert _side_shards(root) == {} and Store.open(root).predicted_ids("rm") == set()


def test_an_episode_that_a_model_cannot_rate_is_told_and_left_out(root, tmp_path, capsys):
    """Its numbers are huge, which one of two models minds; the others of its block are rated."""
    store, angles = Store.open(root), {"sawyer/joints/angle": ArraySpec((7,), "float32")}
    episode = testing.make_episode(99)
    huge = episode.observation | {"sawyer/joints/angle": np.full((5, 7), 1e30, np.float32)}
    store.add(dataclasses.replace(episode, observation=huge), "fake")
    # The sane one's sigmoid makes a 0 or a 1 of anything.
    sane, wild = _save(tmp_path / "sane", angles, "sane"), _save(tmp_path / "wild", angles, "wild", squash=_thousandth)
    assert cli.main(["annotate", "--store", str(root), "--model", str(sane), str(wild)]) == 2
    told = capsys.readouterr()
    assert "40 episodes" in told.out and "fake-99: model wild gives " in told.out
    assert "1 episodes could not be rated, all others were" in told.err
    assert len(store.predicted_ids("sane")) == 41
    assert store.predicted_ids("wild") == store.predicted_ids("sane") - {"fake-99"}
    again = annotate(AnnotateConfig(root, (sane, wild)))  # what it has rated before still speaks for the model
    assert (again.rated, again.already, [name for name, _ in again.problems]) == (0, 40, ["fake-99"])
    module, _ = export.load_model(wild, "reward_model")
    for row in store.query(Query(exclude=("fake-99",))):
        expected = module.predict({k: store.read(row).observation[k] for k in angles})
        np.testing.assert_allclose(store.predictions("wild")[row.episode_id], expected, rtol=1e-5)


def _thousandth(value):
    return tf.abs(value) / 1000


def test_a_corrupt_episode_is_told_and_left_out(home, root, capsys):
    store = Store.open(root)
    bad = store.query(Query())[20]
    bad.path.chmod(0o644)
    content = bytearray(bad.path.read_bytes())
    content[300] ^= 0xFF
    bad.path.write_bytes(content)
    assert cli.main(["annotate", "--store", str(root), "--model", str(home / "model")]) == 2
    told = capsys.readouterr()
    assert bad.episode_id in told.out and "39 episodes" in told.out
    assert "1 episodes could not be rated, all others were" in told.err and "Traceback" not in told.err
    assert len(store.predictions("rm")) == 39 and bad.episode_id not in store.predictions("rm")


def test_an_error_that_nobody_foresaw_is_the_episodes(home, root, monkeypatch):
    read = Store.read

    def stumble(self, row):
        return read(self, row) if row.episode_id != "fake-20" else [].pop()

    monkeypatch.setattr(Store, "read", stumble)
    summary = annotate(AnnotateConfig(root, (home / "model",)))
    assert (summary.rated, [name for name, _ in summary.problems]) == (39, ["fake-20"])
    assert "IndexError" in summary.problems[0][1]


def test_killed_and_started_again_equals_uninterrupted(tmp_path):
    _fill(tmp_path / "whole", 160, cameras=())
    shutil.copytree(tmp_path / "whole", tmp_path / "killed")
    model = _save(tmp_path / "model", {"sawyer/joints/angle": ArraySpec((7,), "float32")}, toil=60)
    annotate(AnnotateConfig(tmp_path / "whole", (model,)))
    root = tmp_path / "killed"
    command = [sys.executable, "-m", "beam_jobs.annotate", "--store", root, "--model", model]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    end = time.monotonic() + 120
    while len(_side_shards(root)) < 2:
        assert process.poll() is None and time.monotonic() < end
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    there = len(_side_shards(root))
    assert 2 <= there < 10
    done = len(Store.open(root).predicted_ids("rm"))
    summary = annotate(AnnotateConfig(root, (model,)))
    assert (summary.rated, summary.already) == (160 - done, done) and done >= 16
    assert _side_shards(root) == _side_shards(tmp_path / "whole")
    assert Store.open(root).verify() == []


def test_ctrl_c_is_no_error(tmp_path):
    """The job stops at once and says so; what is finished stays."""
    _fill(tmp_path / "store", 160, cameras=())
    model = _save(tmp_path / "model", {"sawyer/joints/angle": ArraySpec((7,), "float32")}, toil=60)
    command = [sys.executable, "-m", "armchair", "annotate", "--store", tmp_path / "store", "--model", model]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    while not _side_shards(tmp_path / "store"):
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, told = process.communicate()
    assert "armchair: interrupted" in told and "Traceback" not in told
    assert process.returncode == 130
    assert 1 <= len(_side_shards(tmp_path / "store")) < 10


@pytest.mark.slow
def test_two_processes_write_the_same_bytes(home, root, tmp_path):
    shutil.copytree(root, tmp_path / "alone")
    options = beam_options(["--direct_num_workers", "2", "--direct_running_mode", "multi_processing"])
    assert annotate(AnnotateConfig(root, (home / "model",)), options).rated == 40
    annotate(AnnotateConfig(tmp_path / "alone", (home / "model",)))
    assert _side_shards(root) == _side_shards(tmp_path / "alone")
    assert "TF_NUM_INTRAOP_THREADS" not in os.environ


@pytest.mark.parametrize("lengths", [[3], [4], [5], [1, 1, 1], [9, 2, 4, 1], [4, 4], [2, 13, 1, 30]])
def test_batches_have_one_size_and_episodes_come_out_whole(lengths):
    sizes = []

    def predict(batch):
        sizes.append(len(batch["x"]))
        return tf.constant(batch["x"][:, 0] / 100)

    rater = Rater(predict, {"x": ArraySpec((1,), "float32")}, 4)
    frames = np.arange(sum(lengths), dtype=np.float32)[:, None]
    parts = np.split(frames, np.cumsum(lengths)[:-1])
    for number, part in enumerate(parts):
        rater.add(str(number), {"x": part})
    rated = rater.finish()
    assert set(sizes) == {4} and len(sizes) == -(-sum(lengths) // 4)
    for number, part in enumerate(parts):
        np.testing.assert_allclose(rated[str(number)], part[:, 0] / 100)
    assert Rater(predict, {"x": ArraySpec((1,), "float32")}, 4).finish() == {}
