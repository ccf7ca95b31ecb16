"""Runs that have ended, and those that are seen by the rows that they leave."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

from catalogs.catalog import Catalog
from catalogs.query import Session
from catalogs.runs import live_runs, recorded_runs


def test_a_run_is_live_until_its_row_is_there(tmp_path: Path) -> None:
    catalog = Catalog.create(tmp_path / "corpus")
    first = datetime.now(UTC) - timedelta(minutes=5)
    for number, seconds in enumerate((10.0, 3600.0)):
        created = {"created": first + timedelta(seconds=10 * number), "run_id": "r1"}
        source = {"source_id": f"{number:032x}", "kind": "video", "duration_s": seconds}
        clip = {"clip_id": f"{number:032x}", "cutting": "c", "source_id": source["source_id"]}
        with catalog.transaction("curate: 1 sources") as txn:
            txn.append("sources", [source | created])
            txn.append("clips", [clip | created])
    old = {"uri": "a", "stage": "open", "run_id": "r0", "created": first - timedelta(days=3)}
    catalog.append("quarantine", [old])
    with Session(catalog) as session:
        (run,) = live_runs(session)
    assert (run.run_id, dict(run.counts)) == ("r1", {"clips": 2, "files": 2})
    assert (run.first, run.last) == (first, first + timedelta(seconds=10))
    assert run.rate == "360 hours of media per hour"
    assert run.last_clips == (f"{1:032x}", f"{0:032x}")

    ended = {"run_id": "r1", "verb": "curate", "status": "done", "started": first}
    counts = '{"media_s": 3610.0, "wall_s": 36.1}'
    catalog.append("runs", [{**ended, "finished": datetime.now(UTC), "counts": counts}])
    with Session(catalog) as session:
        assert live_runs(session) == []
        (done,) = recorded_runs(session)
    assert done.rate == "100 hours of media per hour"
    assert done.to_dict()["counts"]["media_s"] == 3610.0
