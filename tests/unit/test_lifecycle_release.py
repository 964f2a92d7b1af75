"""Which version a run goes on with when it is taken up again."""

from types import SimpleNamespace

import pytest

from sluiceway.lifecycle.release import _version_of

CANDIDATE = SimpleNamespace(digest="d1")
REGISTERED = {"run_id": "r", "version": "3", "digest": "d1"}


@pytest.mark.parametrize(
    ("registered", "goes_on"),
    [
        (REGISTERED, True),
        (None, False),
        ({**REGISTERED, "version": None}, False),  # it was blocked, and may not be now
        ({**REGISTERED, "digest": "d2"}, False),  # the code has changed, and with it the model
    ],
)
def test_a_run_stays_with_the_version_that_it_has_registered(registered, goes_on):
    assert _version_of(registered, CANDIDATE) == (registered if goes_on else None)
