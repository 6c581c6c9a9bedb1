"""Text files as Arrow arrays of lines, with their numbers, in constant memory and without a Python string a line."""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from personalization.errors import SourceError

CHUNK_BYTES = 16 * 1024 * 1024
NOT_UTF8 = "not UTF-8 text"

_UTF8_MARK = b"\xef\xbb\xbf"
_UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")


def read_chunks(file: BinaryIO, name: str, size: int = CHUNK_BYTES) -> Iterator[bytes]:
    """The bytes of a file, without a leading byte order mark.

    Raises
    ------
    SourceError
        The file is UTF-16.
    """
    first = True
    while chunk := file.read(size):
        if first and chunk.startswith(_UTF16_MARKS):
            raise SourceError(f"{name} is UTF-16 text", hint="export it as UTF-8")
        yield chunk.removeprefix(_UTF8_MARK) if first else chunk
        first = False


def line_starts(data: bytes) -> np.ndarray:
    """Offsets at which the lines of `data` begin, and the length of `data` at the end."""
    ends = np.flatnonzero(np.frombuffer(data, dtype=np.uint8) == ord("\n")) + 1
    inner = ends if len(ends) and ends[-1] == len(data) else np.append(ends, len(data))
    return np.concatenate([[0], inner]).astype(np.int64)


def slices(data: bytes, starts: np.ndarray) -> pa.LargeBinaryArray:
    """The pieces of `data` between consecutive offsets, without copying them. Line ends stay on."""
    offsets = pa.py_buffer(np.ascontiguousarray(starts, dtype=np.int64))
    return pa.LargeBinaryArray.from_buffers(pa.large_binary(), len(starts) - 1, [None, offsets, pa.py_buffer(data)])


def as_text(lines: pa.LargeBinaryArray) -> tuple[pa.LargeStringArray, np.ndarray]:
    """Lines as text, and which of them are readable: those that are not UTF-8 are empty and marked False."""
    readable = np.ones(len(lines), dtype=bool)
    try:
        return lines.cast(pa.large_string()), readable
    except pa.ArrowInvalid:
        pass
    # Rare, so a Python loop will do, over the lines that are not plain ASCII.
    for index in np.flatnonzero(~pc.string_is_ascii(lines.view(pa.large_string())).to_numpy(zero_copy_only=False)):
        try:
            lines[index].as_py().decode("utf-8")
        except UnicodeDecodeError:
            readable[index] = False
    text = pc.if_else(pa.array(readable), lines, pa.scalar(b"", pa.large_binary()))
    return text.cast(pa.large_string()), readable


def blank(lines: pa.LargeStringArray) -> np.ndarray:
    """Which lines hold nothing but white space."""
    return pc.equal(pc.utf8_trim_whitespace(lines), "").to_numpy(zero_copy_only=False)
