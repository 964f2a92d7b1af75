"""What an endpoint was asked lately, for the gates: facts of the features, from the log of its predictions."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sluiceway.core.errors import TableNotFoundError
from sluiceway.core.traffic import endpoint_name
from sluiceway.data.newest_rows import newest_rows
from sluiceway.gates.column_facts import ColumnFacts, request_facts
from sluiceway.lifecycle.context import Context
from sluiceway.lifecycle.deployment import prediction_log
from sluiceway.serving.record_batches import CATEGORY, NUMERIC
from sluiceway.serving.route import SHADOW

# More say no more of a distribution.
REQUEST_ROWS = 100_000
PREFIXES = {"numeric": NUMERIC, "category": CATEGORY}


def production_facts(
    context: Context, model: str, kinds: Mapping[str, str], *, champion: str | None
) -> tuple[ColumnFacts, ...]:
    """Facts of the newest rows that the endpoint with the users has answered.

    Args:
        context: the configuration: the last of its environments has the users.
        model: whose endpoint.
        kinds: ``numeric`` or ``category`` by feature, as the model to be judged has them.
        champion: the version that serves.

    Returns:
        One a feature that is in the log as it was. None of them where there is no log, or nothing in it of the last
        ``evaluation.data_quality.production_days``; a feature that is dropped or hashed, or that no version that served
        has seen as this kind, is left out.
    """
    endpoint = endpoint_name(model, context.deployment.environments[-1])
    uri = prediction_log(context, endpoint)
    if uri is None:
        return ()
    kept_back = {*context.serving.log.drop, *context.serving.log.hash}
    columns = {name: PREFIXES[kind] + name for name, kind in kinds.items() if name not in kept_back}
    try:
        rows = newest_rows(
            uri,
            columns=[*columns.values(), "version"],
            by="time",
            since=context.clock.now() - timedelta(days=context.evaluation.data_quality.production_days),
            limit=REQUEST_ROWS,
            # A shadow's rows are those of a request once more.
            where=(pc.field("endpoint") == endpoint) & (pc.field("arm") != SHADOW),
        )
    except TableNotFoundError:
        return ()
    found = {
        name: _seen(rows[column], rows["version"], champion)
        for name, column in columns.items()
        if column in rows.column_names
    }
    return request_facts({name: values for name, values in found.items() if len(values)})


def _seen(values: pa.ChunkedArray, versions: pa.ChunkedArray, champion: str | None) -> pa.ChunkedArray:
    """The values of versions that have the feature.

    A version of which no row has a value knows it by another name or not at all; unless it is the champion, which has
    been asked without it.
    """
    encoded = versions.combine_chunks().dictionary_encode()
    codes, names = encoded.indices.to_numpy(zero_copy_only=False), encoded.dictionary.to_pylist()
    given = values.is_valid().combine_chunks().to_numpy(zero_copy_only=False)
    filled = np.bincount(codes[given], minlength=len(names)) > 0
    filled |= np.array([name == champion for name in names], dtype=bool)
    return values.filter(pa.array(filled[codes])) if len(codes) else values
