"""A process that used the catalog ends quietly, whatever it left open.

Arrow, DuckDB and the Delta library all keep threads. One that still holds an object of Python's
when the interpreter ends aborts the process ("terminate called without an active exception").
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

RUNS = 50

USE = """
catalog = Catalog.create(f"{sys.argv[1]}/{run}")
for number in range(2):
    with catalog.transaction() as txn:
        txn.append("sources", [{"source_id": str(number)}])
        txn.upsert("clips", [{"clip_id": str(clip), "cutting": "c"} for clip in range(200)])
stream = catalog.sql("select a.* from clips_all a, clips_all b").batches(1_000)
print(next(stream).num_rows, flush=True)
"""

ONCE = f"""
import sys
from catalogs import Catalog
run = "only"
{USE}"""

OFTEN = f"""
import os, sys
import pyarrow, catalogs.query
from catalogs import Catalog
pyarrow.array([])
for run in range({RUNS}):
    if os.fork() == 0:
        break
    status = os.waitstatus_to_exitcode(os.wait()[1])
    if status:
        sys.exit(f"run {{run}} ended with {{status}}")
else:
    os._exit(0)
{USE}"""


def run(program: str, folder: Path) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", program, str(folder)], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.split()


def test_a_command_that_leaves_a_stream_half_read_ends_cleanly(tmp_path: Path) -> None:
    assert len(run(ONCE, tmp_path)) == 1


def test_fifty_of_them_end_cleanly(tmp_path: Path) -> None:
    """Forks of a process that has only imported (Arrow's first array imports pandas): each ends
    as a command would.
    """
    assert len(run(OFTEN, tmp_path)) == RUNS
