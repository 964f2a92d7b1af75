"""The guard lets in who has a good key for what is asked, and nobody else."""

import dataclasses
import string
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.datastructures import Headers

from sluiceway.catalog.api_keys import KEY_LENGTH, SCOPES, ApiKeyStore
from sluiceway.catalog.engine import empty_catalog
from sluiceway.core.errors import BackendError, NotReadyError, RequestError, SluicewayError
from sluiceway.serving import guard as guard_module
from sluiceway.serving.guard import Guard

KEYS = ApiKeyStore(empty_catalog())
PREDICT, BOTH, ADMIN = (
    KEYS.create(name, scopes=scopes)
    for name, scopes in (("p", ["predict"]), ("b", ["predict", "feedback"]), ("a", ["admin"]))
)
BOUND = KEYS.create("bound", scopes=["predict"], endpoint="fraud")
ELSEWHERE = KEYS.create("elsewhere", scopes=["admin"], endpoint="churn")
REVOKED = KEYS.create("revoked", scopes=["admin"])
KEYS.revoke(REVOKED.key.id)
GOOD = {one.token for one in (PREDICT, BOTH, ADMIN, BOUND)}


def guarding(endpoint="fraud"):
    """A guard that was handed all keys, good or not: what is not for it, it leaves out itself."""
    made = Guard(endpoint, required=True)
    made.follow(KEYS.list())
    return made


def bearer(token):
    return Headers({"Authorization": f"Bearer {token}"})


def refused(guard, headers, scope="predict"):
    with pytest.raises(RequestError) as caught:
        guard.admit(headers, scope)
    return caught.value


@pytest.mark.parametrize(
    ("made", "scopes", "admin"),
    [(PREDICT, {"predict"}, False), (BOTH, {"predict", "feedback"}, False), (ADMIN, set(SCOPES), True)],
    ids=["predict", "predict and feedback", "admin"],
)
def test_a_key_opens_what_it_is_for(made, scopes, admin):
    guard = guarding()
    for scope in SCOPES:
        if scope in scopes:
            caller = guard.admit(bearer(made.token), scope)
            assert (caller.key_id, caller.admin) == (made.key.id, admin)
        else:
            error = refused(guard, bearer(made.token), scope)
            assert error.status == 403
            assert error.message == f"the key {made.key.id} lacks the scope {scope}"
            assert error.hint == f"it is for: {', '.join(made.key.scopes)}"


@pytest.mark.parametrize(
    "headers",
    [
        {"authorization": f"Bearer {PREDICT.token}"},
        {"authorization": f"bearer {PREDICT.token}"},
        {"authorization": f"BEARER   {PREDICT.token} "},
        {"x-api-key": PREDICT.token},
        {"authorization": "Basic dXNlcjpwYXNz", "x-api-key": PREDICT.token},
        {"authorization": "Bearer eyJhbGciOiJIUzI1NiJ9.e30.x", "x-api-key": PREDICT.token},
    ],
    ids=["bearer", "lower case", "spaces", "x-api-key", "beside a gateway's own", "beside a gateway's token"],
)
def test_where_a_key_may_stand(headers):
    assert guarding().admit(Headers(headers), "predict").key_id == PREDICT.key.id


def changed(token, place):
    return token[:place] + ("A" if token[place] != "A" else "B") + token[place + 1 :]


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"authorization": ""},
        {"authorization": "Bearer"},
        {"authorization": "Bearer "},
        {"authorization": PREDICT.token},
        {"authorization": f"Token {PREDICT.token}"},
        {"authorization": f"Bearer {changed(PREDICT.token, KEY_LENGTH - 1)}"},
        {"authorization": f"Bearer {changed(PREDICT.token, 12)}"},
        {"authorization": f"Bearer sw_ffffffff_{PREDICT.token[12:]}"},
        {"authorization": f"Bearer {PREDICT.token[:12]}{BOTH.token[12:]}"},
        {"authorization": f"Bearer {PREDICT.token[:-1]}"},
        {"authorization": f"Bearer {PREDICT.token}A"},
        {"authorization": f"Bearer {PREDICT.token[:12]}{PREDICT.key.digest}"},
        {"authorization": f"Bearer {PREDICT.key.id}"},
        {"authorization": f"Bearer {PREDICT.token.upper()}"},
        {"authorization": f"Bearer {REVOKED.token}"},
        {"authorization": f"Bearer {ELSEWHERE.token}"},
        {"x-api-key": f"Bearer {PREDICT.token}"},
        {"authorization": f"Bearer {changed(PREDICT.token, KEY_LENGTH - 1)}", "x-api-key": PREDICT.token},
    ],
    ids=[
        "none",
        "empty",
        "the scheme only",
        "the scheme and a space",
        "no scheme",
        "another scheme",
        "last character",
        "first character",
        "unknown id",
        "another key's secret",
        "cut off",
        "longer",
        "the digest",
        "the id",
        "upper case",
        "revoked",
        "for another endpoint",
        "a scheme where there is none",
        "a wrong one before a good one",
    ],
)
def test_whoever_has_no_good_key_hears_the_same(headers):
    error = refused(guarding(), Headers(headers))
    nobody = refused(guarding(), Headers({}))
    assert error.status == 401
    assert (error.message, error.hint, error.problems) == (nobody.message, nobody.hint, nobody.problems)


def test_every_key_is_compared_in_constant_time_also_an_unknown_one(monkeypatch):
    compared = []

    def spy(a, b):
        compared.append((len(a), len(b)))
        return a == b

    monkeypatch.setattr(guard_module, "compare_digest", spy)
    guard = guarding()
    guard.admit(bearer(PREDICT.token), "predict")
    for token in (
        changed(PREDICT.token, KEY_LENGTH - 1),
        f"sw_ffffffff_{PREDICT.token[12:]}",
        REVOKED.token,
        ELSEWHERE.token,
    ):
        refused(guard, bearer(token))
    assert compared == [(32, 32)] * 5


def test_keys_that_are_followed_replace_those_before():
    guard = Guard("fraud", required=True)
    guard.follow([PREDICT.key, ADMIN.key])
    assert guard.admit(bearer(ADMIN.token), "admin").admin
    guard.follow([PREDICT.key])
    assert refused(guard, bearer(ADMIN.token), "predict").status == 401
    assert guard.admit(bearer(PREDICT.token), "predict").key_id == PREDICT.key.id
    guard.follow([])
    assert refused(guard, bearer(PREDICT.token)).status == 401


def test_before_the_keys_are_known_nobody_is_let_in():
    guard = Guard("fraud", required=True)
    for headers in (bearer(ADMIN.token), Headers({})):
        with pytest.raises(NotReadyError, match="fraud"):
            guard.admit(headers, "predict")


def test_without_keys_everybody_may_do_everything():
    guard = Guard("fraud", required=False)
    for headers in (Headers({}), bearer(REVOKED.token), bearer("nonsense")):
        for scope in SCOPES:
            caller = guard.admit(headers, scope)
            assert (caller.key_id, caller.admin) == ("", True)


def test_a_key_that_has_no_good_digest_opens_nothing():
    guard = Guard("fraud", required=True)
    guard.follow([dataclasses.replace(PREDICT.key, digest="")])
    assert refused(guard, bearer(PREDICT.token)).status == 401


near_misses = st.sampled_from(sorted(GOOD | {REVOKED.token, ELSEWHERE.token})).flatmap(
    lambda token: st.builds(
        lambda start, stop, middle: token[:start] + middle + token[stop:],
        st.integers(0, KEY_LENGTH),
        st.integers(0, KEY_LENGTH),
        st.text(max_size=4),
    )
)
secrets = st.one_of(
    st.text(string.ascii_letters + string.digits + "-_", min_size=43, max_size=43),
    st.text(st.characters(categories=["Cs", "Lo", "Cc"]), min_size=43, max_size=43),
)
tokens = st.one_of(
    st.sampled_from(sorted(GOOD)),
    near_misses,
    secrets.map(lambda secret: f"sw_{PREDICT.key.id}_{secret}"),
    st.text(max_size=80),
)


def admitted(headers, scope):
    """The key's id, or the status of the refusal."""
    try:
        return guarding().admit(headers, scope).key_id
    except RequestError as error:
        return error.status


@given(
    token=tokens,
    before=st.sampled_from(["Bearer ", "bearer\t", "Bearer", "", "Basic ", "Bearer  "]),
    after=st.text(" \t\r\n", max_size=2),
    name=st.sampled_from(["authorization", "x-api-key"]),
    scope=st.sampled_from(SCOPES),
)
def test_only_a_good_key_gets_in_whatever_is_sent(token, before, after, name, scope):
    sent = f"{before}{token}{after}"
    good = {one[3:11] for one in GOOD if one in sent}
    assert admitted({name: sent}, scope) in {401, 403} | good


raw_headers = st.tuples(st.sampled_from([b"authorization", b"x-api-key", b"host"]), st.binary(max_size=90))


@given(st.lists(raw_headers, max_size=4))
def test_bytes_of_any_kind_are_refused_and_break_nothing(raw):
    assert admitted(Headers(raw=raw), "predict") == 401


def test_the_follower_keeps_the_guard_at_what_the_catalog_says(catalog):
    from sluiceway.serving.key_follower import KeyFollower  # noqa: PLC0415 (it imports Ray)

    keys = ApiKeyStore(catalog)
    guard = Guard("fraud", required=True)
    follower = KeyFollower(guard, keys, endpoint="fraud")
    made = keys.create("x", scopes=["predict"])
    follower.read()
    assert guard.admit(bearer(made.token), "predict").key_id == made.key.id
    keys.revoke(made.key.id)
    follower.read()
    assert refused(guard, bearer(made.token)).status == 401


def test_keys_stay_known_while_the_catalog_is_away():
    from sluiceway.serving.key_follower import KeyFollower  # noqa: PLC0415

    def gone(_):
        raise BackendError("the catalog is away")

    answers = iter([lambda _: (PREDICT.key,), gone])
    store = SimpleNamespace(usable=lambda endpoint: next(answers)(endpoint))
    guard = Guard("fraud", required=True)
    follower = KeyFollower(guard, store, endpoint="fraud")
    follower.read()
    with pytest.raises(SluicewayError):
        follower.read()
    assert guard.admit(bearer(PREDICT.token), "predict").key_id == PREDICT.key.id
    assert refused(guard, bearer(ADMIN.token)).status == 401
