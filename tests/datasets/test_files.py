"""A reader sees a whole file or none."""

import pytest

from datasets import files


def test_a_write_replaces_all(tmp_path):
    path = tmp_path / "new" / "folder" / "file"
    files.write_atomically(path, "first")
    files.write_atomically(path, b"second")
    assert path.read_bytes() == b"second"
    assert list(path.parent.iterdir()) == [path]


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path):
    path = tmp_path / "file"
    files.write_atomically(path, "old")
    with pytest.raises(TypeError), files.staged_file(path) as staged, staged.open("wb") as half:
        half.writelines([b"half", None])
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_new_file_is_never_written_over_another(tmp_path):
    path = tmp_path / "new" / "file"
    assert files.write_new(path, "first")
    assert not files.write_new(path, "second")
    assert path.read_text() == "first"
    assert list(path.parent.iterdir()) == [path]


def test_a_new_file_that_cannot_be_made_durable_is_not_there(tmp_path, monkeypatch):
    def full(_path):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(files, "sync", full)
        with pytest.raises(OSError, match="No space"):
            files.write_new(tmp_path / "file", "content")
    assert not list(tmp_path.iterdir())


def test_a_directory_appears_whole_or_not_at_all(tmp_path):
    path = tmp_path / "model"
    with pytest.raises(FileNotFoundError), files.staged_directory(path) as staged:
        (staged / "weights").write_bytes((staged / "absent").read_bytes())
    assert not list(tmp_path.iterdir())
    for content in ("first", "second"):
        with files.staged_directory(path) as staged:
            (staged / "weights").write_text(content)
            assert not (path / "weights").exists() or (path / "weights").read_text() == "first"
    assert (path / "weights").read_text() == "second"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("replace", [True, False])
def test_a_folder_that_appeared_meanwhile_is_replaced_or_kept_but_never_mixed(tmp_path, replace):
    target = tmp_path / "dataset"
    with files.staged_directory(target, replace=replace) as staged:
        (staged / "ours").write_text("ours")
        target.mkdir()
        (target / "theirs").write_text("theirs")
    assert [path.name for path in target.iterdir()] == ["ours" if replace else "theirs"]
    assert list(tmp_path.iterdir()) == [target]
