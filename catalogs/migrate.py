"""Bringing an older catalog to the present format.

Formats:

1. `sources.license_terms` was text that held JSON;
2. it is a struct of `redistribute`, `commercial` and `derive`, so that gates and exports can ask
   for each permission by name.

A migration rewrites what must change in one commit and raises the number in `catalog.json` last.
If it is interrupted in between, running it again finds the rewritten table and finishes. Versions
from before the migration stay readable as they were.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from catalogs.catalog import Catalog, too_new
from catalogs.errors import FormatError
from catalogs.schema import FORMAT_VERSION, TABLES, TRISTATE
from catalogs.storage import Storage

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["migrate"]


def migrate(path: str | Path) -> list[int]:
    """Raise a catalog to the present format; returns the formats passed on the way."""
    catalog = Catalog(Storage(path))
    found = int(catalog.about["format_version"])
    if found > FORMAT_VERSION:
        raise too_new(path, found)
    passed = []
    while found < FORMAT_VERSION:
        if found not in _STEPS:
            raise FormatError(
                f"{path} has format {found}, which no version of clipmill wrote",
                allowed=f"formats {min(_STEPS)} to {FORMAT_VERSION}",
            )
        _STEPS[found](catalog)
        found += 1
        about = {**catalog.about, "format_version": found}
        catalog.storage.replace("catalog.json", json.dumps(about, indent=2).encode() + b"\n")
        catalog.__dict__.pop("about", None)
        passed.append(found)
    return passed


def _licence_terms_to_struct(catalog: Catalog) -> None:
    if "sources" not in catalog.tables():
        return
    stored = {column.name: column for column in catalog.columns("sources")}
    if not pa.types.is_string(stored["license_terms"].type):
        return
    stored["license_terms"] = TABLES["sources"].column("license_terms")
    with catalog.transaction("migrate format 1 to 2") as txn:
        txn.convert("sources", tuple(stored.values()), _with_parsed_terms)


def _with_parsed_terms(rows: pa.Table) -> pa.Table:
    terms = [
        _parsed_terms(source, text)
        for source, text in zip(
            rows.column("source_id").to_pylist(),
            rows.column("license_terms").to_pylist(),
            strict=True,
        )
    ]
    position = rows.column_names.index("license_terms")
    return rows.set_column(position, "license_terms", pa.array(terms, TRISTATE))


def _parsed_terms(source: str, text: str | None) -> dict[str, str] | None:
    if text is None:
        return None
    try:
        terms = json.loads(text)
        return {item.name: terms.get(item.name, "unknown") for item in TRISTATE}
    except (ValueError, AttributeError) as error:
        raise FormatError(
            f"source {source} has license_terms {text!r}, which is no JSON object",
            allowed='{"redistribute": "yes", "commercial": "no", "derive": "unknown"} or NULL',
            hint="correct it with the clipmill that wrote it, and migrate again",
        ) from error


_STEPS: dict[int, Callable[[Catalog], None]] = {1: _licence_terms_to_struct}
"""From each older format, what leads to the next one."""
