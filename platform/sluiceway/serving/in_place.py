"""One call of XGBoost's C function for a matrix, without what its Python method does around it.

``Booster.inplace_predict`` looks at its argument for every kind of frame there is, and makes a class for the pointer to
the result, in each call: for one row that is more than the trees take (docs/decisions/0038). The release of XGBoost is
pinned, so that the function is the one that was tested.
"""

from __future__ import annotations

import ctypes
import json
from typing import Any

import numpy as np
from xgboost.core import _LIB, _check_call

FLOATS = ctypes.POINTER(ctypes.c_float)
LENGTHS = ctypes.POINTER(ctypes.c_uint64)
# What the Python method says by default: values and not margins, all trees, NaN is missing.
CONFIG = json.dumps(
    {
        "type": 0,
        "training": False,
        "iteration_begin": 0,
        "iteration_end": 0,
        "missing": float("nan"),
        "strict_shape": False,
        "cache_id": 0,
    }
).encode()


def predict_in_place(booster: Any, matrix: np.ndarray) -> np.ndarray:
    """What ``booster.inplace_predict(matrix, missing=np.nan, validate_features=False)`` gives, to the bit.

    Threads may call it at once for one booster: XGBoost keeps a result for each thread.

    Args:
        booster: of the CPU.
        matrix: shape (n_rows, n_features), float32, C order, at least one row, as many features as the booster has.

    Returns:
        shape (n_rows,), or (n_rows, classes), float64.

    Raises:
        XGBoostError: it cannot be predicted.
    """
    given = np.ascontiguousarray(matrix, dtype=np.float32)
    rows, width = given.shape
    described = f'{{"data":[{given.ctypes.data},true],"shape":[{rows},{width}],"typestr":"<f4","version":3}}'
    lengths, dimensions, found = LENGTHS(), ctypes.c_uint64(), FLOATS()
    _check_call(
        _LIB.XGBoosterPredictFromDense(
            booster.handle,
            described.encode(),
            CONFIG,
            None,
            ctypes.byref(lengths),
            ctypes.byref(dimensions),
            ctypes.byref(found),
        )
    )
    shape = lengths[: dimensions.value]
    size = rows * shape[1] if len(shape) > 1 else rows
    # A view of memory that the next call writes over; the conversion copies it.
    kept = np.frombuffer(ctypes.cast(found, ctypes.POINTER(ctypes.c_float * size)).contents, dtype=np.float32)
    scores: np.ndarray = kept.astype(np.float64)
    return scores.reshape(shape) if len(shape) > 1 else scores
