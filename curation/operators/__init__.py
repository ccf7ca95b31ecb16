"""Operators measure clips. Built-in and third-party ones come through the same entry points."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from importlib.metadata import EntryPoint, entry_points

from catalogs.errors import ClipmillError, MissingExtraError, NotFoundError, SchemaError, nearest
from curation.operators.base import Clip, Need, Operator, OperatorError, StoryFrame, checked_scores

__all__ = [
    "GROUP",
    "Clip",
    "Need",
    "Operator",
    "OperatorError",
    "StoryFrame",
    "checked_scores",
    "column_owners",
    "create",
    "names",
    "operator_class",
]

GROUP = "clipmill.operators"


@cache
def _registered() -> dict[str, EntryPoint]:
    found: dict[str, EntryPoint] = {}
    for entry in entry_points(group=GROUP):
        taken = found.get(entry.name)
        if taken is not None and taken.value != entry.value:
            raise SchemaError(
                f"two packages provide an operator {entry.name!r}: {taken.value} and {entry.value}",
                hint="uninstall one of them, or rename its entry point",
            )
        found[entry.name] = entry
    return found


def names() -> list[str]:
    """Every registered operator, sorted."""
    return sorted(_registered())


def operator_class(name: str) -> type[Operator]:
    """The class behind a name; nothing heavy is loaded."""
    entry = _registered().get(name)
    if entry is None:
        raise NotFoundError(
            f"no operator is called {name!r}",
            allowed=", ".join(names()),
            hint=nearest(name, names()),
        )
    try:
        found = entry.load()
    except ImportError as error:
        raise ClipmillError(
            f"operator {name!r} from {entry.value} cannot be loaded: {error}",
            hint="reinstall or uninstall the package that provides it",
        ) from error
    if not (isinstance(found, type) and issubclass(found, Operator)):
        raise SchemaError(f"{entry.value} is not an Operator class")
    if found.name != name:
        raise SchemaError(f"entry point {name!r} names an operator that calls itself {found.name}")
    return found


def create(name: str) -> Operator:
    """An operator, set up and ready to score."""
    kind = operator_class(name)
    operator = kind()
    try:
        operator.setup()
    except ImportError as error:
        raise MissingExtraError(
            f"operator {name!r} needs a package that is not installed: {error}",
            hint=f"pip install 'clipmill[{kind.extra}]'" if kind.extra else None,
        ) from error
    return operator


def column_owners(operators: Iterable[str] | None = None) -> dict[str, str]:
    """Every score column and the operator that owns it; a column claimed twice is an error."""
    owners: dict[str, str] = {}
    for name in names() if operators is None else operators:
        for column in operator_class(name).columns:
            if column.name in owners:
                raise SchemaError(
                    f"operators {owners[column.name]!r} and {name!r} both claim the column "
                    f"{column.name!r}",
                    hint="rename the column in the operator that is yours",
                )
            owners[column.name] = name
    return owners
