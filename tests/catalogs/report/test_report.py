"""The report: one file that stands alone, tells the catalog's own numbers, and cannot be broken."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from html.parser import HTMLParser
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image

from catalogs.amounts import number
from catalogs.catalog import Catalog
from catalogs.charts import Histogram
from catalogs.edges import edges_of
from catalogs.errors import UsageError
from catalogs.funnel import funnel
from catalogs.query import Session
from catalogs.recipe import NearDuplicates
from catalogs.report import report_html, write_report
from catalogs.report.markup import Html, tag
from catalogs.report.pictures import Pictures
from catalogs.report.svg import histogram
from catalogs.runs import rate_of
from catalogs.testing.duplicates import record_matches
from catalogs.testing.licensed import LICENSED_SOURCES, record_licensed

DAY = datetime(2026, 5, 1, tzinfo=UTC)
EVIL = "<script>alert(1)<script>"
TICKS_PER_S = 24


def jpeg(shade: int) -> bytes:
    out = BytesIO()
    Image.new("RGB", (64, 36), (shade, 90, 255 - shade)).save(out, "JPEG")
    return out.getvalue()


@pytest.fixture(scope="module")
def catalog(tmp_path_factory: pytest.TempPathFactory) -> Catalog:
    """Five sources with every licence, pictures, a broken file with an evil name, a shared span."""
    catalog = record_licensed(tmp_path_factory.mktemp("report") / "corpus")
    pictures = [
        {"source_id": source.id, "pts": n * TICKS_PER_S, "width": 64, "height": 36, "jpeg": jpeg(n)}
        for source in LICENSED_SOURCES
        for n in range(80)
    ]
    catalog.append("storyboards", pictures)
    evil = {"uri": f"/home/someone/{EVIL}.mp4", "stage": "open", "error_class": "bad_container"}
    catalog.append("quarantine", [{**evil, "detail": f"cannot open /home/someone/{EVIL}.mp4"}])
    free, noncom = LICENSED_SOURCES[0].id, LICENSED_SOURCES[1].id
    record_matches(catalog, [(free, noncom, (70.0, 78.0), (70.0, 78.0))], NearDuplicates())
    return catalog.refresh()


@pytest.fixture(scope="module")
def text(catalog: Catalog) -> str:
    return report_html(catalog, "web", written=DAY)


class Nesting(HTMLParser):
    """Fails on an element that is not closed where it should be; collects what is asked for."""

    VOID = frozenset({"meta", "img", "br", "hr"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.names: set[str] = set()
        self.addresses: list[str] = []

    def handle_starttag(self, name: str, attributes: list[tuple[str, str | None]]) -> None:
        self.names.add(name)
        self.addresses += [v or "" for k, v in attributes if k in ("src", "href", "xlink:href")]
        if name not in self.VOID:
            self.open.append(name)

    def handle_endtag(self, name: str) -> None:
        assert self.open.pop() == name

    def handle_startendtag(self, name: str, attributes: list[tuple[str, str | None]]) -> None:
        self.names.add(name)


def test_the_page_is_sound_and_needs_nothing_else(text: str) -> None:
    page = Nesting()
    page.feed(text)
    page.close()
    assert page.open == []
    assert not page.names & {"script", "link", "iframe", "object"}
    assert page.addresses
    assert all(address.startswith(("data:image/webp;base64,", "#")) for address in page.addresses)
    assert "url(" not in text
    assert "@import" not in text


def test_what_is_told_is_escaped_and_names_no_folder(text: str) -> None:
    assert EVIL not in text
    assert "cannot open &lt;script&gt;alert(1)&lt;script&gt;.mp4" in text
    assert "/home/someone" not in text
    assert "hush" not in text


def test_the_numbers_are_those_of_the_funnel(catalog: Catalog, text: str) -> None:
    found = funnel(catalog, "web")
    assert f"keeps {found.kept_clips} of {found.clips} clips" in text
    for step in found.steps:
        assert f"<b>{step.clips_out}</b> clips" in text
        assert step.predicate.replace("<", "&lt;").replace(">", "&gt;") in text


def test_every_part_is_there(text: str) -> None:
    for part in (
        *("corpus", "funnel", "gates", "duplicates", "splits", "captions", "licences"),
        *("quarantine", "runs", "storage", "versions"),
    ):
        assert f'<section id="{part}">' in text
        assert f'<a href="#{part}">' in text
    for said in ("640 × 360", "All rights reserved", "FREE caption", "bad_container", "name: web"):
        assert said in text


def test_twins_are_shown_and_splits_that_share_them_named(catalog: Catalog, text: str) -> None:
    names = re.search(
        r"70\.00–78\.00 s of \S*?(\w+)\.mp4 is 70\.00–78\.00 s of \S*?(\w+)\.mp4", text
    )
    assert names
    assert {*names.groups()} == {"FREE", "NONCOM"}
    query = (
        "select count(distinct split) from selections join clips_all using (clip_id) "
        "where start_s = 70 and clips_all.source_id in (?, ?)"
    )
    apart = catalog.sql(query, [source.id for source in LICENSED_SOURCES[:2]]).value() == 2
    assert ("1 pair of clips show the same in different splits" in text) == apart
    assert ("No two clips in different splits show the same" in text) != apart


def test_the_same_version_gives_the_same_page_but_for_the_date(catalog: Catalog, text: str) -> None:
    again = report_html(catalog, "web", written=datetime(2027, 1, 2, tzinfo=UTC))
    assert again != text
    assert again.replace("2027-01-02", "2026-05-01") == text


def test_clips_on_both_sides_of_a_limit(catalog: Catalog) -> None:
    with Session(catalog) as session:
        (edge,) = edges_of(session.sql, "kind = 'video' and duration_s >= 3", 6)
    assert [near.value for near in edge.inside] == [3.0] * 5 + [4.0]
    assert [near.value for near in edge.outside] == [2.0] * 5 + [1.0]
    assert len({near.clip_id for near in (*edge.inside, *edge.outside)}) == 12


def test_pictures_stay_within_their_budget(catalog: Catalog) -> None:
    with Session(catalog) as session:
        clips = session.sql("select * from clips order by clip_id").dicts()
        some = Pictures(session, budget=3000)
        shown = [some.of(clip, 2) for clip in clips]
        sizes = sum(len(picture.uri) for strip in shown for picture in strip)
        assert 0 < sizes <= 3000
        assert some.left_out == sum(not strip for strip in shown) > 0
        (first, second) = next(s for s in shown if len(s) == 2)
    assert (first.width, first.height) == (64, 36)
    assert first.uri != second.uri


def test_takes_are_drawn_by_who_can(catalog: Catalog) -> None:
    asked: list[int] = []

    def draw(_session: Session, clip: object, count: int) -> list[Image.Image]:
        asked.append(count)
        return [Image.new("RGB", (900, 300))] * count

    with Session(catalog) as session:
        take = {"clip_id": "t", "kind": "mocap"}
        assert Pictures(session).of(take, 3) == ()
        drawn = Pictures(session, draw).of(take, 3)
    assert asked == [3]
    assert [(picture.width, picture.height) for picture in drawn] == [(176, 59)] * 3


def test_a_place_that_cannot_be_written_is_told(catalog: Catalog, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(UsageError, match="cannot be written: Is a directory"):
        write_report(catalog, tmp_path / "folder", written=DAY)
    assert [entry.name for entry in tmp_path.iterdir()] == ["folder"]


def test_a_corpus_without_a_selection_is_told_of(tmp_path: Path) -> None:
    catalog = Catalog.create(tmp_path / "empty")
    done = write_report(catalog, tmp_path / "deep" / "report.html", written=DAY)
    text = done.path.read_text(encoding="utf-8")
    assert done.selection is None
    assert done.bytes == len(text.encode())
    assert "Every file could be used." in text
    assert 'id="funnel"' not in text
    assert [path.name for path in done.path.parent.iterdir()] == ["report.html"]


def test_charts_place_limits_and_bars() -> None:
    chart = histogram("t", Histogram(0, 10, [4, 0, 2]), Histogram(0, 10, [1, 0, 0]), limits=(5, 99))
    assert chart.count('class="whole"') == 2
    assert chart.count('class="part"') == 1
    places = [float(x) for x in re.findall(r'x="([\d.]+)"[^>]*class="limit"/>', chart)]
    assert places == pytest.approx([194 - 0.75, 352 - 0.75])
    assert "99 →" in chart


@pytest.mark.parametrize(
    ("counts", "seconds", "text"),
    [
        ({"media_s": 7200.0, "clips": 9}, 3600.0, "2 hours of media per hour"),
        ({"windows": 50}, 60.0, "3,000 windows per hour"),
        ({"media_s": 0.0, "clips": 0}, 5.0, ""),
        ({"clips": 3}, 0.0, ""),
    ],
)
def test_rates_of_runs(counts: dict[str, float], seconds: float, text: str) -> None:
    assert rate_of(counts, seconds) == text


def test_markup_escapes_all_but_markup() -> None:
    made = tag("p", "a<b", tag("b", 1234), None, ["&", Html("<i>x</i>")], title='"', data_x=None)
    assert made == '<p title="&quot;">a&lt;b<b>1,234</b>&amp;<i>x</i></p>'
    assert [number(v) for v in (None, 0.123456, 12345.6)] == ["–", "0.1235", "12,346"]
