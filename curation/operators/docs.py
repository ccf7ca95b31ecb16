"""The page `docs/operators.md`, written from what the built-in operators declare.

python -m curation.operators.docs > docs/operators.md
"""

from __future__ import annotations

from inspect import cleandoc, getdoc
from sys import modules, stdout

import pyarrow as pa

from curation.operators import names, operator_class
from curation.operators.base import Operator

__all__ = ["markdown"]

BUILT_IN = "curation.operators."

NEEDS = {
    "row": "catalog columns only",
    "signals": "stored signals",
    "frames": "stored storyboard pictures",
    "motion": "stored signals of takes",
}

HEAD = """
# Operators

An operator measures clips and adds columns to `clips`; it never drops one. What is kept is decided
by a recipe's gates, in SQL over these columns. NULL means that nothing could be measured; it fails
a gate, and the ledger says so.

All of them work on what the one decode pass stored, so an operator that is added later scores an
old corpus without opening a video. When a version changes, `curate` scores again what has an older
one. This page is generated from the declarations (`python -m curation.operators.docs`); how to add
your own is told in [write-an-operator.md](write-an-operator.md).
"""


def markdown() -> str:
    """The whole page."""
    kinds = [operator_class(name) for name in names()]
    kinds = [kind for kind in kinds if kind.__module__.startswith(BUILT_IN)]
    index = [
        "| operator | measures | needs |",
        "|---|---|---|",
        *(f"| [{kind.name}](#{kind.name}) | {_title(kind)} | {NEEDS[kind.needs]} |"
          for kind in kinds),
    ]  # fmt: skip
    parts = [HEAD.strip(), "\n".join(index), *(_section(kind) for kind in kinds)]
    return "\n\n".join(parts) + "\n"


def _section(kind: type[Operator]) -> str:
    facts = [f"Version {kind.version}", f"needs {NEEDS[kind.needs]}"]
    if kind.gpus:
        facts.append(f"{kind.gpus:g} GPU")
    if kind.extra:
        facts.append(f"optional: `pip install 'clipmill[{kind.extra}]'`")
    if kind.serves:
        facts.append("serves " + ", ".join(f"`{system}`" for system in kind.serves))
    rows = [
        f"| `{column.name}` | {_type(column.type)} | {column.unit or '-'} | {column.meaning} |"
        for column in kind.columns
    ]
    table = "\n".join(["| column | type | unit | meaning |", "|---|---|---|---|", *rows])
    return "\n\n".join([f"## {kind.name}", _story(kind), f"{'; '.join(facts)}.", table])


def _story(kind: type[Operator]) -> str:
    """The module's words on what is measured and how, and the class's on its scale."""
    own = getdoc(kind) or ""
    module = modules[kind.__module__]
    alone = module.__name__.rsplit(".", 1)[-1] == kind.name
    return f"{cleandoc(module.__doc__ or '')}\n\n{own}".strip() if alone else own


def _title(kind: type[Operator]) -> str:
    """The first paragraph, without its full stop."""
    return " ".join(_story(kind).split("\n\n")[0].split()).removesuffix(".")


def _type(kind: pa.DataType) -> str:
    words = {"bool": "yes or no", "float": "number", "double": "number", "string": "text"}
    return words.get(str(kind), "whole number" if pa.types.is_integer(kind) else str(kind))


if __name__ == "__main__":
    stdout.write(markdown())
