"""YAML that people write by hand, read strictly: one plain document, every key once.

PyYAML keeps the last of two equal keys and follows aliases as deep as they go; both hide mistakes
in a recipe, so both are refused here. Mappings remember the line of each key for error messages.
"""

from __future__ import annotations

from typing import Any

import yaml

from catalogs.errors import RecipeError

__all__ = ["MAX_BYTES", "Section", "read_yaml"]

MAX_BYTES = 64 * 1024
_MERGE_TAG = "tag:yaml.org,2002:merge"


class Section(dict[str, Any]):
    """A mapping of a YAML file that knows where it stands."""

    def __init__(self, origin: str, line: int):
        super().__init__()
        self.origin = origin
        self.line = line
        self.lines: dict[str, int] = {}

    def place(self, key: str | None = None) -> str:
        """`file:line` of a key, or of the whole section."""
        line = self.line if key is None else self.lines.get(key, self.line)
        return f"{self.origin}:{line}"


class _Loader(yaml.SafeLoader):
    origin = "recipe"

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            line = self.peek_event().start_mark.line + 1
            raise RecipeError(
                f"{self.origin}:{line}: an alias (*name) is used", allowed="the value written out"
            )
        return super().compose_node(parent, index)


def _section(loader: _Loader, node: yaml.MappingNode) -> Section:
    section = Section(loader.origin, node.start_mark.line + 1)
    for key_node, value_node in node.value:
        place = f"{loader.origin}:{key_node.start_mark.line + 1}"
        merges = key_node.tag == _MERGE_TAG
        key = key_node.value if merges else loader.construct_object(key_node, deep=True)
        if merges or not isinstance(key, str):
            raise RecipeError(
                f"{place}: the key {key!r} is not a plain name",
                hint="put quotes around names such as on, off, yes, no and numbers",
            )
        if key in section:
            raise RecipeError(
                f"{place}: {key!r} is given twice, first in line {section.lines[key]}",
                hint="keep one of them",
            )
        section[key] = loader.construct_object(value_node, deep=True)
        section.lines[key] = key_node.start_mark.line + 1
    return section


_Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _section)


def read_yaml(text: str, origin: str) -> Section:
    """The one mapping that a YAML text holds."""
    if len(text.encode()) > MAX_BYTES:
        raise RecipeError(f"{origin} is larger than {MAX_BYTES} bytes", hint="is it a recipe?")
    loader = _Loader(text)
    loader.origin = origin
    try:
        document = loader.get_single_data()
    except yaml.YAMLError as error:
        raise RecipeError(f"{origin} is not YAML: {error}") from error
    except RecursionError as error:
        raise RecipeError(f"{origin} is nested too deeply") from error
    finally:
        loader.dispose()
    if not isinstance(document, Section):
        raise RecipeError(f"{origin} holds no mapping", allowed="keys such as name and gates")
    return document
