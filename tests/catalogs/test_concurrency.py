"""Many writers and readers at once: nothing lost, nothing doubled, nothing half visible."""

from __future__ import annotations

import subprocess
import sys
import threading
from contextlib import ExitStack
from pathlib import Path

import pyarrow as pa
import pytest

from catalogs import Catalog, Column, Transaction
from catalogs.errors import ConflictError
from catalogs.tables import LostRaceError, StaleFilesError

PROGRAM = Path(__file__).with_name("busy_process.py")
WRITERS = "abcd"
READERS = 2
TRANSACTIONS = 200
CLIPS = 2


def start(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, str(PROGRAM), *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_four_writers_and_two_readers(tmp_path: Path) -> None:
    path = str(tmp_path / "corpus")
    blur = Column("blur", pa.float64(), "how blurred the clip is")
    Catalog.create(path).append("scores/blur", [], [blur])
    with ExitStack() as stack:
        readers = [stack.enter_context(start("read", path)) for _ in range(READERS)]
        writers = [
            stack.enter_context(start("write", path, name, str(TRANSACTIONS))) for name in WRITERS
        ]
        for process in (*writers, *readers):
            out, errors = process.communicate()
            assert process.returncode == 0, errors
            if process in readers:
                assert int(out) >= 3

    catalog = Catalog.open(path)
    total = len(WRITERS) * TRANSACTIONS
    one = catalog.sql(
        """select count(*), count(distinct source_id), count(distinct clip_id), count(blur),
           count(distinct uri) from clips"""
    ).one()
    assert one == (total * CLIPS, total, total * CLIPS, total * CLIPS, total)
    assert (catalog.rows("sources"), catalog.rows("scores/blur")) == (total, total * CLIPS)
    history = catalog.history()
    assert history.column("version").to_pylist() == list(range(1, catalog.version + 1))
    written = [message for message in history.column("message").to_pylist() if "-" in message]
    assert len(written) == len(set(written)) == total


def test_threads_of_one_process_may_each_open_the_catalog(tmp_path: Path) -> None:
    Catalog.create(tmp_path / "corpus")
    problems: list[BaseException] = []

    def write(name: str) -> None:
        try:
            catalog = Catalog.open(tmp_path / "corpus")
            for number in range(10):
                catalog.append("sources", [{"source_id": f"{name}{number}"}])
        except BaseException as error:
            problems.append(error)

    threads = [threading.Thread(target=write, args=(name,)) for name in WRITERS]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert problems == []
    assert Catalog.open(tmp_path / "corpus").rows("sources") == len(WRITERS) * 10


def test_a_writer_that_lost_the_race_starts_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another writer commits between the looking and the committing, as if there were no lock."""
    slow = Catalog.create(tmp_path / "corpus")
    slow.append("sources", [{"source_id": "first", "uri": "old"}])
    other = Catalog.open(tmp_path / "corpus")
    monkeypatch.setattr(type(slow.storage), "queue", lambda self, name: ExitStack())
    tried = 0

    def interfere(head: Catalog) -> None:
        nonlocal tried
        tried += 1
        head.log("sources").latest()
        if tried <= 2:
            other.upsert("sources", [{"source_id": "first", "uri": f"other {tried}"}])

    with slow.transaction("slow") as txn:
        txn.require(interfere)
        txn.upsert("sources", [{"source_id": "first", "uri": "slow"}])
    assert tried == 3
    assert slow.sql("select source_id, uri from sources").rows() == [("first", "slow")]
    assert slow.at(slow.version - 1).sql("select uri from sources").rows() == [("other 2",)]


def test_patience_ends_with_a_conflict(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    catalog = Catalog.create(tmp_path / "corpus")
    monkeypatch.setattr("catalogs.transaction.COMMIT_PATIENCE_S", -1.0)

    def lose(head: Catalog) -> None:
        raise LostRaceError("somebody was faster")

    txn = Transaction(catalog)
    txn.require(lose)
    txn.append("sources", [{"source_id": "s"}])
    with pytest.raises(ConflictError, match="fewer writers"):
        txn.commit("never")
    assert catalog.refresh().version == 0
    assert list((tmp_path / "corpus" / ".staging").iterdir()) == []


def test_compaction_notices_files_that_were_rewritten_meanwhile(tmp_path: Path) -> None:
    catalog = Catalog.create(tmp_path / "corpus")
    for source in "ab":
        catalog.append("sources", [{"source_id": source}])
    merged = list(catalog.files("sources"))
    Catalog.open(tmp_path / "corpus").upsert("sources", [{"source_id": "a", "uri": "new"}])
    txn = Transaction(catalog)
    txn.replace_files("sources", [], merged)
    with pytest.raises(StaleFilesError):
        txn.commit("compact")
    assert Catalog.open(tmp_path / "corpus").rows("sources") == 2
