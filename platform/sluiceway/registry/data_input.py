"""The data of a run as MLflow's own kind of input, so that its UI and its clients find runs by table and version."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from mlflow.entities import Dataset, DatasetInput, InputTag
from mlflow.types.schema import ColSpec, DataType, Schema
from mlflow.utils.mlflow_tags import MLFLOW_DATASET_CONTEXT

_LONGEST_DIGEST, _LONGEST_NAME = 36, 500


@dataclass(frozen=True)
class DataInput:
    """A version of a Delta table that a run has read.

    Attributes:
        name: of the table, for people.
        uri: of the table.
        version: Delta version number.
        digest: of the version, hex; MLflow's field holds its first 36 digits.
        columns: the columns that were used, in order: ``numeric`` or ``category`` (text) by name.
        profile: what is known of its rows, JSON-ready, with ``num_rows``.
        context: what it was used for.
    """

    name: str
    uri: str
    version: int
    digest: str
    columns: Mapping[str, str] = field(default_factory=dict)
    profile: Mapping[str, Any] = field(default_factory=dict)
    context: str = "training"


def dataset_input(data: DataInput) -> DatasetInput:
    """The input as MLflow keeps it; ``mlflow.data.get_source`` gives a ``DeltaDatasetSource`` of it."""
    specs = [
        ColSpec(DataType.string if kind == "category" else DataType.double, name=name)
        for name, kind in data.columns.items()
    ]
    dataset = Dataset(
        name=data.name[:_LONGEST_NAME],
        digest=data.digest[:_LONGEST_DIGEST],
        source_type="delta_table",
        source=json.dumps({"path": data.uri, "delta_table_version": data.version}),
        schema=json.dumps({"mlflow_colspec": Schema(specs).to_dict()}) if specs else None,
        profile=json.dumps(dict(data.profile)),
    )
    return DatasetInput(dataset, [InputTag(MLFLOW_DATASET_CONTEXT, data.context)])
