"""YAML as people mean it: no key twice, and errors in one line."""

from __future__ import annotations

from typing import Any, ClassVar

import yaml
from yaml.constructor import ConstructorError

BOOLEAN, TEXT = "tag:yaml.org,2002:bool", "tag:yaml.org,2002:str"


class StrictLoader(yaml.SafeLoader):
    """PyYAML keeps the last of two equal keys without a word; this loader refuses them. A key ``on`` is that word.

    Attributes:
        key_types: what a key may be.
    """

    key_types: ClassVar[tuple[type, ...]] = (str, int, float, bool)

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        """The value of a node.

        Raises:
            ConstructorError: it looks like a date or a number and is none, such as 2024-02-31 or 0b_.
        """
        try:
            return super().construct_object(node, deep)
        except ValueError as error:
            kind = {"timestamp": "date", "int": "number", "float": "number"}.get(node.tag.rpartition(":")[2], node.tag)
            problem = f"{node.value} is no {kind}: {error}; in quotes it is text"
            raise ConstructorError(None, None, problem, node.start_mark) from error

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """A mapping whose keys are all different.

        Raises:
            ConstructorError: a key is there twice, or is no word.
        """
        seen: set[Any] = set()
        for key_node, _ in node.value:
            if key_node.tag == "tag:yaml.org,2002:merge":
                continue
            if key_node.tag == BOOLEAN and key_node.value.lower() not in ("true", "false"):
                key_node.tag = TEXT
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, self.key_types):
                raise ConstructorError(None, None, "a key has to be a word", key_node.start_mark)
            if key in seen:
                raise ConstructorError(None, None, f"the key {key!r} stands twice", key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep)


def one_line(error: yaml.YAMLError) -> str:
    """Where the text is broken, and how."""
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None) or str(error).splitlines()[0]
    return f"line {mark.line + 1}, column {mark.column + 1}: {problem}" if mark else str(problem)
