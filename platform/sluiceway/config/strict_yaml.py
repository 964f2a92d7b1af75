"""YAML as people mean it: no key twice, and errors in one line."""

from __future__ import annotations

from typing import Any, ClassVar

import yaml
from yaml.constructor import ConstructorError


class StrictLoader(yaml.SafeLoader):
    """PyYAML keeps the last of two equal keys without a word; this loader refuses them.

    Attributes:
        key_types: what a key may be.
    """

    key_types: ClassVar[tuple[type, ...]] = (str, int, float, bool)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """A mapping whose keys are all different.

        Raises:
            ConstructorError: a key is there twice, or is no word.
        """
        seen: set[Any] = set()
        for key_node, _ in node.value:
            if key_node.tag == "tag:yaml.org,2002:merge":
                continue
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, self.key_types):
                raise ConstructorError(None, None, "a key has to be a word", key_node.start_mark)
            if key in seen:
                raise ConstructorError(None, None, f"the key {key!r} stands twice", key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep)


def _timestamp(loader: StrictLoader, node: yaml.ScalarNode) -> Any:
    try:
        return loader.construct_yaml_timestamp(node)
    except ValueError as error:
        raise ConstructorError(
            None, None, f"{node.value} is no date: {error}; in quotes it is text", node.start_mark
        ) from error


StrictLoader.add_constructor("tag:yaml.org,2002:timestamp", _timestamp)


def one_line(error: yaml.YAMLError) -> str:
    """Where the text is broken, and how."""
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None) or str(error).splitlines()[0]
    return f"line {mark.line + 1}, column {mark.column + 1}: {problem}" if mark else str(problem)
