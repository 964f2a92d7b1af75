"""Which champion an endpoint had before: one whose promotion was undone is none to go back to."""

from __future__ import annotations

from sluiceway.catalog.stores import Stores
from sluiceway.core.traffic import Arm
from sluiceway.rollout.journal import Rollouts, read_entry
from sluiceway.rollout.state import Phase

GONE_BACK = frozenset({Phase.ROLLING_BACK, Phase.ROLLED_BACK})


def champion_before(stores: Stores, endpoint: str, *, version: str) -> Arm | None:
    """The newest champion of an endpoint that is another version, or None.

    Args:
        stores: the catalog's.
        endpoint: its name.
        version: of the champion that it was before.

    Returns:
        As it was then. What a rollout that was rolled back has promoted is left out.
    """
    known: dict[str, bool] = {}
    for document in stores.traffic.history(endpoint):
        rollout_id = document.rollout_id
        if document.champion.version == version:
            continue
        if rollout_id not in known:
            known[rollout_id] = has_gone_back(stores.rollouts, rollout_id)
        if not known[rollout_id]:
            return document.champion
    return None


def has_gone_back(rollouts: Rollouts, rollout_id: str) -> bool:
    """Whether a rollout has given the traffic back to the champion of before, by itself or by a person.

    Args:
        rollouts: the catalog's.
        rollout_id: its name; "" is that of none.
    """
    entries = rollouts.journal(rollout_id) if rollout_id else ()
    return bool(entries) and read_entry(entries[-1]).state.phase in GONE_BACK
