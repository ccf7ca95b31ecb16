"""Clips as episodes of a LeRobot v3 dataset.

Clips of a split lie end to end in few MP4 files, all with one size and one even frame rate; tables
say where each episode begins. A clip has no robot, so an episode holds its pictures, its times and
its caption as the task, and neither `observation.state` nor `action`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from catalogs.errors import UsageError
from curation.export.join import join_videos
from curation.export.journal import Entry, Journal
from curation.export.made import Made
from curation.export.plan import Unit, in_shards
from curation.export.rows import Rows, best_caption
from curation.export.settings import MediaSettings
from curation.export.spans import ClipSpan
from curation.export.workshop import Workshop
from curation.media.guard import run_guarded

__all__ = ["LeRobot", "uniform_settings"]

VERSION = "v3.0"
VIDEO_KEY = "observation.images.video"
FILES_PER_CHUNK = 1000
DATA_FILE_MB = 100
VIDEO_FILE_MB = 200
_DATA = "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
_VIDEO = "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4"
_SERIES = {
    "timestamp": pa.float32(),
    "frame_index": pa.int64(),
    "episode_index": pa.int64(),
    "index": pa.int64(),
    "task_index": pa.int64(),
}


def uniform_settings(
    settings: MediaSettings, clips: Mapping[str, Sequence[ClipSpan]]
) -> MediaSettings:
    """The settings with the one size and rate that all episodes share."""
    spans = [span for split in clips.values() for span in split]
    if takes := sum(span.kind == "mocap" for span in spans):
        raise UsageError(
            f"{takes} of the clips are takes, which have no pictures",
            allowed="clips of videos",
            hint="select them with kind = 'video', or export takes as webdataset or frames",
        )
    sizes = {span.size for span in spans}
    rates = {span.fps for span in spans}
    if settings.size is None and len(sizes) > 1:
        raise UsageError(
            f"the clips have {len(sizes)} sizes, a LeRobot dataset has one", hint="give size"
        )
    if settings.fps is None and (len(rates) > 1 or None in rates):
        shown = ", ".join(sorted(f"{float(rate):g}" for rate in rates if rate))
        raise UsageError(
            f"the clips have several frame rates ({shown}), a LeRobot dataset has one",
            hint="give fps",
        )
    fps = settings.fps or next(iter(rates), None) or Fraction(1)
    return replace(settings, pictures="mp4", uniform=True, audio=False, copy=False, fps=fps)


@dataclass(frozen=True, slots=True)
class _Episode:
    made: Made
    file: int
    from_frame: int
    """In its video file."""
    task: str
    split: str


class LeRobot:
    """`videos/`, `data/` and `meta/` as LeRobot v3 reads them."""

    media = "videos"
    rows = "rows"

    def __init__(self, settings: MediaSettings):
        assert settings.fps is not None
        self._settings = settings
        self._fps = settings.fps

    def units(self, clips: Mapping[str, Sequence[ClipSpan]]) -> list[Unit]:
        size = min(self._settings.shard_bytes, VIDEO_FILE_MB << 20)
        samples = self._settings.shard_samples
        found = [
            unit for name, spans in clips.items() for unit in in_shards(name, spans, samples, size)
        ]
        return [replace(unit, number=number) for number, unit in enumerate(found)]

    def keys(self, unit: Unit) -> list[str]:
        return [_VIDEO.format(video_key=VIDEO_KEY, **_place(unit.number))]

    def file_name(self, unit: Unit, made: Made) -> str:
        return self.keys(unit)[0]

    def run(self, unit: Unit, journal: Journal, workshop: Workshop, rows: Rows) -> None:
        (key,) = self.keys(unit)
        if journal.finished(key, [clip.clip_id for clip in unit.clips]):
            return
        made, failures = workshop.make_all(unit.clips)
        if not made:
            journal.add(Entry(key, (), (), tuple(failures)))
            return
        parts = [str(workshop.folder / clip.files[0]) for clip in made]
        staged = workshop.folder / "joined.mp4"
        wall_s = self._settings.wall_s
        run_guarded(join_videos, parts, str(staged), self._fps, wall_s=wall_s)
        place = journal.folder / key
        place.parent.mkdir(parents=True, exist_ok=True)
        os.replace(staged, place)
        journal.add(Entry.of(journal.folder, key, [key], made, failures))

    def describe(self, folder: Path, units: Sequence[Unit], journal: Journal, rows: Rows) -> None:
        """Write `data/` and `meta/` about the videos that were made."""
        episodes = [e for unit in units for e in self._episodes(unit, journal, rows)]
        tasks = {task: index for index, task in enumerate(sorted({e.task for e in episodes}))}
        series = self._write_data(folder, episodes, tasks)
        meta = folder / "meta"
        meta.mkdir()
        _write_tasks(meta / "tasks.parquet", tasks)
        self._write_episodes(meta / "episodes" / "chunk-000" / "file-000.parquet", episodes)
        _write_json(meta / "info.json", self._info(episodes, len(tasks)))
        _write_json(meta / "stats.json", _stats(episodes, series))

    def _episodes(self, unit: Unit, journal: Journal, rows: Rows) -> list[_Episode]:
        about = rows.of(unit)
        found, frame = [], 0
        for made in journal[self.keys(unit)[0]].made:
            task = best_caption(about[made.clip_id].get("captions"))
            found.append(_Episode(made, unit.number, frame, task, unit.split))
            frame += made.frames
        return found

    def _write_data(
        self, folder: Path, episodes: Sequence[_Episode], tasks: Mapping[str, int]
    ) -> dict[str, NDArray[Any]]:
        """One table for each video file, a row for each frame; returns all columns joined."""
        whole: dict[str, list[NDArray[Any]]] = {name: [] for name in _SERIES}
        by_file: dict[int, list[int]] = {}
        for number, episode in enumerate(episodes):
            by_file.setdefault(episode.file, []).append(number)
        index = 0
        for file, numbers in by_file.items():
            columns: dict[str, list[NDArray[Any]]] = {name: [] for name in _SERIES}
            for number in numbers:
                frames = np.arange(episodes[number].made.frames)
                columns["timestamp"].append((frames / float(self._fps)).astype(np.float32))
                columns["frame_index"].append(frames)
                columns["episode_index"].append(np.full(len(frames), number))
                columns["index"].append(index + frames)
                columns["task_index"].append(np.full(len(frames), tasks[episodes[number].task]))
                index += len(frames)
            joined = {name: np.concatenate(parts) for name, parts in columns.items()}
            path = folder / _DATA.format(**_place(file))
            path.parent.mkdir(parents=True, exist_ok=True)
            schema = pa.schema(list(_SERIES.items()))
            pq.write_table(pa.table(joined, schema=schema), path, compression="snappy")
            for name, values in joined.items():
                whole[name].append(values)
        return {name: np.concatenate(parts) for name, parts in whole.items() if parts}

    def _write_episodes(self, path: Path, episodes: Sequence[_Episode]) -> None:
        path.parent.mkdir(parents=True)
        rows, index = [], 0
        for number, episode in enumerate(episodes):
            place = _place(episode.file)
            until = episode.from_frame + episode.made.frames
            rows.append(
                {
                    "episode_index": number,
                    "tasks": [episode.task],
                    "length": episode.made.frames,
                    "clip_id": episode.made.clip_id,
                    **{f"data/{name}": value for name, value in place.items()},
                    "dataset_from_index": index,
                    "dataset_to_index": index + episode.made.frames,
                    **{f"videos/{VIDEO_KEY}/{name}": value for name, value in place.items()},
                    f"videos/{VIDEO_KEY}/from_timestamp": float(episode.from_frame / self._fps),
                    f"videos/{VIDEO_KEY}/to_timestamp": float(until / self._fps),
                    "meta/episodes/chunk_index": 0,
                    "meta/episodes/file_index": 0,
                }
            )
            index += episode.made.frames
        pq.write_table(pa.Table.from_pylist(rows), path, compression="snappy")

    def _info(self, episodes: Sequence[_Episode], tasks: int) -> dict[str, Any]:
        splits: dict[str, str] = {}
        for split in dict.fromkeys(episode.split for episode in episodes):
            numbers = [n for n, episode in enumerate(episodes) if episode.split == split]
            splits[split] = f"{numbers[0]}:{numbers[-1] + 1}"
        fps: int | float = int(self._fps) if self._fps.denominator == 1 else float(self._fps)
        return {
            "codebase_version": VERSION,
            "robot_type": None,
            "total_episodes": len(episodes),
            "total_frames": sum(episode.made.frames for episode in episodes),
            "total_tasks": tasks,
            "chunks_size": FILES_PER_CHUNK,
            "data_files_size_in_mb": DATA_FILE_MB,
            "video_files_size_in_mb": VIDEO_FILE_MB,
            "fps": fps,
            "splits": splits,
            "data_path": _DATA,
            "video_path": _VIDEO,
            "features": _features(episodes, fps),
        }


def _features(episodes: Sequence[_Episode], fps: float) -> dict[str, Any]:
    height = episodes[0].made.height if episodes else 0
    width = episodes[0].made.width if episodes else 0
    video = {
        "dtype": "video",
        "shape": [height, width, 3],
        "names": ["height", "width", "channels"],
        "info": {
            "video.height": height,
            "video.width": width,
            "video.codec": "h264",
            "video.pix_fmt": "yuv420p",
            "video.is_depth_map": False,
            "video.fps": fps,
            "video.channels": 3,
            "has_audio": False,
        },
    }
    series = {
        name: {"dtype": "float32" if name == "timestamp" else "int64", "shape": [1], "names": None}
        for name in _SERIES
    }
    return {VIDEO_KEY: video, **series}


def _place(number: int) -> dict[str, int]:
    chunk, file = divmod(number, FILES_PER_CHUNK)
    return {"chunk_index": chunk, "file_index": file}


def _write_tasks(path: Path, tasks: Mapping[str, int]) -> None:
    """A table indexed by task, as pandas stores one."""
    described = {
        "index_columns": ["task"],
        "column_indexes": [],
        "columns": [
            _pandas_column("task_index", "int64", "int64"),
            _pandas_column("task", "unicode", "object"),
        ],
        "creator": {"library": "pyarrow", "version": pa.__version__},
        "pandas_version": "2.2.0",
    }
    schema = pa.schema(
        [("task_index", pa.int64()), ("task", pa.string())],
        metadata={"pandas": json.dumps(described)},
    )
    columns = [pa.array(tasks.values(), pa.int64()), pa.array(tasks.keys(), pa.string())]
    pq.write_table(pa.table(columns, schema=schema), path)


def _pandas_column(name: str, kind: str, dtype: str) -> dict[str, Any]:
    return {
        "name": name,
        "field_name": name,
        "pandas_type": kind,
        "numpy_type": dtype,
        "metadata": None,
    }


def _stats(
    episodes: Sequence[_Episode], series: Mapping[str, NDArray[Any]]
) -> dict[str, dict[str, Any]]:
    stats = {
        name: {
            "min": [values.min().item()],
            "max": [values.max().item()],
            "mean": [float(values.mean())],
            "std": [float(values.std())],
            "count": [len(values)],
        }
        for name, values in series.items()
    }
    sums = [episode.made.pixel_sums for episode in episodes]
    if sums:
        stats[VIDEO_KEY] = _picture_stats(sums)
    return stats


def _picture_stats(sums: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Over sampled frames and pixels, per colour, 0 to 1, shaped (3, 1, 1)."""
    count = sum(item["count"] for item in sums)
    mean = np.sum([item["sum"] for item in sums], axis=0) / count
    squares = np.sum([item["squares"] for item in sums], axis=0) / count
    values = {
        "min": np.min([item["min"] for item in sums], axis=0),
        "max": np.max([item["max"] for item in sums], axis=0),
        "mean": mean,
        "std": np.sqrt(np.maximum(squares - mean**2, 0.0)),
    }
    shaped = {name: value.reshape(3, 1, 1).tolist() for name, value in values.items()}
    return {**shaped, "count": [count]}


def _write_json(path: Path, value: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=4) + "\n", encoding="utf-8")
