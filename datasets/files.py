"""Writing files so that a reader never sees half of one."""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_atomically(path: Path, content: bytes | str) -> None:
    """Writes a whole file or nothing: temporary file, fsync, rename. An existing file is replaced."""
    with staged_file(path) as staged:
        staged.write_bytes(content.encode() if isinstance(content, str) else content)


@contextlib.contextmanager
def staged_file(path: Path) -> Iterator[Path]:
    """Yields a temporary path in the same folder that becomes `path` when the block ends without an error."""
    path.parent.mkdir(parents=True, exist_ok=True)
    staged = path.parent / f".{path.name}.{os.getpid()}.{os.urandom(4).hex()}.tmp"
    try:
        yield staged
        _sync(staged)
        os.replace(staged, path)
        _sync(path.parent)
    finally:
        staged.unlink(missing_ok=True)


@contextlib.contextmanager
def staged_directory(path: Path) -> Iterator[Path]:
    """Yields a temporary folder that becomes `path` (replacing what stood there) when the block ends well."""
    path.parent.mkdir(parents=True, exist_ok=True)
    staged = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent))
    try:
        yield staged
        for file in staged.rglob("*"):
            _sync(file)
        if path.exists():
            shutil.rmtree(path)
        staged.chmod(0o755)
        staged.rename(path)
        _sync(path.parent)
    finally:
        shutil.rmtree(staged, ignore_errors=True)
