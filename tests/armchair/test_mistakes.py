"""What a user can get wrong, through the command line: one clear sentence, an exit status, and nothing half-written."""

import contextlib
import shutil
import sqlite3
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from armchair import cli
from datasets import features
from datasets.features import ArraySpec
from datasets.query import Query
from datasets.shards import ShardDirectory
from datasets.store import Store
from datasets.testing import make_episode
from pipeline import export
from pipeline.annotate import sketch
from pipeline.annotate.synthetic import AnnotatorConfig
from robot.record import record
from robot.testing import FakeArm

TASK = "lift_green"


class Constant(tf.Module):
    """A reward model, or a policy, whatever it sees."""

    def __init__(self, inputs):
        super().__init__()
        signature = export.input_signature(inputs)
        self.predict = tf.function(lambda seen: tf.fill(tf.shape(_first(seen))[:1], 0.5), input_signature=signature)
        self.act = tf.function(lambda seen: tf.zeros((tf.shape(_first(seen))[0], 2)), input_signature=signature)


def _first(observation):
    return next(iter(observation.values()))


def save(path: Path, kind: str, inputs: dict[str, ArraySpec], task: str = TASK) -> None:
    card = {
        "kind": kind, "model_id": path.name, "policy_id": path.name, "model_hash": "0", "task_id": task,
        "inputs": export.inputs_card(inputs), "action": {"shape": [2], "minimum": -1, "maximum": 1},
    }  # fmt: skip
    export.save_model(path, Constant(inputs), card)


def log(path: Path, *episodes) -> ShardDirectory:
    """A TFDS folder with episodes, even bad ones."""
    shards = ShardDirectory.create(path / "fake" / "1.0.0", "fake", features.step_spec(episodes[0]))
    for episode in episodes:
        shards.append(features.serialize(episode, shards.features))
    shards.publish()
    return shards


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    """Everything that a user may have, sound: copied by each test."""
    root = tmp_path_factory.mktemp("sound")
    store = Store.create(root / "store")
    for seed in range(4):
        store.add(make_episode(seed, num_steps=6), "fake")
    store.publish()
    sketch.simulate(store, store.query(Query()), TASK, 4, AnnotatorConfig())
    pictures, numbers = ArraySpec((16, 16, 3), "uint8"), ArraySpec((2,), "float32")
    save(root / "reward", "reward_model", {"pixels/basket_front_left": pictures})
    save(root / "reward_of_wrist", "reward_model", {"pixels/wrist": pictures})
    save(root / "reward_of_juggling", "reward_model", {"pixels/basket_front_left": pictures}, task="juggle")
    save(root / "policy", "policy", {"arm/position": numbers})
    shutil.copytree(root / "policy", root / "hollow")
    (root / "hollow" / "saved_model.pb").unlink()
    log(root / "log", make_episode(10), make_episode(11))
    (root / "empty").mkdir()
    (root / "text").write_text("no store, no log")
    (root / "short.jsonl").write_text('{"episode_id": "fake-0", "task_id": "lift_green", "values": [0.5]}\n')
    for run in ("run", "demo"):
        (root / run).mkdir()
        (root / run / "config.json").write_text("{}")
    with record(FakeArm(), root / "logs", "recorded") as env:
        while not env.step(np.zeros(2, np.float32)).last():
            pass
    return root


@pytest.fixture
def home(sound, tmp_path, monkeypatch):
    home = tmp_path / "home"
    shutil.copytree(sound, home)
    monkeypatch.chdir(home)
    return home


def tree(root: Path) -> dict[str, bytes | None]:
    """Every folder and file. Of an index, its rows: SQLite moves them from its journal into the file when it likes."""
    paths = (path for path in root.rglob("*") if not path.name.startswith("index.sqlite-"))
    return {str(path.relative_to(root)): content(path) if path.is_file() else None for path in paths}


def content(path: Path) -> bytes:
    if path.name != "index.sqlite" or not path.read_bytes().startswith(b"SQLite format 3"):
        return path.read_bytes()
    with contextlib.closing(sqlite3.connect(path)) as connection:
        try:
            return "\n".join(connection.iterdump()).encode()
        except sqlite3.DatabaseError:  # a damaged one: these bytes are all there is
            return path.read_bytes()


def sentence(words: str, capsys: pytest.CaptureFixture[str]) -> str:
    """Runs a command that must fail as a mistake; returns its one sentence."""
    status = cli.main(words.split())
    told = capsys.readouterr()
    assert status == 2, told.err
    assert "Traceback" not in told.err and told.err.count("armchair: ") == 1
    last = told.err.rstrip("\n").splitlines()[-1]
    assert last.startswith("armchair: ")
    return last


MISTAKES = {
    # A wrong path
    "ingest --source nowhere --store new": "nowhere is not a folder",
    "ingest --source text --store new": "text is not a folder",
    "ingest --source empty --store new": "empty holds neither an RLDS/TFDS dataset",
    "ingest --source log --store new --dataset 1.2": "'1.2' cannot name a dataset",
    "ingest --source log --store text": "text",
    "store ls --store nowhere": "nowhere is not a store",
    "store info --store empty": "empty is not a store",
    "store verify --store text": "text is not a store",
    "store rebuild-index --store empty": "empty is not a store",
    "doctor --only nonsense": "there is no check 'nonsense'",
    "play --store nowhere --episode fake-0 --out x.mp4": "nowhere is not a store",
    "sketch import --store store --file nowhere.jsonl": "nowhere.jsonl is not there",
    "annotate --store nowhere --model reward": "nowhere is not a store",
    f"train bc --store nowhere --out new --task {TASK}": "nowhere is not a store",
    f"demo --from nowhere --task {TASK}": "nowhere is not a folder",
    f"demo --from empty --task {TASK}": "empty holds neither",
    # An absent or damaged model, or one of another kind
    "annotate --store store --model nowhere": "nowhere is not a model folder",
    "annotate --store store --model policy": "holds a policy, not a reward_model",
    "reward report --store store --model nowhere": "nowhere is not a model folder",
    "reward compare reward nowhere --store store --out new": "nowhere is not a model folder",
    "reward compare reward policy --store store --out new": "holds a policy, not a reward_model",
    f"train crr --store store --out new --task {TASK} --rewards model:nowhere": "no rewards from model:nowhere",
    f"train crr --store store --out new --task {TASK} --rewards model:policy": "holds a policy, not a reward_model",
    f"train crr --store store --out new --task {TASK} --rewards banana": "rewards 'banana' are not known",
    "evaluate --policies random --robot franka:127.0.0.1": "give it with --arm FILE",
    "evaluate --policies random --robot lift_green --arm arm.yaml": "describes a Franka arm, not 'lift_green'",
    "evaluate --policies random --robot franka:127.0.0.1 --arm arm.yaml": "the arm's file arm.yaml cannot be read",
    "evaluate --policy nowhere": "there is no actor 'nowhere', and no such folder",
    "evaluate --policy reward --robot robot.testing:FakeArm": "holds a reward_model, not a policy",
    "evaluate --policy hollow --robot robot.testing:FakeArm --out new": "hollow cannot be read",
    # For another camera, or another environment
    "annotate --store store --model reward_of_wrist": "looks at pixels/wrist",
    f"reward train --store store --task {TASK} --out new --cameras pixels/wrist": "no camera pixels/wrist",
    "play --store store --episode fake-0 --cameras pixels/wrist --out x.mp4": "no camera 'pixels/wrist'",
    "evaluate --policy policy --robot lift_green --cell.cameras --out new": "wants arm/position",
    "collect --out new --cell.cameras ceiling": "no camera ceiling",
    "collect --out logs --robot lift_green --cell.cameras": "in the dataset logs/recorded/1.0.0",
    # Models that cannot be compared
    "reward compare --store store --out new": "at least two reward models",
    "reward compare reward --store store --out new": "at least two reward models",
    "reward compare reward reward_of_wrist reward/ --store store --out new": "the model reward is given twice",
    "reward compare reward reward_of_wrist --store store --out new --episodes 0": "0 episodes cannot judge",
    "reward report --model reward --store store --out new --episodes -1": "-1 episodes cannot judge",
    "reward compare reward reward_of_juggling --store store --out new": "reward_of_juggling for 'juggle'",
    # An empty query
    "store query task_id=juggle --store store": "no episode in store matches task_id=juggle",
    "play --store store --episode nobody --out x.mp4": "no episode 'nobody' in store",
    "annotate --store store --model reward --query task_id=juggle": "matches task_id=juggle",
    f"train bc --store store --out new --task {TASK} --query verdict=unknown": "matches verdict=unknown",
    # An unknown task, actor, preset, option or word
    "collect --out new --robot juggle": "no task 'juggle'",
    "collect --out new --policies expert:juggle": "juggle",
    "collect --out new --policies expert:lift_green:loud": "'loud'",
    "evaluate --policies nobody": "no actor 'nobody'",
    "sketch simulate --store store --task juggle": "no episode to sketch for 'juggle'",
    "reward train --store store --task juggle --out new": "no sketches for the task 'juggle'",
    "train bc --store store --out new --task juggle": "are for task episodes, but there are none",
    "train bc --store store --out new --task t --method.best 0.2": "only rewards tell which episodes are good",
    "demo --preset huge": "no preset 'huge'",
    "demo --task juggle": "--from and --task go together",
    "store query banana --store store": "cannot read 'banana'",
    "annotate --store store --model reward --quary x": "no option --quary",
    # A sketch of another length
    "sketch import --store store --file short.jsonl": "line 1: 1 values for the 6 frames of episode 'fake-0'",
    # A folder of another run
    f"train bc --store store --out run --task {TASK}": "run holds a run with another config",
    "demo --preset smoke --out demo": "demo holds a run with another config",
}


@pytest.mark.parametrize("words", MISTAKES)
def test_one_sentence_and_nothing_written(words, home, capsys):
    before = tree(home)
    assert MISTAKES[words] in sentence(words, capsys)
    assert tree(home) == before


def corrupt(shard: Path) -> None:
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 0xFF
    shard.write_bytes(content)


def test_a_corrupt_record_is_kept_apart_and_the_others_go_in(home, capsys):
    corrupt(home / "log" / "fake" / "1.0.0" / "fake-train.tfrecord-00000")
    assert "1 things could not be taken in" in sentence("ingest --source log --store new", capsys)
    assert cli.main(["store", "query", "--store", "new", "--json"]) == 0
    assert capsys.readouterr().out.count('"episode_id": "fake-11"') == 1
    assert len(list((home / "new" / "quarantine").glob("*.json"))) == 1
    assert cli.main(["store", "verify", "--store", "new"]) == 0


def test_nan_is_named_and_kept_apart(home, capsys):
    bad = make_episode(20)
    bad.action[3, 2] = np.nan
    log(home / "nan", bad, make_episode(21))
    assert cli.main(["ingest", "--source", "nan", "--store", "new"]) == 2
    told = capsys.readouterr()
    assert "action: is NaN or infinite at 1 steps, the first 3" in told.out
    assert told.err.rstrip().splitlines()[-1].startswith("armchair: 1 things could not be taken in")
    assert cli.main(["store", "query", "--store", "new", "--json"]) == 0
    assert capsys.readouterr().out.count("episode_id") == 1


@pytest.mark.parametrize(
    "words",
    [
        "play --store store --episode fake-0 --out x.mp4",
        f"train bc --store store --out new --task {TASK}",
        f"sketch simulate --store store --task {TASK}",
    ],
)
def test_a_corrupt_episode_of_the_store_is_named(words, home, capsys):
    shard = home / "store" / "episodes" / "fake" / "1.0.0" / "fake-train.tfrecord-00000"
    corrupt(shard)
    before = tree(home)
    assert shard.name in sentence(words, capsys)
    assert tree(home) == before


def test_a_damaged_index_is_told_and_can_be_made_anew(home, capsys):
    index = home / "store" / "index.sqlite"
    for path in index.parent.glob("index.sqlite*"):
        path.unlink()
    index.write_bytes(b"this is not SQLite" * 100)
    assert "rebuild-index" in sentence("store ls --store store", capsys)
    assert cli.main(["store", "rebuild-index", "--store", "store"]) == 0
    assert "indexed 4 episodes" in capsys.readouterr().out


def test_a_policy_that_breaks_down_stops_the_evaluation(home, capsys):
    class Broken(tf.Module):
        @tf.function
        def act(self, seen, state):
            return seen["arm/position"] * np.nan, state

        @tf.function(input_signature=[tf.TensorSpec((None,), tf.int64)])
        def initial_state(self, seeds):
            return tf.zeros((tf.size(seeds), 0))

    broken = Broken()
    broken.act.get_concrete_function({"arm/position": tf.TensorSpec((None, 2))}, tf.TensorSpec((None, 0)))
    card = export.load_card(home / "policy", "policy")
    export.save_model(home / "broken", broken, card)
    before = tree(home)
    words = "evaluate --policy broken --robot robot.testing:FakeArm --out new --result new.json"
    assert "made the action [nan nan]" in sentence(words, capsys)
    assert tree(home) == before
