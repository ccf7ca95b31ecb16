"""The limits inside of a gate: `motion_px between 0.5 and 20` is at least 0.5 and at most 20.

A gate that is a conjunction of comparisons with numbers has one `Bound` for each number. Other
parts (`not is_grey`, `kind = 'video'`) have no limit that could be moved; they are what a bound's
`others` hold, beside the remaining bounds.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import duckdb

__all__ = ["Bound", "Side", "bounds_of", "with_limits"]

Side: TypeAlias = Literal["least", "most"]

_SELECT = "select "
_COMPARISONS: dict[str, tuple[Side, bool]] = {
    "COMPARE_GREATERTHAN": ("least", True),
    "COMPARE_GREATERTHANOREQUALTO": ("least", False),
    "COMPARE_LESSTHAN": ("most", True),
    "COMPARE_LESSTHANOREQUALTO": ("most", False),
}
_TURNED: dict[Side, Side] = {"least": "most", "most": "least"}


@dataclass(frozen=True, slots=True)
class Bound:
    """A number that a value must reach (`least`) or must not pass (`most`)."""

    value: str
    """SQL of what is compared."""
    side: Side
    limit: float
    strict: bool
    """Whether the limit itself fails."""
    others: str
    """SQL of what else the gate asks for."""
    place: tuple[int, int]
    """Where the number stands in the gate's text, in bytes of UTF-8."""

    @property
    def sign(self) -> str:
        """The comparison as SQL writes it."""
        return (">" if self.side == "least" else "<") + ("" if self.strict else "=")

    @property
    def query(self) -> str:
        """SQL of `clip_id, value` for the clips that get past the gate's other parts."""
        value = f"({self.value})::double"
        return (
            f"select clip_id, {value} as value from clips "
            f"where ({self.others}) and isfinite({value})"
        )

    @property
    def passed(self) -> str:
        """SQL over the `value` of that query: it is on the right side of the limit."""
        return f"value {self.sign} {self.limit!r}::double"

    @property
    def distance(self) -> str:
        """SQL of how far it is from the limit."""
        return f"abs(value - {self.limit!r}::double)"

    def __str__(self) -> str:
        return f"{self.value} {self.sign} {self.limit:g}"


def bounds_of(predicate: str) -> tuple[Bound, ...]:
    """The bounds of a gate, in order of mention; none if it is no conjunction of comparisons."""
    with duckdb.connect() as parser:
        node = _tree(parser, _SELECT + predicate)["statements"][0]["node"]["select_list"][0]
        parts = [part for child in _conjuncts(node) for part in _sides(child)]
        texts = [_text(parser, part) for part in parts]
        found = [
            _bound(parser, part, " and ".join(texts[:k] + texts[k + 1 :]) or "true")
            for k, part in enumerate(parts)
        ]
    return tuple(bound for bound in found if bound is not None)


def with_limits(predicate: str, limits: Mapping[Bound, float]) -> str:
    """A gate's text with some of its numbers replaced."""
    text = predicate.encode()
    for bound, limit in sorted(limits.items(), key=lambda item: item[0].place, reverse=True):
        first, end = bound.place
        text = text[:first] + f"{limit:.15g}".encode() + text[end:]
    return text.decode()


def _conjuncts(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    if node["type"] == "CONJUNCTION_AND":
        for child in node["children"]:
            yield from _conjuncts(child)
    else:
        yield node


def _sides(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """BETWEEN as the two comparisons that it stands for."""
    if node["type"] != "COMPARE_BETWEEN":
        yield node
        return
    for comparison, limit in (
        ("COMPARE_GREATERTHANOREQUALTO", node["lower"]),
        ("COMPARE_LESSTHANOREQUALTO", node["upper"]),
    ):
        yield {
            "class": "COMPARISON",
            "type": comparison,
            "alias": "",
            "query_location": node["query_location"],
            "left": node["input"],
            "right": limit,
        }


def _bound(parser: duckdb.DuckDBPyConnection, node: dict[str, Any], others: str) -> Bound | None:
    if node["type"] not in _COMPARISONS:
        return None
    side, strict = _COMPARISONS[node["type"]]
    value, limit = node["left"], node["right"]
    if _number(value) is not None:
        side, value, limit = _TURNED[side], limit, value
    number = _number(limit)
    if number is None or _number(value) is not None:
        return None
    first = limit["query_location"] - len(_SELECT)
    place = first, first + limit["query_location_length"]
    return Bound(_text(parser, value), side, number, strict, others, place)


def _number(node: dict[str, Any]) -> float | None:
    if node["type"] != "VALUE_CONSTANT" or node["literal"]["kind"] not in ("NUMERIC", "INTEGER"):
        return None
    return float(node["literal"]["text"])


def _tree(parser: duckdb.DuckDBPyConnection, query: str) -> Any:
    ((text,),) = parser.execute("select json_serialize_sql(?::varchar)", [query]).fetchall()
    return json.loads(text)


def _text(parser: duckdb.DuckDBPyConnection, node: dict[str, Any]) -> str:
    """A node as SQL again."""
    tree = _tree(parser, "select 1")
    tree["statements"][0]["node"]["select_list"] = [node]
    query = "select json_deserialize_sql(?::json)"
    ((text,),) = parser.execute(query, [json.dumps(tree)]).fetchall()
    return re.sub(r"^\s*select\s+", "", str(text), flags=re.IGNORECASE).rstrip("; \n")
