"""Places that cannot be used are named at once, with what to do."""

from __future__ import annotations

import socket

import pytest

from sluiceway.catalog.engine import open_catalog
from sluiceway.config.platform import RaySection
from sluiceway.core.errors import BackendError, ConfigError
from sluiceway.serving.environment import free_port
from sluiceway.wiring.cluster import _init_ray, _require_answer


def test_an_address_at_which_nobody_listens_is_refused_before_ray_asks_it_for_minutes():
    address = f"127.0.0.1:{free_port('127.0.0.1')}"
    # Not by `connect_ray`: it asks nobody where an earlier test has left this process connected. What is refused here
    # says so itself; Ray's own errors, of minutes later or of a second connection, say something else.
    with pytest.raises(BackendError, match=f"Ray at {address} cannot be used: .*Connection refused"):
        _init_ray(RaySection(address=address))
    with pytest.raises(BackendError, match=f"Ray at ray://{address} cannot be used: .*Connection refused"):
        _require_answer(f"ray://{address}")


def test_an_address_with_somebody_behind_it_and_a_name_are_left_to_ray():
    with socket.create_server(("127.0.0.1", 0)) as holder:
        _require_answer(f"127.0.0.1:{holder.getsockname()[1]}")
    _require_answer("auto")


@pytest.mark.parametrize("place", ["a-file", "a-file/below"])
def test_a_folder_of_the_catalog_that_cannot_be_made_is_named_with_its_key(tmp_path, place):
    (tmp_path / "a-file").write_text("")
    with pytest.raises(ConfigError, match="cannot be made") as caught:
        open_catalog(f"sqlite:///{tmp_path / place / 'catalog.db'}")
    assert "platform.state" in str(caught.value.hint)
