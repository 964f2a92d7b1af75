"""What tests of object stores share: moto's S3, over HTTP on this machine."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import s3_gateway


@pytest.fixture(scope="module")
def s3_server() -> Iterator[str]:
    """The address of a server of the module's own."""
    with s3_gateway.running() as address:
        yield address


@pytest.fixture
def bucket(s3_server: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """A bucket of the test's own; the engine, obstore and pyarrow find it by the same variables."""
    for name, value in s3_gateway.environment(s3_server).items():
        monkeypatch.setenv(name, value)
    return s3_gateway.new_bucket(s3_server)
