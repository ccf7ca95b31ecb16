"""Chosen clips as folders: layouts, licences, what happens when it is interrupted."""

from __future__ import annotations

import itertools
import json
import signal
import subprocess
import sys
import tarfile
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from catalogs import Catalog
from catalogs.errors import LicenceError, UsageError
from catalogs.ids import clip_id, file_sha256, source_id
from catalogs.shards import verify_files
from catalogs.testing import Shot, render_take, render_video
from catalogs.testing.records import record_clips
from catalogs.timebase import Span
from curation.export.run import ClipExport
from curation.export.run import export_clips as run
from curation.export.settings import MediaSettings
from curation.media import probe, read_sequential
from curation.media.probe import scan
from curation.mocap.read import read_motion

LENGTH = 20
"""Frames of every video clip."""
QUICK = MediaSettings(preset="ultrafast")


def export_clips(*arguments: Any, **options: Any) -> ClipExport:
    """With one guarded process, whose start is most of what these small exports cost."""
    return run(*arguments, **{"workers": 1, **options})


def rows_of(path: Path, licence: str = "CC-BY-4.0") -> list[dict[str, Any]]:
    """The clips of one file, as a curated catalog has them."""
    sha = file_sha256(path)
    if path.suffix == ".bvh":
        source = read_motion(path).source_row()
        edges = [0, 30, 60]
        pts: list[int] = list(range(source["frames"] + 1))
        tick = Fraction(source["time_base_num"], source["time_base_den"])
    else:
        found = probe(path)
        tick = found.time_base
        source = {"kind": "video", "width": found.width, "height": found.height}
        source |= {"fps_num": found.fps.numerator, "fps_den": found.fps.denominator}
        pts = [*scan(path).index.pts.tolist(), found.end_pts]
        edges = list(range(0, len(pts), LENGTH))
    about = {**source, "source_id": source_id(sha), "sha256": sha, "bytes": path.stat().st_size}
    about |= {"uri": str(path), "license": licence}
    about |= {"time_base_num": tick.numerator, "time_base_den": tick.denominator}
    rows = []
    for first, end in itertools.pairwise(edges):
        span = Span(pts[first], pts[end], tick)
        rows.append(
            {
                **about,
                "clip_id": clip_id(about["source_id"], span),
                "start_pts": pts[first],
                "end_pts": pts[end],
                "start_frame": first,
                "end_frame": end,
                "frames": end - first,
                "start_s": float(pts[first] * tick),
                "end_s": float(pts[end] * tick),
                "duration_s": float((pts[end] - pts[first]) * tick),
            }
        )
    return rows


@pytest.fixture(scope="module")
def media(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("media")
    render_video(folder / "a.mp4", [Shot("pan_left", 60)], size=(96, 64), gop=20, audio="tone")
    render_video(folder / "b.webm", [Shot("moving_shapes", 40)], size=(96, 64), codec="libvpx-vp9")
    render_video(folder / "closed.mp4", [Shot("shake", 40)], size=(96, 64))
    render_take(folder / "walk.bvh", "walk", seconds=2.5)
    return folder


def make_catalog(folder: Path, media: Path) -> Catalog:
    rows = [
        row
        for name in ("a.mp4", "b.webm", "closed.mp4", "walk.bvh")
        for row in rows_of(media / name, "proprietary" if name == "closed.mp4" else "CC-BY-4.0")
    ]
    catalog = record_clips(folder, rows)
    caption = {"clip_id": rows[0]["clip_id"], "language": "en", "origin": "rules"}
    catalog.append(
        "captions",
        [
            {**caption, "caption_id": "1", "kind": "brief", "text": "a street"},
            {**caption, "caption_id": "2", "kind": "detailed", "text": "a street moves left"},
        ],
    )
    return catalog


@pytest.fixture(scope="module")
def catalog(media: Path, tmp_path_factory: pytest.TempPathFactory) -> Catalog:
    return make_catalog(tmp_path_factory.mktemp("catalog") / "corpus", media)


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below a folder."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def table(folder: Path, rows: str = "data") -> dict[str, dict[str, Any]]:
    files = sorted((folder / rows).glob("*.parquet"))
    return {row["clip_id"]: row for row in pq.read_table(files).to_pylist()}


def test_mp4_files_are_the_clips(catalog: Catalog, tmp_path: Path) -> None:
    done = export_clips(catalog, tmp_path / "out", media=QUICK)
    assert done.how == {"copy": 4, "encode": 1, "take": 2}
    assert done.failures == ()
    for row in table(done.path).values():
        file = done.path / row["file_name"]
        if row["kind"] == "mocap":
            continue
        found = probe(file)
        assert (found.frames, found.start_pts) == (row["frames"], 0), row
        assert float(found.fps) == pytest.approx(24, abs=0.05)
        assert (found.audio is None) == (row["codec"] == "vp9" or "b.webm" in row["uri"])
    assert verify_files(done.path, done.manifest) == {}
    assert "# out" in (done.path / "README.md").read_text()


def test_nothing_of_a_closed_source_leaves(catalog: Catalog, media: Path, tmp_path: Path) -> None:
    done = export_clips(catalog, tmp_path / "out", media=QUICK)
    closed = source_id(file_sha256(media / "closed.mp4"))
    assert done.verdict.refused_clips == 2
    assert closed not in {row["source_id"] for row in table(done.path).values()}
    recipe = pq.read_table(sorted((done.path / "rebuild").glob("*.parquet"))).to_pylist()
    assert {row["source_id"] for row in recipe} == {closed}
    with pytest.raises(LicenceError, match="forbids"):
        export_clips(catalog, tmp_path / "none", refused="error")
    assert not (tmp_path / "none").exists()


def test_a_licence_without_derived_works_keeps_media_in(media: Path, tmp_path: Path) -> None:
    rows = rows_of(media / "a.mp4", "CC-BY-ND-4.0")
    catalog = record_clips(tmp_path / "corpus", rows)
    assert export_clips(catalog, tmp_path / "out").clips == 0
    assert export_clips(catalog, tmp_path / "mine", uses=(), media=QUICK).clips == len(rows)


def test_takes_are_arrays_and_the_lines_of_the_source(
    catalog: Catalog, media: Path, tmp_path: Path
) -> None:
    done = export_clips(catalog, tmp_path / "out", where="kind = 'mocap'")
    whole = read_motion(media / "walk.bvh").motion
    for row in table(done.path).values():
        first, end = row["start_pts"], row["end_pts"]
        arrays = np.load(done.path / row["file_name"])
        assert np.allclose(arrays["joints_m"], whole.joints[first:end], atol=1e-5)
        assert arrays["names"].tolist() == list(whole.skeleton.names)
        assert Fraction(*arrays["fps"].tolist()) == whole.fps
        sliced = read_motion((done.path / row["file_name"]).with_suffix(".bvh")).motion
        assert sliced.fps == whole.fps
        assert np.allclose(sliced.rotations, whole.rotations[first:end], atol=1e-6)


def test_webdataset_samples_hold_media_row_and_caption(catalog: Catalog, tmp_path: Path) -> None:
    settings = MediaSettings(preset="ultrafast", shard_samples=3)
    done = export_clips(catalog, tmp_path / "out", format="webdataset", media=settings)
    shards = sorted((done.path / "shards").glob("*.tar"))
    assert [shard.name for shard in shards] == [f"train-{n:06d}.tar" for n in range(3)]
    samples: dict[str, dict[str, bytes]] = {}
    for shard in shards:
        with tarfile.open(shard) as tar:
            for member in tar:
                key, _, kind = member.name.partition(".")
                samples.setdefault(key, {})[kind] = tar.extractfile(member).read()  # type: ignore[union-attr]
                assert (member.mtime, member.uid) == (0, 0)
    rows = table(done.path)
    assert list(samples) == list(rows)
    for key, sample in samples.items():
        about = json.loads(sample["json"])
        assert about["clip_id"] == key
        assert about["duration_s"] == rows[key]["duration_s"]
        assert about["file"]["frames"] == rows[key]["frames"]
        assert ("mp4" in sample) == (rows[key]["kind"] == "video")
    texts = {sample["txt"].decode() for sample in samples.values()}
    assert texts == {"a street moves left", ""}


def test_webdataset_of_pictures(catalog: Catalog, tmp_path: Path) -> None:
    settings = MediaSettings(pictures="jpg", fps=Fraction(6), short_side=32)
    done = export_clips(
        catalog, tmp_path / "out", format="webdataset", media=settings, where="kind = 'video'"
    )
    with tarfile.open(done.path / "shards" / "train-000000.tar") as tar:
        names = tar.getnames()
    first = names[0].partition(".")[0]
    mine = [name.removeprefix(f"{first}.") for name in names if name.startswith(first)]
    pictures = [f"{n:06d}.jpg" for n in range(5)]
    assert mine == [*pictures, "times.json", "json", "txt"]


def test_frames_lie_in_a_folder_for_each_clip(catalog: Catalog, tmp_path: Path) -> None:
    done = export_clips(catalog, tmp_path / "out", format="frames", where="kind = 'video'")
    for row in table(done.path).values():
        folder = done.path / row["file_name"]
        assert len(list(folder.glob("*.jpg"))) == row["frames"]
        times = json.loads((folder / "times.json").read_text())
        assert times["source_pts"][0] == row["start_pts"]


def test_lerobot_episodes_point_at_their_frames(catalog: Catalog, tmp_path: Path) -> None:
    settings = MediaSettings(preset="ultrafast", fps=Fraction(12), shard_samples=3)
    done = export_clips(
        catalog, tmp_path / "out", format="lerobot", media=settings, where="kind = 'video'"
    )
    info = json.loads((done.path / "meta" / "info.json").read_text())
    assert (info["codebase_version"], info["fps"]) == ("v3.0", 12)
    assert (info["total_episodes"], info["total_frames"]) == (5, 50)
    assert info["splits"] == {"train": "0:5"}
    video = next(name for name, f in info["features"].items() if f["dtype"] == "video")
    assert info["features"][video]["shape"] == [64, 96, 3]
    episodes = pq.read_table(done.path / "meta/episodes/chunk-000/file-000.parquet").to_pylist()
    clips = table(done.path, "rows")
    frames = 0
    for episode in episodes:
        place = {name: episode[f"videos/{video}/{name}"] for name in ("chunk_index", "file_index")}
        path = done.path / info["video_path"].format(video_key=video, **place)
        with read_sequential(path) as reader:
            shown = np.concatenate([batch.images for batch in reader])
        first = round(episode[f"videos/{video}/from_timestamp"] * 12)
        end = round(episode[f"videos/{video}/to_timestamp"] * 12)
        assert end - first == episode["length"] == 10
        clip = clips[episode["clip_id"]]
        source = catalog.sql("select uri from sources where source_id = ?", [clip["source_id"]])
        with read_sequential(
            source.value(), start_pts=clip["start_pts"], end_pts=clip["end_pts"]
        ) as reader:
            wanted = np.concatenate([batch.images for batch in reader])[::2]
        off = np.abs(shown[first:end].astype(int) - wanted.astype(int)).mean(axis=(1, 2, 3))
        assert off.max() < 8
        data = pq.read_table(done.path / info["data_path"].format(**place)).to_pylist()
        mine = [row for row in data if row["episode_index"] == episode["episode_index"]]
        assert [row["frame_index"] for row in mine] == list(range(10))
        assert [row["timestamp"] for row in mine] == pytest.approx([n / 12 for n in range(10)])
        assert [row["index"] for row in mine] == list(range(frames, frames + 10))
        frames += 10
    tasks = pq.read_table(done.path / "meta" / "tasks.parquet").to_pylist()
    assert {row["task"] for row in tasks} == {"", "a street moves left"}
    stats = json.loads((done.path / "meta" / "stats.json").read_text())
    assert np.shape(stats[video]["mean"]) == (3, 1, 1)
    assert stats["frame_index"]["max"] == [9]


def test_lerobot_needs_one_rate_and_pictures(catalog: Catalog, media: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="takes, which have no pictures"):
        export_clips(catalog, tmp_path / "out", format="lerobot")
    other = tmp_path / "other.mp4"
    render_video(other, [Shot("still", LENGTH)], size=(64, 64), fps=30)
    mixed = record_clips(tmp_path / "mixed", [*rows_of(media / "a.mp4"), *rows_of(other)])
    with pytest.raises(UsageError, match="2 sizes"):
        export_clips(mixed, tmp_path / "out", format="lerobot")
    with pytest.raises(UsageError, match="24, 30"):
        export_clips(mixed, tmp_path / "out", format="lerobot", media=MediaSettings(size=(64, 64)))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("layout", ["mp4", "webdataset"])
def test_the_same_call_again_makes_only_what_is_wrong(
    layout: Any,
    catalog: Catalog,
    tmp_path: Path,
) -> None:
    settings = MediaSettings(preset="ultrafast", shard_samples=2)
    out = tmp_path / "out"
    export_clips(catalog, out, format=layout, media=settings)
    whole = contents(out)
    files = sorted(path for path in out.rglob("*") if path.suffix in (".mp4", ".tar"))
    files[0].unlink()
    files[1].write_bytes(files[1].read_bytes()[:-1] + b"?")
    (out / files[2].parent.relative_to(out) / "stray.bin").write_bytes(b"stray")
    stamps = {path: path.stat().st_mtime_ns for path in files[2:]}
    export_clips(catalog, out, format=layout, media=settings)
    assert contents(out) == whole
    assert {path: path.stat().st_mtime_ns for path in files[2:]} == stamps


def test_workers_do_not_matter(catalog: Catalog, tmp_path: Path) -> None:
    settings = MediaSettings(preset="ultrafast", shard_samples=2)
    one = export_clips(
        catalog, tmp_path / "1" / "out", format="webdataset", media=settings, workers=1
    )
    three = export_clips(
        catalog, tmp_path / "3" / "out", format="webdataset", media=settings, workers=3
    )
    assert contents(one.path) == contents(three.path)


_KILLED = """
import os, signal, sys
from catalogs import Catalog
from curation.export.journal import JOURNAL, Journal
from curation.export.run import export_clips
from curation.export.settings import MediaSettings

folder, out, layout, after, torn = sys.argv[1:]
record, calls = Journal.add, []

def dying(journal, entry):
    calls.append(entry)
    if len(calls) < int(after):
        return record(journal, entry)
    with open(os.path.join(out, JOURNAL), "a") as file:
        file.write(torn)
    os.kill(os.getpid(), signal.SIGKILL)

Journal.add = dying
settings = MediaSettings(preset="ultrafast", shard_samples=2)
export_clips(Catalog.open(folder), out, format=layout, media=settings, workers=1)
"""


@pytest.mark.parametrize("layout", ["mp4", "webdataset"])
def test_a_killed_export_goes_on(layout: Any, media: Path, tmp_path: Path) -> None:
    """Killed with files in place that no line tells of, then in the middle of a line."""
    catalog = make_catalog(tmp_path / "corpus", media)
    out = tmp_path / "out"
    for after, torn in ((2, ""), (2, '{"key": "half a li')):
        arguments = [str(tmp_path / "corpus"), str(out), layout, str(after), torn]
        child = subprocess.run([sys.executable, "-c", _KILLED, *arguments], check=False)
        assert child.returncode == -signal.SIGKILL
        assert not (out / "manifest.json").exists()
    settings = MediaSettings(preset="ultrafast", shard_samples=2)
    export_clips(catalog, out, format=layout, media=settings)
    quiet = tmp_path / "quiet" / "out"
    export_clips(catalog, quiet, format=layout, media=settings)
    assert contents(out) == contents(quiet)


def test_what_cannot_be_made_is_told_and_tried_again(media: Path, tmp_path: Path) -> None:
    changed, gone = tmp_path / "changed.mp4", tmp_path / "gone.mp4"
    render_video(changed, [Shot("still", LENGTH, seed=5)], size=(64, 48))
    render_video(gone, [Shot("still", LENGTH, seed=6)], size=(64, 48))
    rows = [*rows_of(media / "b.webm"), *rows_of(changed), *rows_of(gone)]
    catalog = record_clips(tmp_path / "corpus", rows)
    kept = gone.read_bytes()
    gone.unlink()
    changed.write_bytes(changed.read_bytes() + b"more")

    done = export_clips(catalog, tmp_path / "out", media=QUICK)
    assert {f.error_class for f in done.failures} == {"missing", "mismatch"}
    assert done.clips == 2
    names = [row["file_name"] for row in table(done.path).values()]
    assert names.count(None) == 2
    assert str(tmp_path) not in (done.path / "files.jsonl").read_text()

    gone.write_bytes(kept)
    again = export_clips(catalog, tmp_path / "out", media=QUICK)
    assert [f.error_class for f in again.failures] == ["mismatch"]
    assert again.clips == 3


def test_another_export_in_the_folder_is_not_overwritten(catalog: Catalog, tmp_path: Path) -> None:
    out = tmp_path / "out"
    export_clips(catalog, out, where="kind = 'mocap'")
    before = contents(out)
    with pytest.raises(UsageError, match="different: where"):
        export_clips(catalog, out, where="kind = 'video'")
    with pytest.raises(UsageError, match="crf"):
        export_clips(catalog, out, where="kind = 'mocap'", media=MediaSettings(crf=30))
    assert contents(out) == before
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    with pytest.raises(UsageError, match="already exists"):
        export_clips(catalog, tmp_path / "mine")
    done = export_clips(catalog, out, format="frames", where="kind = 'mocap'", overwrite=True)
    assert done.how == {"take": 2}


def test_progress_counts_all_clips(catalog: Catalog, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    export_clips(
        catalog,
        tmp_path / "out",
        where="kind = 'mocap'",
        progress=lambda done, total: seen.append((done, total)),
    )
    assert seen[-1] == (2, 2)


def test_rows_keep_their_types(catalog: Catalog, tmp_path: Path) -> None:
    done = export_clips(catalog, tmp_path / "out", where="kind = 'mocap'", columns=["duration_s"])
    schema = pq.read_schema(next((done.path / "data").glob("*.parquet")))
    assert schema.field("duration_s").type == pa.float64()
    assert {"clip_id", "split", "file_name", "file_how"} <= set(schema.names)
    assert "width" not in schema.names
