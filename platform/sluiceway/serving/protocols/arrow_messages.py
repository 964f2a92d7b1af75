"""Looks at the messages of an Arrow IPC stream before they are unpacked.

Arrow's readers unpack compressed buffers as they go, to whatever size the sender names. The message says beforehand
whether its buffers are compressed, in a flatbuffer; pyarrow does not show it, so the few fields are read here.
"""

from __future__ import annotations

import struct

import pyarrow as pa

_DICTIONARY_BATCH, _RECORD_BATCH = 2, 3  # Message.header_type
_HEADER_TYPE, _HEADER = 1, 2  # fields of a Message
_DATA = 1  # field of a DictionaryBatch: a RecordBatch
_COMPRESSION = 3  # field of a RecordBatch


def is_compressed(body: bytes) -> bool:
    """Whether any message of a stream has compressed buffers.

    Args:
        body: an Arrow IPC stream.

    Raises:
        pyarrow.ArrowException: it is none.
        struct.error, IndexError: a message's metadata is damaged.
    """
    reader = pa.ipc.MessageReader.open_stream(pa.BufferReader(body))
    while True:
        try:
            message = reader.read_next_message()
        except StopIteration:
            return False
        if _has_compression(message.metadata.to_pybytes()):
            return True


def _has_compression(metadata: bytes) -> bool:
    (root,) = struct.unpack_from("<I", metadata, 0)
    kind_at, header_at = _field(metadata, root, _HEADER_TYPE), _field(metadata, root, _HEADER)
    if kind_at is None or header_at is None:
        return False
    kind, table = metadata[kind_at], _table_at(metadata, header_at)
    if kind == _DICTIONARY_BATCH:
        data_at = _field(metadata, table, _DATA)
        if data_at is None:
            return False
        table = _table_at(metadata, data_at)
    elif kind != _RECORD_BATCH:
        return False
    return _field(metadata, table, _COMPRESSION) is not None


def _field(buffer: bytes, table: int, index: int) -> int | None:
    """Where a field of a table stands, or None where it is left out."""
    (back,) = struct.unpack_from("<i", buffer, table)
    vtable = table - back
    (size,) = struct.unpack_from("<H", buffer, vtable)
    entry = 4 + 2 * index
    if entry + 2 > size:
        return None
    (offset,) = struct.unpack_from("<H", buffer, vtable + entry)
    return table + offset if offset else None


def _table_at(buffer: bytes, field: int) -> int:
    """The table that a field refers to."""
    (offset,) = struct.unpack_from("<I", buffer, field)
    return int(field + offset)
