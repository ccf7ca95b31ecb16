"""The grid in a browser: it shows what SQL says, and its address says what it shows."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest

from catalogs import Catalog

playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright")
expect = playwright.expect

EVIL = "<script>alert(1)</script>.mp4"
SMALL, LARGE = (390, 844), (1280, 800)

SCROLLED = """async () => {
  const { Scroller } = await import("/page/scroller.js");
  const port = document.createElement("div"), spacer = document.createElement("div");
  port.style.cssText = "position:fixed; inset:0 auto auto 0; width:300px; height:500px";
  port.style.overflow = "scroll";
  port.append(spacer);
  document.body.append(port);
  let drawn = null;
  const list = new Scroller(port, spacer, (first, end, place) => {
    drawn = { first, end, place };
  });
  const frame = () => new Promise((done) => requestAnimationFrame(done));
  const moved = async (act) => {
    const scrolled = new Promise((done) => port.addEventListener("scroll", done, { once: true }));
    act();
    await scrolled;
    await frame();
    await frame();
    const y = drawn.place(Math.floor(list.top)) - port.scrollTop;
    return { first: drawn.first, end: drawn.end, top: list.top, y };
  };
  list.resize(500_000, 200);
  const found = { height: spacer.offsetHeight, start: { ...drawn, place: null } };
  found.jump = await moved(() => { port.scrollTop = spacer.offsetHeight / 2; });
  const before = list.top;
  found.nudge = await moved(() => { port.scrollTop += 50; });
  found.step = (list.top - before) * 200;
  found.end = await moved(() => { port.scrollTop = spacer.offsetHeight; });
  found.back = await moved(() => { port.scrollTop = 0; });
  return found;
}"""
CELLS = """places => places.map(place => [
  Number(place.ariaPosInSet), place.querySelector("a").getAttribute("href"),
])"""


def clips(catalog: Any, where: str = "true") -> list[str]:
    """What SQL says a view has, in the order of the grid."""
    query = f"select clip_id from clips where {where} order by uri, start_pts"
    return [row[0] for row in Catalog.open(catalog).sql(query).rows()]


def shown(page: Any) -> list[str]:
    """Clips of the cells, in order of place."""
    cells = page.locator(".place").evaluate_all(CELLS)
    return [href.removeprefix("/clip/") for _, href in sorted(cells)]


def open_grid(page: Any, address: str = "/") -> None:
    page.goto(address)
    expect(page.locator(".port")).not_to_have_attribute("aria-busy", "")
    expect(page.locator(".filter").first).to_be_attached()


def expect_count(page: Any, count: int) -> None:
    expect(page.locator(".count b")).to_have_text(str(count))
    expect(page.locator(".place:not(.coming)")).to_have_count(count)


def test_the_grid_shows_all_clips_with_names_as_text(
    page: Any, web_corpus: Any, keep_screenshot: Callable[[Any, str], None]
) -> None:
    open_grid(page)
    ids = clips(web_corpus)
    expect_count(page, len(ids))
    assert shown(page) == ids
    expect(page.locator(".cell img[src]:not([hidden])")).to_have_count(len(ids))
    evil = page.locator(".cell", has_text="script>.mp4")
    expect(evil).to_have_count(1)
    (row,) = (
        Catalog.open(web_corpus).sql("select uri from clips where uri like '%script>.mp4'").rows()
    )
    assert row[0].endswith(EVIL)
    assert page.locator("#content script").count() == 0
    page.wait_for_load_state("networkidle")
    keep_screenshot(page, "grid")


def test_a_slider_and_a_list_count_what_sql_counts(page: Any, web_corpus: Any) -> None:
    open_grid(page)
    long = clips(web_corpus, "duration_s >= 2.2")
    assert 0 < len(long) < len(clips(web_corpus))
    least = page.get_by_label("Least of duration_s, exactly")
    least.fill("2.2")
    least.press("Enter")
    expect_count(page, len(long))
    assert "range=duration_s%3A2.2%3A" in page.url
    takes = clips(web_corpus, "duration_s >= 1.9 and kind = 'mocap'")
    least.fill("1.9")
    least.press("Enter")
    page.get_by_label("mocap").check()
    expect_count(page, len(takes))
    assert shown(page) == takes
    handle = page.get_by_label("Least of duration_s", exact=True)
    handle.press("ArrowRight")
    expect(handle).to_be_focused()
    expect(least).to_have_value("2.005")
    expect_count(page, len(clips(web_corpus, "duration_s >= 2.005 and kind = 'mocap'")))
    handle.press("Home")
    expect(page.get_by_label("Clear duration_s")).to_have_count(0)
    expect_count(page, len(takes))
    page.get_by_role("button", name="Clear all").click()
    expect_count(page, len(clips(web_corpus)))


def test_sql_is_completed_and_faults_are_told_in_place(page: Any, web_corpus: Any) -> None:
    open_grid(page)
    box = page.get_by_label("Condition in SQL")
    box.press_sequentially("durat")
    expect(page.get_by_role("option").first).to_contain_text("duration_s")
    box.press("Tab")
    expect(box).to_have_value("duration_s")
    box.press_sequentially(" < 2.2")
    box.press("Enter")
    expect_count(page, len(clips(web_corpus, "duration_s < 2.2")))
    box.fill("duratoin_s > 1")
    box.press("Enter")
    fault = page.locator("#sql-fault")
    expect(fault).to_contain_text("there is no column 'duratoin_s'. did you mean 'duration_s'")
    expect(box).to_have_attribute("aria-invalid", "true")
    expect(page.locator(".place:not(.coming)").first).to_be_visible()
    assert [text for text in page.errors if "400" not in text] == []
    page.errors.clear()


def test_an_address_brings_the_view_back(page: Any, web_corpus: Any) -> None:
    where = "kind = 'video'"
    open_grid(page, f"/?where={where}&range=duration_s:1:3&sort=-duration_s&show=sharpness_median")
    query = (
        f"select clip_id from clips where {where} and duration_s between 1 and 3 "
        "order by duration_s desc, uri, start_pts"
    )
    wanted = [row[0] for row in Catalog.open(web_corpus).sql(query).rows()]
    expect_count(page, len(wanted))
    assert shown(page) == wanted
    expect(page.get_by_label("Condition in SQL")).to_have_value(where)
    expect(page.get_by_label("Most of duration_s, exactly")).to_have_value("3")
    expect(page.get_by_label("Sort by")).to_have_value("duration_s")
    expect(page.locator(".facts").first).to_contain_text("sharpness_median")
    page.get_by_label("Largest first").click()
    expect(page.get_by_label("Largest first")).to_have_attribute("aria-pressed", "false")
    expect(page.locator(".place:not(.coming)")).to_have_count(len(wanted))
    page.go_back()
    expect(page.get_by_label("Largest first")).to_have_attribute("aria-pressed", "true")


def test_search_and_likeness_find_clips(page: Any, web_corpus: Any) -> None:
    open_grid(page)
    (walk,) = clips(web_corpus, "kind = 'mocap'")
    page.get_by_label("Search captions").fill("a person walks")
    page.get_by_label("Search captions").press("Enter")
    expect(page.locator(".place:not(.coming)").first).to_contain_text("walks")
    assert shown(page)[0] == walk
    page.locator(".cell").first.focus()
    page.keyboard.press("l")
    expect(page.locator(".chips")).to_contain_text(f"like {walk[:8]}")
    expect(page.locator(f'.cell[href="/clip/{walk}"]')).to_have_count(0)
    page.get_by_label("Stop to look for clips like this").click()
    expect_count(page, len(clips(web_corpus)))


def test_a_pointer_scrubs_and_keys_move(page: Any, web_corpus: Any) -> None:
    open_grid(page)
    ids = clips(web_corpus)
    expect_count(page, len(ids))
    frame = page.locator(".frame").first
    frame.hover(position={"x": 4, "y": 40})
    expect(frame.locator("img")).to_have_attribute(
        "src", re.compile(rf"/api/storyboard/{ids[0]}/0$")
    )
    expect(frame.locator(".scrub")).to_be_visible()
    page.locator(".cell").first.focus()
    page.keyboard.press("End")
    expect(page.locator(f'.cell[href="/clip/{ids[-1]}"]')).to_be_focused()
    page.keyboard.press("ArrowLeft")
    expect(page.locator(f'.cell[href="/clip/{ids[-2]}"]')).to_be_focused()
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile(f"/clip/{ids[-2]}$"))


def test_a_long_list_scrolls_by_pixels_and_jumps_by_shares(page: Any) -> None:
    page.goto("/tokens")
    found = page.evaluate(SCROLLED)
    assert found["height"] == 8_000_000
    assert found["start"]["first"] == 0
    assert found["jump"]["top"] == pytest.approx(250_000, rel=0.01)
    assert found["step"] == pytest.approx(50, abs=2)
    assert found["end"]["end"] == 500_000
    assert (found["back"]["first"], found["back"]["top"]) == (0, 0)
    for state in ("jump", "nudge", "end"):
        assert found[state]["end"] - found[state]["first"] < 10
        assert -200 < found[state]["y"] <= 1


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_it_fits_a_phone(
    open_page: Callable[..., Any],
    web_server: Any,
    dark: bool,
    keep_screenshot: Callable[[Any, str], None],
) -> None:
    page = open_page(web_server, width=390, height=844, dark=dark)
    open_grid(page)
    page.get_by_role("button", name="Filters").click()
    expect(page.get_by_label("Least of duration_s", exact=True)).to_be_visible()
    page.get_by_role("button", name="Filters").click()
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    expect(page.locator(".cell img[src]:not([hidden])").first).to_be_visible()
    page.wait_for_load_state("networkidle")
    keep_screenshot(page, f"grid-phone-{'dark' if dark else 'light'}")
