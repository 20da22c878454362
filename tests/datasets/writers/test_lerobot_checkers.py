"""What other people's checkers of LeRobot datasets say of ours; they live in an environment of their own."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from beam_jobs.config import IngestConfig
from beam_jobs.ingest import ingest
from datasets import testing
from datasets.readers.base import Defaults
from datasets.store import Store
from tests import environments
from tests.datasets.writers.lerobot_exports import CAMERAS, export_lerobot, make_rich, make_store

REQUIREMENTS = ("lerobot-doctor==0.2.0", "rdq==0.3.4", "av", "pandas", "pyarrow")
LONG = 40  # steps: both find fault with episodes of less than a second
# What lerobot-doctor warns of in the data themselves: numbers that never change, and episodes shorter than 50 rows.
OF_THE_DATA = {"Data Distribution", "Episode Health", "Anomaly Detection"}

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]  # the first test may have to install them


@pytest.fixture(scope="module")
def checkers():
    """The folder of their commands."""
    return environments.commands_of("lerobot_checkers", *REQUIREMENTS)


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    root = tmp_path_factory.mktemp("checked")
    return export_lerobot(make_store(root / "store", 9, num_steps=LONG), root / "out")


def findings(checkers, path):
    """Everything that they find fault with, {(who, what, message)}."""
    command = [checkers / "lerobot-doctor", "check", "--json", path]
    doctor = subprocess.run(command, check=False, capture_output=True, text=True)
    checks = json.loads(doctor.stdout)["checks"]
    assert len(checks) == 11, doctor.stderr
    found = {
        ("doctor", check["severity"], check["name"], told["message"])
        for check in checks
        for told in check["messages"]
        if told["severity"] != "PASS"
    }
    report = path.parent / f"{path.name}.json"
    subprocess.run([checkers / "rdq", "check", "--video", "--json", report, path], check=True, capture_output=True)
    told = json.loads(report.read_text())["findings"]  # it exits with 0 whatever it finds
    return found | {("rdq", one["severity"].upper(), one["check"], one["message"]) for one in told}


def serious(found):
    """All but what is told for information, and what is said of the numbers and lengths themselves."""
    return {one for one in found if one[1] == "FAIL" or (one[1] != "INFO" and one[2] not in OF_THE_DATA)}


@pytest.fixture(scope="module")
def clean(checkers, exported):
    """What they find in ours."""
    return serious(findings(checkers, exported))


def test_nothing_is_wrong_with_ours(clean):
    # rdq reads no numbers of two dimensions, which LeRobot has too.
    skipped = "feature 'observation.tactile.grid' could not be read as numbers and was skipped"
    assert clean == {("rdq", "WARNING", "info.load_warning", skipped)}


def test_nothing_is_wrong_with_one_of_several_parts(checkers, tmp_path):
    store = make_store(tmp_path / "store", 70, testing.make_episode, num_steps=30, cameras=("wrist",))
    assert serious(findings(checkers, export_lerobot(store, tmp_path / "out"))) == set()


def test_of_a_real_log_they_find_what_is_true_of_its_data(checkers, tmp_path):
    """BridgeData's: nine transitions an episode, a camera that is not there, a gripper that is mostly open."""
    if "ARMCHAIR_REAL_DATA" not in os.environ:
        pytest.skip("real recordings are read only where ARMCHAIR_REAL_DATA says where they are")
    source = Path(os.environ["ARMCHAIR_REAL_DATA"]) / "octo_bridge_debug"
    ingest(IngestConfig((source,), tmp_path / "store", defaults=Defaults("tidy", "widowx", control_rate_hz=5.0)))
    found = serious(findings(checkers, export_lerobot(Store.open(tmp_path / "store"), tmp_path / "out")))
    assert {(who, what) for who, _, what, _ in found} == {
        ("doctor", "Action Quality"),
        ("doctor", "Training Readiness"),
        ("rdq", "episodes.too_short"),
        ("rdq", "video.black"),
    }
    for true in ("Shortest episode (9 frames)", "camera 'observation.images.image_3'", "action[6]"):
        assert any(true in told for *_, told in found)


def test_pandas_finds_the_texts_of_tasks_as_lerobot_looks_them_up(checkers, exported):
    asked = "import pandas, sys; print(pandas.read_parquet(sys.argv[1]).iloc[1].name)"
    command = [checkers / "python", "-c", asked, exported / "meta/tasks.parquet"]
    told = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    tasks = {row["task_index"]: row["task"] for row in parquet.read_table(exported / "meta/tasks.parquet").to_pylist()}
    assert told.strip() == tasks[1]


def _data(path):
    return path / "data/chunk-000/file-000.parquet"


def _replace(file, name, change):
    table = parquet.read_table(file)
    values = change(np.array(table[name].to_pylist()))
    columns = dict(zip(table.column_names, table.columns, strict=True))
    parquet.write_table(pa.table(columns | {name: pa.array(values.tolist(), table.schema.field(name).type)}), file)


def lose_a_row(path):
    parquet.write_table(parquet.read_table(_data(path)).slice(1), _data(path))


def repeat_times(path):
    _replace(_data(path), "timestamp", lambda values: values.round(0))


def break_an_action(path):
    _replace(_data(path), "action", lambda values: np.where(np.arange(len(values))[:, None] == 5, np.nan, values))


def name_an_unknown_task(path):
    _replace(_data(path), "task_index", lambda values: values + 5)


def shift_the_index(path):
    _replace(_data(path), "index", lambda values: values + 3)


def lose_a_video(path):
    (path / f"videos/{next(iter(CAMERAS))}/chunk-000/file-000.mp4").unlink()


def cut_a_video(path):
    video = path / f"videos/{next(iter(CAMERAS))}/chunk-000/file-000.mp4"
    video.write_bytes(video.read_bytes()[:-2000])


def shorten_a_stretch(path):
    file = path / "meta/episodes/chunk-000/file-000.parquet"
    _replace(file, f"videos/{next(iter(CAMERAS))}/to_timestamp", lambda values: values - 1)


def age_the_statistics(path):
    stats = json.loads((path / "meta/stats.json").read_text())
    stats["action"]["mean"] = [value + 1 for value in stats["action"]["mean"]]
    (path / "meta/stats.json").write_text(json.dumps(stats))


def miscount(path):
    info = json.loads((path / "meta/info.json").read_text())
    (path / "meta/info.json").write_text(json.dumps(info | {"total_frames": info["total_frames"] + 1}))


@pytest.mark.parametrize(
    "defect",
    [lose_a_row, repeat_times, break_an_action, name_an_unknown_task, shift_the_index, lose_a_video, cut_a_video,
     shorten_a_stretch, age_the_statistics, miscount],
)  # fmt: skip
def test_a_defect_is_found(checkers, exported, clean, tmp_path, defect):
    shutil.copytree(exported, tmp_path / "copy")
    defect(tmp_path / "copy")
    assert serious(findings(checkers, tmp_path / "copy")) > clean


def test_the_rich_episodes_are_what_is_checked(exported):
    features = json.loads((exported / "meta/info.json").read_text())["features"]
    assert {told["dtype"] for told in features.values()} >= {"video", "string", "float32", "float64", "int64", "bool"}
    assert make_rich(0).num_steps < LONG
