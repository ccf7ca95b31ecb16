"""HTML that cannot be broken by what it shows: every text is escaped unless it is markup already.

>>> tag("p", "a < b ", tag("b", "c"), class_="note")
'<p class="note">a &lt; b <b>c</b></p>'
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any, TypeAlias

__all__ = ["Html", "Part", "Section", "section", "table", "tag", "together"]

_VOID = frozenset({"br", "hr", "img", "meta", "rect", "line", "circle", "path"})
_WIDE = 4
"""Columns from which a table needs more room than a telephone has."""


class Html(str):
    """Text that is markup."""

    __slots__ = ()


Part: TypeAlias = "Html | str | int | Iterable[Part] | None"


def tag(name: str, /, *parts: Part, **attributes: Any) -> Html:
    """An element. Attributes that are None are left out; `class_` is `class`, `_` is `-`."""
    head = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(str(value))}"'
        for key, value in attributes.items()
        if value is not None
    )
    if name in _VOID:
        return Html(
            f"<{name}{head}>" if name in ("br", "hr", "img", "meta") else f"<{name}{head}/>"
        )
    return Html(f"<{name}{head}>{together(*parts)}</{name}>")


def together(*parts: Part) -> Html:
    """Parts one after the other; what is no markup is escaped."""
    return Html("".join(map(_markup, parts)))


def _markup(part: Part) -> str:
    if part is None:
        return ""
    if isinstance(part, Html):
        return part
    if isinstance(part, str | int):
        return escape(f"{part:,}" if isinstance(part, int) else part)
    return together(*part)


@dataclass(frozen=True, slots=True)
class Section:
    """A part of the page that its contents list names."""

    name: str
    title: str
    body: Html

    @property
    def link(self) -> Html:
        return tag("a", self.title, href=f"#{self.name}")


def section(name: str, title: str, *parts: Part, lead: Part = None) -> Section:
    """A section with its heading and, below it, what a reader needs to know first."""
    intro = tag("p", lead, class_="lead") if lead else None
    return Section(name, title, tag("section", tag("h2", title), intro, *parts, id=name))


def table(head: Sequence[str], rows: Iterable[Sequence[Part]]) -> Html:
    """A table that scrolls by itself on a narrow screen; numbers stand right."""
    body = [list(row) for row in rows]
    right = [
        bool(body) and all(isinstance(row[k], int) or row[k] is None for row in body)
        for k in range(len(head))
    ]
    kinds = ["n" if flag else None for flag in right]
    heads = [tag("th", name, class_=kind) for name, kind in zip(head, kinds, strict=True)]
    lines = [
        tag("tr", [tag("td", cell, class_=kind) for cell, kind in zip(row, kinds, strict=True)])
        for row in body
    ]
    wide = "wide" if len(head) >= _WIDE else None
    content = tag("table", tag("thead", tag("tr", heads)), tag("tbody", lines), class_=wide)
    return tag("div", content, class_="scroll")
