"""The recipe bench: what the page shows is what `funnel` counts, and a saved recipe loads."""

from __future__ import annotations

import urllib.error
import urllib.parse
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from catalogs import Catalog
from catalogs.funnel import funnel
from catalogs.ledger import find_selection
from catalogs.recipe import load_recipe, parse_recipe

BENCH = "/bench?recipe=selection:web"


def steps(page: Any) -> dict[str, int]:
    """The clips that the page shows after each step."""
    rows = page.locator("li[data-step]").all()
    return {row.get_attribute("data-step"): int(row.get_attribute("data-clips")) for row in rows}


def test_a_slider_shows_what_the_funnel_counts_and_saves_it(
    page: Any, web_corpus: Path, tmp_path: Path, keep_screenshot: Any
) -> None:
    catalog = Catalog.open(web_corpus)
    recipe = find_selection(catalog, "web").recipe
    page.goto(BENCH)
    page.locator("[data-kept]").wait_for()
    before = funnel(catalog, recipe)
    assert steps(page) == {"all clips": before.clips} | {s.gate: s.clips_out for s in before.steps}

    page.get_by_label("length: duration_s >=", exact=True).fill("2.25")
    page.locator("li[data-step='length'] code", has_text="duration_s >= 2.2").wait_for()
    page.locator("[data-gate='length'] .predicate").evaluate("input => input.value")
    moved = page.locator("[data-gate='length'] .predicate").input_value()
    after = funnel(catalog, recipe, {"length": moved})
    assert steps(page) == {"all clips": after.clips} | {s.gate: s.clips_out for s in after.steps}
    assert after.kept_clips < before.kept_clips
    lost = page.locator(".swing", has_text="Lost").locator("[data-clip]")
    assert lost.count() == before.kept_clips - after.kept_clips
    assert page.locator(".edges [data-clip]").count() > 0
    assert "limit=length" in urllib.parse.unquote(page.url)
    keep_screenshot(page, "bench")

    page.get_by_label("Name of the recipe").fill("mine")
    with page.expect_download() as download:
        page.get_by_text("Save as recipe").click()
    saved = tmp_path / download.value.suggested_filename
    download.value.save_as(saved)
    assert saved.name == "mine.yaml"
    assert load_recipe(saved) == replace(recipe.with_gates({"length": moved}), name="mine")


def test_gates_are_removed_added_and_refused(page: Any, web_corpus: Path) -> None:
    catalog = Catalog.open(web_corpus)
    recipe = find_selection(catalog, "web").recipe
    page.goto(BENCH)
    page.get_by_label("Remove gate length").click()
    page.locator("[data-gate='length']").wait_for(state="detached")
    page.get_by_label("Name of a new gate").fill("bright")
    page.get_by_label("SQL of a new gate").fill("luma_mean_255 > 90")
    page.get_by_role("button", name="Add").click()
    page.locator("li[data-step='bright']").wait_for()
    wanted = funnel(catalog, recipe, {"length": "", "bright": "luma_mean_255 > 90"})
    assert steps(page) == {"all clips": wanted.clips} | {s.gate: s.clips_out for s in wanted.steps}
    assert page.locator("[data-gate='bright'] input[type=range]").count() == 1

    page.get_by_label("SQL of bright").fill("luma_mean_25 > 90")
    page.get_by_label("SQL of bright").press("Enter")
    assert "did you mean 'luma_mean_255'" in page.get_by_role("alert").inner_text()
    assert steps(page)["bright"] == wanted.kept_clips
    assert all("400" in error for error in page.errors)
    page.errors.clear()


def refusal(served: Any, address: str) -> int:
    """The status with which an address is refused."""
    with pytest.raises(urllib.error.HTTPError) as refused, served.fetch(address):
        pass
    with refused.value as error:
        return int(error.code)


@pytest.mark.parametrize(
    ("asked", "status"),
    [
        ("recipe=/etc/passwd", 404),
        ("recipe=shipped:../demo", 404),
        ("recipe=given", 404),
        ("recipe=selection:web&limit=length:0:nan", 400),
        ("recipe=selection:web&limit=length:7:1", 400),
        ("recipe=selection:web&set=x=read_text('/etc/passwd')=''", 400),
        ("recipe=selection:web&name=../up", 400),
    ],
)
def test_what_the_bench_refuses(web_server: Any, asked: str, status: int) -> None:
    address = "/api/bench/recipe.yaml?" + urllib.parse.quote(asked, safe="=&")
    assert refusal(web_server, address) == status


def test_the_file_of_the_bench_is_strict(web_server: Any) -> None:
    asked = urllib.parse.quote("recipe=selection:web&set=it's=uri <> 'a: b #c'", safe="=&")
    assert refusal(web_server, "/api/bench/recipe.yaml?" + asked) == 400
    asked = asked.replace("it%27s", "odd")
    with web_server.fetch("/api/bench/recipe.yaml?" + asked) as response:
        name = find_selection(Catalog.open(web_server.corpus), "web").recipe.name
        assert f'filename="{name}.yaml"' in response.headers["Content-Disposition"]
        text = response.read().decode()
    assert parse_recipe(text).gates["odd"] == "uri <> 'a: b #c'"
