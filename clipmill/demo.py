"""The whole way on rendered footage and takes, checked against what was rendered.

    clipmill demo [FOLDER]

Everything happens in one folder: `media/` is rendered, `corpus/` is the catalog, `dataset/` an
export, `reconstructed/` what tokens decode to, `run/` a trained generator, `made/` what it makes.
The same steps on your own files are printed at the end.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from catalogs import Catalog
from catalogs.errors import ClipmillError, UsageError
from catalogs.explain import why
from catalogs.query import Session
from catalogs.recipe import load_recipe
from catalogs.report import write_report
from catalogs.select import SelectionResult, select
from catalogs.testing import CorpusTruth, VideoTruth, render_corpus
from clipmill.checks import Check
from clipmill.cli.output import print_rows
from clipmill.demo_generator import generator_of
from clipmill.demo_tokens import tokens_of
from clipmill.demo_trust import planted, searched, trust_of
from clipmill.demo_words import words_of
from clipmill.pictures import postures
from curation.export.run import ClipExport, export_clips
from curation.jobs.run import Report, curate, recut
from curation.jobs.settings import DEFAULT_OPERATORS, MillSettings
from curation.segment import SegmentSettings

__all__ = ["DemoError", "run"]

_CLASSES = {"empty": "empty", "truncated": "bad_container"}
"""What the quarantine calls a damage: an MP4 that is cut off has lost its index."""

GRADUAL_SLACK = 3
"""Frames by which a clip may begin after the end of a dissolve or fade."""


class DemoError(ClipmillError):
    """Something came out otherwise than it was rendered."""


def run(folder: Path, workers: int | None = None) -> None:
    """Render, curate, select, explain, export, caption, tokenize; compare with the truth."""
    media, corpus, dataset = folder / "media", folder / "corpus", folder / "dataset"
    _clear(folder)
    _say("1. rendering footage and takes with known truth")
    truth = planted(render_corpus(media))
    table = _table(truth, folder / "footage.parquet")
    _say(f"2. curating {len(truth.files)} files: decode once, measure, cut, score")
    report = curate([table], corpus, settings=_settings(), workers=workers)
    _say("3. the same again: nothing is left to do")
    again = curate([table], corpus, settings=_settings(), workers=workers, progress=None)
    _say("4. cutting again with another detector, from stored signals")
    second = MillSettings(segment=SegmentSettings(detector="adaptive"))
    recut(corpus, settings=second, workers=workers, progress=None)
    _say("5. looking for what is there twice, then selecting clips and takes by recipe")
    catalog = searched(corpus)
    clips = select(catalog, load_recipe("demo"), "demo-clips")
    takes = select(catalog, load_recipe("mocap"), "demo-takes")
    _show(catalog, clips)
    _say("6. writing clips as files, as far as the licences permit, with a card")
    export = export_clips(catalog, dataset, selection="demo-clips", format="mp4")
    checks = list(_checks(catalog, truth, report, again, clips, takes))
    checks += _exported(export, dataset, clips)
    _say("7. refusing to export splits that share footage")
    selected = _names(catalog, clips)
    checks += trust_of(corpus, folder, truth, clips.funnel.cutting, selected)
    _say("8. captions of every clip by rules, checked, and clips found by them")
    checks += words_of(corpus, truth)
    _say("9. clips and takes as tokens, with the starter models, and back")
    checks += tokens_of(corpus, folder, workers)
    _say("10. a generator of takes, trained on these tokens and captions")
    checks += generator_of(corpus, folder)
    _say("11. a report of it all, in one file")
    told = write_report(
        Catalog.open(corpus), folder / "report.html", "demo-clips", draw_take=postures
    )
    checks.append(Check("a report below 5 MB", "True", str(told.bytes < 5_000_000)))
    _say("12. compared with what was rendered")
    print_rows(
        [
            {
                "": "ok" if c.ok else "WRONG",
                "what": c.what,
                "expected": c.expected,
                "found": c.found,
            }
            for c in checks
        ],
        ("", "what", "expected", "found"),
    )
    wrong = [check for check in checks if not check.ok]
    if wrong:
        raise DemoError(
            f"{len(wrong)} of {len(checks)} checks failed, the first one: {wrong[0].what}",
            allowed=wrong[0].expected,
            hint=f"found {wrong[0].found}; look into {folder}",
        )
    print(_whats_next(folder, corpus, dataset, len(checks)))


def _clear(folder: Path) -> None:
    """Remove what an earlier demo left, and nothing else."""
    ours = {
        *("media", "corpus", "dataset", "leaking", "footage.parquet", "reconstructed"),
        *("run", "made", "report.html"),
    }
    others = {entry.name for entry in folder.iterdir()} - ours if folder.is_dir() else set()
    if others:
        raise UsageError(
            f"{folder} holds {sorted(others)[0]!r}, which no demo has put there",
            allowed="an empty or new folder, or that of an earlier demo",
        )
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)


def _table(truth: CorpusTruth, path: Path) -> Path:
    """The corpus as a table of addresses with licences, as a crawl would leave it."""
    rows = [
        {"uri": str(truth.path(file.name).absolute()), "license": file.license}
        for file in truth.files
    ]
    columns = pa.Table.from_pylist(rows)
    pq.write_table(columns.append_column("collection", [["rendered"] * len(rows)]), path)
    return path


def _settings() -> MillSettings:
    return replace(MillSettings.of(load_recipe("demo")), operators=DEFAULT_OPERATORS)


def _show(catalog: Catalog, clips: SelectionResult) -> None:
    steps = [
        {"gate": s.gate, "predicate": s.predicate, "in": s.clips_in, "out": s.clips_out}
        for s in clips.funnel.steps
    ]
    print_rows(steps, ("gate", "predicate", "in", "out"))
    with Session(catalog, cutting=clips.funnel.cutting) as session:
        flashing = session.sql("select clip_id from clips where uri like '%/flash.mp4'").rows()
    for (clip_id,) in flashing:
        for verdict in why(catalog, clip_id, "demo-clips").failed:
            print(f"why {clip_id[:12]}: {verdict.gate}: {verdict.reason} ({verdict.value})")


def _checks(
    catalog: Catalog,
    truth: CorpusTruth,
    report: Report,
    again: Report,
    clips: SelectionResult,
    takes: SelectionResult,
) -> Iterator[Check]:
    sources = catalog.sql("select count(*) from sources").value()
    yield Check("sources", str(len(truth.readable)), str(sources))
    yield Check("quarantined, with reason", _refused(truth), _quarantined(catalog))
    frames = sum(len(file.video.pts) for file in truth.readable if file.video)
    yield Check("frames decoded, each once", str(frames), str(report.frames))
    yield Check("frames decoded by the second run", "0", str(again.frames))
    cutting = _settings().cutting
    for file in truth.readable:
        if file.video is not None:
            found = _starts(catalog, file.name, cutting)
            yield Check(f"clips of {file.name} begin at", *_compared(file.video, found))
    yield from _scores(catalog)
    yield Check(
        "takes kept", "jump, turn, walk, wave", ", ".join(sorted(_kept_takes(catalog, takes)))
    )
    videos = {name for name in _names(catalog, clips) if name in {"flash.mp4", "shake.mp4"}}
    yield Check("planted flash and shake selected", "none", ", ".join(sorted(videos)) or "none")


def _refused(truth: CorpusTruth) -> str:
    return ", ".join(
        sorted(f"{f.name} ({_CLASSES[f.reason]})" for f in truth.files if f.reason is not None)
    )


def _quarantined(catalog: Catalog) -> str:
    rows = catalog.sql("select uri, error_class from quarantine").rows()
    return ", ".join(sorted(f"{Path(uri).name} ({reason})" for uri, reason in rows))


def _starts(catalog: Catalog, name: str, cutting: str) -> list[int]:
    rows = catalog.sql(
        "select start_frame from clips_all join sources using (source_id) "
        "where cutting = ? and uri like ? order by start_frame",
        [cutting, f"%/{name}"],
    ).rows()
    return [row[0] for row in rows]


def _compared(video: VideoTruth, found: list[int]) -> tuple[str, str]:
    """Expected and found first frames. A clip after a gradual change may begin inside of it."""
    mixed = [(first, last) for first, last in video.dissolves]
    mixed += [(first, last) for kind, first, last in video.fades if kind == "fade_in"]
    expected = {last + 1 for _, last in mixed} | set(video.cuts)
    if not any(first == 0 for first, _ in mixed):
        expected.add(0)
    return _listed(sorted(expected)), _listed([_after_mix(frame, mixed) for frame in found])


def _after_mix(frame: int, mixed: list[tuple[int, int]]) -> int:
    """The frame after the gradual change that `frame` lies in, or `frame` itself."""
    for first, last in mixed:
        if first < frame <= last + 1 + GRADUAL_SLACK:
            return last + 1
    return frame


def _listed(frames: list[int]) -> str:
    return ", ".join(map(str, frames))


def _scores(catalog: Catalog) -> Iterator[Check]:
    """Planted traits, each found where it was planted."""
    for what, name, predicate in (
        ("a pan to the right is seen", "pan.mp4", "pan_px > 1"),
        ("a zoom is seen", "zoom.mp4", "zoom_percent > 0.2"),
        ("shake is seen", "shake.mp4", "shake_px > 4"),
        ("a slide is text and still", "slide.mp4", "text_area > 0.02 and static_share > 0.9"),
        ("a flash is counted", "flash.mp4", "flash_count = 1"),
        ("bars are measured", "letterbox.mkv", "letterbox_share > 0.1"),
        ("a tone is heard", "pan.mp4", "has_audio and silence_share < 0.1"),
        ("silence is silent", "portrait.mp4", "has_audio and silence_share > 0.9"),
        ("rotation is applied", "portrait.mp4", "width = 180 and height = 320"),
    ):
        with Session(catalog, cutting=_settings().cutting) as session:
            holds = session.sql(
                f"select bool_and({predicate}) from clips where uri like ?", [f"%/{name}"]
            ).value()
        yield Check(what, "True", str(holds))


def _exported(export: ClipExport, dataset: Path, clips: SelectionResult) -> Iterator[Check]:
    """Every permitted clip is a file that was read back; the rest is left out for its licence."""
    yield Check("clips that could not be written", "0", str(len(export.failures)))
    files = len(list(dataset.rglob("*.mp4")))
    yield Check("clip files", str(export.clips), str(files))
    settled = export.clips + export.verdict.refused_clips
    yield Check("clips written or refused", str(clips.clips), str(settled))


def _kept_takes(catalog: Catalog, takes: SelectionResult) -> set[str]:
    return {Path(name).stem for name in _names(catalog, takes)}


def _names(catalog: Catalog, selected: SelectionResult) -> set[str]:
    rows = (
        catalog.refresh()
        .sql(
            "select distinct uri from selections join sources using (source_id) "
            "where selection_id = ?",
            [selected.selection_id],
        )
        .rows()
    )
    return {Path(row[0]).name for row in rows}


def _say(text: str) -> None:
    print(f"\n{text}", file=sys.stderr, flush=True)


def _whats_next(folder: Path, corpus: Path, dataset: Path, checks: int) -> str:
    return f"""
All {checks} checks agree with what was rendered. Look around:

  clipmill browse {corpus}           # in the browser
  xdg-open {folder / "report.html"}  # what the corpus is and what a recipe made of it
  clipmill sql {corpus} "select uri, start_s, end_s, motion_px, text_area from clips"
  clipmill funnel {corpus} demo-clips
  clipmill funnel {corpus} demo-clips --set text="text_area <= 0.5"
  clipmill dups {corpus}
  clipmill coverage {corpus} demo-clips
  clipmill captions {corpus} --qa --list contradiction
  clipmill search {corpus} "the camera pans" --where "text_area < 0.02"
  clipmill quarantine {corpus}
  less {dataset / "README.md"}
  ls {folder / "reconstructed"}      # films: the original, and what its tokens decode to
  ls {folder / "made"}               # takes that a generator made of a text
  clipmill sample local-dir:{folder / "run" / "model"} --text "A person jumps." --to jump.bvh
  clipmill zoo bakeoff {corpus} demo-clips --models video/starter --to bakeoff

Your own files:

  clipmill curate FOLDER --catalog my-corpus --recipe web-video
"""
