"""A writer or a reader of a catalog that many use at once.

    python busy_process.py write CATALOG NAME COUNT     commits COUNT transactions
    python busy_process.py read CATALOG                 checks snapshots until stdin closes

A transaction adds one source, its clips and its scores; the reader fails when a snapshot shows
one without the others, when rows vanish, or when an older version is seen after a newer one.
"""

from __future__ import annotations

import select
import sys

import pyarrow as pa

from catalogs import Catalog, Column
from catalogs.maintenance import compact
from catalogs.query import Session

CLIPS = 2
PACE_S = 0.1
FULL_CHECK_EVERY = 10
BLUR = Column("blur", pa.float64(), "how blurred the clip is")
CHECK = """
    select count(*), count(*) filter (
        uri is null or clips is distinct from $n or scores is distinct from $n or different <> $n)
    from sources full join (
        select source_id, count(*) as clips, count(blur) as scores,
            count(distinct clip_id) as different
        from clips group by all
    ) using (source_id)"""


def write(path: str, name: str, count: int) -> None:
    catalog = Catalog.open(path)
    for number in range(count):
        source = f"{name}-{number:04d}"
        clips = [f"{source}-{clip}" for clip in range(CLIPS)]
        with catalog.transaction(source) as txn:
            txn.append("sources", [{"source_id": source, "uri": f"{source}.mp4"}])
            txn.append(
                "clips", [{"clip_id": clip, "cutting": "c", "source_id": source} for clip in clips]
            )
            scores = [{"clip_id": clip, "op_version": 1, "blur": 1.0} for clip in clips]
            txn.insert("scores/blur", scores, [BLUR])
        if name == "a" and number in (count // 3, 2 * count // 3):
            compact(catalog)


def read(path: str) -> None:
    catalog = Catalog.open(path)
    version = seen = checks = 0
    while checks < 3 or not select.select([sys.stdin], [], [], PACE_S)[0]:
        catalog.refresh()
        sources = catalog.rows("sources")
        expected = (sources * CLIPS, sources * CLIPS)
        found = (catalog.rows("clips"), catalog.rows("scores/blur"))
        assert found == expected, f"version {catalog.version} shows half a transaction"
        assert catalog.version >= version, "an older version was seen after a newer one"
        assert sources >= seen, f"version {catalog.version} lost sources"
        if checks % FULL_CHECK_EVERY == 0:
            check_rows(Catalog.open(path))
        version, seen, checks = catalog.version, sources, checks + 1
    print(checks)


def check_rows(catalog: Catalog) -> None:
    """Every source has its clips and their scores, by the rows themselves."""
    with Session(catalog) as session:
        ((sources, wrong),) = session.sql(CHECK, {"n": CLIPS}).rows()
    assert wrong == 0, f"version {catalog.version} shows half a transaction"
    assert sources == catalog.rows("sources")


if __name__ == "__main__":
    if sys.argv[1] == "write":
        write(sys.argv[2], sys.argv[3], int(sys.argv[4]))
    else:
        read(sys.argv[2])
