"""TFRecord files that may be damaged: the good records, and what is wrong with the others.

A record is framed by its length and checksums: uint64 length, uint32 of the length, the bytes, uint32 of the bytes.
A file may be compressed as a whole (GZIP).
"""

import contextlib
import os
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import tensorflow as tf
from crcmod import predefined

from datasets.episode import Episode
from datasets.errors import BadEpisodeError, blamed_on
from datasets.readers.base import Reading

_HEADER = struct.Struct("<QI")  # length, checksum of the length
_CHECKSUM = struct.Struct("<I")
_crc32c = predefined.mkPredefinedCrcFun("crc-32c")


class Record(NamedTuple):
    """One record of a file."""

    number: int
    content: bytes
    problem: str  # empty: the record is good


def read_all(path: Path, where: object = None) -> Iterator[Record]:
    """Every record of a file, in order. After a length that cannot be trusted the rest comes as one bad record.

    Args:
      path: of the file.
      where: what messages call it; by default its path.
    """
    where = where or path
    if not path.is_file():
        yield Record(0, b"", f"{where} is not there: restore it from a copy")
        return
    if _is_compressed(path):
        yield from _read_compressed(path, where)
        return
    good = size = 0
    # TensorFlow checks fast (where crcmod has no C part it is a thousand times slower) but cannot go on.
    with contextlib.suppress(tf.errors.DataLossError):
        for record in tf.data.TFRecordDataset(os.fspath(path)):
            content = record.numpy()
            yield Record(good, content, "")
            good += 1
            size += _HEADER.size + len(content) + _CHECKSUM.size
    if size != path.stat().st_size:  # TensorFlow takes a file that is cut within a header for a whole one
        yield from _read_slowly(path, where, good)


def readings(path: Path, read: Callable[[bytes, str], Episode]) -> Iterator[Reading]:
    """The episodes of a file whose records are one each.

    Args:
      path: of the file.
      read: an episode from a record's bytes and where it is; what it raises is a problem of that record alone.
    """
    for record in read_all(path):
        where = f"{path}#{record.number}"
        try:
            if record.problem:
                raise BadEpisodeError(record.problem)
            with blamed_on(where):
                episode = read(record.content, where)
        except BadEpisodeError as error:
            yield Reading(where, None, (str(error),), record.content)
        else:
            yield Reading(where, episode, record=record.content)


def _is_compressed(path: Path) -> bool:
    with path.open("rb") as file:
        header = file.read(_HEADER.size)
    return header.startswith(b"\x1f\x8b") and not _is_intact(header)  # a length may begin so, too


def _read_compressed(path: Path, where: object) -> Iterator[Record]:
    """Where it is damaged, the rest is lost."""
    number = 0
    try:
        for record in tf.data.TFRecordDataset(os.fspath(path), "GZIP"):
            yield Record(number, record.numpy(), "")
            number += 1
    except tf.errors.DataLossError:
        yield Record(number, b"", f"{where} is damaged from record {number} on: restore it from a copy")


def _read_slowly(path: Path, where: object, skip: int) -> Iterator[Record]:
    with path.open("rb") as file:
        number = 0
        while header := file.read(_HEADER.size):
            start = file.tell() - len(header)
            if not _is_intact(header):
                yield Record(
                    number, header + file.read(), f"{where} is damaged from byte {start} on: restore it from a copy"
                )
                return
            content = file.read(_HEADER.unpack(header)[0])
            checksum = file.read(_CHECKSUM.size)
            if len(checksum) < _CHECKSUM.size:
                yield Record(number, content, f"{where} ends within record {number}: restore it from a copy")
                return
            if number >= skip:
                intact = _masked(content) == _CHECKSUM.unpack(checksum)[0]
                problem = "" if intact else f"record {number} of {where} fails its checksum: restore it from a copy"
                yield Record(number, content, problem)
            number += 1


def count(path: Path) -> int:
    """How many records the lengths in a file promise; a cut or absurd one counts as the last."""
    if not path.is_file():
        return 1  # one bad record, see `read_all`
    size, place, number = path.stat().st_size, 0, 0
    with path.open("rb") as file:
        while place < size:
            file.seek(place)
            header = file.read(_HEADER.size)
            number += 1
            if not _is_intact(header):
                break
            place += _HEADER.size + _HEADER.unpack(header)[0] + _CHECKSUM.size
    return number


def _is_intact(header: bytes) -> bool:
    return len(header) == _HEADER.size and _masked(header[:8]) == _HEADER.unpack(header)[1]


def _masked(content: bytes) -> int:
    crc = _crc32c(content)
    return (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF  # TFRecord's mask
