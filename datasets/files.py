"""Writing files so that a reader never sees half of one."""

import contextlib
import errno
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from upath import UPath


def sync(path: Path) -> None:
    """Makes a file's content, or the names in a folder, survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_atomically(path: Path | UPath, content: bytes | str) -> None:
    """Writes a whole file or nothing: temporary file, fsync, rename. An existing file is replaced.

    An object in a bucket appears when it is complete, by itself.
    """
    data = content.encode() if isinstance(content, str) else content
    if not isinstance(path, Path):
        path.write_bytes(data)
        return
    with staged_file(path) as staged:
        staged.write_bytes(data)


@contextlib.contextmanager
def on_this_machine(path: Path | UPath) -> Iterator[Path]:
    """Yields a file itself, or a copy of it for the time of the block where it lies elsewhere."""
    if isinstance(path, Path):
        yield path
        return
    with tempfile.NamedTemporaryFile() as copy:
        copy.write(path.read_bytes())
        copy.flush()
        yield Path(copy.name)


def write_new(path: Path, content: bytes | str) -> bool:
    """Writes a whole file or nothing, and never over another: returns False if there is one, whoever made it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    staged = _staged(path)
    try:
        staged.write_bytes(content.encode() if isinstance(content, str) else content)
        sync(staged)
        os.link(staged, path)
    except FileExistsError:
        return False
    finally:
        staged.unlink(missing_ok=True)
        sync(path.parent)  # also where the file was there: its writer may not have come to this yet
    return True


@contextlib.contextmanager
def staged_file(path: Path) -> Iterator[Path]:
    """Yields a temporary path in the same folder that becomes `path` when the block ends without an error."""
    path.parent.mkdir(parents=True, exist_ok=True)
    staged = _staged(path)
    try:
        yield staged
        sync(staged)
        os.replace(staged, path)
        sync(path.parent)
    finally:
        staged.unlink(missing_ok=True)


@contextlib.contextmanager
def staged_directory(path: Path, replace: bool = True) -> Iterator[Path]:
    """Yields a temporary folder that becomes `path` when the block ends without an error.

    Args:
      path: the folder to be.
      replace: whether it takes the place of a folder that is there by then; if not, that one stays as it is, so that of
        several processes that make the same folder at once, the first wins and no other destroys its work.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    staged = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent))
    replaced = staged.with_suffix(".old.tmp")
    try:
        yield staged
        for file in staged.rglob("*"):
            sync(file)
        staged.chmod(0o755)
        if replace and path.exists():
            path.rename(replaced)
        try:
            staged.rename(path)
        except OSError as error:
            if replace or error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
        sync(path.parent)
    finally:
        shutil.rmtree(staged, ignore_errors=True)
        shutil.rmtree(replaced, ignore_errors=True)


def remove_staged(folder: Path) -> None:
    """Removes files that killed processes were writing there, at any depth. Nobody must be writing now."""
    for left in folder.rglob(".*.tmp"):
        left.unlink(missing_ok=True)


@contextlib.contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Waits until no other process is in such a block for this folder; a process that dies leaves it."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _staged(path: Path) -> Path:
    """A name in the same folder that nobody else uses."""
    return path.parent / f".{path.name}.{os.getpid()}.{os.urandom(4).hex()}.tmp"
