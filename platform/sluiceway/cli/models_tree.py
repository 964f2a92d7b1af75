"""A version's lineage as a tree for people."""

from __future__ import annotations

from typing import Any

from rich.markup import escape
from rich.tree import Tree


def tree_of(document: dict[str, Any]) -> Tree:
    """Draw what :func:`sluiceway.lifecycle.model_lineage.lineage_of` gives."""
    aliases = "".join(f" @{alias}" for alias in document["aliases"])
    head = f"{document['model']}@{document['version']}{aliases}, registered {document['registered']}"
    tree = Tree(escape(head))
    _leaf(tree, f"bundle {document['digest']}")
    if document["imported"] is not None:
        came = document["imported"]
        _leaf(tree, f"imported from {came['from']}", f"sha256 {came['digest']}")
    _data(tree, document["data"])
    code = document["code"] or {}
    if code:
        _leaf(tree, f"code {code.get('commit') or 'of no commit'}{', changed since' if code.get('dirty') else ''}")
    for name in ("lock", "config"):
        if document[name]:
            _leaf(tree, f"{name} {document[name]}")
    _leaf(tree, f"run {document['run']['id']} {document['run']['name']}")
    _parents(tree, document)
    gates = ", ".join(f"{gate} {said}" for gate, said in document["gates"].items())
    _leaf(tree, f"gates: {gates or 'none has judged it'}")
    _leaf(tree, "rollouts" if document["rollouts"] else "no rollout", *(_rollout(one) for one in document["rollouts"]))
    if document["traffic"]:
        _leaf(tree, "champion", *(_span(one) for one in document["traffic"]))
    _retired(tree, document["retired"])
    return tree


def _leaf(tree: Tree, text: str, *below: str) -> Tree:
    branch = tree.add(escape(text))
    for line in below:
        branch.add(escape(line))
    return branch


def _data(tree: Tree, data: dict[str, Any] | None) -> None:
    if data is None:
        _leaf(tree, "data: not known")
        return
    ref = f" ({data['ref']})" if data.get("ref") else ""
    digests = [
        f"{name} {data[key]}"
        for name, key in (("version's digest", "digest"), ("rows' digest", "row_digest"))
        if data.get(key)
    ]
    _leaf(tree, f"data {data['uri']} version {data['version']}{ref}, {data['rows']:,} rows", *digests)


def _parents(tree: Tree, document: dict[str, Any]) -> None:
    parent, below = document["parent"], tree
    while parent is not None:
        gone = "" if parent["there"] else ", not in the registry any more"
        below = _leaf(below, f"goes on from {document['model']}@{parent['version']}, bundle {parent['digest']}{gone}")
        if parent["data"] is not None:
            _data(below, parent["data"])
        parent = parent["parent"]


def _rollout(one: dict[str, Any]) -> str:
    instead = f" instead of {one['instead_of']}" if one["instead_of"] else ""
    now = "" if one["phase"] in ("promoted", "rolled_back") else f", now {one['phase'].replace('_', ' ')}"
    cause = f" on {one['cause']}" if one["cause"] else ""
    why = f": {one['reason']}" if one["reason"] else ""
    return (
        f"{one['endpoint']}{instead}: {one['outcome'].replace('_', ' ')}{cause} {one['time']}{now}, "
        f"begun {one['began']} as {one['id']}{why}"
    )


def _span(one: dict[str, Any]) -> str:
    until = "until now" if one["to"] is None else f"until {one['to']}, then {one['followed_by']} by {one['ended_by']}"
    return f"of {one['endpoint']} from {one['from']} by {one['by']} {until}"


def _retired(tree: Tree, retired: dict[str, Any] | None) -> None:
    if retired is None:
        return
    why = f": {retired['reason']}" if retired["reason"] else ""
    below = [f"files deleted {retired['files_deleted']}"] if retired["files_deleted"] else []
    _leaf(tree, f"retired {retired['since']} by {retired['by']}{why}", *below)
