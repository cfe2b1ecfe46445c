"""Records in LevelDB's log format, in which W&B writes its offline runs."""

from __future__ import annotations

import struct
from collections.abc import Iterator

_BLOCK = 32 * 1024
_HEADER = struct.Struct("<IHB")  # checksum, length, and which part of a record it is
_FULL, _FIRST, _LAST = 1, 2, 4


def read_records(data: bytes) -> Iterator[bytes]:
    """Yield the whole records; one that is cut off at the end does not count.

    https://github.com/google/leveldb/blob/main/doc/log_format.md, behind a header of 7 bytes that is W&B's own.

    >>> list(read_records(b":W&B.." + b"." + b"crc." + bytes([3, 0, 1]) + b"abc" + b"crc." + bytes([9, 0, 1]) + b"cut"))
    [b'abc']
    """
    position, parts = 7, b""
    while position + _HEADER.size <= len(data):
        left = _BLOCK - position % _BLOCK
        if left < _HEADER.size:  # the rest of a block that no header fits in
            position += left
            continue
        _, length, kind = _HEADER.unpack_from(data, position)
        position += _HEADER.size
        part = data[position : position + length]
        position += length
        if len(part) < length or not _FULL <= kind <= _LAST:
            return
        parts = part if kind in (_FULL, _FIRST) else parts + part
        if kind in (_FULL, _LAST):
            yield parts
