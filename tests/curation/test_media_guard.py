"""The guard: whole results or a named failure, whatever the guarded code does."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from catalogs.errors import UsageError
from catalogs.testing import Shot, render_video
from curation.media.errors import MediaError
from curation.media.guard import GuardedWorker, run_guarded
from curation.media.probe import probe

TASKS = """
import os, signal
from fractions import Fraction
import numpy as np
from catalogs.errors import UsageError
from curation.media.errors import MediaError

class Record:
    def __init__(self, value): self.value = value

def pid(): return os.getpid()
def echo(value, factor=1): return value * factor
def record(): return Record(Fraction(1, 3))
def die(how):
    if isinstance(how, int): os._exit(how)
    os.kill(os.getpid(), getattr(signal, how))
def hang():
    while True: pass
def eat(): return len(bytearray(3 << 30))
def refuse(): raise MediaError("probe", "encrypted", "locked")
def misuse(): raise UsageError("wrong", allowed="right")
def bug(): return {}["absent"]
def hostile():
    class Evil:
        def __reduce__(self): return os.getenv, ("HOME",)
    return Evil()
def count(end, then=None):
    for number in range(end): yield np.full(3, number)
    if then: die(then)
"""


@pytest.fixture(scope="module")
def tasks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModuleType]:
    """Functions that a fresh interpreter can import."""
    folder = tmp_path_factory.mktemp("tasks")
    (folder / "guarded_test_tasks.py").write_text(TASKS)
    sys.path.insert(0, str(folder))
    import guarded_test_tasks  # type: ignore[import-not-found]

    yield guarded_test_tasks
    sys.path.remove(str(folder))


@pytest.fixture(scope="module")
def worker() -> Iterator[GuardedWorker]:
    with GuardedWorker(memory_mb=512) as shared:
        yield shared


def test_results_come_back_whole_from_one_child(tasks: ModuleType, worker: GuardedWorker) -> None:
    image = np.arange(3_000_000, dtype=np.uint8).reshape(1000, 1000, 3)
    np.testing.assert_array_equal(worker.call(tasks.echo, image), image)
    assert worker.call(tasks.echo, [1, "é"], factor=2) == [1, "é", 1, "é"]
    assert worker.call(tasks.record).value == worker.call(tasks.record).value
    assert worker.call(tasks.pid) == worker.call(tasks.pid) == worker.pid != os.getpid()


def test_media_is_read_through_it(tmp_path: Path) -> None:
    truth = render_video(tmp_path / "a.mp4", [Shot("still", 5)])
    assert run_guarded(probe, truth.path) == probe(truth.path)


def test_named_errors_arrive_as_they_are(tasks: ModuleType, worker: GuardedWorker) -> None:
    pid = worker.call(tasks.pid)
    with pytest.raises(MediaError) as refused:
        worker.call(tasks.refuse)
    assert (refused.value.stage, refused.value.error_class) == ("probe", "encrypted")
    with pytest.raises(UsageError) as misused:
        worker.call(tasks.misuse)
    assert misused.value.allowed == "right"
    assert worker.call(tasks.pid) == pid


def test_bugs_keep_their_traceback(tasks: ModuleType, worker: GuardedWorker) -> None:
    with pytest.raises(MediaError) as caught:
        worker.call(tasks.bug)
    assert (caught.value.error_class, caught.value.detail) == ("error", "KeyError: 'absent'")
    assert "in bug" in caught.value.__notes__[0]


@pytest.mark.parametrize("name", ["SIGSEGV", "SIGBUS", "SIGABRT", "SIGKILL"])
def test_a_crash_is_named_and_contained(
    tasks: ModuleType, worker: GuardedWorker, name: str
) -> None:
    before = worker.call(tasks.pid)
    with pytest.raises(MediaError) as caught:
        worker.call(tasks.die, name)
    assert (caught.value.error_class, caught.value.signal) == ("crash", name)
    assert worker.call(tasks.pid) != before


def test_a_silent_exit_is_a_crash_too(tasks: ModuleType, worker: GuardedWorker) -> None:
    with pytest.raises(MediaError) as caught:
        worker.call(tasks.die, 3)
    assert (caught.value.error_class, caught.value.signal) == ("crash", None)
    assert "exit code 3" in caught.value.detail


def test_a_hang_ends_at_its_limit(tasks: ModuleType, worker: GuardedWorker) -> None:
    worker.call(tasks.pid)
    with pytest.raises(MediaError) as caught:
        worker.call(tasks.hang, wall_s=0.2)
    assert caught.value.error_class == "timeout"
    assert worker.pid is None
    assert worker.call(tasks.echo, 7) == 7


def test_greed_ends_at_its_limit(tasks: ModuleType, worker: GuardedWorker) -> None:
    with pytest.raises(MediaError) as caught:
        worker.call(tasks.eat)
    assert (caught.value.error_class, caught.value.detail) == ("memory", "needs more than 512 MiB")
    assert worker.call(tasks.echo, 7) == 7


def test_a_stream_yields_items_and_a_crash_in_it_raises(
    tasks: ModuleType, worker: GuardedWorker
) -> None:
    assert [int(item[0]) for item in worker.stream(tasks.count, 4)] == [0, 1, 2, 3]
    received = []
    broken = worker.stream(tasks.count, 3, then="SIGSEGV")
    with pytest.raises(MediaError) as caught:
        received.extend(broken)
    assert len(received) <= 3
    assert caught.value.signal == "SIGSEGV"


def test_a_stream_left_early_leaves_nothing_behind(
    tasks: ModuleType, worker: GuardedWorker
) -> None:
    stream = worker.stream(tasks.count, 10**9)
    assert int(next(stream)[0]) == 0
    stream.close()  # type: ignore[attr-defined]
    assert worker.call(tasks.echo, 7) == 7


def test_calls_and_streams_are_not_confused(tasks: ModuleType, worker: GuardedWorker) -> None:
    with pytest.raises(UsageError, match="generator"):
        worker.call(tasks.count, 2)
    assert worker.call(tasks.echo, 7) == 7


def test_what_cannot_be_imported_is_refused(worker: GuardedWorker) -> None:
    with pytest.raises(UsageError, match="cannot be imported"):
        worker.call(lambda: 1)


def test_a_result_cannot_run_code_here(tasks: ModuleType, worker: GuardedWorker) -> None:
    with pytest.raises(UsageError, match="getenv"):
        worker.call(tasks.hostile)


def test_the_child_dies_with_its_parent(tasks: ModuleType, tmp_path: Path) -> None:
    script = (
        "import sys; sys.path[:] = sys.argv[1].split('|')\n"
        "import guarded_test_tasks as tasks\n"
        "from curation.media.guard import GuardedWorker\n"
        "worker = GuardedWorker()\n"
        "print(worker.call(tasks.pid), flush=True)\n"
        "worker.call(tasks.hang)\n"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", script, "|".join(sys.path)], stdout=subprocess.PIPE, text=True
    )
    assert parent.stdout is not None
    watched = os.pidfd_open(int(parent.stdout.readline()))
    try:
        parent.send_signal(signal.SIGKILL)
        ended, _, _ = select.select([watched], [], [], 30)
        assert ended, "the child outlived its parent"
    finally:
        os.close(watched)
        parent.wait()
        parent.stdout.close()
