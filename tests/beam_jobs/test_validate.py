import dataclasses
import json
import uuid

import numpy as np
import pytest
import tensorflow as tf

from armchair import cli
from beam_jobs.config import ValidateConfig
from beam_jobs.validate import validate
from datasets import testing, video
from datasets import validate as rules
from datasets.errors import StoreError
from datasets.query import Query
from datasets.shards import read_record
from datasets.store import Store
from datasets.validate import Severity

CAMERA = "pixels/basket_front_left"


@pytest.fixture
def store(tmp_path):
    store = Store.create(tmp_path / "store")
    for seed in range(6):
        store.add(testing.make_episode(seed, 5), "fake")
    black = testing.make_episode(6, 5)
    pictures = video.encode_jpeg(np.zeros((5, 16, 16, 3), np.uint8))
    store.add(dataclasses.replace(black, observation=black.observation | {CAMERA: pictures}), "fake")
    store.publish()
    return store


def test_sound_episodes_are_sound_and_doubts_are_counted(store, capsys):
    assert cli.main(["validate", "--store", str(store.root)]) == 0
    told = capsys.readouterr().out
    assert "7 episodes, 35 frames" in told and "0 episodes" in told
    assert f"1 x observation/{CAMERA}: is black" in told


def test_a_picture_that_cannot_be_decoded_is_found(store, tmp_path, capsys):
    """Wherever it is in the episode: what taking in looks at, of three pictures, would not tell."""
    row = store.query(Query())[2]
    record = bytearray(read_record(row.path))
    episode = store.read(row)
    start = record.index(episode.observation[CAMERA][1])
    record[start : start + 20] = bytes(20)
    _replace(row.path, bytes(record))
    summary = validate(ValidateConfig(store.root, out=tmp_path / "findings.jsonl"))
    assert summary.bad == 1
    errors = [f for f in summary.findings if f.problem.severity is Severity.ERROR]
    assert {f.episode_id for f in errors} == {row.episode_id}
    assert any("cannot be decoded at step 1" in f.problem.what for f in errors)
    assert any("is not as it was written" in f.problem.what for f in errors)  # its checksum
    lines = [json.loads(line) for line in (tmp_path / "findings.jsonl").read_text().splitlines()]
    assert len(lines) == len(summary.findings)
    assert any({"episode_id": row.episode_id, "severity": "error"}.items() <= line.items() for line in lines)
    assert cli.main(["validate", "--store", str(store.root)]) == 2
    assert f"1 episodes are bad: restore them from a copy, or leave them out with exclude={row.episode_id}" in (
        capsys.readouterr().err
    )
    others = f"exclude={row.episode_id}"
    assert validate(ValidateConfig(store.root, others)).bad == 0


def test_lost_and_cut_files_are_told_and_the_others_looked_at(store):
    rows = store.query(Query())
    rows[0].path.unlink()
    rows[3].path.write_bytes(rows[3].path.read_bytes()[:-9])
    summary = validate(ValidateConfig(store.root))
    assert summary.bad == 2 and summary.episodes == 7
    told = {f.episode_id for f in summary.findings if f.problem.severity is Severity.ERROR}
    assert told == {rows[0].episode_id, rows[3].episode_id}


def test_an_error_that_nobody_foresaw_is_the_episodes(store, monkeypatch):
    look = rules.validate

    def stumble(episode, every_picture):
        return look(episode, every_picture) if episode.metadata.episode_id != "fake-2" else [].pop()

    monkeypatch.setattr(rules, "validate", stumble)
    summary = validate(ValidateConfig(store.root))
    assert (summary.episodes, summary.bad) == (7, 1)
    assert [f.episode_id for f in summary.findings if "IndexError" in f.problem.what] == ["fake-2"]


def test_episodes_in_a_bucket(tmp_path):
    store = Store.create(tmp_path / "store", shards_url=f"memory://{uuid.uuid4()}")
    for seed in range(3):
        store.add(testing.make_episode(seed), "fake")
    summary = validate(ValidateConfig(store.root))
    assert (summary.episodes, summary.bad) == (3, 0)


def test_an_empty_choice_is_a_mistake(store):
    with pytest.raises(StoreError, match="no episode"):
        validate(ValidateConfig(store.root, "task_id=nothing"))


def _replace(path, record):
    path.unlink()
    with tf.io.TFRecordWriter(str(path)) as writer:
        writer.write(record)
