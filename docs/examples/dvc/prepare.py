"""The rows of the pinned version, in their parts: a row that is once for testing is so in every later version.

Without Ray, whose start takes longer than all stages together for a table that one process holds.
"""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from sluiceway import read_pins
from sluiceway.config.experiment import SplitSection
from sluiceway.data import membership, places, tables

params = yaml.safe_load(Path("params.yaml").read_text())["prepare"]
pin = read_pins("pins.yaml")["fraud"]  # refused where the version is not the one that was pinned
rows = places.dataset(tables.open_table(pin.uri, version=pin.version), pin.uri).to_table()
rows = rows.sort_by([(name, "ascending") for name in params["key"]])
parts = membership.parts(membership.row_hashes(rows, params["key"]), params["seed"], SplitSection(**params["split"]))

Path("prepared").mkdir(exist_ok=True)
for number, name in enumerate(membership.PART_NAMES):
    pq.write_table(rows.filter(pa.array(parts == number)), f"prepared/{name}.parquet")
