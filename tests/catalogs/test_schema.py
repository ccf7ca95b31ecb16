"""Every table explains itself, and rows are brought into its form or refused."""

from __future__ import annotations

import re

import pyarrow as pa
import pytest

from catalogs import Catalog, Column
from catalogs.errors import NotFoundError, SchemaError, UsageError
from catalogs.schema import FAMILIES, TABLES, TableSpec, spec_of, view_name

SPECS = [*TABLES.values(), *FAMILIES.values()]
UNIT_SUFFIX = {"_s": "s", "_px": "px", "_deg": "degrees", "_hz": "Hz", "_m": "m"}


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.name)
def test_every_column_has_a_meaning_and_a_proper_name(spec: TableSpec) -> None:
    assert spec.meaning
    names = [column.name for column in spec.columns]
    assert len(names) == len(set(names))
    for column in spec.columns:
        assert column.meaning, column.name
        assert re.fullmatch(r"[a-z][a-z0-9_]*", column.name)
        for suffix, unit in UNIT_SUFFIX.items():
            if column.name.endswith(suffix) and column.type == pa.float64():
                assert column.unit == unit, column.name
    assert set(spec.key) <= set(names)
    assert set(spec.pruned_by) <= set(names)
    assert set(spec.apart) <= set(spec.key) & set(spec.pruned_by)


def test_meanings_and_units_travel_inside_the_tables(tmp_path: object) -> None:
    catalog = Catalog.create(str(tmp_path))
    blur = Column("blur_px", pa.float64(), "width of an edge", "px")
    catalog.append("scores/blur", [], [blur])
    catalog.append("clips", [])
    reopened = Catalog.open(str(tmp_path))
    assert reopened.columns("scores/blur")[-1] == blur
    assert reopened.columns("clips") == TABLES["clips"].columns


def test_conform_orders_casts_and_fills() -> None:
    rows = pa.table({"bytes": pa.array([3], pa.int32()), "source_id": ["a"]})
    conformed = TABLES["sources"].conform(rows)
    assert conformed.schema == TABLES["sources"].schema
    assert conformed.column("bytes").to_pylist() == [3]
    assert conformed.column("uri").null_count == 1


def test_family_tables_take_their_owners_columns() -> None:
    blur = Column("blur", pa.float64(), "how blurred the clip is")
    spec = spec_of("scores/blur", [blur])
    assert spec.columns == (*FAMILIES["scores"].columns, blur)
    assert view_name("tokens/vq@12ab") == "tokens_vq_12ab"
    with pytest.raises(SchemaError, match="declares column 'clip_id' twice"):
        spec_of("scores/blur", [Column("clip_id", pa.string(), "again")])
    with pytest.raises(UsageError, match="fixed columns"):
        spec_of("clips", [blur])


@pytest.mark.parametrize("name", ["clip", "scores", "scores/", "scores/../x", "score/x", ""])
def test_unknown_tables_are_named_with_what_there_is(name: str) -> None:
    with pytest.raises(NotFoundError, match=r"scores/<name>"):
        spec_of(name)
