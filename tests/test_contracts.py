"""Promises of the repository as a whole: which way imports go, what may be shipped, what must agree."""

import ast
import importlib.util
import itertools
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import armchair
from armchair import cli

ROOT = Path(__file__).resolve().parents[1]
ROOMS = ("armchair", "beam_jobs", "pipeline", "robot", "datasets")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
SOURCES = sorted(path for room in ROOMS for path in (ROOT / room).rglob("*.py"))


def _imports(path: Path) -> set[str]:
    """Top-level names of everything a file imports, wherever in the file."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module.partition(".")[0])
    return names


def test_imports_go_one_way():
    """The contracts in pyproject.toml: the rooms are layers, and the stages of the pipeline are strangers."""
    lint = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([lint, "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_folder_with_code_is_a_package_that_the_import_contract_sees():
    bare = {path.parent for path in SOURCES if not (path.parent / "__init__.py").exists()}
    assert not bare


def test_datasets_is_our_own():
    spec = importlib.util.find_spec("datasets")
    assert Path(spec.origin) == ROOT / "datasets/__init__.py"


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_nothing_imports_what_would_break_the_environment(path):
    """`lerobot` and `minari` bring a foreign `datasets`, or numpy 2; `tensorflow_hub` a second TensorFlow."""
    assert not _imports(path) & {"lerobot", "minari", "tensorflow_hub", "torch", "tf_keras", "acme", "launchpad"}


def test_the_lock_holds_what_the_project_asks_for():
    from packaging.requirements import Requirement

    lines = (ROOT / "constraints.txt").read_text().splitlines()
    lock = dict(line.split("==") for line in lines if line and not line.startswith("#"))
    extras = PROJECT["project"]["optional-dependencies"]
    wanted = PROJECT["project"]["dependencies"] + [line for name in extras if name != "gpu" for line in extras[name]]
    for requirement in map(Requirement, wanted):
        name = re.sub(r"[_.]", "-", requirement.name.lower())
        assert requirement.specifier.contains(lock[name]), f"{requirement} against {name}=={lock[name]}"
    assert "tensorflow" not in lock, "tensorflow and tensorflow-cpu own the same folder"
    assert "datasets" not in lock, "shadows our own"


def test_one_version_everywhere():
    version = armchair.__version__
    assert PROJECT["project"]["version"] == version
    assert f"version: {version}\n" in (ROOT / "CITATION.cff").read_text()
    assert "## [Unreleased]" in (ROOT / "CHANGELOG.md").read_text()


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_stay_small(path):
    assert len(path.read_text().splitlines()) <= 500


def test_no_path_of_somebodys_machine():
    found = [p for p in SOURCES if re.search(r"[\"'](/home/|/root/|/work/|/Users/)", p.read_text())]
    assert not found


def test_links_in_the_documents_lead_somewhere():
    documents = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
    for document in documents:
        for target in re.findall(r"\]\((?!https?://|#|mailto:)([^)#\s]+)", document.read_text()):
            assert (document.parent / target).exists(), f"{document.relative_to(ROOT)} points to {target}"


def _readme_commands() -> list[list[str]]:
    blocks = re.findall(r"```bash\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    words = [shlex.split(line, comments=True) for block in blocks for line in block.splitlines()]
    return [line for line in words if line]


@pytest.mark.parametrize("words", _readme_commands(), ids=" ".join)
def test_commands_in_the_readme_exist(words, capsys):
    program, *arguments = words
    if program == "make":
        assert re.search(rf"^{arguments[0]}:", (ROOT / "Makefile").read_text(), re.MULTILINE)
        return
    assert program == "armchair"
    options = [word for word in arguments if word.startswith("--")]
    stage = list(itertools.takewhile(lambda word: not word.startswith("--"), arguments))
    with pytest.raises(SystemExit) as stop:
        cli.main([*stage, "--help"])
    assert not stop.value.code
    told = capsys.readouterr().out
    assert all(re.search(rf"{option}\b", told) for option in options)
