"""The commands of docs/data/lakefs.md, against an S3 endpoint with the places that a lakeFS server has."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from deltalake import DeltaTable

import s3_gateway
from ray_head import clean_environment

pytestmark = pytest.mark.integration


def commands(repository: Path) -> list[str]:
    page = (repository / "docs/data/lakefs.md").read_text(encoding="utf-8")
    shown = page.split("<!-- commands -->")[1].split("<!-- /commands -->")[0]
    return [re.split(r"\s+# ", line.strip())[0] for line in shown.splitlines() if line.strip()]


@pytest.mark.soak  # the shortest form is `test_storage_page.py`
def test_the_commands_of_the_page_work_with_its_variables_alone(repository, tmp_path, monkeypatch):
    pq.write_table(pa.table({"id": [1, 2, 3]}), tmp_path / "trips.parquet")
    lines = commands(repository)
    exported = dict(line.removeprefix("export ").split("=", 1) for line in lines if line.startswith("export "))
    told = [line for line in lines if not line.startswith("export ")]
    with s3_gateway.running() as address:
        s3_gateway.new_bucket(address, "lake")
        settings = exported | {"AWS_ENDPOINT_URL": address, "AWS_ALLOW_HTTP": "true"}
        assert set(settings) == set(s3_gateway.environment(address))
        others = {name: value for name, value in clean_environment().items() if not name.startswith("AWS_")}
        path = f"{Path(sys.executable).parent}:{others['PATH']}"
        done = subprocess.run(
            # The doctor may find something else to say of this machine.
            ["bash", "-euo", "pipefail", "-c", "\n".join(told).replace("tables\n", "tables || true\n", 1)],
            cwd=tmp_path,
            env=others | settings | {"PATH": path, "HOME": str(tmp_path), "AWS_EC2_METADATA_DISABLED": "true"},
            capture_output=True,
            text=True,
            check=False,
            timeout=400,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert re.search(r"^store +ok", done.stdout, re.MULTILINE)
        assert re.search(r"^rows: +3$", done.stdout, re.MULTILINE)
        assert "first delivery" in done.stdout
        pinned = yaml.safe_load((tmp_path / "pins.yaml").read_text())["trips"]
        assert (pinned["table"], pinned["version"]) == ("s3://lake/main/tables/trips", 0)
        for name, value in settings.items():
            monkeypatch.setenv(name, value)
        table = DeltaTable("s3://lake/main/tables/trips")
        assert sorted(table.to_pyarrow_table()["id"].to_pylist()) == [1, 2, 3]
        # Nothing above the table: what lakeFS would take for an object beside its branches.
        objects = re.findall("<Key>(.*?)</Key>", s3_gateway.listing(address, "lake"))
        assert objects
        assert [key for key in objects if not key.startswith("main/tables/trips/")] == []
