"""The tensors of the Open Inference Protocol: their data as JSON, or as bytes behind it."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any

import numpy as np

BYTES = "BYTES"
# Little-endian, as the protocol has them. BF16 is left out: numpy has no such type.
DTYPES = {
    "BOOL": np.dtype("?"),
    "UINT8": np.dtype("<u1"),
    "UINT16": np.dtype("<u2"),
    "UINT32": np.dtype("<u4"),
    "UINT64": np.dtype("<u8"),
    "INT8": np.dtype("<i1"),
    "INT16": np.dtype("<i2"),
    "INT32": np.dtype("<i4"),
    "INT64": np.dtype("<i8"),
    "FP16": np.dtype("<f2"),
    "FP32": np.dtype("<f4"),
    "FP64": np.dtype("<f8"),
}
DATATYPES = (*DTYPES, BYTES)

Values = Sequence[Any] | np.ndarray


def from_bytes(raw: bytes, datatype: str, count: int) -> Values:
    """The values of a tensor that was sent as bytes.

    Args:
        raw: its bytes.
        datatype: one of ``DATATYPES``.
        count: how many values its shape says.

    Returns:
        count numbers, or texts.

    Raises:
        ValueError: the bytes are not so many values; says what they are.
    """
    if datatype == BYTES:
        return _texts(raw, count)
    kind = DTYPES[datatype]
    if len(raw) != count * kind.itemsize:
        raise ValueError(f"has {len(raw)} bytes; {count} values of {datatype} are {count * kind.itemsize}")
    return np.frombuffer(raw, dtype=kind)


def from_json(data: Any, count: int) -> list[Any]:
    """The values of a tensor that was sent as JSON: flat, or nested as its shape is.

    Args:
        data: the list.
        count: how many values its shape says.

    Raises:
        ValueError: it is no such list.
    """
    if not isinstance(data, list):
        raise ValueError("has to be a list of values")
    if data and isinstance(data[0], list):
        if not all(isinstance(row, list) and len(row) == len(data[0]) for row in data):
            raise ValueError("has rows of several lengths")
        data = [value for row in data for value in row]
    values: list[Any] = data
    if len(values) != count:
        raise ValueError(f"has {len(values)} values; the shape says {count}")
    return values


def to_bytes(values: Values, datatype: str) -> bytes:
    """A tensor's values as bytes; the inverse of :func:`from_bytes`."""
    if datatype == BYTES:
        encoded = [str(value).encode() for value in values]
        return b"".join(part for text in encoded for part in (struct.pack("<I", len(text)), text))
    return np.asarray(values).astype(DTYPES[datatype]).tobytes()


def _texts(raw: bytes, count: int) -> list[str]:
    found: list[str] = []
    at = 0
    while at < len(raw) and len(found) < count:
        if at + 4 > len(raw):
            raise ValueError("ends within the length of a text")
        (size,) = struct.unpack_from("<I", raw, at)
        at += 4
        if at + size > len(raw):
            raise ValueError("ends within a text")
        try:
            found.append(raw[at : at + size].decode())
        except UnicodeDecodeError as error:
            raise ValueError(f"text {len(found)} is not UTF-8") from error
        at += size
    if at < len(raw) or len(found) != count:
        raise ValueError(f"has {len(found)} texts and {len(raw) - at} more bytes; the shape says {count} texts")
    return found
