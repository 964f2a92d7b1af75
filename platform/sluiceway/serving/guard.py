"""Who may ask an endpoint: its API keys, checked at every request.

The way of a request: the key's id finds what is known of it in a dictionary, one SHA-256 of the secret is compared in
constant time. An id that nobody knows is compared all the same, with a digest that no secret has, so that the time of
an answer does not tell which ids there are; nor does its text.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from hmac import compare_digest

from sluiceway.catalog.api_keys import ADMIN, ID_LENGTH, KEY_LENGTH, PREFIX, SCOPES, ApiKey
from sluiceway.core.errors import NotReadyError, RequestError

# What an answer with status 401 has to tell (RFC 9110).
CHALLENGE = {"WWW-Authenticate": "Bearer"}
SCHEME = "bearer "

_ID_ENDS = len(PREFIX) + ID_LENGTH


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks.

    Attributes:
        key_id: of its key; "" where an endpoint asks for none.
        admin: may do everything that the endpoint offers.
    """

    key_id: str
    admin: bool


@dataclass(frozen=True, slots=True)
class _Known:
    digest: bytes
    opens: frozenset[str]
    caller: Caller


ANYBODY = Caller("", admin=True)
# Whom no guard has let in yet.
STRANGER = Caller("", admin=False)
NOBODY = _Known(secrets.token_bytes(sha256().digest_size), frozenset(), STRANGER)


class Guard:
    """Lets requests through, or not.

    Args:
        endpoint: that it stands before; a key that is bound to another one is unknown here.
        required: False lets everybody do everything; for endpoints that this machine alone can reach.

    Attributes:
        required: as given.
    """

    def __init__(self, endpoint: str, *, required: bool) -> None:
        self.required = required
        self._endpoint = endpoint
        self._known: dict[str, _Known] | None = None

    def follow(self, keys: Iterable[ApiKey]) -> None:
        """From now on these keys are good, and no others.

        Args:
            keys: of any endpoint; those that are revoked or bound to another endpoint are left out.
        """
        self._known = {
            key.id: _Known(bytes.fromhex(key.digest), key.opens, Caller(key.id, ADMIN in key.opens))
            for key in keys
            if key.revoked is None and key.endpoint in ("", self._endpoint)
        }

    def admit(self, headers: Mapping[str, str], scope: str) -> Caller:
        """Who asks, where its key is good for what it asks.

        Args:
            headers: of the request, found by lower-case names.
            scope: that it needs: one of ``catalog.api_keys.SCOPES``.

        Raises:
            RequestError: 401 without a key that is good here, 403 where it lacks the scope.
            NotReadyError: no keys are known yet; nobody is let in.
        """
        if not self.required:
            return ANYBODY
        if self._known is None:
            raise NotReadyError(f"endpoint {self._endpoint} does not know its keys yet")
        token = _token(headers)
        known = self._known.get(token[len(PREFIX) : _ID_ENDS], NOBODY)
        digest = sha256(token[_ID_ENDS + 1 :].encode()).digest()
        if not compare_digest(digest, known.digest) or known is NOBODY:
            raise _refused()
        if scope not in known.opens:
            had = ", ".join(one for one in SCOPES if one in known.opens)
            raise RequestError(
                f"the key {known.caller.key_id} lacks the scope {scope}", status=403, hint=f"it is for: {had}"
            )
        return known.caller

    def would_admit(self, headers: Mapping[str, str], scope: str) -> bool:
        """Whether :meth:`admit` would let a request in; for what anybody may ask, and some are told more of."""
        try:
            self.admit(headers, scope)
        except (RequestError, NotReadyError):
            return False
        return True


def _token(headers: Mapping[str, str]) -> str:
    """The key of a request: a bearer token of our form, else ``X-API-Key``.

    A gateway's own credentials may stand in ``Authorization``, which is then looked past.

    Raises:
        RequestError: 401, there is none of our form.
    """
    given = headers.get("authorization")
    if given is not None and given[: len(SCHEME)].lower() == SCHEME:
        token = given[len(SCHEME) :].strip()
        if _has_our_form(token):
            return token
    token = headers.get("x-api-key", "")
    if not _has_our_form(token):
        raise _refused()
    return token


def _has_our_form(token: str) -> bool:
    return len(token) == KEY_LENGTH and token.startswith(PREFIX) and token[_ID_ENDS] == "_" and token.isascii()


def _refused() -> RequestError:
    # One text for a key that is missing, unknown, wrong, revoked or for another endpoint.
    return RequestError(
        "this needs a valid API key",
        status=401,
        hint="send Authorization: Bearer sw_...; `sluiceway keys create` makes one",
    )
