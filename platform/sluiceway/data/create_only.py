"""Refuses object stores that cannot write "create only": both writers of one version would believe that it is theirs.

A store that does not know ``If-None-Match`` answers with an error, or overwrites without a word. The second kind shows
in no other way than by trying, so a process tries once per bucket before its first write there.
"""

from __future__ import annotations

import contextlib
import functools
import re
import uuid
from datetime import timedelta
from typing import TYPE_CHECKING

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError, PreconditionError
from obstore.store import from_url

from sluiceway.core.errors import DataError

if TYPE_CHECKING:
    from obstore.store import RetryConfig

_TAKEN = (AlreadyExistsError, PreconditionError)
# Below a name with an underscore, as everything in a table's folder that is not its rows.
_NAME = "_sluiceway_create_only_{}"
_HINT = 'the store has to write "create only" (If-None-Match), or writers lose commits; see docs/data/lakefs.md'
_RETRIES: RetryConfig = {"max_retries": 3, "retry_timeout": timedelta(seconds=30)}
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")


def refuse_unsafe_store(uri: str) -> None:
    """Refuse a table's store if it cannot keep two writers apart; asks each bucket once per process.

    Args:
        uri: of the table, there or not yet.

    Raises:
        DataError: the store overwrites what was to be created, refuses to write "create only", or to write at all.
    """
    scheme, separator, rest = uri.partition("://")
    if not separator:
        return  # a file system makes hard links, which are create-only by nature
    bucket = f"{scheme}://{rest.partition('/')[0]}"
    if bucket not in _tried():
        _try(uri)
        _tried().add(bucket)


def unwritable(uri: str, error: Exception) -> DataError:
    """What to say of a store's own error: one line, without colours."""
    said = str(error).partition("Debug source:")[0]
    lines = [_COLOURS.sub("", line).strip().removeprefix("↳").strip() for line in said.splitlines()]
    text = " ".join(line for line in lines if line) or type(error).__name__
    return DataError(
        f"{uri} cannot be written: {text}",
        hint=_HINT if "://" in uri else "check that the folder may be written",
        table=uri,
    )


@functools.cache
def _tried() -> set[str]:
    return set()


def _try(uri: str) -> None:
    name = _NAME.format(uuid.uuid4().hex)
    try:
        store = from_url(uri, retry_config=_RETRIES)
        obstore.put(store, name, b"once", mode="create")
    except (BaseError, OSError, NotImplementedError) as error:
        raise unwritable(uri, error) from error
    try:
        obstore.put(store, name, b"twice", mode="create")
    except _TAKEN:
        return
    except (BaseError, OSError, NotImplementedError) as error:
        raise unwritable(uri, error) from error
    finally:
        with contextlib.suppress(BaseError, OSError):  # who may only add leaves an empty trace
            obstore.delete(store, name)
    raise DataError(
        f"the store of {uri} overwrites what was to be created only: two writers would lose each other's commits",
        hint=_HINT,
        table=uri,
    )
