"""Captions and labels that others wrote, as rows of `captions` with their source.

    report = import_labels(catalog, [Path("HumanML3D/texts")])

Whose a label is: the take that it names, or else the take whose file is called like the label's
own file. Names are compared from their end, without suffix: `KIT/3/kick_poses` is
`/data/AMASS/KIT/3/kick_poses.npz`, and `walk` is any `walk.bvh`. Where several takes fit, the one
with which most folders agree is meant; where none is ahead, the label is reported and not guessed.

A label with a span belongs to the clips that share at least half of the shorter of the two; one
without a span to all clips of its take. How much of label and clip is shared stands in the
caption's evidence, so that a selection can ask for whole ones.
"""

from __future__ import annotations

import json
import os
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from catalogs.errors import NotFoundError
from catalogs.ids import settings_hash
from catalogs.query import Session
from curation.captions.readers import TEXT_SUFFIXES, holds_texts, read_texts
from curation.jobs.scan import MEDIA_SUFFIXES
from curation.mocap.labels import Label
from curation.mocap.problems import MocapFileError

if TYPE_CHECKING:
    from catalogs.catalog import Catalog

__all__ = ["ImportReport", "Unmatched", "import_labels"]

Row = Mapping[str, Any]

_ID_DIGITS = 32
_LEAST_SHARE = 0.5
_SUFFIXES = MEDIA_SUFFIXES | TEXT_SUFFIXES


@dataclass(frozen=True)
class Unmatched:
    """A label that belongs to no clip, and why."""

    text: str
    source: str
    reason: str


@dataclass(frozen=True)
class ImportReport:
    """What an import found and wrote."""

    files: int
    labels: int
    captions: int
    """Pairs of a label and a clip."""
    new: int
    """Captions that the catalog did not have."""
    clips: int
    unmatched: tuple[Unmatched, ...]
    skipped: tuple[tuple[str, str], ...]
    """Files of a folder that hold no labels, with the reason."""

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def import_labels(
    catalog: Catalog, paths: Sequence[Path], *, where: str | None = None
) -> ImportReport:
    """Write the labels of files and folders as captions of the clips that they belong to.

    The same import again writes nothing. Clips of later cuttings get their captions by importing
    again. A file that cannot be read is an error when it was named, and skipped in a folder.

    Args:
        where: SQL over `sources`; only those of which it holds get labels.
    """
    labelled, skipped = _read(paths)
    with Session(catalog, cutting="-") as session:
        takes = _Takes(session, where)
        found = [(label, *takes.find(_names(file, label))) for file, label in labelled]
        clips = _clips(session, {take["source_id"] for _, take, _ in found if take})
        known = {row[0] for row in session.sql("select caption_id from captions").rows()}
    rows: dict[str, dict[str, Any]] = {}
    unmatched = []
    for label, take, problem in found:
        fitting = [] if take is None else list(_fitting(label, take, clips[take["source_id"]]))
        rows |= {row["caption_id"]: row for row in fitting}
        if not fitting:
            reason = problem or "no clip of its take lies in its span"
            unmatched.append(Unmatched(label.text, label.source, reason))
    new = [row for name, row in rows.items() if name not in known]
    if new:
        with catalog.transaction(f"import {len(new)} captions") as txn:
            txn.insert("captions", new)
    return ImportReport(
        files=len({file for file, _ in labelled}),
        labels=len(labelled),
        captions=len(rows),
        new=len(new),
        clips=len({row["clip_id"] for row in rows.values()}),
        unmatched=tuple(unmatched),
        skipped=tuple(skipped),
    )


def _read(paths: Iterable[Path]) -> tuple[list[tuple[Path, Label]], list[tuple[str, str]]]:
    """All labels with their files, and the files of folders that hold none."""
    labelled: list[tuple[Path, Label]] = []
    skipped = []
    for path in paths:
        if not path.exists():
            raise NotFoundError(f"{path} does not exist", hint="give label files or folders")
        in_folder = path.is_dir()
        files = sorted(p for p in path.rglob("*") if p.is_file()) if in_folder else [path]
        for file in files:
            if in_folder and not holds_texts(file):
                continue
            try:
                labelled += [(file, label) for label in read_texts(file)]
            except MocapFileError as error:
                if not in_folder:
                    raise MocapFileError(
                        f"{file}: {error.problem}", allowed=error.allowed, hint=error.hint
                    ) from error
                skipped.append((str(file), error.problem))
    return labelled, skipped


# -- whose a label is ----------------------------------------------------------------------


def _names(file: Path, label: Label) -> list[str]:
    """What the label's take may be called, likeliest first."""
    if label.take is None:
        return [os.path.abspath(file)]
    return [name for name in (label.take, label.alias) if name is not None]


def _parts(name: str) -> tuple[str, ...]:
    """The folders and the file of a name from its end, without the suffix."""
    path = PurePosixPath(name.replace("\\", "/"))
    last = path.stem if path.suffix.lower() in _SUFFIXES else path.name
    return (last, *reversed(path.parts[:-1]))


class _Takes:
    """Sources by their names."""

    def __init__(self, session: Session, where: str | None):
        query = "select source_id, uri, duration_s, start_pts, time_base_num, time_base_den"
        rows = session.sql(f"{query} from sources where {where or 'true'}").dicts()
        self._by_stem: dict[str, list[tuple[tuple[str, ...], Row]]] = defaultdict(list)
        for row in rows:
            parts = _parts(row["uri"])
            self._by_stem[parts[0]].append((parts, row))

    def find(self, names: Sequence[str]) -> tuple[Row | None, str | None]:
        """The source that is called by one of `names`, or why there is none."""
        for name in names:
            wanted = _parts(name)
            candidates = [
                (_agreeing(wanted, parts), row) for parts, row in self._by_stem.get(wanted[0], ())
            ]
            if not candidates:
                continue
            most = max(count for count, _ in candidates)
            best = [row for count, row in candidates if count == most]
            if len(best) == 1:
                return best[0], None
            several = ", ".join(sorted(row["uri"] for row in best)[:3])
            return None, f"several takes are called {wanted[0]!r}: {several}"
        return None, f"no take is called {' or '.join(repr(_parts(name)[0]) for name in names)}"


def _agreeing(a: Sequence[str], b: Sequence[str]) -> int:
    """How many parts at the end of two names are the same."""
    count = 0
    for mine, theirs in zip(a, b, strict=False):
        if mine != theirs:
            break
        count += 1
    return count


def _clips(session: Session, sources: Iterable[str]) -> dict[str, list[Row]]:
    """The clips of some sources in every cutting, each once."""
    wanted = pa.table({"source_id": pa.array(sorted(sources), pa.string())})
    session.connection.register("wanted_sources", wanted)
    rows = session.connection.sql(
        f"select distinct clip_id, source_id, start_s, end_s from ({session.scan('clips')}) "
        "semi join wanted_sources using (source_id) order by source_id, start_s, end_s"
    )
    clips: dict[str, list[Row]] = defaultdict(list)
    for clip_id, source_id, start_s, end_s in rows.fetchall():
        clips[source_id].append({"clip_id": clip_id, "start_s": start_s, "end_s": end_s})
    return clips


# -- which clips it is about ---------------------------------------------------------------


def _fitting(label: Label, take: Row, clips: Iterable[Row]) -> Iterator[dict[str, Any]]:
    """Rows of `captions` for the clips that the label's span covers, or that cover it."""
    tick = take["time_base_num"] / take["time_base_den"]
    begin = take["start_pts"] * tick
    start = begin + (label.start_s or 0.0)
    end = begin + (take["duration_s"] if label.end_s is None else label.end_s)
    for clip in clips:
        first, last = max(start, clip["start_s"]), min(end, clip["end_s"])
        label_s, clip_s = max(end - start, tick), clip["end_s"] - clip["start_s"]
        shared = (last - first) / min(label_s, clip_s)
        if shared >= _LEAST_SHARE:
            shares = {
                "label_share": round((last - first) / label_s, 3),
                "clip_share": round((last - first) / clip_s, 3),
            }
            yield _row(label, clip, first, last, shares)


def _row(
    label: Label, clip: Row, first: float, last: float, shares: Mapping[str, float]
) -> dict[str, Any]:
    start_s, end_s = round(first - clip["start_s"], 6), round(last - clip["start_s"], 6)
    name = {
        "clip": clip["clip_id"],
        "window": [start_s, end_s],
        "kind": label.kind,
        "text": label.text,
        "model": label.source,
    }
    return {
        "caption_id": settings_hash(name, _ID_DIGITS),
        "clip_id": clip["clip_id"],
        "kind": label.kind,
        "text": label.text,
        "language": label.language,
        "start_s": start_s,
        "end_s": end_s,
        "origin": "import",
        "model": label.source,
        "evidence": json.dumps(
            {"label_start_s": label.start_s, "label_end_s": label.end_s, **shares}, sort_keys=True
        ),
    }
