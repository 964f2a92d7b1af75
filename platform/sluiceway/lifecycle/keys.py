"""Content keys: the digest of everything that a step's result depends on."""

from __future__ import annotations

import hashlib
import json
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import BaseModel


def content_key(kind: str, *parts: Any) -> str:
    """Digest of a step's inputs.

    Args:
        kind: the kind of step; two kinds never share a key.
        parts: sections of the configuration, digests, names: whatever JSON can say.

    Returns:
        64 hex digits (SHA-256 of canonical JSON).
    """
    text = json.dumps([kind, *parts], sort_keys=True, default=_plain)
    return hashlib.sha256(text.encode()).hexdigest()


@cache
def code_digest() -> str:
    """Digest of this package's sources, so that a changed platform trains again."""
    root = Path(__file__).resolve().parent.parent
    digest = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        digest.update(str(path.relative_to(root)).encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _plain(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    return str(value)
