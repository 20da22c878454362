"""Riegeli files that may be damaged: the good records, and what is wrong with the others.

A file is a sequence of chunks, each of many records. A chunk begins with a header of 40 bytes: hash of the header, size
of the data, hash of the data, type (a byte) and number of records (7 bytes), size of the records. At every 64 KiB lies
a block header of 24 bytes, whatever it interrupts: its hash, how far back that chunk began, and how far on it ends.

Chunks are found here, by their headers and without an index, which a recorder that dies leaves behind its records or
not at all. EnvLogger's own reader then unpacks them. See github.com/google/riegeli, riegeli_records_file_format.md.
"""

import contextlib
import shutil
import struct
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
from envlogger.backends.python.riegeli_dataset_reader import RiegeliDatasetReader
from envlogger.backends.python.riegeli_dataset_writer import RiegeliDatasetWriter
from envlogger.converters import codec

_BLOCK = 1 << 16
_BLOCK_HEADER = struct.Struct("<3Q")  # hash, distance to the beginning of the chunk, distance to its end
_CHUNK_HEADER = struct.Struct("<5Q")
_SIGNATURE = 64  # bytes: the first chunk, the same in every file
_WITH_RECORDS = b"rt"  # types of chunks

# HighwayHash of 64 bits: Alakuijala et al. 2016 (arXiv 1612.06257).
_KEY = np.frombuffer(b"Riegeli/records\n" * 2, "<u8")  # [4]
_INITIAL = np.array([
    [0xDBE6D5D5FE4CCE2F, 0xA4093822299F31D0, 0x13198A2E03707344, 0x243F6A8885A308D3],
    [0x3BD39E10CB0EF593, 0xC0ACF169B5F18A8C, 0xBE5466CF34E90C6C, 0x452821E638D01377],
], np.uint64)  # fmt: skip
_ZIPPER = [3, 12, 2, 5, 14, 1, 15, 0, 11, 4, 10, 13, 9, 6, 8, 7]  # of the bytes of two words
_HALF = np.uint64(32)  # bits
_LOW = np.uint64(0xFFFFFFFF)


class Record(NamedTuple):
    """One record of a file, or several that are lost together."""

    position: int  # where its chunk begins, plus its number there: what indices call it
    content: bytes
    problem: str  # empty: the record is good


class _Chunk(NamedTuple):
    begin: int  # bytes
    end: int
    num_records: int
    problem: str  # empty: its header is good


def read_all(path: Path) -> Iterator[Record]:
    """Every record of a file, in order. What is lost in one piece comes as one bad record."""
    if not path.is_file():
        yield Record(0, b"", f"{path} is not there: restore it from a copy")
        return
    chunks = list(_chunks(path))
    positions = [c.begin + number for c in chunks if not c.problem for number in range(c.num_records)]
    with _reader(path, positions) as opened:
        reader, start, failed = opened, 0, False
        for chunk in chunks:
            if chunk.problem:
                yield Record(chunk.begin, b"", chunk.problem)
                failed = True
                continue
            if failed:  # a reader that met damage fails ever after
                reader, failed = reader.clone(), False
            for number in range(chunk.num_records):
                content = reader.serialized_step(start + number)
                if content is None:
                    lost = f"{chunk.num_records - number} records in its bytes {chunk.begin} to {chunk.end} are lost"
                    yield Record(chunk.begin + number, b"", f"{path} is damaged: {lost}; restore it from a copy")
                    failed = True
                    break
                yield Record(chunk.begin + number, content, "")
            start += chunk.num_records


@contextlib.contextmanager
def _reader(path: Path, positions: Sequence[int]) -> Iterator[RiegeliDatasetReader]:
    """EnvLogger's reader of the records of any Riegeli file. Numbers in it are those of `positions`."""
    with tempfile.TemporaryDirectory() as folder:
        writer = RiegeliDatasetWriter()
        writer.init(folder, max_episodes_per_shard=0, writer_options="uncompressed")
        writer.add_step(codec.encode(np.array(positions, np.int64)).datum, True)
        writer.close()
        (steps,) = Path(folder).glob("*/steps.riegeli")
        index = steps.rename(steps.with_name("step_offsets.riegeli"))
        signature = index.read_bytes()[:_SIGNATURE]
        with path.open("rb") as file:
            is_signed = file.read(_SIGNATURE) == signature
        if is_signed:
            steps.symlink_to(path.absolute())
        else:  # the reader refuses the whole file
            shutil.copyfile(path, steps)
            with steps.open("r+b") as file:
                file.write(signature)
        reader = RiegeliDatasetReader()
        if positions:  # else there is nothing that it could open
            reader.init(folder)
        yield reader
        reader.close()


def _chunks(path: Path) -> Iterator[_Chunk]:
    """Those that hold records, and what is lost in between."""
    size, begin = path.stat().st_size, 0
    with path.open("rb") as file:
        while begin < size:
            header = _header(file, begin)
            if header is None:
                end = _next(file, begin, size)
                until = "on" if end == size else f"to {end}"
                yield _Chunk(begin, end, 0, f"{path} is damaged from byte {begin} {until}: restore it from a copy")
            else:
                kind, num_records, end = header
                if end > size:
                    cut = f"{path} ends within its last {num_records} records, which are lost: restore it from a copy"
                    yield _Chunk(begin, end, num_records, cut)
                elif kind in _WITH_RECORDS:
                    yield _Chunk(begin, end, num_records, "")
            begin = end


def _header(file: BinaryIO, begin: int) -> tuple[int, int, int] | None:
    """(type, number of records, end) of the chunk that begins at a byte; None if none does, or if it is damaged."""
    raw, place = b"", begin
    while len(raw) < _CHUNK_HEADER.size:
        place += _BLOCK_HEADER.size if place % _BLOCK == 0 else 0
        file.seek(place)
        part = file.read(min(_CHUNK_HEADER.size - len(raw), _BLOCK - place % _BLOCK))
        if not part:
            return None
        raw += part
        place += len(part)
    told, data_size, _, kind_and_number, _ = _CHUNK_HEADER.unpack(raw)
    if _hash(raw[8:]) != told:
        return None
    num_records = kind_and_number >> 8
    usable = _BLOCK - _BLOCK_HEADER.size
    length = _CHUNK_HEADER.size + data_size
    end = begin + length + (length + (begin + usable - 1) % _BLOCK) // usable * _BLOCK_HEADER.size
    padded = begin + num_records  # as many bytes as records, so that each has a position
    padded += max(0, -padded % _BLOCK - usable + 1)  # no chunk ends within a block header
    return kind_and_number & 0xFF, num_records, max(end, padded)


def _next(file: BinaryIO, begin: int, size: int) -> int:
    """Where the first good chunk after a damaged one begins; the end of the file if there is none."""
    if begin < _SIGNATURE and _header(file, _SIGNATURE):
        return _SIGNATURE
    for block in range((begin // _BLOCK + 1) * _BLOCK, size - _BLOCK_HEADER.size, _BLOCK):
        file.seek(block)
        _, before, after = _BLOCK_HEADER.unpack(file.read(_BLOCK_HEADER.size))
        for place in (block - before, block + after):
            if begin < place < size and _header(file, place):
                return place
    return size


def _hash(content: bytes) -> int:
    """HighwayHash of 32 bytes."""
    v0, v1 = _INITIAL ^ np.stack([_KEY, _turned(_KEY)])
    mul0, mul1 = _INITIAL.copy()
    words = np.frombuffer(content, "<u8")
    for _ in range(5):  # the content, and four times the state itself
        v1 += mul0 + words
        mul0 ^= (v1 & _LOW) * (v0 >> _HALF)
        v0 += mul1
        mul1 ^= (v0 & _LOW) * (v1 >> _HALF)
        v0 += _zipped(v1)
        v1 += _zipped(v0)
        words = _turned(v0[[2, 3, 0, 1]])
    return int((v0 + v1 + mul0 + mul1)[0])


def _turned(words: np.ndarray) -> np.ndarray:
    return (words >> _HALF) | (words << _HALF)


def _zipped(words: np.ndarray) -> np.ndarray:
    return words.view(np.uint8).reshape(2, 16).take(_ZIPPER, 1).view(np.uint64).reshape(4)
