"""The doctor finds each trap when it is there, and only then."""

import collections
import importlib.metadata
import os
import re
import sys

import pytest
from packaging.requirements import Requirement

from armchair import cli, doctor
from armchair.commands import doctor as command


def _only(findings):
    (finding,) = findings
    return finding


def _installs(monkeypatch, **versions):
    installed = {name.replace("_", "-"): version for name, version in versions.items()}
    monkeypatch.setattr(doctor, "installed_versions", lambda: installed)


def test_a_finding_prints_ok_or_what_to_do():
    assert str(doctor.Finding("glibc 2.36")) == "ok   glibc 2.36"
    assert str(doctor.Finding("glibc 2.17", "use a newer Linux")) == "FIX  glibc 2.17: use a newer Linux"


def test_versions_are_compared_with_what_the_project_declares():
    declared = ["numpy>=1.26,<2", "rlds==0.1.8", "protobuf<5", 'mujoco<4; extra == "sim"', 'pytest; extra == "dev"']
    installed = {"numpy": "2.1.0", "protobuf": "4.25.9", "mujoco": "4.0.0"}
    findings = list(doctor.compare(map(Requirement, declared), installed))
    assert [f.what for f in findings] == [
        "numpy 2.1.0 is not <2,>=1.26",
        "rlds is not installed",
        "mujoco 4.0.0 is not <4",
    ]
    assert all(f.fix for f in findings)


def test_names_are_compared_as_packaging_does():
    assert not list(doctor.compare([Requirement("importlib_resources")], {"importlib-resources": "7.1.0"}))


def test_an_environment_without_armchair_is_told(monkeypatch):
    def absent(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "requires", absent)
    assert "make setup" in _only(doctor.packages()).fix


@pytest.mark.parametrize(
    ("installed", "sick"),
    [
        ({"tensorflow_cpu": "2.15.1"}, False),
        ({"tensorflow": "2.15.1"}, False),
        ({"tensorflow": "2.15.1", "tensorflow_cpu": "2.15.1"}, True),
        ({}, True),
    ],
)
def test_exactly_one_tensorflow(monkeypatch, installed, sick):
    _installs(monkeypatch, **installed)
    assert bool(_only(doctor.tensorflow()).fix) is sick


def test_a_foreign_datasets_package_is_found(monkeypatch):
    _installs(monkeypatch)
    assert not _only(doctor.shadows()).fix
    _installs(monkeypatch, datasets="3.0.0")
    assert _only(doctor.shadows()).fix == "pip uninstall datasets"


def test_another_python_is_told(monkeypatch):
    assert not _only(doctor.python()).fix
    monkeypatch.setattr(sys, "version_info", (3, 12, 1, "final", 0))
    assert "3.11" in _only(doctor.python()).fix


@pytest.mark.parametrize(("version", "sick"), [("glibc 2.36", False), ("glibc 2.17", True), (None, True)])
def test_glibc(monkeypatch, version, sick):
    monkeypatch.setattr(os, "confstr", lambda name: version)
    assert bool(_only(doctor.glibc()).fix) is sick


def test_a_full_disk_and_full_memory_are_told(monkeypatch):
    usage = collections.namedtuple("usage", "total used free")
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda path: usage(10e9, 9e9, 1e9))
    monkeypatch.setattr(doctor.psutil, "virtual_memory", lambda: collections.namedtuple("memory", "available")(1e9))
    assert _only(doctor.disk()).fix
    assert _only(doctor.memory()).fix


def test_a_crash_of_the_probe_is_a_finding():
    assert doctor.run_python("pass") == ""
    assert doctor.run_python("raise ImportError('no libEGL')") == "ImportError: no libEGL"
    assert doctor.run_python("import os; os.abort()") == "exit status -6"
    assert doctor.run_python("import time; time.sleep(9)", timeout=0.2) == "no answer in 0 s"


@pytest.mark.parametrize(
    ("error", "fix"),
    [
        ("", ""),
        ("ImportError: libgmpxx.so.4: cannot open shared object file: No such file or directory", "libgmpxx4ldbl"),
        ("ImportError: cannot import name 'runtime_version' from 'google.protobuf'", "make setup"),
    ],
)
def test_a_stack_that_does_not_import_is_told_with_its_remedy(monkeypatch, error, fix):
    monkeypatch.setattr(doctor, "run_python", lambda code: error)
    finding = _only(doctor.imports())
    assert error in finding.what
    assert fix in finding.fix
    assert bool(finding.fix) is bool(error)


@pytest.fixture
def gl(monkeypatch):
    """The cell's choice of OpenGL, with no choice made yet."""
    from robot.cell import rendering

    monkeypatch.delenv("MUJOCO_GL", raising=False)
    rendering.choose_backend.cache_clear()
    yield rendering
    rendering.choose_backend.cache_clear()


def test_a_machine_that_cannot_draw_is_told_the_packages(monkeypatch, gl):
    monkeypatch.setattr(gl, "draws", lambda backend: False)
    assert "apt-get install" in _only(doctor.rendering()).fix
    monkeypatch.setenv("MUJOCO_GL", "egl")
    assert "unset MUJOCO_GL" in _only(doctor.rendering()).fix


def test_a_machine_that_draws_by_the_second_backend_is_well(monkeypatch, gl):
    monkeypatch.setattr(gl, "draws", lambda backend: backend == "osmesa")
    monkeypatch.setenv("MUJOCO_GL", "")
    finding = _only(doctor.rendering())
    assert "osmesa" in finding.what
    assert not finding.fix


def test_onednn_off_is_told_but_is_no_fault(monkeypatch):
    monkeypatch.setenv("TF_ENABLE_ONEDNN_OPTS", "0")
    finding = _only(doctor.onednn())
    assert "unset it" in finding.what
    assert not finding.fix


def test_exit_status_and_lines(monkeypatch, capsys):
    well, sick = doctor.Finding("all well"), doctor.Finding("a fault", "mend it")
    monkeypatch.setattr(doctor, "CHECKS", {"one": lambda: [well], "two": lambda: [sick]})
    command.main(["--only", "one"])
    assert capsys.readouterr().out == "ok   all well\n"
    with pytest.raises(SystemExit) as stop:
        command.main([])
    assert stop.value.code == 1
    assert capsys.readouterr().out == "ok   all well\nFIX  a fault: mend it\n"


def test_an_unknown_check_is_a_users_mistake(capsys):
    assert cli.main(["doctor", "--only", "rendring"]) == 2
    assert "rendering" in capsys.readouterr().err


def test_a_store_that_is_not_there_is_a_users_mistake(capsys, tmp_path):
    assert cli.main(["doctor", "--only", "python", "--store", str(tmp_path / "absent")]) == 2
    assert "absent" in capsys.readouterr().err


def test_a_damaged_store_is_found(tmp_path):
    from datasets.store import Store
    from datasets.testing import make_episode

    store = Store.create(tmp_path)
    for seed in range(2):
        store.add(make_episode(seed, cameras=()), "log")
    store.publish()
    assert not _only(doctor.store_health(tmp_path)).fix
    shard = tmp_path / "episodes/log/1.0.0/log-train.tfrecord-00001"
    shard.write_bytes(shard.read_bytes()[:-1])
    finding = _only(doctor.store_health(tmp_path))
    assert str(shard) in finding.what
    assert "fake-1" in finding.what
    assert finding.fix


@pytest.mark.slow
def test_this_machine():
    """Every line is a finding, whatever this machine is."""
    lines = [str(f) for check in doctor.CHECKS.values() for f in check()]
    assert len(lines) >= len(doctor.CHECKS)
    assert all(re.match(r"ok   \S|FIX  \S.*: \S", line) for line in lines)
