"""What commits come from; pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping


def forebears(commit: str, parents: Mapping[str, tuple[str, ...]]) -> set[str]:
    """A commit and all that it comes from.

    Args:
        commit: its id.
        parents: of every commit, by id.
    """
    found: set[str] = set()
    waiting = [commit]
    while waiting:
        one = waiting.pop()
        if one not in found:
            found.add(one)
            waiting += parents.get(one, ())
    return found


def merge_bases(shared: Collection[str], parents: Mapping[str, tuple[str, ...]]) -> set[str]:
    """Of the commits that two have in common, those that no other shared one comes from.

    Args:
        shared: the common forebears of both, themselves among them.
        parents: of every commit, by id.
    """
    # Whatever is shared has shared parents only: what is nobody's parent here is the newest of its line.
    return set(shared) - {parent for commit in shared for parent in parents.get(commit, ())}
