"""The messages of the Open Inference Protocol over gRPC, declared here instead of generated.

They stand in a pool of their own: a process that also holds a client's generated copy of the same protocol, of the same
names, would otherwise be refused by protobuf.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

PACKAGE = "inference"
SERVICE = f"{PACKAGE}.GRPCInferenceService"

_Field = descriptor_pb2.FieldDescriptorProto
_TYPES = {
    "bool": _Field.TYPE_BOOL,
    "bytes": _Field.TYPE_BYTES,
    "double": _Field.TYPE_DOUBLE,
    "float": _Field.TYPE_FLOAT,
    "int32": _Field.TYPE_INT32,
    "int64": _Field.TYPE_INT64,
    "string": _Field.TYPE_STRING,
    "uint32": _Field.TYPE_UINT32,
    "uint64": _Field.TYPE_UINT64,
}
_REPEATED, _MAP, _CHOICE = "repeated ", "map ", "choice "

# Message -> field -> type, numbered in their order from 1. `map` is one of text to that message.
_MESSAGES: Mapping[str, Mapping[str, str]] = {
    "ServerLiveRequest": {},
    "ServerLiveResponse": {"live": "bool"},
    "ServerReadyRequest": {},
    "ServerReadyResponse": {"ready": "bool"},
    "ModelReadyRequest": {"name": "string", "version": "string"},
    "ModelReadyResponse": {"ready": "bool"},
    "ServerMetadataRequest": {},
    "ServerMetadataResponse": {"name": "string", "version": "string", "extensions": "repeated string"},
    "ModelMetadataRequest": {"name": "string", "version": "string"},
    "ModelMetadataResponse.TensorMetadata": {"name": "string", "datatype": "string", "shape": "repeated int64"},
    "ModelMetadataResponse": {
        "name": "string",
        "versions": "repeated string",
        "platform": "string",
        "inputs": "repeated ModelMetadataResponse.TensorMetadata",
        "outputs": "repeated ModelMetadataResponse.TensorMetadata",
    },
    "InferParameter": {
        "bool_param": "choice bool",
        "int64_param": "choice int64",
        "string_param": "choice string",
        "double_param": "choice double",
        "uint64_param": "choice uint64",
    },
    "InferTensorContents": {
        "bool_contents": "repeated bool",
        "int_contents": "repeated int32",
        "int64_contents": "repeated int64",
        "uint_contents": "repeated uint32",
        "uint64_contents": "repeated uint64",
        "fp32_contents": "repeated float",
        "fp64_contents": "repeated double",
        "bytes_contents": "repeated bytes",
    },
    "ModelInferRequest.InferInputTensor": {
        "name": "string",
        "datatype": "string",
        "shape": "repeated int64",
        "parameters": "map InferParameter",
        "contents": "InferTensorContents",
    },
    "ModelInferRequest.InferRequestedOutputTensor": {"name": "string", "parameters": "map InferParameter"},
    "ModelInferRequest": {
        "model_name": "string",
        "model_version": "string",
        "id": "string",
        "parameters": "map InferParameter",
        "inputs": "repeated ModelInferRequest.InferInputTensor",
        "outputs": "repeated ModelInferRequest.InferRequestedOutputTensor",
        "raw_input_contents": "repeated bytes",
    },
    "ModelInferResponse.InferOutputTensor": {
        "name": "string",
        "datatype": "string",
        "shape": "repeated int64",
        "parameters": "map InferParameter",
        "contents": "InferTensorContents",
    },
    "ModelInferResponse": {
        "model_name": "string",
        "model_version": "string",
        "id": "string",
        "parameters": "map InferParameter",
        "outputs": "repeated ModelInferResponse.InferOutputTensor",
        "raw_output_contents": "repeated bytes",
    },
}
# What clients may call: its request and its answer are named after it.
METHODS = ("ServerLive", "ServerReady", "ModelReady", "ServerMetadata", "ModelMetadata", "ModelInfer")


def _pool() -> descriptor_pool.DescriptorPool:
    file = descriptor_pb2.FileDescriptorProto(name="sluiceway/inference.proto", package=PACKAGE, syntax="proto3")
    made: dict[str, Any] = {}
    for name in sorted(_MESSAGES, key=lambda name: name.count(".")):
        outer, _, inner = name.rpartition(".")
        made[name] = made[outer].nested_type.add(name=inner) if outer else file.message_type.add(name=inner)
    for name, fields in _MESSAGES.items():
        for number, (field, kind) in enumerate(fields.items(), start=1):
            _add_field(made[name], name, field, kind, number)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return pool


def _add_field(message: Any, message_name: str, name: str, kind: str, number: int) -> None:
    field = message.field.add(name=name, number=number, label=_Field.LABEL_OPTIONAL)
    if kind.startswith((_REPEATED, _MAP)):
        field.label = _Field.LABEL_REPEATED
    if kind.startswith(_CHOICE):
        if not message.oneof_decl:
            message.oneof_decl.add(name="parameter_choice")
        field.oneof_index = 0
    target = kind.rpartition(" ")[2]
    if kind.startswith(_MAP):
        # A map is a list of entries; their message is named after the field.
        entry = message.nested_type.add(name=f"{name.title()}Entry")
        entry.options.map_entry = True
        _add_field(entry, message_name, "key", "string", 1)
        _add_field(entry, message_name, "value", target, 2)
        target = f"{message_name}.{entry.name}"
    if target in _TYPES:
        field.type = _TYPES[target]
    else:
        field.type, field.type_name = _Field.TYPE_MESSAGE, f".{PACKAGE}.{target}"


_POOL = _pool()


def message_class(name: str) -> Any:
    """The class of a message, by its name, e.g. ``ModelInferRequest``."""
    return message_factory.GetMessageClass(_POOL.FindMessageTypeByName(f"{PACKAGE}.{name}"))
