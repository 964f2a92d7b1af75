"""Batches as Arrow IPC streams, in and out: one column a feature, one column a result."""

from __future__ import annotations

import struct
from typing import Any

import pyarrow as pa

from sluiceway.core.errors import RequestError
from sluiceway.serving.answering import Answered
from sluiceway.serving.documents import write_json
from sluiceway.serving.inputs import PLAIN, Encoders, TableInput
from sluiceway.serving.protocols.arrow_messages import is_compressed
from sluiceway.serving.protocols.native import too_many

_NOT_ARROW = "the body is not an Arrow IPC stream"


def read_arrow(body: bytes, *, max_rows: int, encoders: Encoders = PLAIN) -> TableInput:
    """The rows of a stream; its columns are checked later, against the model's schema.

    Args:
        body: an Arrow IPC stream of uncompressed buffers.
        max_rows: more are refused.
        encoders: under what rules they will be encoded.

    Raises:
        RequestError: 400 no such stream; 413 too many rows; 415 compressed buffers; 422 no rows.
    """
    try:
        if is_compressed(body):
            # A few bytes could unpack to more than the machine's memory.
            raise RequestError("the stream's buffers are compressed", status=415, hint="write them uncompressed")
        table = _table(body, max_rows)
    except (pa.ArrowException, ValueError, IndexError, KeyError, TypeError, OSError, struct.error) as error:
        raise RequestError(_NOT_ARROW, status=400, hint="write it with pyarrow.ipc.new_stream") from error
    if not table.num_rows:
        raise RequestError("the stream has no rows", status=422, problems=({"path": "$", "problem": "has no rows"},))
    return TableInput(table, encoders)


def _table(body: bytes, max_rows: int) -> pa.Table:
    batches, rows = [], 0
    with pa.ipc.open_stream(pa.BufferReader(body)) as stream:
        for batch in stream:
            rows += batch.num_rows
            # Before anything is made of it: columns of nulls have any number of rows without a byte.
            if rows > max_rows:
                raise too_many(rows, max_rows)
            batches.append(batch)
        table = pa.Table.from_batches(batches, stream.schema)
    # Offsets that lead out of their buffers would be read, and not only by us.
    table.validate(full=True)
    return table


def arrow_body(answered: Answered, *, model: str) -> bytes:
    """What a client gets who asked for Arrow: a stream of one batch.

    The columns are ``score`` and ``decision``, and of several classes ``probabilities``, a list of fixed size in the
    order of ``classes``. The schema's metadata says the rest, each value as JSON text where it is no plain text.

    Args:
        answered: the answer.
        model: name of the endpoint.
    """
    scorer, scores = answered.arm.scorer, answered.scores
    metadata = {
        "model": model,
        "version": answered.arm.arm.version,
        "arm": answered.arm.name,
        "request_id": answered.request_id,
    }
    columns: dict[str, Any] = {"score": scores, "decision": answered.decisions}
    if scorer.classes:
        width = len(scorer.classes)
        decided = scores.argmax(axis=1)
        columns = {
            "score": scores.max(axis=1),
            "decision": pa.array(list(scorer.classes)).take(pa.array(decided)),
            "probabilities": pa.FixedSizeListArray.from_arrays(pa.array(scores.reshape(-1)), width),
        }
        metadata["classes"] = write_json(list(scorer.classes)).decode()
    if answered.failover:
        metadata["failover"] = "true"
    if answered.unseen:
        metadata["unseen_categories"] = str(answered.unseen)
    batch = pa.RecordBatch.from_pydict(columns).replace_schema_metadata(metadata)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as stream:
        stream.write_batch(batch)
    return bytes(sink.getvalue().to_pybytes())
