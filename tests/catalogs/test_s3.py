"""The whole life of a catalog in an object store, against a server on this machine."""

from __future__ import annotations

import subprocess
import sys

import pyarrow as pa
import pytest

from catalogs import Catalog, Column
from catalogs.errors import NotFoundError, QueryError
from catalogs.maintenance import compact
from catalogs.migrate import migrate

BLUR = Column("blur", pa.float64(), "how blurred the clip is")


@pytest.fixture
def catalog(bucket: str, request: pytest.FixtureRequest) -> Catalog:
    catalog = Catalog.create(f"{bucket}/{request.node.name}")
    for number in range(3):
        clips = [f"{number}-{clip}" for clip in range(4)]
        with catalog.transaction(f"import {number}") as txn:
            txn.append("sources", [{"source_id": str(number), "uri": f"{number}.mp4"}])
            rows = [{"clip_id": c, "cutting": "k", "source_id": str(number)} for c in clips]
            txn.append("clips", rows)
            txn.append(
                "scores/blur", [{"clip_id": c, "op_version": 1, "blur": 0.5} for c in clips], [BLUR]
            )
    return catalog


def test_the_life_of_a_catalog(catalog: Catalog) -> None:
    root = catalog.storage.root
    assert Catalog.open(root).version == 3
    query = "select count(*), count(distinct uri), sum(blur) from clips"
    assert catalog.sql(query).one() == (12, 3, 6.0)
    assert catalog.at(2).sql(query).one() == (8, 2, 4.0)
    catalog.upsert("sources", [{"source_id": "1", "uri": "new"}])
    with catalog.transaction() as txn:
        txn.delete("clips", pa.table({"clip_id": ["0-0", "2-3"]}))
    assert sum(batch.num_rows for batch in catalog.clips.batches(3)) == 10
    assert catalog.diff(3, 5, "sources").columns["uri"] == 1

    report = compact(catalog)
    assert report.files_after == {"clips": 1, "scores/blur": 1, "sources": 1}
    assert catalog.sql(query).one() == (10, 3, 5.0)
    assert catalog.at(3).sql(query).one() == (12, 3, 6.0)

    assert compact(catalog, vacuum=True).deleted_files == 0, "young files may be in use"
    assert compact(catalog, vacuum=True, grace_s=-60).deleted_files > 0
    stored = [item.path for item in catalog.storage.walk("clips") if "_delta_log" not in item.path]
    assert stored == [f"clips/{item.path}" for item in catalog.files("clips")]
    assert Catalog.open(root).sql(query).one() == (10, 3, 5.0)
    with pytest.raises(NotFoundError, match="was vacuumed"):
        catalog.at(3)
    catalog.append("sources", [{"source_id": "later"}])
    assert Catalog.open(root).rows("sources") == 4


def test_racing_writers_lose_nothing_without_a_lock(catalog: Catalog) -> None:
    other = Catalog.open(catalog.storage.root)
    raced: list[int] = []

    def race(head: Catalog) -> None:
        if len(raced) < 2:
            raced.append(head.version)
            other.append("sources", [{"source_id": f"fast {len(raced)}"}])

    with catalog.transaction() as txn:
        txn.require(race)
        txn.append("sources", [{"source_id": "slow"}])
    found = (
        Catalog.open(catalog.storage.root).sql("select source_id from sources order by 1").rows()
    )
    assert [row[0] for row in found] == ["0", "1", "2", "fast 1", "fast 2", "slow"]


def test_the_connection_reads_this_prefix_and_nothing_else(catalog: Catalog, bucket: str) -> None:
    Catalog.create(f"{bucket}/secret").append("sources", [{"source_id": "s"}])
    (uri,) = Catalog.open(f"{bucket}/secret").uris("sources")
    assert catalog.sql(f"select count(*) from '{catalog.uris('sources')[0]}'").value() == 1
    with pytest.raises(QueryError, match="Permission"):
        catalog.sql(f"select * from read_parquet('{uri}')").rows()
    with pytest.raises(QueryError, match="Permission"):
        catalog.sql("select * from read_text('/etc/hostname')").rows()


def test_migration_and_refusals(catalog: Catalog, bucket: str) -> None:
    assert migrate(catalog.storage.root) == []
    with pytest.raises(NotFoundError, match=r"no catalog\.json"):
        Catalog.open(f"{bucket}/nothing-here")


HALF_READ = """
import sys
from catalogs import Catalog
stream = Catalog.open(sys.argv[1]).sql("select a.* from clips_all a, clips_all b").batches(1_000)
print(next(stream).num_rows)
"""


def test_a_process_that_leaves_a_stream_half_read_ends(catalog: Catalog) -> None:
    """DuckDB's threads read ahead through Python; they must be done before it is."""
    rows = [{"clip_id": f"{number:05d}", "cutting": "k"} for number in range(3_000)]
    for _ in range(3):
        catalog.append("clips", rows)
    for _ in range(3):
        done = subprocess.run(
            [sys.executable, "-c", HALF_READ, catalog.storage.root],
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert (done.returncode, done.stderr) == (0, "")
