"""The API keys of the endpoints: made, listed and revoked.

A key is ``sw_<id>_<secret>``: the id may be shown, the secret is seen once, when the key is made. The catalog holds its
SHA-256 only, without salt and without a slow hash: those make it costly to guess what people choose as passwords; 256
random bits are guessed by nobody at any speed, and a replica checks a key with every request.
"""

from __future__ import annotations

import hashlib
import json
import secrets
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa

from sluiceway.catalog.dialect import insert, reaching
from sluiceway.catalog.schema import api_keys
from sluiceway.core.errors import ConfigError, ConflictError, InputError

PREDICT, FEEDBACK, ADMIN = "predict", "feedback", "admin"
SCOPES = (PREDICT, FEEDBACK, ADMIN)

PREFIX = "sw_"
ID_BYTES = 4
SECRET_BYTES = 32
# In characters: the id is hex digits, so that the first "_" after it ends it; the secret is URL-safe Base64.
ID_LENGTH = 2 * ID_BYTES
KEY_LENGTH = len(PREFIX) + ID_LENGTH + 1 + 43
NAME_LENGTH = 200
ATTEMPTS = 5


@dataclass(frozen=True)
class ApiKey:
    """What the catalog holds of a key.

    Attributes:
        id: the part that may be shown.
        name: who has it, for people.
        digest: SHA-256 of the secret, hex.
        scopes: of ``SCOPES``; ``admin`` stands for all of them.
        endpoint: the only one that it opens; "" opens all.
        created: UTC epoch seconds.
        revoked: UTC epoch seconds, or None while it is good.
    """

    id: str
    name: str
    digest: str = field(repr=False)
    scopes: tuple[str, ...]
    endpoint: str
    created: float
    revoked: float | None

    @property
    def opens(self) -> frozenset[str]:
        """The scopes that it has, those that ``admin`` implies included."""
        return frozenset(SCOPES) if ADMIN in self.scopes else frozenset(self.scopes)


@dataclass(frozen=True)
class NewKey:
    """A key that was just made.

    Attributes:
        key: what the catalog holds of it.
        token: all of it, as a client sends it; it cannot be had again.
    """

    key: ApiKey
    token: str = field(repr=False)


class ApiKeyStore:
    """Makes, lists and revokes keys."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine

    def create(self, name: str, *, scopes: Iterable[str], endpoint: str = "") -> NewKey:
        """Make a key.

        Args:
            name: who gets it; need not be unique.
            scopes: what it is for, one of ``SCOPES`` or more.
            endpoint: the only one that it opens; "" opens all.

        Raises:
            ConfigError: no name, no scope, or one that nobody knows.
        """
        asked = _checked(name, scopes)
        chosen = tuple(scope for scope in SCOPES if scope in asked)
        for _ in range(ATTEMPTS):
            key_id, secret = secrets.token_hex(ID_BYTES), secrets.token_urlsafe(SECRET_BYTES)
            key = ApiKey(key_id, name.strip(), digest_of(secret), chosen, endpoint, time.time(), None)
            values = {**key.__dict__, "scopes": json.dumps(chosen)}
            statement = insert(self._engine, api_keys).values(**values).on_conflict_do_nothing()
            with reaching(self._engine), self._engine.begin() as connection:
                if connection.execute(statement).rowcount == 1:
                    return NewKey(key, f"{PREFIX}{key_id}_{secret}")
        raise ConflictError(f"no free id for a key after {ATTEMPTS} tries", hint="try again")

    def list(self) -> tuple[ApiKey, ...]:
        """All keys, revoked ones included, the oldest first."""
        return self._read(sa.select(api_keys).order_by(api_keys.c.created, api_keys.c.id))

    def usable(self, endpoint: str) -> tuple[ApiKey, ...]:
        """The keys that open an endpoint now: not revoked, and bound to no other one."""
        found = sa.select(api_keys).where(api_keys.c.revoked.is_(None), api_keys.c.endpoint.in_(("", endpoint)))
        return self._read(found.order_by(api_keys.c.id))

    def revoke(self, key_id: str) -> ApiKey:
        """Revoke a key for good; one that is revoked already stays as it is.

        Args:
            key_id: its id, or all of it, as when somebody has found it where it should not be.

        Raises:
            InputError: there is none.
        """
        wanted = key_id.removeprefix(PREFIX)[:ID_LENGTH] if key_id.startswith(PREFIX) else key_id
        statement = (
            sa.update(api_keys).where(api_keys.c.id == wanted, api_keys.c.revoked.is_(None)).values(revoked=time.time())
        )
        with reaching(self._engine), self._engine.begin() as connection:
            connection.execute(statement)
        found = self._read(sa.select(api_keys).where(api_keys.c.id == wanted))
        if not found:
            raise InputError(f"there is no key {wanted}", hint="`sluiceway keys list` shows their ids")
        return found[0]

    def revoke_named(self, name: str) -> int:
        """Revoke all keys of a name that are good; gives how many."""
        statement = (
            sa.update(api_keys).where(api_keys.c.name == name, api_keys.c.revoked.is_(None)).values(revoked=time.time())
        )
        with reaching(self._engine), self._engine.begin() as connection:
            return int(connection.execute(statement).rowcount)

    def _read(self, query: sa.Select[Any]) -> tuple[ApiKey, ...]:
        with reaching(self._engine), self._engine.connect() as connection:
            rows = connection.execute(query).mappings()
            return tuple(ApiKey(**{**row, "scopes": tuple(json.loads(row["scopes"]))}) for row in rows)


def digest_of(secret: str) -> str:
    """SHA-256 of a key's secret part, hex."""
    return hashlib.sha256(secret.encode()).hexdigest()


def _checked(name: str, scopes: Iterable[str]) -> frozenset[str]:
    given = frozenset(scopes)
    unknown = sorted(given - set(SCOPES))
    problems = []
    if not name.strip() or len(name) > NAME_LENGTH or not name.isprintable():
        problems.append(f"the name has to be printable text of 1 to {NAME_LENGTH} characters")
    if not given:
        problems.append(f"a key has one scope at least: {', '.join(SCOPES)}")
    if unknown:
        problems.append(f"there is no scope {', '.join(unknown)}; known: {', '.join(SCOPES)}")
    if problems:
        raise ConfigError("the key cannot be made", problems=tuple(problems))
    return given
