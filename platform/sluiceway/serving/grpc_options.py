"""What Serve is told of gRPC, which it takes when it starts and for all applications."""

from __future__ import annotations

from typing import Any

from sluiceway.config.serving import ServingSection

SERVICER_FUNCTION = "sluiceway.serving.protocols.grpc_service.add_service"


def grpc_options(serving: ServingSection) -> dict[str, Any] | None:
    """Serve's ``grpc_options``; None where there is to be no gRPC."""
    if serving.grpc_port is None:
        return None
    # Reflection would be answered to everybody.
    functions = [SERVICER_FUNCTION]
    return {"port": serving.grpc_port, "grpc_servicer_functions": functions, "enable_reflection": False}
