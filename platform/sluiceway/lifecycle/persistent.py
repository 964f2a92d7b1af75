"""Goes on with work that a service or another process was in the way of, without a storm of tries."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TypeVar

from sluiceway.core.clock import Clock
from sluiceway.core.errors import BackendError, ConflictError

logger = logging.getLogger(__name__)

Result = TypeVar("Result")
# About ten minutes in all: a dead process' lease, a database that starts again, a node that is replaced.
TRIES = 15
LONGEST_SECONDS = 60.0
# Work that has gone on for so long was in nobody's way: its tries count anew.
HEALTHY_SECONDS = 600.0


def persistently(work: Callable[[], Result], *, clock: Clock) -> Result:
    """Do something that goes on where it stopped; again, ever later, where a service fails or somebody is in the way.

    Args:
        work: may be called any number of times.
        clock: for the pauses.

    Raises:
        SluicewayError: what no repetition changes, at once; what one might, when it has come TRIES times.
    """
    tried = 0
    while True:
        began = clock.now()
        try:
            return work()
        except (BackendError, ConflictError) as error:
            tried = 1 if (clock.now() - began).total_seconds() > HEALTHY_SECONDS else tried + 1
            if tried == TRIES:
                raise
            pause = min(LONGEST_SECONDS, 2.0 ** (tried - 1))
            logger.warning("%s; again in %g s", error.message, pause)
            clock.sleep(pause)
