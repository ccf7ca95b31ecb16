"""The page of a clip says what the library says, and plays exactly the clip."""

from __future__ import annotations

import base64
import io
import json
import re
import shutil
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image

from catalogs import Catalog
from catalogs.duplicates import duplicate_groups
from catalogs.explain import why
from catalogs.query import Session
from catalogs.recipe import Dedup, NearDuplicates
from catalogs.timebase import Span
from clipmill.web.timeline import binned
from tokenize_jobs.shards import ShardWriter, TokenStream, TokenTable, Window
from tokenize_jobs.transform import Transform

expect = pytest.importorskip("playwright.sync_api", reason="needs playwright").expect
expect.set_options(timeout=60_000)  # for machines that do much else

MODEL = "motion/starter"


def clip_of(corpus: Path, name: str, place: int = 0) -> dict[str, Any]:
    query = "select * from clips where uri like ? order by start_s limit 1 offset ?"
    return Catalog.open(corpus).sql(query, [f"%{name}", place]).dicts()[0]


def answer_of(served: Any, path: str) -> Any:
    with served.fetch(path) as response:
        return json.load(response)


# -- playing ---------------------------------------------------------------------------------


def opened(page: Any, clip: dict[str, Any], query: str = "") -> Any:
    """The page of a clip whose film or take is ready; its counter of frames."""
    page.goto(f"/clip/{clip['clip_id']}{query}")
    counter = page.locator(".stage .counter b")
    expect(counter).to_have_text("0")
    return counter


def test_frames_advance_and_the_span_is_not_left(page: Any, web_corpus: Path) -> None:
    statuses: list[int] = []
    page.on(
        "response",
        lambda told: statuses.append(told.status) if "/api/media/" in told.url else None,
    )
    clip = clip_of(web_corpus, "cuts.mp4")
    counter = opened(page, clip)
    expect(page.locator(".made")).to_have_attribute("data-how", "source")
    for key, frame in ((".", 1), (".", 2), (",", 1), ("End", clip["frames"] - 1), ("Home", 0)):
        page.keyboard.press(key)
        expect(counter).to_have_text(str(frame))
    page.get_by_role("button", name="Repeat").click()
    page.locator("h1").click()
    page.keyboard.press("Space")
    expect(counter).to_have_text(re.compile("^([5-9]|[1-9][0-9])$"))
    expect(counter).to_have_text(str(clip["frames"] - 1))
    expect(page.get_by_role("button", name="Play", exact=True)).to_be_visible()
    assert page.evaluate("() => document.querySelector('video').currentTime") < clip["end_s"]
    assert 206 in statuses


def test_a_film_that_was_made_plays(page: Any, web_corpus: Path) -> None:
    counter = opened(page, clip_of(web_corpus, "zoom.mkv"))
    expect(page.locator(".made")).to_have_attribute("data-how", "copy")
    page.keyboard.press("Space")
    expect(counter).to_have_text(re.compile("^([5-9]|[1-9][0-9])$"))


def shown(page: Any) -> np.ndarray:
    """What the video shows, small."""
    url = page.evaluate(
        """() => {
          const canvas = document.createElement("canvas");
          Object.assign(canvas, { width: 32, height: 18 });
          const video = document.querySelector("video");
          canvas.getContext("2d").drawImage(video, 0, 0, 32, 18);
          return canvas.toDataURL();
        }"""
    )
    picture = Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2])))
    return np.asarray(picture.convert("RGB"), np.float32)


@pytest.mark.parametrize("name", ["cuts.mp4", "pan.webm"])
def test_a_step_shows_the_very_frame(page: Any, web_corpus: Path, name: str) -> None:
    """The second clip of a film with sound, and a film of another codec."""
    place = 1 if name == "cuts.mp4" else 0
    clip = clip_of(web_corpus, name, place)
    with av.open(clip["uri"]) as film:
        frames = [
            np.asarray(frame.to_image().resize((32, 18), Image.Resampling.BOX), np.float32)
            for frame in film.decode(film.streams.video[0])
        ]
    opened(page, clip)
    slider = page.get_by_role("slider")
    told = page.locator(".transport .told")
    for frame in (0, 1, 7, clip["frames"] - 1):
        slider.fill(str(frame))
        expect(page.locator(".counter b")).to_have_text(str(frame))
        expect(told).to_contain_text(f"source frame {clip['start_frame'] + frame},")
        page.evaluate(
            "() => new Promise((done) => { const video = document.querySelector('video');"
            "const look = () => video.seeking || video.readyState < 2"
            " ? setTimeout(look, 10) : requestAnimationFrame(() => requestAnimationFrame(done));"
            "look(); })"
        )
        errors = [float(np.abs(shown(page) - other).mean()) for other in frames]
        assert int(np.argmin(errors)) == clip["start_frame"] + frame


# -- what is told ----------------------------------------------------------------------------


def check_verdicts(page: Any, corpus: Path, clip_id: str, selection: str) -> None:
    """The page tells what `why` tells."""
    told = why(Catalog.open(corpus), clip_id, selection)
    rows = page.locator(".verdicts li")
    expect(rows).to_have_count(len(told.verdicts))
    for row, verdict in zip(rows.all(), told.verdicts, strict=True):
        assert row.get_attribute("data-gate") == verdict.gate
        assert row.get_attribute("data-passed") == str(verdict.passed).lower()
        if verdict.reason:
            assert row.locator(".reason").inner_text() == verdict.reason
    assert ("not kept" not in page.locator(".heading .chip").last.inner_text()) == told.kept


def test_verdicts_of_each_selection_are_those_of_why(page: Any, web_corpus: Path) -> None:
    clip = clip_of(web_corpus, "cuts.mp4", 1)
    page.goto(f"/clip/{clip['clip_id']}")
    chosen = page.locator(".selections [aria-current]")
    expect(chosen).to_have_text("takes")  # the one that was made last
    check_verdicts(page, web_corpus, clip["clip_id"], "takes")
    page.get_by_role("link", name="web", exact=True).click()
    expect(chosen).to_have_text("web")
    check_verdicts(page, web_corpus, clip["clip_id"], "web")


def test_scores_captions_and_lineage_are_told(page: Any, web_corpus: Path) -> None:
    catalog = Catalog.open(web_corpus)
    clip = clip_of(web_corpus, "walk.bvh")
    text = catalog.sql(
        "select text from captions where clip_id = ? and kind = 'brief'", [clip["clip_id"]]
    ).value()
    opened(page, clip)
    score = page.locator("[data-score=path_m]")
    assert float(score.locator(".value").inner_text()) == pytest.approx(clip["path_m"], rel=1e-3)
    assert score.locator(".unit").inner_text() == "m"
    assert page.locator(".captions blockquote").first.inner_text() == text
    lineage = page.locator(".lineage").inner_text()
    assert clip["uri"] in lineage
    assert clip["sha256"] in lineage
    assert "redistribute: yes" in page.locator(".licence").inner_text()
    expect(page.locator(".alike .clip-figure").first).to_be_visible()
    assert page.locator(f".alike [data-clip='{clip['clip_id']}']").count() == 0


def test_a_name_that_looks_like_html_stays_text(page: Any, web_corpus: Path) -> None:
    clip = clip_of(web_corpus, "</script>.mp4")
    page.goto(f"/clip/{clip['clip_id']}")
    expect(page.locator(".heading h1")).to_have_text(clip["uri"].rsplit("/", 1)[-1])
    assert page.locator(".area script").count() == 0


# -- the timeline ----------------------------------------------------------------------------


def test_cuts_stand_where_they_are_and_a_click_goes_there(page: Any, web_corpus: Path) -> None:
    catalog = Catalog.open(web_corpus)
    clip = clip_of(web_corpus, "cuts.mp4", 1)
    clips = catalog.sql(
        "select clip_id, start_s, end_s from clips where source_id = ? order by start_s",
        [clip["source_id"]],
    ).dicts()
    counter = opened(page, clip)
    strip = page.locator(".strip")
    links = strip.locator("a")
    expect(links).to_have_count(len(clips))
    whole = strip.bounding_box()
    length = clip["source_duration_s"]
    for link, other in zip(links.all(), clips, strict=True):
        box = link.bounding_box()
        left = (box["x"] - whole["x"]) / whole["width"] * length
        assert left == pytest.approx(other["start_s"], abs=0.01)
        assert box["width"] / whole["width"] * length == pytest.approx(
            other["end_s"] - other["start_s"], abs=0.01
        )
    curves = page.locator(".curves")
    seconds = clip["start_s"] + 1.0 + 0.5 / 12
    curves.click(position={"x": whole["width"] * seconds / length, "y": 20})
    expect(counter).to_have_text("12")
    expect(page.locator(".readout")).to_contain_text("content change")
    curves.click(position={"x": 3, "y": 20})
    expect(page).to_have_url(re.compile(clips[0]["clip_id"]))
    expect(links.first).to_have_attribute("aria-current", "true")
    links.last.click()
    expect(page).to_have_url(re.compile(clips[-1]["clip_id"]))


def test_the_peak_of_the_content_signal_is_the_cut(web_server: Any, web_corpus: Path) -> None:
    clip = clip_of(web_corpus, "cuts.mp4", 1)
    told = answer_of(web_server, f"/api/clip/{clip['clip_id']}/timeline?bins=90")
    change = told["signals"][0]
    peak = max(range(90), key=lambda n: change["high"][n] or 0)
    width = (told["end_s"] - told["start_s"]) / 90
    assert told["start_s"] + peak * width <= clip["start_s"] < told["start_s"] + (peak + 1) * width


def test_ten_hours_stay_small() -> None:
    times = np.arange(10 * 3600 * 30) / 30
    values = np.zeros(len(times), np.float32)
    values[500_000] = 9
    made = binned(times, values, np.linspace(0, 36_000, 801))
    assert len(made["low"]) == len(made["high"]) == 800
    assert made["high"].index(9) == int(500_000 / 30 // 45)
    assert max(made["low"]) == 0


def test_a_signal_that_was_measured_now_and_then_leaves_gaps() -> None:
    values = np.array([1, np.nan, np.nan, 4], np.float32)
    made = binned(np.arange(4.0), values, np.linspace(0, 4, 5))
    assert made["low"] == [1, None, None, 4]
    nothing = binned(np.arange(4.0), values * np.nan, np.linspace(0, 4, 5))
    assert nothing["largest"] is None


# -- twins, tokens, files that are gone --------------------------------------------------------


@pytest.fixture(scope="module")
def told_corpus(web_corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The corpus with a pair of twins, tokens of its take, and two sources that went wrong."""
    folder = tmp_path_factory.mktemp("told")
    catalog = Catalog.open(shutil.copytree(web_corpus, folder / "corpus"))
    sources = {Path(r["uri"]).suffix: r for r in catalog.sql("from sources order by uri").dicts()}
    _note_twins(catalog, clip_of(web_corpus, "cuts.mp4", 1), clip_of(web_corpus, "zoom.mkv"))
    _write_tokens(catalog, clip_of(web_corpus, "walk.bvh"))
    swapped = folder / "swapped.webm"
    swapped.write_bytes(b"not the film")
    catalog.upsert(
        "sources",
        [
            {**sources[".webm"], "uri": str(swapped)},
            {**sources[".mkv"], "uri": str(folder / "gone.mkv")},
        ],
    )
    return folder / "corpus"


def _note_twins(catalog: Catalog, one: dict[str, Any], other: dict[str, Any]) -> None:
    """A search that found 1.7 s of both to be the same."""
    search = NearDuplicates().search
    low, other_low = one["start_s"] + 0.25, other["start_s"] + 0.125
    match = {
        "search": search,
        "kind": "near",
        "source_id": one["source_id"],
        "other_id": other["source_id"],
        "against": "",
        "start_pts": 0,
        "end_pts": 1,
        "other_start_pts": 0,
        "other_end_pts": 1,
        "start_s": low,
        "end_s": low + 1.7,
        "other_start_s": other_low,
        "other_end_s": other_low + 1.7,
        "alignment": 0,
        "rate": 1.0,
        "mirrored": False,
        "turned_deg": 0,
        "window": 1.0,
        "share": 1.0,
        "distance": 3.0,
    }
    searched = [
        {"search": search, "source_id": row["source_id"], "against": "", "hashes": 9}
        for row in (one, other)
    ]
    with catalog.transaction("twins") as txn:
        txn.append("searched", [row | {"held_from_s": [], "held_to_s": []} for row in searched])
        txn.append("matches", [match])


def _write_tokens(catalog: Catalog, clip: dict[str, Any]) -> None:
    """The take's first window through the shipped tokenizer."""
    import torch

    from tokenize_jobs.clips import ChosenClip
    from tokenize_jobs.takes import take_windows
    from zoo.hub import load

    torch.set_num_threads(1)
    model = load(MODEL)
    transform = Transform(fps=Fraction(20), window=32, features="humanml263")
    span = Span(
        clip["start_pts"],
        clip["end_pts"],
        Fraction(clip["time_base_num"], clip["time_base_den"]),
    )
    with Session(catalog, cutting="-") as session:
        made = take_windows(session, ChosenClip(clip["clip_id"], "", span, clip), transform)[0]
    tokens = model.encode(torch.from_numpy(made.values)[None])
    spec = model.spec
    streams = [TokenStream(stream.name, tuple(stream.levels)) for stream in spec.streams]
    table = TokenTable(MODEL, spec.hash, spec.weights_sha256, streams)
    writer = ShardWriter(table, run_id="made-here")
    window = Window(clip["clip_id"], 0, made.window.span, made.window.frames, 20.0, transform.hash)
    writer.add(window, {name: ids[0].numpy() for name, ids in tokens.streams.items()})
    settings = {"tokenizer": MODEL, "transform": transform.to_json()}
    run = {"run_id": "made-here", "verb": "tokenize", "settings": json.dumps(settings)}
    with catalog.transaction("tokens") as txn:
        writer.finish().insert(txn)
        txn.append("runs", [run])


@pytest.fixture(scope="module")
def told_server(serve_corpus: Callable[..., Any], told_corpus: Path) -> Any:
    return serve_corpus(told_corpus)


def test_twins_are_those_of_dups(
    open_page: Callable[..., Any], told_server: Any, told_corpus: Path
) -> None:
    clip = clip_of(told_corpus, "cuts.mp4", 1)
    rules = Dedup(near=NearDuplicates())
    (group,) = duplicate_groups(Catalog.open(told_corpus), rules)
    (pair,) = group.pairs
    pair = pair if pair.clip_id == clip["clip_id"] else pair.swapped()
    page = open_page(told_server)
    page.goto(f"/clip/{clip['clip_id']}")
    twin = page.locator(".twin")
    expect(twin).to_have_count(1)
    assert twin.get_attribute("data-clip") == pair.other_clip
    assert f"score {pair.score:.2f}" in twin.inner_text()
    spans = [
        (float(bar.get_attribute("data-from")), float(bar.get_attribute("data-to")))
        for bar in twin.locator(".shared").all()
    ]
    wanted = [(pair.start_s, pair.end_s), (pair.other_start_s, pair.other_end_s)]
    assert np.allclose(spans, wanted)


def test_tokens_are_drawn_and_decoded(
    open_page: Callable[..., Any], told_server: Any, told_corpus: Path
) -> None:
    clip_id = clip_of(told_corpus, "walk.bvh")["clip_id"]
    (made,) = answer_of(told_server, f"/api/clip/{clip_id}/tokens")
    (window,) = made["windows"]
    address = f"/api/clip/{clip_id}/tokens/{made['table']}/0"
    (stream,) = answer_of(told_server, address)["streams"]
    assert stream["grid"] == window["grids"]["tokens"]
    assert len(stream["values"]) == np.prod(stream["grid"]) * len(stream["codes"])
    page = open_page(told_server)
    page.goto(f"/clip/{clip_id}")
    picture = page.locator(".ids canvas")
    expect(picture).to_have_attribute("data-grid", f"{len(stream['codes'])}x{stream['grid'][0]}")
    page.get_by_role("button", name="Decode").click()
    error = page.locator(".decoded [data-error]")
    error.wait_for()
    assert 0 < float(error.get_attribute("data-error")) < 200
    assert "Decoded by motion/starter" in error.inner_text()


@pytest.mark.parametrize(
    ("name", "said"),
    [("swapped.webm", "it is another file now"), ("gone.mkv", "not where the catalog saw it")],
)
def test_a_file_that_is_not_there_is_told_on_the_page(
    open_page: Callable[..., Any], told_server: Any, told_corpus: Path, name: str, said: str
) -> None:
    page = open_page(told_server)
    page.goto(f"/clip/{clip_of(told_corpus, name)['clip_id']}")
    expect(page.locator(".stage .notice")).to_contain_text(said)
    expect(page.locator(".scores .score").first).to_be_visible()
    page.errors.clear()


def test_an_unknown_clip_is_told(page: Any) -> None:
    page.goto(f"/clip/{'e' * 32}")
    expect(page.locator(".notice")).to_contain_text("the catalog has no clip")
    page.errors.clear()


@pytest.mark.parametrize(("width", "dark"), [(1280, False), (390, True)])
def test_it_fits_the_window(
    open_page: Callable[..., Any],
    told_server: Any,
    told_corpus: Path,
    keep_screenshot: Callable[[Any, str], None],
    width: int,
    dark: bool,
) -> None:
    name = "cuts.mp4" if width > 600 else "walk.bvh"
    page = open_page(told_server, width=width, dark=dark)
    page.goto(f"/clip/{clip_of(told_corpus, name)['clip_id']}")
    expect(page.locator(".transport").first).to_be_visible()
    expect(page.locator(".strip a").first).to_be_visible()
    overflow = page.evaluate(
        "() => { const main = document.querySelector('main');"
        "return main.scrollWidth - main.clientWidth; }"
    )
    assert overflow <= 0
    keep_screenshot(page, f"clip-{width}")
