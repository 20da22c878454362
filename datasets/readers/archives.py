"""Tar archives that may be damaged, compressed or not: their files one after another, without unpacking the whole.

Where compressed data are damaged the rest is lost. Without compression, reading goes on at the next good header.
"""

import bz2
import gzip
import lzma
import shutil
import tarfile
import tempfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, NamedTuple, Self

_ENDINGS = (".tar", ".tar.bz2", ".tbz2", ".tar.gz", ".tgz", ".tar.xz", ".txz")
# By first bytes. Unlike tarfile's own, they take files that several compressors wrote parts of.
_OPENERS: dict[bytes, Callable] = {b"BZh": bz2.open, b"\x1f\x8b": gzip.open, b"\xfd7zXZ": lzma.open}
_BAD, _END = "InvalidHeaderError", "EOFHeaderError"  # tarfile's


class Member(NamedTuple):
    """One file of an archive, or what is wrong with the archive."""

    name: str
    unpacked: Path  # until the next one is asked for
    problem: str = ""  # empty: it is good


def is_archive(path: Path) -> bool:
    """Whether a file is called as tar archives are."""
    return path.name.lower().endswith(_ENDINGS) and path.is_file()


def members(path: Path, wanted: Callable[[str], object]) -> Iterator[Member]:
    """The files of an archive whose names are wanted, in order, each unpacked for as long as it is looked at."""
    with tempfile.TemporaryDirectory() as folder:
        unpacked = Path(folder) / "file"
        name = "its beginning"
        headers: set[str] = set()  # what was wrong with those that were met since

        class Header(tarfile.TarInfo):
            """Notices what tarfile passes over in silence."""

            @classmethod
            def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
                try:
                    return super().frombuf(buf, encoding, errors)
                except tarfile.HeaderError as error:
                    headers.add(type(error).__name__)
                    raise

        try:
            with (
                _decompressed(path) as stream,
                tarfile.open(fileobj=stream, mode="r|", tarinfo=Header, ignore_zeros=True) as tar,
            ):
                for member in tar:
                    if _BAD in headers:
                        damage = f"{path} is damaged between {name} and {member.name}: restore it from a copy"
                        yield Member("", unpacked, damage)
                    headers.clear()
                    name = member.name
                    content = tar.extractfile(member) if wanted(name) else None
                    if content is not None:  # it is a file
                        with unpacked.open("wb") as file:
                            shutil.copyfileobj(content, file)
                        yield Member(name, unpacked)
            if _BAD in headers or _END not in headers:
                yield Member("", unpacked, f"{path} is damaged or cut off after {name}: restore it from a copy")
        except (tarfile.TarError, EOFError, OSError, lzma.LZMAError, zlib.error) as error:
            yield Member("", unpacked, f"{path} cannot be read from {name} on ({error}): restore it from a copy")


def _decompressed(path: Path) -> IO[bytes]:
    with path.open("rb") as file:
        start = file.read(max(map(len, _OPENERS)))
    opener: Callable = next((opener for magic, opener in _OPENERS.items() if start.startswith(magic)), open)
    return opener(path, "rb")
