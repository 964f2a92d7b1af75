"""The matrix that a model sees, by the encoder that endpoints use: categories are those of the training rows."""

import json
from pathlib import Path

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
import yaml

from sluiceway.data.membership import PART_NAMES
from sluiceway.features.encode import encode_table
from sluiceway.features.schema import derive, is_text

params = yaml.safe_load(Path("params.yaml").read_text())["featurize"]
parts = {name: pq.read_table(f"prepared/{name}.parquet") for name in PART_NAMES}
train = parts["train"]
text = [name for name in params["features"] if is_text(train.schema.field(name).type)]
categories = {name: pc.unique(train[name]).to_pylist() for name in text}
schema = derive(train.schema, categories=categories, features=params["features"])

Path("features").mkdir(exist_ok=True)
Path("features/schema.json").write_text(json.dumps(schema.to_dict(), indent=2))
for name, rows in parts.items():
    np.save(f"features/{name}_x.npy", encode_table(rows, schema)[0])
    np.save(f"features/{name}_y.npy", rows[params["target"]].to_numpy().astype(np.float32))
