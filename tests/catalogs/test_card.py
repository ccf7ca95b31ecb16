"""Cards, datasheets and charts: generated, complete, and true to the catalog."""

from __future__ import annotations

import re
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image

from catalogs.amounts import time_text
from catalogs.card import card_text, draw_charts, front_matter, markdown_table
from catalogs.catalog import Catalog
from catalogs.charts import Bar, Histogram, bar_chart, histogram_chart, nice_ticks, short_number
from catalogs.chosen import choose
from catalogs.datasheet import datasheet
from catalogs.export import export_dataset
from catalogs.facts import Facts, gather
from catalogs.licence import Policy
from catalogs.testing.licensed import record_licensed

ABOUT = {"title": "Web | clips", "maintainer": "A. Person", "citation": "@misc{web}"}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Catalog:
    return record_licensed(tmp_path_factory.mktemp("card") / "corpus")


@pytest.fixture(scope="module")
def facts(corpus: Catalog) -> Facts:
    with choose(corpus, selection="web") as chosen:
        return gather(chosen, title="web", about=ABOUT, columns=chosen.columns())


def head_of(card: str) -> dict[str, Any]:
    match = re.match(r"---\n(.*?)\n---\n", card, re.DOTALL)
    assert match
    return yaml.safe_load(match[1])


def test_facts_are_counted_over_permitted_clips(facts: Facts) -> None:
    assert (facts.clips, facts.sources) == (21, 3)
    assert facts.hours == pytest.approx(3 * sum(range(2, 9)) / 3600)
    assert sum(share.clips for share in facts.splits) == 21
    assert [share.name for share in facts.splits] == ["train", "val"]
    assert {part.share.name for part in facts.licences} == {"CC-BY-4.0", "CC-BY-NC-4.0", "(none)"}
    assert {share.name: share.clips for share in facts.resolutions} == {
        "640 × 360": 14,
        "1280 × 720": 7,
    }
    assert facts.captions == [("brief", "rules", 21)]
    assert facts.uneven_sources == 1
    assert facts.quarantine == [("probe", "empty", 1)]


def test_histograms_hold_every_clip_and_start_with_the_gates(facts: Facts) -> None:
    assert [m.column.name for m in facts.measures] == ["duration_s", "luma_mean_255"]
    for measure in facts.measures:
        data = measure.histogram
        assert sum(data.counts) + data.below + data.above == 21
    assert facts.measures[0].median == 5.0


def test_front_matter_is_what_the_hub_reads(facts: Facts) -> None:
    head = head_of(card_text(facts, []))
    assert head == front_matter(facts)
    assert head["license"] == "other"
    assert head["size_categories"] == ["n<1K"]
    assert head["language"] == ["en"]
    assert head["task_categories"] == ["text-to-video", "video-text-to-text"]
    assert head["configs"][0]["data_files"] == [
        {"split": "train", "path": "data/train-*.parquet"},
        {"split": "val", "path": "data/val-*.parquet"},
    ]


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ("collection = 'FREE collection'", {"license": "cc-by-4.0"}),
        ("license is not null", {"license": ["cc-by-4.0", "cc-by-nc-4.0"]}),
        (
            "collection = 'GRANTED collection'",
            {"license": "other", "license_name": "mixed", "license_link": "README.md"},
        ),
        (
            "collection = 'CLOSED collection'",
            {"license": "other", "license_name": "rebuild-recipe-only"},
        ),
    ],
)
def test_the_licence_field(corpus: Catalog, where: str, expected: dict[str, Any]) -> None:
    with choose(corpus, where=where) as chosen:
        head = front_matter(gather(chosen, title="x", columns=()))
    assert {k: v for k, v in head.items() if k.startswith("license")} == expected


def test_the_card_tells_the_whole_story(facts: Facts) -> None:
    card = card_text(facts, list(draw_charts(facts)))
    for said in (
        "# Web | clips",
        "**21 clips, 105 seconds, 3 sources.**",
        "| length | `duration_s >= 2` | 40 | 35 |",
        "| light | `luma_mean_255 < 250` | 35 | 35 |",
        "35 of 40 clips were kept. 21 of them may be passed on.",
        "All rights reserved does not permit redistribution",
        "| `luma_mean_255` | double | 0 to 255 | mean brightness |",
        f"catalog `{facts.catalog_id}`, version 2",
        "length: duration_s >= 2",
        "sources with uneven frame times (`is_vfr`): 1",
        "| probe | empty | 1 |",
        "clipmill select CORPUS --recipe recipe.yaml --name web",
        "@misc{web}",
        'src="charts/duration_s.png"',
    ):
        assert said in card


def test_a_card_without_a_selection(corpus: Catalog) -> None:
    with choose(corpus, where="duration_s > 3", policy=Policy.of()) as chosen:
        card = card_text(gather(chosen, title="long", columns=chosen.columns()), [])
    assert "- condition `duration_s > 3`" in card
    assert "How clips were selected" not in card
    assert "Kept out" not in card


def test_the_datasheet_answers_or_says_who_could(facts: Facts) -> None:
    sheet = datasheet(facts)
    for part in ("Motivation", "Composition", "Collection", "Preprocessing", "Uses"):
        assert f"## {part}" in sheet
    assert "**Who made it?** A. Person" in sheet
    assert "The maker did not say (`about['motivation']`)." in sheet
    assert "14 clips are listed in `rebuild/` only" in sheet
    assert "CC-BY-NC-4.0" in sheet


def test_every_picture_that_the_card_shows_is_there(corpus: Catalog, tmp_path: Path) -> None:
    export_dataset(corpus, tmp_path / "out", selection="web")
    card = (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    shown = set(re.findall(r"charts/([\w.]+\.png)", card))
    assert shown == {path.name for path in (tmp_path / "out" / "charts").iterdir()}
    assert {"funnel.png", "duration_s.png", "luma_mean_255.png"} <= shown


def ink(png: bytes, colour: tuple[int, int, int] = (63, 111, 181)) -> int:
    """How many pixels have nearly the colour of the bars."""
    image = Image.open(BytesIO(png)).convert("RGB")
    colours = image.getcolors(maxcolors=256) or []
    near = [
        count
        for count, found in colours
        if sum(abs(a - b) for a, b in zip(found, colour, strict=True)) < 24
    ]
    return sum(near)


def test_bars_are_as_long_as_their_values() -> None:
    whole = ink(bar_chart("t", [Bar("a", 100, "x")]))
    both = ink(bar_chart("t", [Bar("a", 100, "x"), Bar("b", 50, "x")]))
    assert both / whole == pytest.approx(1.5, rel=0.02)
    assert ink(bar_chart("t", [Bar("a", 0, "x")])) == 0


def test_histogram_bars_are_as_high_as_their_counts() -> None:
    level = ink(histogram_chart("t", Histogram(0, 1, [8, 8, 8, 8])))
    half = ink(histogram_chart("t", Histogram(0, 1, [8, 8, 0, 0])))
    assert half / level == pytest.approx(0.5, rel=0.02)
    assert histogram_chart("t", Histogram(0, 1, [])).startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [
        (0, 10, [0, 2, 4, 6, 8, 10]),
        (13.2, 241.7, [50, 100, 150, 200, 250]),
        (-0.03, 0.01, [-0.03, -0.02, -0.01, 0, 0.01]),
    ],
)
def test_ticks_are_round(low: float, high: float, ticks: list[float]) -> None:
    assert nice_ticks(low, high, 5) == pytest.approx(ticks)


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (7, "7"), (0.125, "0.125"), (1234, "1,234"), (56_700, "56.7k"), (8_900_000, "8.9M")],
)
def test_short_numbers(value: float, text: str) -> None:
    assert short_number(value) == text


@pytest.mark.parametrize(
    ("hours", "text"), [(1234.5, "1,234 hours"), (0.5, "30 minutes"), (0.01, "36 seconds")]
)
def test_times_in_words(hours: float, text: str) -> None:
    assert time_text(hours) == text


def test_tables_escape_what_would_break_them() -> None:
    table = markdown_table(["name", "n"], [("a|b\nc <i>", 1234), ("`x < 1`", 2)])
    assert table.splitlines() == [
        "| name | n |",
        "|---|---:|",
        "| a\\|b c &lt;i> | 1,234 |",
        "| `x < 1` | 2 |",
    ]
