"""Keyless is for what this machine alone can reach; whatever is not surely that, is not."""

import pytest

from sluiceway.core.loopback import is_loopback


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.10", "::1", "localhost"])
def test_this_machine_alone(host):
    assert is_loopback(host)


OTHERS = (None, "", "0.0.0.0", "::", "*", "10.0.0.7", "192.168.1.1", "fe80::1", "::ffff:127.0.0.1", "[::1]")
MALFORMED = ("127.0.0.1:8000", "127.0.0", "127.1", "127.0.0.1 ", "2130706433", "localhost.example.com", "LOCALHOST.")


@pytest.mark.parametrize("host", [*OTHERS, *MALFORMED])
def test_everything_else(host):
    assert not is_loopback(host)
