"""What both hashes of rows rest on, that of membership and that of identity: frozen, as their test vectors are."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

MICROSECONDS = {"s": 1_000_000, "ms": 1_000, "us": 1}

_GOLDEN, _FIRST, _SECOND = (np.uint64(x) for x in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB))
_S27, _S30, _S31 = (np.uint64(x) for x in (27, 30, 31))


def mix(values: np.ndarray) -> np.ndarray:
    """The step function of SplitMix64 (Steele, Lea, Flood 2014), element by element; overflow is meant."""
    z = values + _GOLDEN
    z ^= z >> _S30
    z *= _FIRST
    z ^= z >> _S27
    z *= _SECOND
    z ^= z >> _S31
    return z


def is_text(kind: pa.DataType) -> bool:
    """Whether it is text, whatever its offsets."""
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def is_bytes(kind: pa.DataType) -> bool:
    """Whether it is binary, whatever its offsets."""
    plain = pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind)
    return bool(plain or pa.types.is_fixed_size_binary(kind))
