"""Keeps what rollouts decided in a Delta table; a rollout neither fails by it nor waits for it."""

from __future__ import annotations

import logging
import threading

from sluiceway.catalog.rollouts import RolloutStore
from sluiceway.lifecycle.context import Context
from sluiceway.rollout.export import export

logger = logging.getLogger(__name__)

# A store that hangs is left behind; the next rollout's end tries again.
WAIT_SECONDS = 10.0


def keep_history(context: Context, *, seconds: float = WAIT_SECONDS) -> None:
    """Bring into the table what it lacks of any rollout; what fails is logged, and tried again at the next one's end.

    Args:
        context: with the catalog, and the table's place.
        seconds: to wait at most.
    """
    uri = context.folders.history
    keeping = threading.Thread(target=_keep, args=(uri, context.stores.rollouts), name="rollout history", daemon=True)
    keeping.start()
    keeping.join(seconds)
    if keeping.is_alive():
        logger.warning("the history of rollouts is still being written to %s after %g s; not waited for", uri, seconds)


def _keep(uri: str, rollouts: RolloutStore) -> None:
    try:
        export(uri, rollouts)
    except Exception as error:  # noqa: BLE001 (whatever the store does, the rollout has ended)
        logger.warning(
            "the history of rollouts was not written to %s: %s; the end of the next rollout, or `sluiceway rollout "
            "export`, writes what is missing; `sluiceway rollout export --dry-run` tells it",
            uri,
            error,
        )
