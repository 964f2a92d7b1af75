"""The Open Inference Protocol over gRPC: its messages as the documents of the protocol over REST, and back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sluiceway.features.problems import refuse
from sluiceway.serving.protocols.grpc_messages import message_class
from sluiceway.serving.protocols.tensors import BYTES

_CONTENTS = {
    "BOOL": "bool_contents",
    **dict.fromkeys(("INT8", "INT16", "INT32"), "int_contents"),
    "INT64": "int64_contents",
    **dict.fromkeys(("UINT8", "UINT16", "UINT32"), "uint_contents"),
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    BYTES: "bytes_contents",
}
_PARAMETER = {bool: "bool_param", int: "int64_param", str: "string_param", float: "double_param"}


def document_of(request: Any) -> tuple[dict[str, Any], bytes]:
    """A ``ModelInferRequest`` as a document, and the bytes of its raw contents; all outputs are wanted as bytes.

    Raises:
        RequestError: 422, contents that are neither raw nor of the tensor's datatype, or texts that are not UTF-8.
    """
    raw = list(request.raw_input_contents)
    if raw and len(raw) != len(request.inputs):
        refuse("$.raw_input_contents", f"has {len(raw)} entries for {len(request.inputs)} inputs")
    inputs = []
    for k, tensor in enumerate(request.inputs):
        given: dict[str, Any] = {"name": tensor.name, "shape": list(tensor.shape), "datatype": tensor.datatype}
        if raw:
            given["parameters"] = {"binary_data_size": len(raw[k])}
        else:
            given["data"] = _contents(tensor, k)
        inputs.append(given)
    outputs = [{"name": output.name} for output in request.outputs]
    document = {"inputs": inputs, "outputs": outputs, "parameters": {"binary_data_output": True}}
    return ({**document, "id": request.id} if request.id else document), b"".join(raw)


def infer_response(document: Mapping[str, Any], raw: Sequence[bytes]) -> Any:
    """A ``ModelInferResponse`` of an answer's document and its tensors' bytes."""
    found = message_class("ModelInferResponse")(
        model_name=document["model_name"],
        model_version=document["model_version"],
        id=document["id"],
        raw_output_contents=raw,
    )
    for name, value in document["parameters"].items():
        setattr(found.parameters[name], _PARAMETER[type(value)], value)
    for tensor in document["outputs"]:
        found.outputs.add(name=tensor["name"], datatype=tensor["datatype"], shape=tensor["shape"])
    return found


def metadata_response(document: Mapping[str, Any]) -> Any:
    """A ``ModelMetadataResponse`` of a model's metadata."""
    found = message_class("ModelMetadataResponse")(
        name=document["name"], versions=document["versions"], platform=document["platform"]
    )
    for side in ("inputs", "outputs"):
        for tensor in document[side]:
            getattr(found, side).add(**tensor)
    return found


def _contents(tensor: Any, k: int) -> list[Any]:
    # A datatype that nobody knows has no contents, and is refused with all that are known.
    values = list(getattr(tensor.contents, _CONTENTS.get(tensor.datatype, BYTES.lower() + "_contents")))
    if tensor.datatype != BYTES:
        return values
    try:
        return [value.decode() for value in values]
    except UnicodeDecodeError:
        refuse(f"$.inputs[{k}]", "has a text that is not UTF-8")
