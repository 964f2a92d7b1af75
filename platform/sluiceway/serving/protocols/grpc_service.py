"""Registers the Open Inference Protocol with a gRPC server; named in Serve's ``grpc_options.grpc_servicer_functions``.

Imported by Serve's controller and proxies too, which have no use for a model: nothing of the endpoint is imported here.
"""

from __future__ import annotations

from typing import Any

import grpc

from sluiceway.serving.protocols.grpc_messages import METHODS, SERVICE, message_class


def add_service(servicer: Any, server: Any) -> None:
    """Add the protocol's methods to a server.

    Args:
        servicer: has a method of the name of each.
        server: of gRPC; Serve's hands each call to the method of the same name of a deployment.
    """
    handlers = {
        name: grpc.unary_unary_rpc_method_handler(
            getattr(servicer, name),
            request_deserializer=message_class(f"{name}Request").FromString,
            response_serializer=message_class(f"{name}Response").SerializeToString,
        )
        for name in METHODS
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
