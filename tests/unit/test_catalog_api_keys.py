"""API keys in the catalog: seen once, kept as a digest, revoked for good."""

import hashlib

import pytest
import sqlalchemy as sa

from sluiceway.catalog.api_keys import KEY_LENGTH, SCOPES, ApiKeyStore
from sluiceway.catalog.schema import api_keys
from sluiceway.catalog.stores import stores_on
from sluiceway.core.errors import ConfigError, ConflictError, InputError


@pytest.fixture
def keys(catalog):
    return ApiKeyStore(catalog)


def stored(catalog):
    """Every cell of the table."""
    with catalog.connect() as connection:
        return [value for row in connection.execute(sa.select(api_keys)) for value in row]


def test_a_key_is_told_once_and_kept_as_a_digest(keys, catalog):
    made = keys.create("checkout", scopes=["feedback", "predict"], endpoint="fraud")
    prefix, key_id, secret = made.token.split("_", 2)
    assert (prefix, key_id, len(made.token)) == ("sw", made.key.id, KEY_LENGTH)
    (found,) = keys.list()
    assert found == made.key
    assert (found.name, found.scopes, found.endpoint, found.revoked) == (
        "checkout",
        ("predict", "feedback"),
        "fraud",
        None,
    )
    assert found.digest == hashlib.sha256(secret.encode()).hexdigest()
    assert not any(secret in str(value) for value in stored(catalog))
    assert secret not in repr(made)
    assert found.digest not in repr(made)


def test_no_two_keys_are_alike(keys):
    made = [keys.create("same", scopes=["predict"]) for _ in range(40)]
    assert len({one.key.id for one in made}) == len({one.token.split("_", 2)[2] for one in made}) == 40
    assert all(len(one.token) == KEY_LENGTH for one in made)


def test_an_id_that_is_taken_is_not_given_twice(keys, monkeypatch):
    ids = iter(["aaaaaaaa", "aaaaaaaa", "bbbbbbbb"])
    monkeypatch.setattr("secrets.token_hex", lambda _: next(ids))
    assert [keys.create(name, scopes=["predict"]).key.id for name in "ab"] == ["aaaaaaaa", "bbbbbbbb"]
    assert [key.name for key in keys.list()] == ["a", "b"]
    monkeypatch.setattr("secrets.token_hex", lambda _: "aaaaaaaa")
    with pytest.raises(ConflictError, match="no free id"):
        keys.create("c", scopes=["predict"])


@pytest.mark.parametrize(
    ("scopes", "opens"),
    [(["predict"], {"predict"}), (["feedback", "predict"], {"predict", "feedback"}), (["admin"], set(SCOPES))],
    ids=["one", "two", "admin"],
)
def test_admin_implies_the_others(keys, scopes, opens):
    assert keys.create("x", scopes=scopes).key.opens == opens


def test_what_opens_an_endpoint(keys):
    everywhere = keys.create("all", scopes=["predict"]).key
    here = keys.create("here", scopes=["predict"], endpoint="fraud").key
    there = keys.create("there", scopes=["predict"], endpoint="churn").key
    gone = keys.create("gone", scopes=["predict"], endpoint="fraud").key
    keys.revoke(gone.id)
    assert set(keys.usable("fraud")) == {everywhere, here}
    assert set(keys.usable("churn")) == {everywhere, there}
    assert {key.id for key in keys.list()} == {everywhere.id, here.id, there.id, gone.id}


def test_revoked_is_revoked(keys):
    made = keys.create("x", scopes=["admin"])
    first = keys.revoke(made.key.id)
    assert first.revoked >= made.key.created
    assert keys.revoke(made.key.id) == first
    assert keys.revoke(made.token) == first
    assert keys.usable("fraud") == ()


def test_a_whole_key_can_be_revoked_by_who_has_found_it(keys):
    made, other = keys.create("lost", scopes=["predict"]), keys.create("kept", scopes=["predict"])
    assert keys.revoke(made.token).id == made.key.id
    assert keys.usable("fraud") == (other.key,)


def test_keys_of_a_name_are_revoked_together(keys):
    for name in ("replay", "replay", "user"):
        keys.create(name, scopes=["predict"])
    assert (keys.revoke_named("replay"), keys.revoke_named("replay")) == (2, 0)
    assert [key.name for key in keys.usable("fraud")] == ["user"]


@pytest.mark.parametrize("key_id", ["", "00000000", "sw_", "sw_00000000_x", "%"])
def test_a_key_that_is_not_there_cannot_be_revoked(keys, key_id):
    kept = keys.create("x", scopes=["predict"]).key
    with pytest.raises(InputError, match="there is no key"):
        keys.revoke(key_id)
    assert keys.list() == (kept,)


@pytest.mark.parametrize(
    ("name", "scopes", "problem"),
    [
        ("", ["predict"], "the name has to be"),
        (" ", ["predict"], "the name has to be"),
        ("a\nb", ["predict"], "the name has to be"),
        ("x" * 201, ["predict"], "the name has to be"),
        ("x", [], "one scope at least"),
        ("x", ["predict", "write"], "there is no scope write; known: predict, feedback, admin"),
    ],
    ids=["no name", "blank", "two lines", "long", "no scope", "unknown scope"],
)
def test_a_key_that_makes_no_sense_is_refused(keys, name, scopes, problem):
    with pytest.raises(ConfigError, match=problem):
        keys.create(name, scopes=scopes)
    assert keys.list() == ()


def test_the_catalog_has_them_with_its_other_stores(catalog):
    stores = stores_on(catalog, str(catalog.url))
    made = stores.api_keys.create("x", scopes=["predict"])
    assert ApiKeyStore(catalog).usable("any") == (made.key,)
