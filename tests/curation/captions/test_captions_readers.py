"""Subtitles, tables and files beside a video become captions of its clips."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from curation.captions.imports import import_labels
from curation.captions.readers import read_texts
from curation.mocap.problems import MocapFileError

VTT = """WEBVTT

NOTE a remark

1
00:00.500 --> 00:01.250 align:start
<v Ann>Hello &amp; welcome

00:01.250 --> 00:02.000
Hello & welcome
to the show
"""
SRT = """1
00:00:01,000 --> 00:00:02,500
Hallo
Welt

2
00:01:00,0 --> 00:01:01,5
Ende
""".replace("\n", "\r\n")


def test_subtitles_have_spans_language_and_no_markup(tmp_path: Path) -> None:
    (tmp_path / "talk.en.vtt").write_text(VTT)
    (tmp_path / "talk.srt").write_bytes(SRT.encode())
    english = read_texts(tmp_path / "talk.en.vtt")
    assert [(x.start_s, x.end_s, x.text) for x in english] == [
        (0.5, 1.25, "Hello & welcome"),
        (1.25, 2.0, "to the show"),
    ], "a line that rolls on is said once"
    assert {(x.kind, x.language, Path(x.take or "").name) for x in english} == {
        ("transcript", "en", "talk")
    }
    german = read_texts(tmp_path / "talk.srt")
    assert [(x.start_s, x.end_s, x.text) for x in german] == [
        (1.0, 2.5, "Hallo Welt"),
        (60.0, 61.5, "Ende"),
    ]
    assert german[0].take is None


def test_tables_and_plain_files_are_read(tmp_path: Path) -> None:
    rows = [
        {"file": "a.mp4", "caption": "a dog", "start_s": 1.0, "end_s": 2.0, "language": "en"},
        {"file": "b.mp4", "caption": None, "start_s": None, "end_s": None, "language": None},
    ]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "t.parquet")
    (label,) = read_texts(tmp_path / "t.parquet")
    assert (label.text, label.take, label.start_s, label.language) == ("a dog", "a.mp4", 1.0, "en")
    (tmp_path / "film.txt").write_text("A red wall,\nand no one near.\n")
    assert read_texts(tmp_path / "film.txt")[0].text == "A red wall, and no one near."


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("a.vtt", b"WEBVTT\n\nno cue\n", "holds no cue"),
        ("a.srt", b"\xff\xfe\x00", "not UTF-8"),
        ("a.parquet", b"PAR1 no", "no Parquet table"),
    ],
)
def test_broken_files_say_why(tmp_path: Path, name: str, content: bytes, told: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(MocapFileError, match=told):
        read_texts(tmp_path / name)


def test_times_are_mapped_onto_clips(filmed: Path, tmp_path: Path) -> None:
    """The film has six shots of 1.5 s; a cue goes where at least half of it lies."""
    from catalogs import Catalog

    folder = tmp_path / "subtitles"
    folder.mkdir()
    cues = "00:01.600 --> 00:02.900\nin the second\n\n00:04.400 --> 00:05.900\nin the fourth\n"
    (folder / "film.en.vtt").write_text("WEBVTT\n\n" + cues)
    (folder / "film.txt").write_text("Six shots.")
    catalog = Catalog.open(filmed)
    report = import_labels(catalog, [folder])
    assert (report.labels, report.new, report.unmatched) == (3, 8, ())
    query = (
        "select t.text, t.language, round(c.start_s, 1), round(t.start_s, 2) from captions t "
        "join clips c using (clip_id) where t.kind = 'transcript' order by 3"
    )
    assert catalog.refresh().sql(query).rows() == [
        ("in the second", "en", 1.5, 0.1),
        ("in the fourth", "en", 4.5, 0.0),
    ]
    assert import_labels(catalog, [folder]).new == 0
