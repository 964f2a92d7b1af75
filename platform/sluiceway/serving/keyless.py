"""Whether an endpoint may be asked without a key: only where nobody but this machine can ask it.

What counts is the interface that HTTP really listens on. That stands in Serve's own options, which whoever started
Serve has chosen, and which are not among an endpoint's arguments: a replica asks Serve's controller.
"""

from __future__ import annotations

import logging

import ray
from ray.exceptions import RayError
from ray.serve._private.constants import SERVE_CONTROLLER_NAME, SERVE_NAMESPACE

from sluiceway.config.serving import KeysMode
from sluiceway.core.errors import BackendError, ConfigError
from sluiceway.core.loopback import is_loopback

logger = logging.getLogger(__name__)

ANSWER_SECONDS = 15.0


def needs_keys(mode: KeysMode, host: str | None) -> bool:
    """Whether an endpoint lets in only who has a key.

    Args:
        mode: ``platform.serving.keys``.
        host: that HTTP listens on; None: nobody knows.

    Raises:
        ConfigError: it is to do without keys where others can reach it.
    """
    alone = is_loopback(host)
    if mode == "none" and not alone:
        raise ConfigError(
            f"serving.keys is none, but HTTP listens on {host or 'all interfaces'}, where others can reach it",
            hint="leave serving.keys out and make a key with `sluiceway keys create`, or listen on 127.0.0.1",
        )
    return mode == "required" or not alone


def replica_needs_keys(mode: KeysMode) -> bool:
    """The same, asked inside a replica, which finds the interface out.

    Where that cannot be found out, keys are needed.

    Raises:
        ConfigError: the endpoint is to do without keys where others can reach it.
        BackendError: it is to do without keys, and nobody says where HTTP listens.
    """
    if mode == "required":
        return True
    try:
        host = http_host()
    except BackendError as error:
        if mode == "none":
            raise
        logger.error("%s: this endpoint asks for keys", error.message)
        return True
    return needs_keys(mode, host)


def http_host() -> str | None:
    """The interface that the HTTP of this replica's Serve listens on, for as long as it runs; None: it has no HTTP.

    Raises:
        BackendError: its controller does not say.
    """
    # Not by Serve's own client, which waits for ever. A replica is being made and answers nobody: blocking is right.
    try:
        controller = ray.get_actor(SERVE_CONTROLLER_NAME, namespace=SERVE_NAMESPACE)
        options = ray.get(controller.get_http_config.remote(), timeout=ANSWER_SECONDS)
    except (RayError, ValueError) as error:
        raise BackendError(
            "Serve's controller does not say where HTTP listens", hint="see its log below the session's logs/serve"
        ) from error
    return None if options.host is None else str(options.host)
