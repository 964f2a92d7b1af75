"""What fits on the nodes of a cluster: a process lies on one node, so CPUs of two nodes never add up for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

_UNIT = 10_000  # Ray counts CPUs and GPUs by so many parts of one
_STEP = 100  # what is reserved is told in hundredths of a CPU


@dataclass(frozen=True)
class Node:
    """A node, or what of it is free.

    Attributes:
        cpus: of it.
        memory: bytes that Ray gives out there.
        gpus: of it.
    """

    cpus: float
    memory: float = 0.0
    gpus: float = 0.0


@dataclass(frozen=True)
class Process:
    """What each of several processes needs beside its CPUs.

    Attributes:
        gpus: of it.
        memory: bytes; 0 where nobody set a limit.
    """

    gpus: int = 0
    memory: int = 0


def room_for(nodes: Sequence[Node], process: Process, *, cpus: float) -> int:
    """How many processes find a place at the same time.

    Args:
        nodes: all of them.
        process: what each needs.
        cpus: and so many CPUs, more than 0.
    """
    return _room(nodes, process, _units(cpus))


def most_cpus(nodes: Sequence[Node], process: Process, *, processes: int) -> float:
    """The most CPUs, in hundredths, that each of so many processes can have at the same time; 0.0 where none fit.

    The largest share is one node's CPUs divided by a whole number, so only those are tried.

    Args:
        nodes: all of them.
        process: what each needs beside CPUs.
        processes: how many.
    """
    usable = [node for node in nodes if _beside_cpus(node, process) != 0]
    shares = {_units(node.cpus) // number // _STEP * _STEP for node in usable for number in range(1, processes + 1)}
    for share in sorted(shares - {0}, reverse=True):
        if _room(usable, process, share) >= processes:
            return share / _UNIT
    return 0.0


def _room(nodes: Sequence[Node], process: Process, units: int) -> int:
    found = 0
    for node in nodes:
        by_cpus, beside = _units(node.cpus) // units, _beside_cpus(node, process)
        found += by_cpus if beside is None else min(by_cpus, beside)
    return found


def _beside_cpus(node: Node, process: Process) -> int | None:
    """How many find their GPUs and memory there; None where they need neither."""
    found = []
    if process.gpus:
        found.append(int(node.gpus // process.gpus))
    if process.memory:
        found.append(int(node.memory // process.memory))
    return min(found, default=None)


def _units(amount: float) -> int:
    return round(amount * _UNIT)
