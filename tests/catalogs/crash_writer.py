"""A writer to be killed: for each number on stdin it forks a child that writes so many units.

A unit is one transaction over three tables; now and then the child compacts. Units that the
catalog already has are skipped, so a rerun completes what a kill cut short. The child prints its
process id just before its first transaction; the parent prints how it ended.
"""

from __future__ import annotations

import os
import sys

import pyarrow as pa

from catalogs import Catalog, Column
from catalogs.maintenance import compact

CLIPS = 3
BLUR = Column("blur", pa.float64(), "how blurred the clip is")


def write_unit(catalog: Catalog, unit: int) -> None:
    source = f"source{unit:04d}"
    clips = [
        {"clip_id": f"{source}-{clip}", "cutting": "c", "source_id": source, "frames": unit}
        for clip in range(CLIPS)
    ]
    scores = [
        {"clip_id": row["clip_id"], "op_version": 1, "blur": unit + clip / 10}
        for clip, row in enumerate(clips)
    ]
    earlier = {"clip_id": f"source{unit // 2:04d}-0", "op_version": 1, "blur": -float(unit)}
    with catalog.transaction(f"unit {unit}") as txn:
        txn.append("sources", [{"source_id": source, "uri": f"{unit}.mp4"}])
        txn.append("clips", clips)
        txn.upsert("scores/blur", scores, [BLUR])
        txn.upsert("scores/blur", [earlier], [BLUR])


def write_all(path: str, units: int) -> None:
    """Do every unit below `units` that is missing."""
    catalog = Catalog.open(path)
    done = {row[0] for row in catalog.sql("select source_id from sources").rows()}
    sys.stdout.write(f"started {os.getpid()}\n")
    sys.stdout.flush()
    for unit in range(units):
        if f"source{unit:04d}" not in done:
            write_unit(catalog, unit)
            if unit % 12 == 11:
                compact(catalog, vacuum=unit % 24 == 23)


def serve(path: str) -> None:
    pa.array([])  # what Arrow imports for its first array is then imported once, not per child
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            write_all(path, int(line))
            sys.stdout.flush()
            os._exit(0)
        _, status = os.waitpid(child, 0)
        sys.stdout.write(f"ended {os.waitstatus_to_exitcode(status)}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    serve(sys.argv[1])
