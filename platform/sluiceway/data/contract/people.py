"""The keys of a contract that are for people: who answers for the data, what it is for; little of it is checked."""

from __future__ import annotations

from datetime import date
from typing import Any

from sluiceway.config.base import Section

Documents = tuple[dict[str, Any], ...]


class CustomProperty(Section):
    """A key of one's own. ``strict: true`` is the one that is checked: no columns outside the contract."""

    property: str
    value: Any = None
    description: str | None = None


class Described(Section):
    """What any element may say to people; none of it is checked."""

    id: str | None = None
    description: str | None = None
    businessName: str | None = None
    tags: tuple[str, ...] = ()
    authoritativeDefinitions: Documents = ()
    customProperties: tuple[CustomProperty, ...] = ()


class Description(Section):
    """What the data is for."""

    purpose: str | None = None
    limitations: str | None = None
    usage: str | None = None
    authoritativeDefinitions: Documents = ()
    customProperties: tuple[CustomProperty, ...] = ()


class Member(Section):
    """Somebody who answers for the data."""

    id: str | None = None
    username: str
    name: str | None = None
    description: str | None = None
    role: str | None = None
    dateIn: date | str | None = None
    dateOut: date | str | None = None
    replacedByUsername: str | None = None
    tags: tuple[str, ...] = ()
    authoritativeDefinitions: Documents = ()
    customProperties: tuple[CustomProperty, ...] = ()


class Team(Section):
    """Those who answer for the data."""

    id: str | None = None
    name: str | None = None
    description: str | None = None
    members: tuple[Member, ...] = ()
    tags: tuple[str, ...] = ()
    authoritativeDefinitions: Documents = ()
    customProperties: tuple[CustomProperty, ...] = ()
