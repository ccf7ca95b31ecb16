"""Exports: complete or absent, the same bytes every time, and nothing that licences forbid."""

from __future__ import annotations

import csv
import hashlib
import json
from pathlib import Path

import pyarrow.dataset as pads
import pyarrow.parquet as pq
import pytest

from catalogs import shards
from catalogs.catalog import Catalog
from catalogs.errors import FormatError, LicenceError, NotFoundError, UsageError
from catalogs.export import export_dataset
from catalogs.testing.licensed import LICENSED_SOURCES, record_licensed

FORBIDDEN = [source for source in LICENSED_SOURCES if source.mark in ("CLOSED", "UNCLEAR")]
PRIVATE = ("hush", "/home/someone", "workstation-7")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Catalog:
    return record_licensed(tmp_path_factory.mktemp("export") / "corpus")


def everything_in(folder: Path) -> str:
    """All text of a folder: Parquet as its values and schema, everything else as it is."""
    texts = []
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        texts.append(file.name)
        if file.suffix == ".parquet":
            table = pq.read_table(file)
            texts += [str(table.schema.metadata), json.dumps(table.to_pylist(), default=str)]
        else:
            texts.append(file.read_bytes().decode("utf-8", "replace"))
    return "\n".join(texts)


@pytest.mark.parametrize("layout", ["parquet", "hf", "csv"])
@pytest.mark.parametrize("chosen", [{"selection": "web"}, {"where": "duration_s >= 2"}])
def test_nothing_of_a_forbidden_source_leaves(
    corpus: Catalog, tmp_path: Path, layout: str, chosen: dict[str, str]
) -> None:
    export_dataset(corpus, tmp_path / "out", format=layout, refused="drop", **chosen)
    text = everything_in(tmp_path / "out")
    assert "FREE caption" in text
    clips = corpus.sql("select clip_id, source_id from clips").rows()
    for source in FORBIDDEN:
        own_clips = [clip for clip, owner in clips if owner == source.id]
        for secret in (source.mark, source.id, source.sha256, *own_clips):
            assert secret not in text
    assert not any(secret in text for secret in PRIVATE)


def test_forbidden_clips_are_named_in_a_rebuild_recipe_only(
    corpus: Catalog, tmp_path: Path
) -> None:
    export_dataset(corpus, tmp_path / "out", selection="web")
    recipe = pq.read_table(tmp_path / "out" / "rebuild").to_pylist()
    assert {row["sha256"] for row in recipe} == {source.sha256 for source in FORBIDDEN}
    assert len(recipe) == 14
    assert {row["uri"] for row in recipe} == {
        "https://example.org/CLOSED.mp4",
        "https://example.org/watch?v=UNCLEAR",
    }
    assert all(row["end_pts"] > row["start_pts"] and row["reason"] for row in recipe)
    text = everything_in(tmp_path / "out")
    for source in FORBIDDEN:
        for derived in ("caption", "note", "title", "detector"):
            assert f"{source.mark} {derived}" not in text
    assert not any(secret in text for secret in PRIVATE)


def test_rows_match_the_catalog_split_by_split(corpus: Catalog, tmp_path: Path) -> None:
    export = export_dataset(corpus, tmp_path / "out", selection="web", format="parquet")
    assert export.clips == sum(export.splits.values()) == 21
    for split, clips in export.splits.items():
        (file,) = (tmp_path / "out" / "data").glob(f"{split}-*.parquet")
        assert file.name == f"{split}-00000-of-00001.parquet"
        rows = pq.read_table(file).to_pylist()
        assert len(rows) == clips
        order = [(row["source_id"], row["start_pts"]) for row in rows]
        assert order == sorted(order)
        for row in rows:
            assert row["split"] == split
            assert row["luma_mean_255"] == 20 + 7 * row["duration_s"]
            (caption,) = row["captions"]
            assert caption["text"].endswith("caption: somebody walks, ünd “turns”")


def test_units_and_meanings_travel_along(corpus: Catalog, tmp_path: Path) -> None:
    export_dataset(corpus, tmp_path / "out", selection="web", format="parquet")
    schema = pads.dataset(tmp_path / "out" / "data").schema
    assert schema.field("duration_s").metadata == {b"unit": b"s", b"meaning": b"length"}
    assert schema.field("luma_mean_255").metadata[b"unit"] == b"0 to 255"


def test_csv_holds_the_same_rows(corpus: Catalog, tmp_path: Path) -> None:
    export_dataset(corpus, tmp_path / "csv", selection="web", format="csv")
    export_dataset(corpus, tmp_path / "parquet", selection="web", format="parquet")
    with open(tmp_path / "csv" / "data" / "val.csv", newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    (file,) = (tmp_path / "parquet" / "data").glob("val-*")
    expected = pq.read_table(file).to_pylist()
    assert [row["clip_id"] for row in rows] == [row["clip_id"] for row in expected]
    assert json.loads(rows[0]["captions"]) == expected[0]["captions"]
    granted = next(row for row in rows if row["license"] == "")
    assert json.loads(granted["license_terms"])["redistribute"] == "yes"


def test_the_same_export_has_the_same_bytes(corpus: Catalog, tmp_path: Path) -> None:
    first = export_dataset(corpus, tmp_path / "a" / "web", selection="web")
    second = export_dataset(corpus, tmp_path / "b" / "web", selection="web")
    assert first.manifest == second.manifest
    assert len(first.manifest["files"]) > 5


def test_the_manifest_names_every_file(corpus: Catalog, tmp_path: Path) -> None:
    out = tmp_path / "out"
    export_dataset(corpus, out, selection="web")
    manifest = shards.read_manifest(out)
    present = {p.relative_to(out).as_posix() for p in out.rglob("*") if p.is_file()}
    assert present == {item["path"] for item in manifest["files"]} | {shards.MANIFEST}
    for item in manifest["files"]:
        assert hashlib.sha256((out / item["path"]).read_bytes()).hexdigest() == item["sha256"]
    assert shards.verify_files(out, manifest) == {}
    (out / "README.md").write_text("changed")
    assert list(shards.verify_files(out, manifest)) == ["README.md"]


def test_a_manifest_that_points_outside_is_refused(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text(
        json.dumps({"manifest_version": 1, "files": [{"path": "../../etc/passwd"}]})
    )
    with pytest.raises(FormatError, match="outside"):
        shards.read_manifest(tmp_path)


def test_large_splits_become_several_files(corpus: Catalog, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(shards, "GROUP_ROWS", 4)
    export_dataset(corpus, tmp_path / "out", selection="web", format="parquet", shard_bytes=1)
    files = sorted((tmp_path / "out" / "data").glob("train-*"))
    count = len(files)
    assert [f.name for f in files] == [
        f"train-{n:05d}-of-{count:05d}.parquet" for n in range(count)
    ]
    assert [pq.read_metadata(file).num_rows for file in files] == [4, 4, 3]


def test_a_failed_export_leaves_nothing(corpus: Catalog, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="not a part of a card"):
        export_dataset(corpus, tmp_path / "out", selection="web", about={"tittle": "x"})
    assert list(tmp_path.iterdir()) == []


def test_an_existing_folder_is_only_replaced_when_told(corpus: Catalog, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "precious.txt").write_text("mine")
    with pytest.raises(UsageError, match="already exists"):
        export_dataset(corpus, out, selection="web", format="csv")
    assert (out / "precious.txt").read_text() == "mine"
    export_dataset(corpus, out, selection="web", format="csv", overwrite=True)
    assert sorted(path.name for path in out.iterdir()) == ["data", "manifest.json", "rebuild"]
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_chosen_columns(corpus: Catalog, tmp_path: Path) -> None:
    export_dataset(
        corpus, tmp_path / "out", selection="web", format="parquet", columns=["luma_mean_255"]
    )
    names = pads.dataset(tmp_path / "out" / "data").schema.names
    assert names == ["clip_id", "split", "luma_mean_255", "captions"]
    with pytest.raises(NotFoundError, match="luma_mean_255"):
        export_dataset(corpus, tmp_path / "no", selection="web", columns=["luma_mean"])


def test_for_oneself_everything_is_exported(corpus: Catalog, tmp_path: Path) -> None:
    export = export_dataset(corpus, tmp_path / "out", selection="web", format="csv", uses=())
    assert export.clips == 35
    assert not (tmp_path / "out" / "rebuild").exists()


def test_refusals_can_be_errors(corpus: Catalog, tmp_path: Path) -> None:
    with pytest.raises(LicenceError, match="Pexels License"):
        export_dataset(corpus, tmp_path / "out", selection="web", refused="error")
    assert not (tmp_path / "out").exists()


def test_only_forbidden_clips_leave_only_a_recipe(corpus: Catalog, tmp_path: Path) -> None:
    export = export_dataset(
        corpus, tmp_path / "out", where="collection = 'CLOSED collection'", format="hf"
    )
    assert export.clips == 0
    assert not (tmp_path / "out" / "data").exists()
    assert pq.read_table(tmp_path / "out" / "rebuild").num_rows == 8


@pytest.mark.parametrize("condition", ["luma_mean_255 > 60", 'not ("luma_mean_255" <= 60)'])
def test_conditions_on_scores(corpus: Catalog, tmp_path: Path, condition: str) -> None:
    export = export_dataset(corpus, tmp_path / "out", where=condition, format="parquet")
    assert export.clips == 9


def test_an_unknown_selection_names_the_known(corpus: Catalog, tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="web"):
        export_dataset(corpus, tmp_path / "out", selection="wbe")
