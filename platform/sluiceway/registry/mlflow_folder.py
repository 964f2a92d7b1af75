"""A bundle as MLflow's loaders expect it: the four files, with MLflow's own description of the booster beside them.

``mlflow.xgboost.load_model`` and ``mlflow.pyfunc.load_model`` then give the booster and its raw score to anybody who
has MLflow and XGBoost. Written here instead of by ``mlflow.xgboost.save_model``, because that one serialises the
booster again and works out requirements by loading it (measured: 6.3 s, where this and registering take under 0.1 s);
the bytes that were judged are the bytes that are kept. Nothing in the folder is a pickle.
"""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from mlflow.models import Model, ModelSignature
from mlflow.types.schema import ColSpec, DataType, Schema, TensorSpec

from sluiceway.registry.bundle import MODEL_FILE, Bundle

_REQUIREMENTS = ("mlflow", "numpy", "pandas", "scipy", "xgboost")
# MLflow's own names: its loaders and its UI look for the first two.
INPUT_EXAMPLE, SERVING_EXAMPLE = "input_example.json", "serving_input_example.json"
REQUEST_EXAMPLE = "request_example.json"

Row = Mapping[str, Any]


def write_folder(bundle: Bundle, folder: Path, *, example: Sequence[Row] = ()) -> None:
    """Write the bundle with ``MLmodel``, the environments, the card and an example of its input.

    Args:
        bundle: the model.
        folder: an existing, empty folder.
        example: rows as a person sends them: a category as its text, a missing value as None.
    """
    for name, content in bundle.files().items():
        (folder / name).write_bytes(content)
    requirements = [f"{name}=={version(name)}" for name in _REQUIREMENTS]
    python = platform.python_version()
    conda = {
        "name": "mlflow-env",
        "channels": ["conda-forge"],
        "dependencies": [f"python={python}", "pip", {"pip": requirements}],
    }
    (folder / "requirements.txt").write_text("\n".join(requirements) + "\n")
    (folder / "conda.yaml").write_text(yaml.safe_dump(conda, sort_keys=False))
    environment = {"python": python, "build_dependencies": ["pip"], "dependencies": ["-r requirements.txt"]}
    (folder / "python_env.yaml").write_text(yaml.safe_dump(environment, sort_keys=False))
    (folder / "README.md").write_text(card(bundle))
    description = _description(bundle, python)
    if example:
        description.saved_input_example_info = _write_example(bundle, folder, example)
    description.save(str(folder / "MLmodel"))


def card(bundle: Bundle) -> str:
    """The model card in Markdown: what it predicts, how to load it, and what a plain loader leaves out."""
    decision, data = bundle.decision, bundle.lineage.get("data") or {}
    origin = f"`{data.get('uri')}` version {data.get('version')}, digest `{data.get('digest')}`" if data else "unknown"
    return f"""# A {decision["kind"]} model for `{decision.get("target")}`

- Bundle digest: `{bundle.digest}`
- Trained on: {origin}
- Decision: {_rule(decision)}{_calibration(decision)}
- Features, in order: {", ".join(f"`{feature['name']}`" for feature in _features(bundle))}

## What a plain MLflow loader gives

`mlflow.xgboost.load_model` and `mlflow.pyfunc.load_model` need no Sluiceway, and give the **raw score only**: no
decision threshold, no calibration, no check of the input. They take the columns above as floating-point numbers: a
category is its position (from 0) in the list `categories` of `schema.json`; a missing or unknown value is NaN. Where
they stand beside this card, `{INPUT_EXAMPLE}` has rows in that form and `{REQUEST_EXAMPLE}` the same rows as a
Sluiceway endpoint takes them, with a category as its text. They are typical values of the columns, nobody's row.

The whole model is the folder of `model.ubj`, `schema.json`, `decision.json` and `lineage.json`; the digest covers
these four. Sluiceway reads them, encodes raw rows, and applies the decision. There is no code and no pickle in it.
"""


def _calibration(decision: Mapping[str, Any]) -> str:
    """A line of the card, for a model that has a calibrator."""
    points = len((decision.get("calibrator") or {}).get("scores", ()))
    return f"\n- Calibration: raw scores go through the table of {points} points in `decision.json`" if points else ""


def _rule(decision: Mapping[str, Any]) -> str:
    threshold, classes = decision.get("threshold"), list(decision.get("classes") or ())
    if threshold is not None:
        return f"`{decision.get('target')}` is {classes[1] if len(classes) == 2 else 1} from a score of {threshold} on"
    if decision["kind"] == "multiclass":
        return f"the class of the highest score; the scores' order is {', '.join(f'`{name}`' for name in classes)}"
    return "none"


def _description(bundle: Bundle, python: str) -> Model:
    model = Model(signature=_signature(bundle))
    model.add_flavor(
        "python_function",
        loader_module="mlflow.xgboost",
        data=MODEL_FILE,
        env={"conda": "conda.yaml", "virtualenv": "python_env.yaml"},
        python_version=python,
    )
    model.add_flavor(
        "xgboost",
        xgb_version=version("xgboost"),
        data=MODEL_FILE,
        model_class="xgboost.core.Booster",
        model_format="ubj",
        code=None,
    )
    model.model_size_bytes = len(bundle.model)
    return model


def _signature(bundle: Bundle) -> ModelSignature | None:
    columns = [ColSpec(DataType.double, name=feature["name"]) for feature in _features(bundle)]
    if not columns:
        return None
    several = bundle.decision["kind"] == "multiclass"
    shape = (-1, len(bundle.decision["classes"])) if several else (-1,)
    return ModelSignature(inputs=Schema(columns), outputs=Schema([TensorSpec(np.dtype(np.float32), shape)]))


def _write_example(bundle: Bundle, folder: Path, example: Sequence[Row]) -> dict[str, Any]:
    """Write the rows as the loaders take them and as an endpoint does; gives what ``MLmodel`` says of them."""
    features = _features(bundle)
    rows = [[_number(row[feature["name"]], feature) for feature in features] for row in example]
    table = {"columns": [feature["name"] for feature in features], "data": rows}
    (folder / INPUT_EXAMPLE).write_text(json.dumps(table))
    (folder / SERVING_EXAMPLE).write_text(json.dumps({"dataframe_split": table}, indent=2))
    (folder / REQUEST_EXAMPLE).write_text(json.dumps({"rows": [dict(row) for row in example]}, indent=2))
    return {
        "artifact_path": INPUT_EXAMPLE,
        "type": "dataframe",
        "pandas_orient": "split",
        "serving_input_path": SERVING_EXAMPLE,
    }


def _number(value: Any, feature: Mapping[str, Any]) -> float | None:
    if value is None or feature["kind"] != "category":
        return None if value is None else float(value)
    return float(feature["categories"].index(value))


def _features(bundle: Bundle) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = bundle.schema.get("features") or []
    return found
