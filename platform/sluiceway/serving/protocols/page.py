"""An endpoint's OpenAPI document as a plain page: no script, nothing from elsewhere."""

from __future__ import annotations

import json
from collections.abc import Mapping
from html import escape
from typing import Any

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #222 }
code, pre { font: 13px/1.4 ui-monospace, monospace }
pre { background: #f4f4f4; padding: .7rem; overflow-x: auto }
table { border-collapse: collapse; margin: .5rem 0 }
td, th { text-align: left; padding: .2rem .8rem .2rem 0; border-bottom: 1px solid #ddd; vertical-align: top }
summary { cursor: pointer; padding: .25rem 0 }
.method { display: inline-block; min-width: 3.5rem; font-weight: 600 }
"""


def page_of(document: Mapping[str, Any]) -> str:
    """The page.

    Args:
        document: as ``openapi_document`` makes it.

    Returns:
        HTML; every text of the document is escaped.
    """
    info, schemas = document["info"], document["components"]["schemas"]
    url = document["servers"][0]["url"].rstrip("/")
    operations = "".join(
        _operation(method, url + path, operation, schemas)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    )
    example = json.dumps({"rows": schemas["Row"]["examples"]})
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{escape(info["title"])}</title><style>{_STYLE}</style></head><body>
<h1>{escape(info["title"])}, version {escape(info["version"])}</h1>
<p>{escape(info["description"])} The same for programs: <a href="openapi.json">openapi.json</a>.</p>
<h2>Features</h2>
{_features(schemas["Row"])}
<h2>A request</h2>
<pre>POST {escape(url)}/predict\nContent-Type: application/json\n\n{escape(example)}</pre>
<h2>Operations</h2>
{operations}
</body></html>
"""


def _features(row: Mapping[str, Any]) -> str:
    lines = "".join(
        f"<tr><td><code>{escape(name)}</code></td><td>{escape(_values(schema))}</td></tr>"
        for name, schema in row["properties"].items()
    )
    return f"<table><tr><th>name</th><th>values; null is missing</th></tr>{lines}</table>"


def _values(schema: Mapping[str, Any]) -> str:
    if "enum" in schema:
        return "one of " + ", ".join(json.dumps(value) for value in schema["enum"] if value is not None)
    if "examples" in schema:
        return "a text, such as " + ", ".join(json.dumps(value) for value in schema["examples"])
    if "minimum" in schema:
        return f"a number, {schema['minimum']:g} to {schema['maximum']:g}"
    return "anything; the model does not see it"


def _operation(method: str, path: str, operation: Mapping[str, Any], schemas: Mapping[str, Any]) -> str:
    parts = []
    body = operation.get("requestBody", {}).get("content", {})
    answers = operation["responses"]["200"]["content"]
    for title, content in (("Takes", body), ("Answers", answers)):
        for kind, media in content.items():
            parts.append(f"<p>{title} <code>{escape(kind)}</code></p>{_schema(media['schema'], schemas)}")
    refused = ", ".join(status for status in operation["responses"] if status != "200")
    return (
        f"<details><summary><span class='method'>{escape(method.upper())}</span> <code>{escape(path)}</code> "
        f"{escape(operation['summary'])}</summary>{''.join(parts)}<p>Refuses with {escape(refused)}.</p></details>"
    )


def _schema(schema: Mapping[str, Any], schemas: Mapping[str, Any]) -> str:
    found = schemas[schema["$ref"].rpartition("/")[2]] if "$ref" in schema else schema
    return f"<pre>{escape(json.dumps(found, indent=2, ensure_ascii=False))}</pre>"
