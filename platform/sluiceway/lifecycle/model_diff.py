"""What differs between two registered versions. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sluiceway.registry.version_record import VersionRecord

Value = str | float | None
Facts = Mapping[str, Mapping[str, Value]]
# A run's own times, which never are the same.
_TIMES = "seconds_"


@dataclass(frozen=True)
class VersionDifference:
    """Something that two versions do not share.

    Attributes:
        section: ``model``, ``data``, ``features``, ``parameters``, ``metrics``, ``gates``, ``code`` or ``libraries``.
        what: its name there.
        first: of the first version; None where it has none.
        second: of the second version; None where it has none.
    """

    section: str
    what: str
    first: Value
    second: Value

    @property
    def change(self) -> float | None:
        """From the first to the second, of two numbers."""
        if isinstance(self.first, str) or isinstance(self.second, str) or self.first is None or self.second is None:
            return None
        return self.second - self.first


def facts_of(record: VersionRecord, *, rounds: int | None = None, trees: int | None = None) -> Facts:
    """What a version is, by section and name.

    Args:
        record: what is written down of it.
        rounds: of its booster; None where that is gone.
        trees: of its booster.
    """
    tags, decision = record.version.tags, record.decision
    data, code = record.lineage.get("data") or {}, record.lineage.get("code") or {}
    imported = record.lineage.get("imported") or {}
    return {
        "model": {
            "digest": record.version.digest,
            "kind": decision["kind"],
            "target": decision["target"],
            "threshold": decision.get("threshold"),
            "classes": _listed(decision.get("classes")),
            "calibrator": _calibrator(decision),
            "rounds": rounds,
            "trees": trees,
            "bytes": record.bytes,
            "imported": imported.get("digest"),
            "goes on from": (record.lineage.get("base") or {}).get("version"),
        },
        "data": {
            "table": data.get("uri"),
            "version": data.get("version"),
            "ref": tags.get("data_ref"),
            "rows": data.get("rows"),
            "digest": data.get("digest"),
            "row digest": data.get("row_digest"),
        },
        "features": _features(record.schema),
        "parameters": dict(record.params),
        "metrics": {name: value for name, value in record.metrics.items() if not name.startswith(_TIMES)},
        "gates": dict(record.version.gates),
        "code": {
            "commit": code.get("commit"),
            "dirty": None if "dirty" not in code else str(code["dirty"]).lower(),
            "digest": code.get("digest"),
            "configuration": tags.get("config_digest"),
        },
        "libraries": dict(record.libraries),
    }


def differences(first: Facts, second: Facts) -> tuple[VersionDifference, ...]:
    """What differs, section by section; a name that only one has differs, too."""
    found = []
    for section, one in first.items():
        other = second[section]
        for what in dict.fromkeys((*one, *other)):
            if not _same(one.get(what), other.get(what)):
                found.append(VersionDifference(section, what, one.get(what), other.get(what)))
    return tuple(found)


def _same(one: Value, other: Value) -> bool:
    return one == other or (one != one and other != other)  # NaN is no number's equal


def _features(schema: Mapping[str, Any]) -> dict[str, Value]:
    features = schema["features"]
    kinds: dict[str, Value] = {
        one["name"]: f"category: {_listed(one.get('categories'))}" if one["kind"] == "category" else one["kind"]
        for one in features
    }
    return {"order": ", ".join(one["name"] for one in features), **{f"column {name}": k for name, k in kinds.items()}}


def _calibrator(decision: Mapping[str, Any]) -> str | None:
    table = decision.get("calibrator")
    if table is None:
        return None
    values = table["values"]
    return f"{len(values)} points, {values[0]:g} to {values[-1]:g}"


def _listed(values: Any) -> str | None:
    return ", ".join(str(value) for value in values) if values else None
