"""Format 1 catalogs become format 2; newer ones are refused with advice."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pytest

from catalogs import FORMAT_VERSION, Catalog, Column
from catalogs.errors import FormatError
from catalogs.migrate import migrate
from catalogs.schema import TABLES

TERMS = {
    "a": '{"redistribute": "yes", "commercial": "no"}',
    "b": None,
    "c": '{"derive": "yes", "attribution": "yes"}',
}


def set_format(path: Path, number: int) -> None:
    about = json.loads((path / "catalog.json").read_text())
    (path / "catalog.json").write_text(json.dumps({**about, "format_version": number}))


def format_of(path: Path) -> int:
    return int(json.loads((path / "catalog.json").read_text())["format_version"])


def make_format_1(path: Path, terms: dict[str, str | None]) -> None:
    """A catalog as the first format had it: licence terms were JSON text."""
    catalog = Catalog.create(path)
    catalog.append("clips", [{"clip_id": "x", "cutting": "k", "source_id": "a"}])
    catalog.append("sources", [{"source_id": source, "uri": source} for source in terms])
    spec = TABLES["sources"]
    position = spec.schema.names.index("license_terms")
    columns = list(spec.columns)
    columns[position] = Column("license_terms", pa.string(), "what the licence permits, JSON")

    def as_text(rows: pa.Table) -> pa.Table:
        texts = [terms[source] for source in rows.column("source_id").to_pylist()]
        return rows.set_column(position, "license_terms", pa.array(texts, pa.string()))

    with catalog.transaction() as txn:
        txn.convert("sources", tuple(columns), as_text)
    set_format(path, 1)


def test_migration_turns_text_into_permissions(tmp_path: Path) -> None:
    make_format_1(tmp_path, TERMS)
    with pytest.raises(FormatError, match="--migrate"):
        Catalog.open(tmp_path)
    assert migrate(tmp_path) == [2]
    catalog = Catalog.open(tmp_path)
    query = "select source_id, uri, license_terms from sources order by 1"
    assert catalog.sql(query).rows() == [
        ("a", "a", {"redistribute": "yes", "commercial": "no", "derive": "unknown"}),
        ("b", "b", None),
        ("c", "c", {"redistribute": "unknown", "commercial": "unknown", "derive": "yes"}),
    ]
    assert catalog.sql("select license_terms.commercial from clips").value() == "no"
    catalog.append("sources", [{"source_id": "d", "license_terms": {"derive": "no"}}])
    assert catalog.rows("sources") == 4


def test_versions_from_before_stay_as_they_were(tmp_path: Path) -> None:
    make_format_1(tmp_path, TERMS)
    migrate(tmp_path)
    catalog = Catalog.open(tmp_path)
    before = catalog.at(catalog.version - 1)
    query = "select license_terms from sources where source_id = 'a'"
    assert before.sql(query).value() == TERMS["a"]


def test_migration_after_a_crash_finishes(tmp_path: Path) -> None:
    """The table was rewritten, and the process died before it raised the number."""
    make_format_1(tmp_path, TERMS)
    migrate(tmp_path)
    version = Catalog.open(tmp_path).version
    set_format(tmp_path, 1)
    assert migrate(tmp_path) == [2]
    assert Catalog.open(tmp_path).version == version
    assert format_of(tmp_path) == FORMAT_VERSION


def test_a_catalog_of_today_is_left_alone(tmp_path: Path) -> None:
    catalog = Catalog.create(tmp_path)
    catalog.append("sources", [{"source_id": "a"}])
    assert migrate(tmp_path) == []
    assert Catalog.open(tmp_path).version == 1


def test_an_empty_format_1_catalog(tmp_path: Path) -> None:
    Catalog.create(tmp_path)
    set_format(tmp_path, 1)
    assert migrate(tmp_path) == [2]
    assert Catalog.open(tmp_path).version == 0


@pytest.mark.parametrize("text", ["free", "[1]", "3"])
def test_terms_that_are_no_object_stop_the_migration(tmp_path: Path, text: str) -> None:
    make_format_1(tmp_path, {"a": text})
    with pytest.raises(FormatError, match="source a has license_terms"):
        migrate(tmp_path)
    assert format_of(tmp_path) == 1


def test_a_newer_format_says_what_to_do(tmp_path: Path) -> None:
    Catalog.create(tmp_path)
    set_format(tmp_path, FORMAT_VERSION + 1)
    for attempt in (Catalog.open, migrate):
        with pytest.raises(FormatError, match="pip install --upgrade clipmill"):
            attempt(tmp_path)


def test_a_format_that_never_was(tmp_path: Path) -> None:
    Catalog.create(tmp_path)
    set_format(tmp_path, 0)
    with pytest.raises(FormatError, match="formats 1 to 2"):
        migrate(tmp_path)
