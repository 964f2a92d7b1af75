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
    text = json.dumps({"catalog": catalog.shown})
    try:
        obstore.put(_store(main_of(uri)), f"{FOLDER}/{catalog.id}.json", text.encode())
    except (OSError, obstore.exceptions.BaseError):
        return


def refuse_other_catalogs(uri: str, catalog: CatalogIdentity) -> None:
    """Refuse a clean-up of a table that another catalog has names for.

    Args:
        uri: the table.
        catalog: that is asked who needs what.

    Raises:
        InputError: there is another; the message says where.
        BackendError: nobody can say.
    """
    try:
        store = _store(uri)
        files = [str(meta["path"]) for part in obstore.list(store, FOLDER) for meta in part]
        others = [path for path in files if path.endswith(".json") and path != f"{FOLDER}/{catalog.id}.json"]
        told = [json.loads(bytes(obstore.get(store, path).bytes())) for path in others[:1]]
    except (OSError, ValueError, obstore.exceptions.BaseError) as error:
        raise BackendError(f"the catalogs of {uri} cannot be found out: {error}", hint="check the rights") from error
    if others:
        raise InputError(
            f"{uri} has tags, branches or models in another catalog: {told[0].get('catalog', 'unknown')}",
            hint=f"name its configuration by -c; where that catalog is gone for good, delete {uri}/{others[0]}",
            table=uri,
        )


def _store(uri: str) -> obstore.store.ObjectStore:
    return from_url(uri) if "://" in uri else LocalStore(uri)
