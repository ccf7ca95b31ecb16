"""A process that used the catalog ends quietly, whatever it left open.

Arrow, DuckDB and the Delta library all keep threads. One that still holds an object of Python's
when the interpreter ends aborts the process ("terminate called without an active exception").
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

PROGRAM = """
import sys
from catalogs import Catalog

catalog = Catalog.create(sys.argv[1])
for number in range(2):
    with catalog.transaction() as txn:
        txn.append("sources", [{"source_id": str(number)}])
        txn.upsert("clips", [{"clip_id": str(clip), "cutting": "c"} for clip in range(200)])
stream = catalog.sql("select a.* from clips_all a, clips_all b").batches(1_000)
print(next(stream).num_rows)
"""


def test_a_program_that_leaves_a_stream_half_read_ends_cleanly(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tmp_path / "corpus")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "1000\n", "")
