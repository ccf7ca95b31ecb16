"""Compaction keeps every row and order; vacuum leaves exactly the newest version."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from catalogs import Catalog, Column
from catalogs.errors import NotFoundError
from catalogs.maintenance import compact

BLUR = Column("blur", pa.float64(), "how blurred the clip is")


def fill(catalog: Catalog, commits: int = 12) -> None:
    dice = random.Random(5)
    for number in range(commits):
        clips = [f"{dice.getrandbits(64):016x}" for _ in range(20)]
        with catalog.transaction(str(number)) as txn:
            txn.append("sources", [{"source_id": str(number), "uri": f"{number}.mp4"}])
            rows = [{"clip_id": c, "cutting": "xy"[number % 2], "source_id": "s"} for c in clips]
            txn.append("clips", rows)
            scores = [{"clip_id": c, "op_version": 1, "blur": dice.random()} for c in clips]
            txn.append("scores/blur", scores, [BLUR])


@pytest.fixture
def catalog(tmp_path: Path) -> Catalog:
    catalog = Catalog.create(tmp_path / "corpus")
    fill(catalog)
    return catalog


def everything(catalog: Catalog) -> dict[str, list[dict[str, Any]]]:
    names = {"sources": "sources", "clips": "clips_all", "scores/blur": "scores_blur"}
    return {
        table: catalog.sql(f"select * from {name} order by all").dicts()
        for table, name in names.items()
    }


def on_disk(catalog: Catalog, table: str) -> set[str]:
    return {file.name for file in Path(catalog.storage.uri(table)).glob("*.parquet")}


def live(catalog: Catalog, table: str) -> set[str]:
    return {item.path for item in catalog.files(table)}


def test_compaction_merges_sorted_files_and_keeps_every_row(catalog: Catalog) -> None:
    before, version = everything(catalog), catalog.version
    report = compact(catalog)
    assert everything(catalog) == before
    assert report.version == catalog.version == version + 1
    assert report.files_before == {"clips": 12, "scores/blur": 12, "sources": 12}
    assert report.files_after == {"clips": 2, "scores/blur": 1, "sources": 1}
    for item in catalog.files("clips"):
        assert item.constant("cutting") in ("x", "y")
        rows = pq.read_table(catalog.storage.uri(f"clips/{item.path}"), columns=["clip_id"])
        ids = rows.column("clip_id").to_pylist()
        assert ids == sorted(ids)
        assert (item.smallest["clip_id"], item.largest["clip_id"]) == (ids[0], ids[-1])
    assert catalog.at(version).rows("clips") == 240


def test_compaction_of_compacted_tables_does_nothing(catalog: Catalog) -> None:
    compact(catalog)
    version = catalog.version
    assert compact(catalog).version == version


def test_output_files_roll_over_at_the_target_size(
    catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("catalogs.files.ROW_GROUP_ROWS", 500)
    rows = [{"source_id": f"{n:06d}", "meta": os.urandom(60).hex()} for n in range(6_000)]
    for part in range(6):
        catalog.append("sources", rows[part::6])
    size = sum(item.bytes for item in catalog.files("sources"))
    assert size > 400_000
    before = catalog.rows("sources")
    compact(catalog, target_bytes=300_000)
    files = catalog.files("sources")
    assert 2 <= len(files) <= 6
    assert catalog.rows("sources") == before
    starts = [
        pq.read_table(catalog.storage.uri(f"sources/{f.path}"), columns=["source_id"])[0][0].as_py()
        for f in files
    ]
    assert starts == sorted(starts)


def test_files_that_mix_versions_are_taken_apart(catalog: Catalog) -> None:
    rows = [{"clip_id": f"c{n}", "op_version": n % 2 + 2, "blur": 0.5} for n in range(10)]
    catalog.append("scores/blur", rows)
    compact(catalog)
    versions = sorted(item.constant("op_version") for item in catalog.files("scores/blur"))
    assert versions == [1, 2, 3]


def test_series_and_structs_survive_compaction(tmp_path: Path) -> None:
    catalog = Catalog.create(tmp_path / "corpus")
    curve = Column("curve", pa.list_(pa.float32()), "one value a frame")
    for chunk in range(3):
        series = [float(chunk), None, 0.1, float("inf")]
        row = {"source_id": "s", "chunk": chunk, "set_version": 1, "pts": [1, 2], "curve": series}
        catalog.append("signals/video", [row], [curve])
        terms = {"redistribute": "yes", "commercial": None, "derive": "no"}
        catalog.append("sources", [{"source_id": str(chunk), "license_terms": terms}])
    before = catalog.sql("select * from signals_video order by all").dicts()
    sources = catalog.sql("select * from sources order by all").dicts()
    compact(catalog)
    assert len(catalog.files("signals/video")) == 1
    assert catalog.sql("select * from signals_video order by all").dicts() == before
    assert catalog.sql("select * from sources order by all").dicts() == sources
    metadata = pq.ParquetFile(
        catalog.storage.uri(f"signals/video/{catalog.files('signals/video')[0].path}")
    ).metadata
    encodings = {
        metadata.row_group(0).column(n).path_in_schema: metadata.row_group(0).column(n).encodings
        for n in range(metadata.num_columns)
    }
    assert "BYTE_STREAM_SPLIT" in encodings["curve.list.element"]


def test_appends_during_a_compaction_are_kept(
    catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = Catalog.open(catalog.storage.root)
    before = len(everything(catalog)["clips"])
    interfere_once(monkeypatch, lambda: fill(other, 1))
    compact(catalog)
    assert catalog.rows("clips") == before + 20
    assert catalog.rows("scores/blur") == catalog.rows("clips")


def test_a_rewrite_during_a_compaction_makes_it_plan_again(
    catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = Catalog.open(catalog.storage.root)
    interfere_once(monkeypatch, lambda: other.upsert("sources", [{"source_id": "3", "uri": "new"}]))
    compact(catalog)
    assert len(catalog.files("sources")) == 1
    assert catalog.sql("select uri from sources where source_id = '3'").value() == "new"
    assert catalog.rows("sources") == 12
    assert list(Path(catalog.storage.uri(".staging")).iterdir()) == []


def interfere_once(monkeypatch: pytest.MonkeyPatch, act: Any) -> None:
    """Run `act` when the first compaction has merged its files and is about to commit."""
    from catalogs.transaction import Transaction

    commit = Transaction.commit
    acted: list[bool] = []

    def interfered(txn: Transaction, message: str) -> None:
        if message == "compact" and not acted:
            acted.append(True)
            act()
        commit(txn, message)

    monkeypatch.setattr(Transaction, "commit", interfered)


def test_plain_duckdb_reads_exactly_the_rows_after_vacuum(catalog: Catalog) -> None:
    catalog.upsert("sources", [{"source_id": "1", "uri": "new"}])
    with catalog.transaction() as txn:
        txn.delete("clips", pa.table({"cutting": ["x"]}))
    before = everything(catalog)
    report = compact(catalog, vacuum=True)
    assert report.deleted_files > 0
    assert report.deleted_bytes > 0
    with duckdb.connect() as connection:
        connection.execute("set TimeZone = 'UTC'")
        for table, rows in before.items():
            path = catalog.storage.uri(table)
            relation = connection.sql(f"select * from '{path}/*.parquet' order by all")
            assert relation.to_arrow_table().to_pylist() == rows
    assert everything(Catalog.open(catalog.storage.root)) == before
    for table in catalog.tables():
        assert on_disk(catalog, table) == live(catalog, table)


def test_vacuum_gives_up_older_versions_and_says_so(catalog: Catalog) -> None:
    old = catalog.version
    stale = catalog.at(3)
    compact(catalog, vacuum=True)
    with pytest.raises(NotFoundError, match=f"version {old} was vacuumed"):
        catalog.at(old)
    with pytest.raises(NotFoundError, match="was vacuumed"):
        catalog.at(0)
    with pytest.raises(NotFoundError, match="vacuumed"):
        stale.files("clips")
    assert catalog.history().num_rows == catalog.version
    catalog.append("sources", [{"source_id": "after"}])
    assert catalog.at(catalog.version - 1).rows("sources") == 12


def test_a_writer_that_slept_through_a_vacuum_writes_on(catalog: Catalog) -> None:
    """Its logs end at a version whose entries are gone: silence after them proves nothing."""
    sleeper = Catalog.open(catalog.storage.root)
    sleeper.append("sources", [{"source_id": "early"}])
    compact(catalog, vacuum=True)
    fill(catalog, 3)
    compact(catalog, vacuum=True)
    with sleeper.transaction() as txn:
        txn.append("sources", [{"source_id": "late"}])
        txn.upsert("scores/blur", [{"clip_id": "c", "op_version": 1, "blur": 1.0}])
        txn.delete("clips", pa.table({"cutting": ["nobody's"]}))
    fresh = Catalog.open(catalog.storage.root)
    assert fresh.version == sleeper.version
    assert fresh.rows("sources") == 12 + 3 + 2
    assert fresh.sql("select count(distinct source_id) from sources").value() == 14
    assert fresh.history().column("version").to_pylist() == list(range(1, fresh.version + 1))


def test_vacuum_cleans_the_logs(catalog: Catalog) -> None:
    compact(catalog, vacuum=True)
    for table in [*catalog.tables(), "commits"]:
        entries = list(Path(catalog.storage.uri(f"{table}/_delta_log")).iterdir())
        kinds = sorted(entry.name.split(".", 1)[-1] for entry in entries)
        assert kinds == ["_last_checkpoint", "checkpoint.parquet", "json"]


def test_vacuum_deletes_what_dead_processes_staged(catalog: Catalog) -> None:
    stage = (
        "import sys; from catalogs.storage import Storage;"
        "Storage(sys.argv[1]).staging_file('.parquet').write_bytes(b'x')"
    )
    subprocess.run([sys.executable, "-c", stage, catalog.storage.root], check=True)
    mine = catalog.storage.staging_file(".parquet")
    mine.write_bytes(b"x")
    assert len(list(mine.parent.iterdir())) == 2
    compact(catalog, vacuum=True)
    assert list(mine.parent.iterdir()) == [mine]


def test_vacuum_leaves_other_files_alone(catalog: Catalog) -> None:
    root = Path(catalog.storage.root)
    (root / "media").mkdir()
    (root / "media" / "export.parquet").write_bytes(b"x")
    (root / "clips" / "notes.txt").write_text("mine")
    (root / "clips" / "orphan.parquet").write_bytes(b"x")
    compact(catalog, vacuum=True)
    assert (root / "media" / "export.parquet").exists()
    assert (root / "clips" / "notes.txt").exists()
    assert not (root / "clips" / "orphan.parquet").exists()


def test_grace_keeps_young_files(catalog: Catalog) -> None:
    before = on_disk(catalog, "clips")
    report = compact(catalog, vacuum=True, grace_s=3_600)
    assert report.deleted_files == 0
    assert on_disk(catalog, "clips") >= before


MERGE = """
import sys
import pyarrow as pa
from catalogs import Catalog, files, maintenance
maintenance.PIECE_BYTES, files.ROW_GROUP_BYTES = 20_000_000, 4_000_000
maintenance.compact(Catalog.open(sys.argv[1]))
print(pa.default_memory_pool().max_memory())
"""


def test_compaction_needs_little_memory(tmp_path: Path) -> None:
    """80 MB of signals pass through, in pieces of 16 MB."""
    catalog = Catalog.create(tmp_path / "corpus")
    curve = Column("curve", pa.list_(pa.float32()), "one value a frame")
    for part in range(20):
        buffer = pa.py_buffer(os.urandom(2_000_000))
        noise = pa.Array.from_buffers(pa.uint16(), 1_000_000, [None, buffer])
        lists = pa.ListArray.from_arrays(
            pa.array(range(0, 1_000_001, 10_000), pa.int32()), noise.cast(pa.float32())
        )
        table = {
            "source_id": [f"{n}-{part}" for n in range(100)],
            "chunk": pa.array([0] * 100, pa.int32()),
            "set_version": pa.array([1] * 100, pa.int32()),
            "curve": lists,
        }
        catalog.append("signals/video", pa.table(table), [curve])
    done = subprocess.run(
        [sys.executable, "-c", MERGE, catalog.storage.root],
        capture_output=True,
        text=True,
        check=True,
    )

    (merged,) = catalog.refresh().files("signals/video")
    assert merged.rows == 2_000
    assert int(done.stdout) < 50_000_000
