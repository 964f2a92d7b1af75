"""The key of users that are replayed: made for one rollout, told to the replicas, revoked when the replay ends."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sluiceway.catalog.api_keys import FEEDBACK, NAME_LENGTH, PREDICT, ApiKeyStore
from sluiceway.config.serving import ServingSection
from sluiceway.serving.key_follower import tell_replicas
from sluiceway.serving.keyless import needs_keys
from sluiceway.serving.specs import ServeAddress


@contextmanager
def replay_key(
    store: ApiKeyStore, *, endpoint: str, rollout_id: str, serving: ServingSection, address: ServeAddress
) -> Iterator[dict[str, str]]:
    """What a replay sends with its requests, for as long as the context is open.

    The key is in this process's memory only: one that a killed process could not revoke is known to nobody, and the
    rollout that goes on revokes it.

    Args:
        store: the catalog's keys.
        endpoint: the only one that the key opens; it is deployed.
        rollout_id: that the replay is for.
        serving: of the endpoint.
        address: where its HTTP listens.

    Yields:
        The headers; none where the endpoint asks for no key.

    Raises:
        BackendError: a replica did not read its keys.
    """
    if not needs_keys(serving.keys, address.host):
        yield {}
        return
    name = f"replay of {rollout_id}"[:NAME_LENGTH]
    store.revoke_named(name)
    made = store.create(name, scopes=(PREDICT, FEEDBACK), endpoint=endpoint)
    try:
        tell_replicas(endpoint)
        yield {"Authorization": f"Bearer {made.token}"}
    finally:
        store.revoke(made.key.id)
