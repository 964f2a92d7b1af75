"""The peer without a platform: Starlette, and one call of the booster a request; ``uvicorn serving_starlette:app``."""

from __future__ import annotations

import json
import os

import numpy as np
import xgboost
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

FEATURES = tuple(f"f{number}" for number in range(10))

booster = xgboost.Booster({"nthread": 1})
booster.load_model(os.environ["MODEL"])
booster.set_param({"nthread": 1})


async def predict(request: Request) -> Response:
    """Score the rows of a request."""
    rows = json.loads(await request.body())["rows"]
    matrix = np.array([[row[name] for name in FEATURES] for row in rows], dtype=np.float32)
    scores = booster.inplace_predict(matrix, validate_features=False)
    return Response(json.dumps({"scores": scores.tolist()}), media_type="application/json")


app = Starlette(routes=[Route("/predict", predict, methods=["POST"])])
