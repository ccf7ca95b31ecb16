"""`clipmill browse` as a process: it says where it is, answers, and ends on Ctrl-C."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path
from urllib.parse import urlsplit

from catalogs import Catalog
from catalogs.testing.records import record_clips
from clipmill.web.state import Viewer
from clipmill.web.views import Asked, find_view


def test_browse_answers_until_it_is_interrupted(tmp_path: Path) -> None:
    record_clips(tmp_path / "corpus", [{"clip_id": "a" * 32, "duration_s": 4.0}])
    command = [sys.executable, "-m", "clipmill", "browse", str(tmp_path / "corpus"), "--no-open"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        address = urlsplit(process.stdout.readline().decode().strip())
        assert address.hostname == "127.0.0.1"
        url = f"http://{address.netloc}/api/clips?{address.query}"
        with urllib.request.urlopen(url, timeout=60) as response:
            found = json.load(response)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
    assert [clip["clip_id"] for clip in found["clips"]] == ["a" * 32]
    assert (process.returncode, said) == (0, b"")


def test_reviewing_needs_a_name(clipmill: object, tmp_path: Path) -> None:
    record_clips(tmp_path / "corpus", [{"clip_id": "a"}])
    result = clipmill("browse", tmp_path / "corpus", "--label")  # type: ignore[operator]
    assert result.exit_code == 2


def test_a_commit_of_somebody_else_starts_a_new_edition(tmp_path: Path) -> None:
    record_clips(tmp_path / "corpus", [{"clip_id": "a", "duration_s": 1.0}])
    viewer = Viewer(str(tmp_path / "corpus"))
    old = viewer.edition
    record_clips(Catalog.open(tmp_path / "corpus"), [{"clip_id": "b", "duration_s": 2.0}])
    viewer.refresh()
    assert viewer.edition is not old
    assert [len(find_view(edition, Asked()).places) for edition in (old, viewer.edition)] == [1, 2]


def test_clips_come_in_the_order_of_files_and_time(tmp_path: Path) -> None:
    """Also where ticks are so many that a source's number and a time share few digits."""
    far = 1 << 60
    spans = [("s2", 5), ("s1", far + 7), ("s1", 3), ("s2", 1), ("s1", far)]
    rows = [
        {"clip_id": f"{source}-{start}", "source_id": source, "uri": source, "start_pts": start}
        for source, start in spans
    ]
    record_clips(tmp_path / "corpus", rows)
    viewer = Viewer(str(tmp_path / "corpus"))
    view = find_view(viewer.edition, Asked())
    assert view.places.tolist() == [0, 1, 2, 3, 4]
    from clipmill.web.views import clip_table

    ids = clip_table(viewer.edition).ids.to_pylist()
    assert ids[0] == "s1-3"
    assert [name.split("-")[0] for name in ids] == ["s1", "s1", "s1", "s2", "s2"]
