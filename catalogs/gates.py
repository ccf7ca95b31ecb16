"""Gates: each one boolean SQL expression over the columns of `clips`, and nothing more.

A gate comes from a file that somebody sent, so its text is not trusted. DuckDB's own parser gives
the syntax tree, and every node of it must be on a short list: columns, constants, comparisons,
logic, arithmetic and pure functions whose result cannot be much larger than their input. That
leaves no way to name a file, a table, a setting or a loop; the connection is locked besides, and
evaluation runs under limits of time and memory (`catalogs.judge`).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import duckdb

from catalogs.errors import GateError, nearest

__all__ = ["MAX_LENGTH", "Expression", "Gate", "Grammar"]

MAX_LENGTH = 10_000
VIEW = "clips"


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


FUNCTIONS = _words("""
    + - * / // % ** ^ ~~ !~~ ~~* !~~* || ->>
    abs ceil ceiling contains date_part date_trunc ends_with epoch exp floor greatest isfinite
    isinf isnan json_extract_string json_valid least left len length list_contains list_value ln
    log log10 log2 lower mod nullif pow power prefix regexp_full_match regexp_matches right round
    sign sqrt starts_with strlen substr substring suffix trim trunc upper
""")
_CLASSES = _words(
    "COLUMN_REF CONSTANT COMPARISON CONJUNCTION BETWEEN OPERATOR CASE CAST FUNCTION TYPE"
)
_OPERATORS = _words("""
    OPERATOR_NOT OPERATOR_IS_NULL OPERATOR_IS_NOT_NULL OPERATOR_COALESCE COMPARE_IN COMPARE_NOT_IN
    ARRAY_EXTRACT STRUCT_EXTRACT
""")
_TYPES = _words("""
    BOOLEAN TINYINT SMALLINT INTEGER BIGINT HUGEINT UTINYINT USMALLINT UINTEGER UBIGINT FLOAT DOUBLE
    DECIMAL VARCHAR DATE TIMESTAMP
""")
_REFUSED = {
    "SUBQUERY": "a subquery",
    "WINDOW": "a window function",
    "LAMBDA": "a lambda",
    "STAR": "a star",
    "PARAMETER": "a parameter",
    "COLLATE": "a collation",
}
_SHAPE = "one expression over the columns of clips, such as: motion_px between 0.5 and 20"


@dataclass(frozen=True, slots=True)
class Expression:
    """SQL that was checked, and the columns of `clips` that it reads, in order of mention."""

    sql: str
    columns: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Gate:
    """A named predicate that was checked."""

    name: str
    predicate: str
    columns: tuple[str, ...]


class Grammar:
    """Checks expressions against the columns of one catalog's wide view.

    `operators` maps operators to the columns that they bring. It makes errors better: a column
    that an operator would bring is told from one that nobody knows.
    """

    def __init__(
        self, columns: Iterable[str], operators: Mapping[str, Sequence[str]] | None = None
    ):
        self._columns = {name.lower(): name for name in columns}
        self._owners = {
            column.lower(): operator
            for operator, owned in (operators or {}).items()
            for column in owned
        }
        self._parser = duckdb.connect()

    def gates(self, predicates: Mapping[str, str]) -> tuple[Gate, ...]:
        """All gates of a recipe."""
        gates = []
        for name, text in predicates.items():
            checked = self.expression(text, f"gate {name!r}")
            gates.append(Gate(name, checked.sql, checked.columns))
        return tuple(gates)

    def expression(self, text: str, what: str) -> Expression:
        """One expression. `what` is what errors call it."""
        node = self._single_node(text, what, "select {}", modifiers=0)
        # Inside parentheses it must be one expression as well, or it could close them early.
        self._single_node(text, what, "select (\n{}\n)", modifiers=0)
        return Expression(text, self._checked(node["select_list"], text, what))

    def order(self, text: str, what: str) -> Expression:
        """What may follow ORDER BY: expressions with asc, desc, nulls first or nulls last."""
        node = self._single_node(text, what, "select 1 order by {}", modifiers=1)
        self._single_node(text, what, "select (select 1 order by \n{}\n)", modifiers=0)
        (modifier,) = node["modifiers"]
        if modifier["type"] != "ORDER_MODIFIER":
            raise _refused(text, what, "it is not an order")
        return Expression(text, self._checked(modifier["orders"], text, what))

    def _checked(self, tree: Any, text: str, what: str) -> tuple[str, ...]:
        used: dict[str, None] = {}
        for node in _nodes(tree):
            kind = node["class"]
            if kind not in _CLASSES:
                raise _refused(text, what, f"it holds {_REFUSED.get(kind, kind.lower())}")
            if kind == "FUNCTION":
                _check_function(node, text, what)
            elif kind == "OPERATOR" and node["type"] not in _OPERATORS:
                raise _refused(text, what, f"it holds {node['type'].lower()}")
            elif kind == "TYPE" and node["type_name"].upper() not in _TYPES:
                allowed = ", ".join(sorted(_TYPES)).lower()
                raise _refused(text, what, f"it casts to {node['type_name'].lower()}", allowed)
            elif kind == "COLUMN_REF":
                used[self._column(node["column_names"], what)] = None
        return tuple(used)

    def _column(self, path: list[str], what: str) -> str:
        name = path[1] if len(path) > 1 and path[0].lower() == VIEW else path[0]
        if found := self._columns.get(name.lower()):
            return found
        if owner := self._owners.get(name.lower()):
            raise GateError(
                f"{what} uses {name!r}, and the operator {owner!r} that measures it has not run "
                "on this catalog",
                hint=f"clipmill score CATALOG {owner}",
            )
        known = {*self._columns.values(), *self._owners}
        raise GateError(
            f"{what} uses the column {name!r}, which clips does not have",
            allowed="columns of clips: clipmill schema CATALOG",
            hint=nearest(name, known),
        )

    def _single_node(self, text: str, what: str, frame: str, *, modifiers: int) -> Any:
        """The query that `frame` around `text` parses to, if it selects one thing from nothing."""
        if len(text) > MAX_LENGTH:
            raise GateError(f"{what} is {len(text)} characters long", allowed=f"up to {MAX_LENGTH}")
        query = "select json_serialize_sql(?::varchar)"
        (tree,) = self._parser.execute(query, [frame.format(text)]).fetchone() or ("{}",)
        try:
            answer = json.loads(tree)
        except RecursionError as error:
            raise _refused(text, what, "it is nested too deeply") from error
        if answer["error"]:
            raise _refused(text, what, answer["error_message"])
        statements = answer["statements"]
        node = statements[0]["node"]
        empty = ("where_clause", "having", "sample", "qualify")
        if (
            len(statements) != 1
            or node["type"] != "SELECT_NODE"
            or node["from_table"]["type"] != "EMPTY"
            or len(node["select_list"]) != 1
            or len(node["modifiers"]) != modifiers
            or node["group_expressions"]
            or any(node[part] is not None for part in empty)
        ):
            raise _refused(text, what, "it is more than one expression")
        return node


def _check_function(node: Mapping[str, Any], text: str, what: str) -> None:
    name = node["function_name"].lower()
    if name not in FUNCTIONS or node.get("schema") or node.get("catalog"):
        words = sorted(item for item in FUNCTIONS if item[0].isalpha())
        raise GateError(
            f"{what} calls {name}(), which is not allowed in: {_short(text)}",
            allowed=", ".join(words),
            hint=nearest(name, words),
        )
    if node.get("distinct") or node.get("filter") or node.get("export_state"):
        raise _refused(text, what, f"{name}() is used as an aggregate")


def _nodes(tree: Any) -> Iterator[dict[str, Any]]:
    """All expression nodes below and including `tree`."""
    waiting = [tree]
    while waiting:
        item = waiting.pop(0)
        if isinstance(item, dict):
            if "class" in item:
                yield item
            waiting = [*item.values(), *waiting]
        elif isinstance(item, list):
            waiting = [*item, *waiting]


def _refused(text: str, what: str, problem: str, allowed: str = _SHAPE) -> GateError:
    return GateError(f"{what} is refused: {problem}: {_short(text)}", allowed=allowed)


def _short(text: str) -> str:
    return text if len(text) <= 120 else text[:117] + "..."
