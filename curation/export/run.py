"""Clips as files: what a training loop that reads folders wants from a catalog.

    export_clips(catalog, "out", selection="web", format="mp4")

Each clip that its licence permits becomes a file whose frames and times were read back and
compared; rows, captions, card and rebuild recipe lie beside the media, as in any other export.
Given again, the same call makes only what is missing or damaged, so an interrupted export goes on
where it stopped. `manifest.json` is written last: a folder that has one is complete.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

from catalogs.card import write_card
from catalogs.catalog import Catalog
from catalogs.chosen import Chosen, choose
from catalogs.errors import UsageError, nearest
from catalogs.export import Refused, describe, kept_columns, write_rebuild, write_rows
from catalogs.leaks import OnLeaks, find_leaks
from catalogs.licence import Policy, Use, Verdict
from catalogs.shards import MANIFEST, write_manifest
from curation.export.journal import Journal, open_journal
from curation.export.layouts import Folder, Layout, Shards
from curation.export.lerobot import LeRobot, uniform_settings
from curation.export.made import Failure
from curation.export.plan import Unit, permitted_clips
from curation.export.rows import FILE_COLUMNS, Rows, name_files
from curation.export.settings import FORMATS, ClipFormat, MediaSettings
from curation.export.spans import ClipSpan
from curation.export.workshop import Workshop

__all__ = ["ClipExport", "export_clips"]

MEDIA: tuple[Use, ...] = ("redistribute", "derive")
"""What a licence must permit: the material is cut, encoded and passed on."""

_REFUSED = ("recipe", "error", "drop")
_DESCRIPTION = ("data", "rows", "meta", "rebuild", "charts", "README.md", "DATASHEET.md")
"""Everything beside the media, made anew by each call."""


@dataclass(frozen=True)
class ClipExport:
    """What lies in the folder now."""

    path: Path
    splits: Mapping[str, int]
    how: Mapping[str, int]
    """Clips by how their files were made: copy, encode, frames, take."""
    failures: tuple[Failure, ...]
    verdict: Verdict
    manifest: Mapping[str, Any]

    @property
    def clips(self) -> int:
        return sum(self.how.values())


def export_clips(
    catalog: Catalog,
    to: str | Path,
    *,
    selection: str | None = None,
    where: str | None = None,
    format: ClipFormat = "mp4",  # noqa: A002
    media: MediaSettings | None = None,
    columns: Sequence[str] | None = None,
    uses: Collection[Use] = MEDIA,
    acknowledge: Collection[str] = (),
    refused: Refused = "recipe",
    leaks: OnLeaks = "error",
    about: Mapping[str, str] | None = None,
    workers: int = 2,
    overwrite: bool = False,
    memory: str | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> ClipExport:
    """Make the chosen clips in the folder `to`, or what is missing of them.

    Args:
        format: mp4, webdataset (tar shards), frames (picture files) or lerobot.
        media: size, rate, quality and shards; see `MediaSettings`.
        selection, where, columns, uses, acknowledge, refused, leaks, about, memory: as for
            `catalogs.export.export_dataset`; `uses` holds `derive` because media are cut.
        workers: sources (or shards) worked on at a time, each in a guarded process.
        overwrite: start anew in a folder that holds something else.
        progress: called with the clips that are done and all of them.
    """
    for what, value, allowed in (("format", format, FORMATS), ("refused", refused, _REFUSED)):
        if value not in allowed:
            raise UsageError(
                f"{value!r} is not a {what}",
                allowed=", ".join(allowed),
                hint=nearest(value, allowed),
            )
    if workers < 1:
        raise UsageError(f"workers {workers} is not positive", allowed="1 or more")
    target = Path(to).expanduser().absolute()
    policy = Policy.of(*uses, acknowledged=acknowledge)
    with choose(catalog, selection=selection, where=where, policy=policy, memory=memory) as chosen:
        if refused == "error":
            chosen.verdict.raise_if_refused(f"cannot export to {target}")
        found = find_leaks(chosen)
        if leaks == "error":
            found.raise_if_any(f"cannot export to {target}")
        settings = _settings_for(format, media or MediaSettings())
        clips = permitted_clips(chosen, settings)
        if format == "lerobot":
            settings = uniform_settings(settings, clips)
        layout = _layout(format, settings)
        with open_journal(target, _identity(chosen, format, settings), overwrite) as journal:
            export = _Export(chosen, layout, settings, journal, clips)
            splits = export.write_rows(columns, with_rebuild=refused == "recipe")
            export.make(workers, progress)
            export.describe(target.name, about, columns)
            failures = export.settle()
        head = {**describe(chosen, splits, found), "media": {"format": format, **_plain(settings)}}
        manifest = write_manifest(target, head)
        return ClipExport(target, splits, export.how(), failures, chosen.verdict, manifest)


def _settings_for(format: ClipFormat, media: MediaSettings) -> MediaSettings:  # noqa: A002
    if format == "frames" and media.pictures == "mp4":
        return replace(media, pictures="jpg")
    if format == "mp4" and media.pictures != "mp4":
        raise UsageError(
            f"format 'mp4' has no {media.pictures} pictures", hint="use frames or webdataset"
        )
    return media


def _layout(format: ClipFormat, settings: MediaSettings) -> Layout:  # noqa: A002
    if format == "lerobot":
        return LeRobot(settings)
    return Shards(settings) if format == "webdataset" else Folder()


def _plain(settings: MediaSettings) -> dict[str, Any]:
    """The settings that decide what the files hold."""
    plain = asdict(settings)
    del plain["wall_s"], plain["memory_mb"]
    return {name: str(v) if isinstance(v, Fraction) else v for name, v in plain.items()}


def _identity(chosen: Chosen, format: ClipFormat, settings: MediaSettings) -> dict[str, Any]:  # noqa: A002
    """What makes another call the same export."""
    told = describe(chosen, {})
    names = ("catalog_id", "selection_id", "where", "cutting", "uses", "acknowledged")
    return {"format": format, **{name: told[name] for name in names}, **_plain(settings)}


class _Export:
    """One call's work on a folder."""

    def __init__(
        self,
        chosen: Chosen,
        layout: Layout,
        settings: MediaSettings,
        journal: Journal,
        clips: Mapping[str, Sequence[ClipSpan]],
    ):
        self._chosen = chosen
        self._layout = layout
        self._settings = settings
        self._journal = journal
        self._units = layout.units(clips)
        self._about = journal.work / "about"
        self._rows = self._about / layout.rows
        self._verified: set[str] = set()

    def write_rows(
        self,
        columns: Sequence[str] | None,
        with_rebuild: bool,
    ) -> dict[str, int]:
        """Write rows and rebuild recipe beside the folder; returns the clips of each split."""
        self._about.mkdir()
        splits = write_rows(self._about, self._chosen, "parquet", columns)
        if with_rebuild and self._chosen.verdict.reasons:
            write_rebuild(self._about, self._chosen)
        if splits and self._rows.name != "data":
            (self._about / "data").rename(self._rows)
        return splits

    def make(self, workers: int, progress: Callable[[int, int], None] | None) -> None:
        total = sum(len(unit.clips) for unit in self._units)
        done = 0
        with ThreadPoolExecutor(workers, "export") as pool:
            try:
                running = {pool.submit(self._run, unit): unit for unit in self._units}
                for future in as_completed(running):
                    future.result()
                    done += len(running[future].clips)
                    if progress is not None:
                        progress(done, total)
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise

    def _run(self, unit: Unit) -> None:
        folder = self._journal.work / f"{unit.split}-{unit.number}"
        with Workshop(folder, self._settings, self._verified) as workshop:
            self._layout.run(unit, self._journal, workshop, Rows(self._rows))

    def describe(
        self,
        title: str,
        about: Mapping[str, str] | None,
        columns: Sequence[str] | None,
    ) -> None:
        """Say in the rows where the media are, and write card and tables of the format."""
        name_files(self._rows, self._files())
        kept = [*kept_columns(self._chosen, columns), *FILE_COLUMNS]
        write_card(self._about, self._chosen, title=title, about=about, columns=kept)
        if isinstance(self._layout, LeRobot):
            self._layout.describe(self._about, self._units, self._journal, Rows(self._rows))
        if self._rows.name != "data":
            card = self._about / "README.md"
            text = card.read_text(encoding="utf-8")
            rows = f"path: {self._rows.name}/"
            card.write_text(text.replace("path: data/", rows), encoding="utf-8")

    def _files(self) -> dict[str, tuple[str, str]]:
        return {
            made.clip_id: (self._layout.file_name(unit, made), made.how)
            for unit in self._units
            for key in self._layout.keys(unit)
            for made in self._journal[key].made
        }

    def settle(self) -> tuple[Failure, ...]:
        """Put everything in its final place, drop what belongs to no clip, close the record."""
        folder = self._journal.folder
        keys = [key for unit in self._units for key in self._layout.keys(unit)]
        self._journal.write(sorted(keys))
        (folder / MANIFEST).unlink(missing_ok=True)
        for name in _DESCRIPTION:
            _remove(folder / name)
            if (self._about / name).exists():
                os.replace(self._about / name, folder / name)
        wanted = {item["path"] for key in keys for item in self._journal[key].files}
        _sweep(folder / self._layout.media, folder, wanted)
        return tuple(failure for key in keys for failure in self._journal[key].failures)

    def how(self) -> dict[str, int]:
        counts: dict[str, int] = {}
        for _, how in self._files().values():
            counts[how] = counts.get(how, 0) + 1
        return dict(sorted(counts.items()))


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _sweep(media: Path, folder: Path, wanted: Collection[str]) -> None:
    """Remove files that are not `wanted`, and the folders that this leaves empty."""
    if not media.is_dir():
        return
    for path in sorted(media.rglob("*"), reverse=True):
        if path.is_dir():
            if not any(path.iterdir()):
                path.rmdir()
        elif path.relative_to(folder).as_posix() not in wanted:
            path.unlink()
