"""Which catalogs have names for a table: tags, branches, models. A clean-up that asks another one would delete them.

Each says so by a small file in the table's folder, ``_sluiceway/<id of the catalog>.json``; readers and writers of
Delta never look at names with an underscore.
"""

from __future__ import annotations

import json

import obstore
from obstore.store import LocalStore, from_url

from sluiceway.catalog.identity import CatalogIdentity
from sluiceway.core.errors import BackendError, InputError
from sluiceway.data.places import main_of

FOLDER = "_sluiceway"


def make_known(uri: str, catalog: CatalogIdentity) -> None:
    """Say beside a table that a catalog has names for it.

    Where that cannot be written, nothing is: who may not write there cannot clean up either.

    Args:
        uri: the table, or a branch's copy of it.
        catalog: that has names.
    """
    place = main_of(uri)
    text = json.dumps({"catalog": catalog.shown, "table": place})
    try:
        # The first word stays: a table that was moved is not found by its names until somebody says that this is meant.
        obstore.put(_store(place), f"{FOLDER}/{catalog.id}.json", text.encode(), mode="create")
    except (OSError, obstore.exceptions.BaseError):
        return


def refuse_other_catalogs(uri: str, catalog: CatalogIdentity) -> None:
    """Refuse a clean-up of a table that another catalog has names for.

    Args:
        uri: the table.
        catalog: that is asked who needs what.

    Raises:
        InputError: there is another, or this one knows the table by another place; the message says where.
        BackendError: nobody can say.
    """
    try:
        store = _store(uri)
        files = [str(meta["path"]) for part in obstore.list(store, FOLDER) for meta in part]
        own = f"{FOLDER}/{catalog.id}.json"
        told = {path: json.loads(bytes(obstore.get(store, path).bytes())) for path in files if path.endswith(".json")}
    except (OSError, ValueError, obstore.exceptions.BaseError) as error:
        raise BackendError(f"the catalogs of {uri} cannot be found out: {error}", hint="check the rights") from error
    for path in sorted(told.keys() - {own}):
        raise InputError(
            f"{uri} has tags, branches or models in another catalog: {told[path].get('catalog', 'unknown')}",
            hint=f"name its configuration by -c; where that catalog is gone for good, delete {uri}/{path}",
            table=uri,
        )
    place = told.get(own, {}).get("table", uri)
    if place != uri:
        raise InputError(
            f"{uri} was moved or copied: its tags, branches and models are known as those of {place}",
            hint=f"bring it back there; or, where none of these is meant to be kept here, delete {uri}/{own}",
            table=uri,
        )


def _store(uri: str) -> obstore.store.ObjectStore:
    return from_url(uri) if "://" in uri else LocalStore(uri)
