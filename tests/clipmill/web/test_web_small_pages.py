"""Sources, quarantine, runs as they go, tokens and labels, on a copy that may be changed."""

from __future__ import annotations

import json
import shutil
import urllib.error
import urllib.request
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from catalogs import Catalog, Column
from catalogs.calibrate import calibrate
from catalogs.ledger import find_selection
from catalogs.reviews import reviewers, stored_labels

TOKENS = "tokens/tiny@0123456789ab"


@pytest.fixture(scope="module")
def changing(
    web_corpus: Path, serve_corpus: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory
) -> Any:
    """A viewer of a copy of the corpus, with a few tokens, for one who labels."""
    corpus = Path(shutil.copytree(web_corpus, tmp_path_factory.mktemp("changing") / "corpus"))
    catalog = Catalog.open(corpus)
    (clip_id,) = catalog.sql("select min(clip_id) from clips").one()
    ids = np.array([[0, 1], [0, 2], [0, 3], [0, 3]], "<u2")
    window = {
        "clip_id": clip_id, "window_index": 0, "start_pts": 0, "end_pts": 24, "time_base_num": 1,
        "time_base_den": 12, "frames": 24, "transform_hash": "t", "spec_hash": "s",
        "weights_hash": "w", "shard": "a", "tokens": ids.tobytes(),
    }  # fmt: skip
    shard = {
        "tokens": TOKENS, "shard": "a", "stream": "tokens", "dtype": "uint16", "levels": [4, 8],
        "channels": 0, "windows": 1, "positions": 4, "bytes": 16, "quality": '{"psnr_db": 31.5}',
        "tiling": "", "weights_hash": "w", "spec_hash": "s",
    }  # fmt: skip
    with catalog.transaction("tokens") as txn:
        txn.append(TOKENS, [window], [Column("tokens", pa.binary(), "ids", "uint16[2]")])
        txn.append("token_shards", [shard])
    return serve_corpus(corpus, reviewer="ada")


def test_the_quarantine_shows_reasons(page: Any, keep_screenshot: Any) -> None:
    page.goto("/sources")
    row = page.locator("tr[data-broken='empty.mp4']")
    row.wait_for()
    assert "empty" in row.inner_text()
    assert "the file has no bytes" in row.inner_text()
    page.get_by_role("button", name="empty at").click()
    assert "reason=empty" in page.url
    assert page.locator("tr[data-source]").count() == 5
    assert page.get_by_text("script>.mp4").count() == 1
    page.get_by_label("Sources whose address holds").fill("CUTS")
    page.locator("tr[data-source]", has_text="zoom.mkv").wait_for(state="detached")
    (clips,) = page.locator("tr[data-source] a").all()
    assert clips.inner_text() == "2"
    assert "source_id" in clips.get_attribute("href")
    keep_screenshot(page, "sources")


def test_a_running_job_is_seen_until_it_ends(
    open_page: Any, changing: Any, keep_screenshot: Any
) -> None:
    page = open_page(changing)
    page.goto("/runs")
    page.locator("details[data-run]").first.wait_for()
    ended = page.locator("details[data-run]").count()
    catalog = Catalog.open(changing.corpus)
    clip = catalog.sql("select * from clips_all order by clip_id limit 1").dicts()[0]
    new = {**clip, "cutting": "live", "run_id": "f00d", "created": datetime.now(UTC)}
    catalog.append("clips", [new])
    live = page.locator("[data-live='f00d']")
    live.wait_for()
    assert "Running now" in live.inner_text()
    assert "1 clips" in live.inner_text()
    assert live.locator(f"[data-clip='{clip['clip_id']}']").count() == 1
    keep_screenshot(page, "runs")
    now = datetime.now(UTC)
    run = {"run_id": "f00d", "verb": "curate", "status": "done", "started": now, "finished": now}
    catalog.append("runs", [{**run, "counts": json.dumps({"clips": 1, "wall_s": 0.5})}])
    live.wait_for(state="detached")
    page.locator("details[data-run='f00d']").wait_for()
    assert page.locator("details[data-run]").count() == ended + 1
    assert "7,200 clips per hour" in page.locator("details[data-run='f00d']").inner_text()


def test_codes_are_counted(open_page: Any, changing: Any) -> None:
    page = open_page(changing)
    page.goto("/tokens")
    card = page.locator(f"section[data-tokens='{TOKENS}']")
    card.locator("figure[data-level='1']").wait_for()
    used = [figure.get_attribute("data-used") for figure in card.locator("figure").all()]
    assert used == ["1", "3"]
    assert "31.5" in card.inner_text()
    with changing.fetch(f"/api/tokens/codes?tokens={TOKENS}&stream=tokens") as response:
        levels = json.load(response)["levels"]
    assert levels[0]["bars"] == [4, 0, 0, 0]
    assert levels[1]["bars"] == [0, 1, 1, 2, 0, 0, 0, 0]
    assert levels[1]["perplexity"] == pytest.approx(2**1.5)


def test_keep_drop_and_undo_are_stored_for_calibrate(
    open_page: Any, changing: Any, keep_screenshot: Any
) -> None:
    page = open_page(changing)
    page.goto("/labels?recipe=selection:web")
    first = page.locator("[data-reviewed]")
    first.wait_for()
    said = {}
    for key, label in (("k", True), ("d", False), ("u", None), ("k", True)):
        clip = first.get_attribute("data-reviewed")
        page.keyboard.press(key)
        page.locator(f"[data-reviewed]:not([data-reviewed='{clip}'])").wait_for()
        if label is None:
            said.popitem()
        else:
            said[clip] = label
    keep_screenshot(page, "labels")
    catalog = Catalog.open(changing.corpus)
    labels = stored_labels(catalog, "ada")
    assert labels.by_gate[None] == said
    assert list(said.values()) == [True, True]
    found = calibrate(catalog, labels, find_selection(catalog, "web").recipe)
    assert found.labelled + len(found.unknown) == 2


def post(served: Any, value: Any, origin: str | None) -> int:
    """The status that the viewer answers to a label."""
    headers = {"Content-Type": "application/json"} | ({"Origin": origin} if origin else {})
    request = served.request("/api/labels", **headers)
    request.data = json.dumps(value).encode()
    try:
        with urllib.request.urlopen(request, timeout=60) as response:
            return int(response.status)
    except urllib.error.HTTPError as refused:
        with refused:
            return refused.code


def test_labels_are_refused_without_the_flag_and_from_elsewhere(
    changing: Any, serve_corpus: Callable[..., Any], web_corpus: Path
) -> None:
    catalog = Catalog.open(changing.corpus)
    (clip_id,) = catalog.sql("select max(clip_id) from clips").one()
    said = {"clip_id": clip_id, "label": "keep"}
    version = catalog.version
    for origin in (None, "http://example.org", changing.address + ".example.org"):
        assert post(changing, said, origin) == 403
    for wrong in (
        {**said, "label": "maybe"},
        {**said, "clip_id": "../x"},
        {**said, "reviewer": "b"},
    ):
        assert post(changing, wrong, changing.address) == 400
    assert Catalog.open(changing.corpus).version == version
    reading = serve_corpus(web_corpus)
    assert post(reading, said, reading.address) == 400
    assert reviewers(Catalog.open(web_corpus)) == []
