"""Which version a run goes on with when it is taken up again, and what a candidate is held against."""

from types import SimpleNamespace

import pytest

from sluiceway.lifecycle.release import _version_of
from sluiceway.lifecycle.subject import present_champion, subject_of
from sluiceway.registry.bundle import Bundle

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


@pytest.mark.parametrize(("lineage", "facts"), [({}, ()), ({"imported": {}}, None)])
def test_a_champion_without_facts_is_not_taken_for_an_imported_one(lineage, facts):
    bundle = Bundle(b"{L", {"features": []}, {"kind": "binary", "threshold": 0.5, "target": "late"}, lineage)
    registry = SimpleNamespace(alias=lambda *_: "3", bundle=lambda *_: ("3", bundle), artifact=lambda *_: b"[]")
    bundles = SimpleNamespace(get=lambda *_: bundle)
    context = SimpleNamespace(registry=registry, bundles=bundles, experiment=SimpleNamespace(name="m"))
    candidate = SimpleNamespace(uri="/b", digest="d", version=None)
    assert subject_of(context, candidate, champion=present_champion(context)).champion.facts == facts
