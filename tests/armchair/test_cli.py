"""The front door: help at once, clear sentences, exit statuses."""

import os
import re
import resource
import subprocess
import sys
import types
from pathlib import Path

import pytest

import armchair
from armchair import cli
from datasets.errors import ArmchairError

ROOT = Path(__file__).resolve().parents[2]


def _armchair(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "armchair", *arguments]
    return subprocess.run(
        command, cwd=ROOT, env=os.environ | environment, capture_output=True, text=True, timeout=60, check=False
    )


@pytest.fixture
def stage(monkeypatch):
    """Puts a stage `fake` into the table whose `main` is what the test gives."""

    def put(main):
        module = types.ModuleType("armchair.commands.fake")
        module.main = main
        monkeypatch.setitem(sys.modules, "armchair.commands.fake", module)
        monkeypatch.setattr(cli, "STAGES", {**cli.STAGES, "fake": "for this test"})

    return put


def _raises(error):
    def main(args):
        raise error

    return main


@pytest.mark.parametrize("stage", ["", "train", "train crr"])
def test_help_answers_within_a_second(stage):
    seconds = []
    for _ in range(3):  # the best of three, of the processor's: the machine may be busy
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        assert _armchair(*stage.split(), "--help").returncode == 0
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        seconds.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    assert 0.01 < min(seconds) < 1.0  # it is counted at all


def test_help_imports_nothing_heavy():
    code = "import sys; from armchair import cli; cli.main(['--help']); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert not {"tensorflow", "numpy", "tyro", "apache_beam"} & set(done.stdout.split())


def test_help_lists_every_stage(capsys):
    assert cli.main([]) == cli.main(["--help"]) == 0
    out = capsys.readouterr().out
    assert all(re.search(rf"^  {name} +{re.escape(line)}$", out, re.MULTILINE) for name, line in cli.STAGES.items())


def test_every_stage_has_a_command_module_and_the_reverse():
    modules = {path.stem for path in (ROOT / "armchair/commands").glob("*.py")} - {"__init__"}
    assert modules == set(cli.STAGES)


@pytest.mark.parametrize("name", cli.STAGES)
def test_a_stage_module_imports_without_tensorflow_and_tells_its_options(name):
    code = (
        f"import sys; from armchair.commands import {name} as stage\n"
        "try: stage.main(['--help'])\n"
        "except SystemExit as stop: assert not stop.code, stop.code\n"
        "assert 'tensorflow' not in sys.modules, 'imports TensorFlow to print its help'"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert f"armchair {name}" in done.stdout


def test_version():
    done = _armchair("--version")
    assert done.stdout == f"armchair {armchair.__version__}\n"


@pytest.mark.parametrize(("typed", "meant"), [("colect", "collect"), ("eval", "evaluate"), ("doktor", "doctor")])
def test_unknown_stage_names_the_closest(capsys, typed, meant):
    assert cli.main([typed]) == 2
    err = capsys.readouterr().err
    assert f"'{typed}'" in err
    assert f"`armchair {meant}`" in err
    assert err.count("\n") == 1


def test_a_users_mistake_is_one_sentence_and_exit_2(stage, capsys):
    stage(_raises(ArmchairError("there is no store at /nowhere: run `armchair ingest` first")))
    assert cli.main(["fake"]) == 2
    assert capsys.readouterr().err == "armchair: there is no store at /nowhere: run `armchair ingest` first\n"


def test_an_unreadable_path_is_one_sentence_and_exit_2(stage, capsys, tmp_path):
    stage(lambda args: (tmp_path / "absent").read_text())
    assert cli.main(["fake"]) == 2
    assert capsys.readouterr().err == f"armchair: {tmp_path}/absent: No such file or directory\n"


def test_ctrl_c_exits_130(stage, capsys):
    stage(_raises(KeyboardInterrupt()))
    assert cli.main(["fake"]) == 130
    assert "interrupted" in capsys.readouterr().err


def test_an_unexpected_error_says_how_to_report_and_exits_1(stage, capsys):
    stage(_raises(ZeroDivisionError("division by zero")))
    assert cli.main(["fake", "--episodes", "3"]) == 1
    err = capsys.readouterr().err
    assert "ZeroDivisionError: division by zero" in err
    assert "report" in err
    assert "armchair --verbose fake" in err
    assert "Traceback" not in err


def test_verbose_shows_the_traceback(stage, capsys, monkeypatch):
    stage(_raises(ZeroDivisionError("division by zero")))
    assert cli.main(["--verbose", "fake"]) == 1
    assert "Traceback" in capsys.readouterr().err
    monkeypatch.setenv("ARMCHAIR_DEBUG", "1")
    assert cli.main(["fake"]) == 1
    assert "Traceback" in capsys.readouterr().err


def test_arguments_reach_the_stage_and_tensorflow_is_quiet(stage, monkeypatch):
    for name in cli._ENVIRONMENT:
        monkeypatch.delenv(name, raising=False)
    seen = []
    stage(lambda args: seen.append((args, dict(os.environ))))
    assert cli.main(["fake", "--store", "here"]) == 0
    (arguments, environment), *_ = seen
    assert arguments == ["--store", "here"]
    assert environment["TF_ENABLE_ONEDNN_OPTS"] == "1"
    assert environment["TF_CPP_MIN_LOG_LEVEL"] == "2"


def test_a_reader_that_goes_away_is_no_error():
    code = (
        "import sys, types; from armchair import cli\n"
        "fake = types.ModuleType('fake'); fake.main = lambda args: [print('x' * 1000) for _ in range(1000)]\n"
        "sys.modules['armchair.commands.fake'] = fake; cli.STAGES = {'fake': ''}\n"
        "sys.exit(cli.main(['fake']))"
    )
    done = subprocess.run(
        f'"{sys.executable}" -c "$CODE" | head -1', shell=True, cwd=ROOT, env=os.environ | {"CODE": code},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stderr == ""
