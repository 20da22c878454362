"""The whole loop in one test, stage by stage, by the functions that the command line calls. Read it top to bottom.

    record -> ingest -> sketch -> reward model -> annotate -> BC and CRR -> evaluate -> ingest again -> select

Everything is as small as can be: it shows how the stages meet, not how well anything is learned. Further down, the
demo as a user runs it, killed in the middle and started again.
"""

import hashlib
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import tensorflow_datasets as tfds

from beam_jobs import annotate, ingest
from beam_jobs.config import AnnotateConfig, IngestConfig
from datasets import schema
from datasets.feeds import load_transitions
from datasets.query import Query
from datasets.reward_source import RewardKind, RewardSource
from datasets.schema import Verdict
from datasets.store import Store
from datasets.validate import Severity
from datasets.video import decode_frames
from pipeline import config as configs
from pipeline import export
from pipeline.annotate import sketch
from pipeline.annotate.synthetic import AnnotatorConfig
from pipeline.batch_rl import selection, trainer
from pipeline.batch_rl.config import (
    BcConfig,
    BcTraining,
    CriticConfig,
    CrrConfig,
    CrrTraining,
    PolicyConfig,
    SelectConfig,
)
from pipeline.config import EncoderConfig
from pipeline.reward_learning import train as reward_training
from pipeline.reward_learning.config import RankingConfig
from robot.cell import rendering
from robot.collect import CollectConfig, collect
from robot.env import CellConfig
from robot.evaluate import EvaluateConfig, evaluate
from robot.plan import PlanLine
from robot.record import dataset_path

ROOT = Path(__file__).resolve().parents[1]
TASK = "lift_green"
CELL = CellConfig(cameras=("wrist",), image_size=(32, 32), time_limit=40)


@pytest.fixture(autouse=True, scope="module")
def _opengl():
    try:
        rendering.choose_backend()
    except Exception as error:
        pytest.skip(f"nothing can be drawn on this machine: {error}")


def test_the_loop(tmp_path):
    # Robot: ten episodes of the task, eight good and two bad, and two of another task.
    plan = (
        PlanLine(TASK, f"expert:{TASK}:0.1", episodes=8),
        PlanLine(TASK, f"expert:{TASK}:0.6", episodes=2, seed=100),
        PlanLine("reach_green", "random_watcher", episodes=2, seed=200),
    )
    recorded = collect(CollectConfig(tmp_path / "logs", plan, "cell", cell=CELL))
    assert len(tfds.builder_from_directory(dataset_path(tmp_path / "logs", "cell")).as_dataset(split="train")) == 12

    # Store: all of it goes in, once.
    source = IngestConfig((tmp_path / "logs",), tmp_path / "store")
    assert ingest.ingest(source).added == 12
    assert ingest.ingest(source).duplicates == 12
    store = Store.open(tmp_path / "store")
    rows = store.query(Query())
    assert {row.episode_id for row in rows} == {summary.episode_id for summary in recorded}
    raw = checksums(store.root / "episodes")

    # People: a simulated annotator sketches six episodes, one number a frame.
    sketches = sketch.simulate(store, store.query(Query(task_id=TASK)), TASK, 6, AnnotatorConfig())
    assert [len(s.values) for s in sketches] == [store.read(s.episode_id).num_steps for s in sketches]

    # Reward model: from pictures and proprioception of the sketched episodes in the training split.
    encoder = EncoderConfig((4, 8), blocks=1, keypoints=8)
    config = RankingConfig(encoder=encoder, hidden=(32,), image_size=(32, 32), steps=40)
    model = reward_training.train(store, TASK, tmp_path / "reward", config)
    card = export.load_card(model, "reward_model")
    assert "pixels/wrist" in card["inputs"] and not any(map(schema.is_privileged, card["inputs"]))
    assert set(card["trained_on"]) <= {row.episode_id for row in rows if row.split == "train"}

    # Annotate: every frame of history gets a reward, and no episode is touched.
    assert annotate.annotate(AnnotateConfig(store.root, (model,))).rated == 12
    predictions = store.predictions(card["model_id"])
    assert {i: len(values) for i, values in predictions.items()} == {row.episode_id: row.num_steps for row in rows}

    # Alignment: the reward of the transition (o_t, a_t, o_{t+1}) is what the model says of o_{t+1}.
    feed = load_transitions(store, rows, ["sawyer/pinch/pose"], RewardSource(RewardKind.MODEL, card["model_id"]), TASK)
    start, judge = 0, export.load_model(model, "reward_model")[0]
    for row in rows:
        episode, of_episode = store.read(row), slice(start, start + row.num_steps - 1)
        poses = episode.observation["sawyer/pinch/pose"]
        frame = feed.frame[of_episode]
        np.testing.assert_array_equal(feed.observation["sawyer/pinch/pose"][frame], poses[:-1])
        np.testing.assert_array_equal(feed.observation["sawyer/pinch/pose"][frame + 1], poses[1:])
        np.testing.assert_array_equal(feed.action[of_episode], episode.action[:-1])
        seen = {k: episode.observation[k] for k in card["inputs"]}
        seen["pixels/wrist"] = decode_frames(seen["pixels/wrist"])
        following = {k: values[1:] for k, values in seen.items()}
        np.testing.assert_allclose(feed.reward[of_episode], judge.predict(following).numpy(), atol=1e-4)
        start = of_episode.stop
    assert start == len(feed)

    # Policies, from nothing but the store: behaviour cloning, and CRR on the learned rewards.
    size = {"steps": 100, "checkpoint_every": 100, "snapshot_every": 100, "batch_size": 64}
    small = PolicyConfig((32,))
    bc = BcTraining(store.root, tmp_path / "bc", TASK, method=BcConfig(policy=small), **size)
    crr = CrrTraining(
        store.root,
        tmp_path / "crr",
        TASK,
        rewards=f"model:{model}",
        method=CrrConfig(policy=small, critic=CriticConfig((32,))),
        **size,
    )
    policies = [trainer.train(bc), trainer.train(crr)]
    for path, training in zip(policies, (bc, crr), strict=True):
        policy_card = export.load_card(path, "policy")
        assert policy_card["dataset"]["episodes"] == 12 and policy_card["step"] == 100
        assert policy_card["config"] == configs.to_dict(training)
        assert not any(map(schema.is_privileged, policy_card["inputs"]))
    assert policy_card["rewards"] == f"model:{card['model_id']}"

    # Evaluation: the same initial states for both; and what was evaluated is history from now on.
    evaluations = [
        evaluate(EvaluateConfig(TASK, f"policy:{path}", episodes=2, out=tmp_path / "evaluation", cell=CELL))
        for path in policies
    ]
    assert ingest.ingest(IngestConfig((tmp_path / "evaluation",), store.root)).added == 4
    starts = []
    for evaluation in evaluations:
        played = store.query(Query(policy_id=evaluation.policy_id))
        verdicts = {row.episode_id: row.verdict for row in played}
        assert verdicts == {
            e.episode_id: Verdict.SUCCESS if e.success else Verdict.FAILURE for e in evaluation.episodes
        }
        starts.append([store.read(e.episode_id).observation["objects/green/pose"][0] for e in evaluation.episodes])
    np.testing.assert_array_equal(*starts)
    again = annotate.annotate(AnnotateConfig(store.root, (model,)))
    assert (again.rated, again.already) == (4, 12)

    # Selection: all that is logged says which policy is best, and how it did where it was tried.
    select = SelectConfig((tmp_path / "crr",), store.root, TASK, rewards=f"model:{model}", steps=20)
    scores = selection.rank(select)
    assert [score.policy_id for score in scores] == [evaluations[1].policy_id]
    tried = store.predictions(card["model_id"], [e.episode_id for e in evaluations[1].episodes])
    assert scores[0].predicted == pytest.approx(np.mean([values[1:].sum() for values in tried.values()]))
    best = selection.keep_best(select, scores)
    assert evaluate(EvaluateConfig(TASK, f"policy:{best[0]}", 1, cell=CELL)).policy_id == scores[0].policy_id

    # Nothing that came after ingest has touched what was recorded.
    assert raw.items() <= checksums(store.root / "episodes").items()
    assert not [problem for problem in store.verify() if problem.severity == Severity.ERROR]


def checksums(directory: Path) -> dict[str, str]:
    """Of the recorded shards; the counts beside them (dataset_info.json) may change."""
    return {
        str(path.relative_to(directory)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in directory.rglob("*.tfrecord-*")
    }


@pytest.mark.slow  # two minutes, or five on a busy machine
@pytest.mark.timeout(900)
def test_the_demo_survives_a_kill(tmp_path):
    """As a user runs it: killed in the middle, started again, ends with its report; started once more, does nothing."""
    out = tmp_path / "demo"
    command = [sys.executable, "-m", "armchair", "demo", "--preset", "smoke", "--out", str(out)]
    with subprocess.Popen(command, cwd=ROOT, start_new_session=True, stderr=subprocess.DEVNULL) as demo:
        while not list((out / "policies" / "bc").glob("checkpoints/*")) and demo.poll() is None:
            time.sleep(0.2)
        assert demo.poll() is None, "it was over before it could be killed"
        os.killpg(demo.pid, signal.SIGKILL)
    before = checksums(out)
    model = (out / "reward" / "model" / "card.json").read_bytes()
    assert before and not (out / "report.html").exists()

    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout.splitlines()[-1] == f"{out}/report.html"
    assert before.items() <= checksums(out).items()
    assert (out / "reward" / "model" / "card.json").read_bytes() == model
    store = Store.open(out / "store")
    assert len(store.query(Query(dataset="recorded"))) == 24 and len(store.query(Query(dataset="evaluation"))) == 12
    assert not store.verify()

    report = (out / "report.html").read_text()
    assert report.count('src="data:video/mp4;base64,') == 6
    for policy in ("BC", "CRR, learned reward", "CRR, true reward"):
        assert re.search(rf"<td>{policy}</td><td>\d+ %</td>", report)

    began, files = time.monotonic(), stamps(out)
    assert subprocess.run(command, cwd=ROOT, capture_output=True, check=False).returncode == 0
    assert time.monotonic() - began < 20 and stamps(out) == files


def stamps(directory: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in directory.rglob("*")}
