"""The prompts that ship: what each shows and asks, and what becomes of the answers."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from catalogs.errors import NotFoundError, UsageError
from curation.captions.prompted import parsed_json
from curation.captions.prompts import PROMPTS, prompt
from curation.captions.registry import CaptionOptions, Maker, captioner
from curation.captions.sheets import _sheet
from curation.jobs.captioning import CaptionReport, caption

CLIPS = 6
ENGINE = """
def hear(samples, rate_hz, language):
    assert rate_hz == 16000 and samples.dtype.name == "float32"
    half = samples[: rate_hz // 4]
    return [(0.0, 0.25, "loud", "en")] if abs(half).max() > 0.1 else []
"""


def run(catalog: Path, endpoint: Any, name: str, **options: Any) -> CaptionReport:
    where = options.pop("where", None)
    chosen = CaptionOptions(prompt=name, endpoint=endpoint.url, **options)
    return caption(catalog, Maker("openai:m", chosen), where=where, progress=None)


def pictures(body: Any) -> list[Image.Image]:
    urls = [
        part["image_url"]["url"]
        for part in body["messages"][0]["content"]
        if part["type"] == "image_url"
    ]
    return [Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))) for url in urls]


def words(body: Any) -> str:
    return str(body["messages"][0]["content"][-1]["text"])


def test_a_changed_prompt_recaptions_only_its_rows(
    filmed: Path, endpoint: Any, tmp_path: Path, rows_of: Any
) -> None:
    mine = tmp_path / "mine.txt"
    mine.write_text("What happens at {times} seconds?")
    assert run(filmed, endpoint, "brief").captioned == CLIPS
    assert run(filmed, endpoint, str(mine), kind="brief").captioned == CLIPS
    mine.write_text("What is seen at {times} seconds?")
    assert run(filmed, endpoint, str(mine), kind="brief").captioned == CLIPS
    assert run(filmed, endpoint, "brief").present == CLIPS
    assert len(rows_of(filmed, "prompt_id = 'mine'")) == 2 * CLIPS
    assert len(rows_of(filmed, "prompt_id = 'brief'")) == CLIPS
    gated = run(filmed, endpoint, "brief", where="duration_s > 1")
    assert (gated.captioned, gated.present) == (0, CLIPS), "another choice of clips asks nothing"


def test_every_part_of_a_prompt_is_in_its_hash() -> None:
    plain = PROMPTS["dense"].hash
    changes = {"kind": "x", "max_tokens": 1, "temperature": 0.5, "language": "de", "window_s": 2.0}
    hashes = {prompt("dense", **{name: value}).hash for name, value in changes.items()}
    hashes |= {CaptionOptions(frames=3).chosen_prompt().hash}
    assert plain not in hashes
    assert len(hashes) == len(changes) + 1
    assert len({item.hash for item in PROMPTS.values()}) == len(PROMPTS)


def test_long_clips_are_captioned_in_windows_and_merged(
    filmed: Path, endpoint: Any, rows_of: Any
) -> None:
    report = run(filmed, endpoint, "dense", window_s=0.8, decoded=True, frame_choice="uniform")
    rows = rows_of(filmed)
    assert report.windows == report.captioned == len(rows) == 2 * CLIPS
    assert {row["start_s"] for row in rows} == {0.0, 0.75}
    merged = run(filmed, endpoint, "merge-windows")
    assert merged.captioned == CLIPS
    assert words(endpoint.bodies[-1]).count("[detailed ") == 2
    whole = rows_of(filmed, "prompt_id = 'merge-windows'")
    assert {row["origin"] for row in whole} == {"rewrite"}
    sources = json.loads(whole[0]["evidence"])["captions"]
    assert set(sources) < {row["caption_id"] for row in rows}


def test_differences_describe_change_by_change_and_merge(
    filmed: Path, endpoint: Any, reply: Any, rows_of: Any
) -> None:
    """As ShareGPT4Video does; every step is stored with its span."""
    endpoint.behave = lambda number, body: reply(
        text=f"{len(pictures(body))} pictures, {words(body)[:9]}"
    )
    report = run(
        filmed, endpoint, "differences", decoded=True, frames=3, where="start_s > 1 and start_s < 2"
    )
    assert report.captioned == 1
    rows = rows_of(filmed)
    (whole,) = [row for row in rows if row["kind"] == "detailed"]
    assert whole["text"].startswith("0 pictures, Below")
    changes = [row for row in rows if row["kind"] == "change"]
    assert 1 <= len(changes) <= 2
    for row in changes:
        assert row["text"].startswith("2 pictures, Two")
        assert row["start_s"] < row["end_s"]
    assert sum(row["kind"] == "first frame" for row in rows) == 1
    assert "[change " in words(endpoint.bodies[-1])
    assert report.tokens == 120 * (len(changes) + 2)
    assert run(filmed, endpoint, "differences", decoded=True, frames=3,
               where="start_s > 1 and start_s < 2").present == 1  # fmt: skip


def test_a_contact_sheet_goes_in_front_of_the_frames(filmed: Path, endpoint: Any) -> None:
    """As TS-LLaVA does; a sheet is made once."""
    _sheet.cache_clear()
    where = "start_s < 1"
    run(filmed, endpoint, "sheet", decoded=True, frames=10, where=where)
    first, *rest = pictures(endpoint.bodies[0])
    assert len(rest) == 10
    assert first.width > 2 * rest[0].width
    run(filmed, endpoint, "sheet", decoded=True, frames=10, where=where, max_tokens=7)
    assert _sheet.cache_info().hits == 1


def test_densely_sampled_frames_give_one_short_caption(
    filmed: Path, endpoint: Any, rows_of: Any
) -> None:
    """As SwinBERT does, with 32 frames of a clip of 36."""
    run(filmed, endpoint, "brief-dense-frames", where="start_s < 1")
    assert len(pictures(endpoint.bodies[0])) == 32
    (row,) = rows_of(filmed)
    assert (row["kind"], row["model"]) == ("brief", "openai:m")


def test_everything_joins_pictures_sound_and_speech(
    filmed: Path, endpoint: Any, rows_of: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As VX2TEXT does; what a clip lacks is left out."""
    caption(filmed, Maker("rules"), workers=0, progress=None)
    (tmp_path / "an_engine.py").write_text(ENGINE)
    monkeypatch.syspath_prepend(str(tmp_path))
    engine, first = Maker("asr:an_engine:hear"), "start_s < 2.9"
    heard = caption(filmed, engine, where=first, workers=0, progress=None)
    assert (heard.captioned, heard.failed) == (2, 0)
    assert run(filmed, endpoint, "everything").captioned == CLIPS
    asked = words(endpoint.bodies[0])
    assert "[sound " in asked
    assert "[brief " in asked
    assert "[camera " not in asked
    assert len(rows_of(filmed, "prompt_id = 'everything'")) == CLIPS
    spoken = [row for row in rows_of(filmed, "kind = 'transcript'") if row["text"]]
    assert {row["text"] for row in spoken} == {"loud"}
    assert {row["model"] for row in spoken} == {"asr:an_engine:hear"}
    assert sum("[transcript " in words(body) for body in endpoint.bodies) == 2
    again = caption(filmed, engine, where=first, workers=0, progress=None)
    assert (again.captioned, again.present) == (0, 2)


def test_a_text_is_rewritten_from_the_captioner_that_was_asked_for(
    filmed: Path, endpoint: Any, reply: Any, rows_of: Any
) -> None:
    caption(filmed, Maker("rules"), workers=0, progress=None)
    report = run(filmed, endpoint, "translate", language="German", source="video-rules")
    assert report.captioned == CLIPS
    assert "into German" in words(endpoint.bodies[0])
    rows = rows_of(filmed, "origin = 'rewrite'")
    assert {row["language"] for row in rows} == {"German"}
    source = json.loads(rows[0]["evidence"])["captions"]
    assert len(source) == 1
    nobody = run(filmed, endpoint, "translate", source="openai:other")
    assert (nobody.captioned, nobody.silent) == (0, CLIPS)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('{"a": "x"}', {"a": "x"}),
        ('```json\n{"a": "x", "b": 1}\n```', {"a": "x"}),
        ('{"a": 1}', None),
        ("a: x", None),
        ('{"a": "x"', None),
    ],
)
def test_json_is_found_where_it_is(text: str, found: Any) -> None:
    assert parsed_json(text, {"a": ""}) == found


def test_what_cannot_be_asked_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    odd = tmp_path / "odd.txt"
    odd.write_text("Look at {this}")
    empty = tmp_path / "empty.txt"
    empty.write_text(" ")
    for wrong, error, told in (
        (lambda: prompt("dens"), NotFoundError, "dense"),
        (lambda: prompt(str(odd)), UsageError, "nothing fills"),
        (lambda: prompt(str(empty)), UsageError, "is empty"),
        (lambda: captioner("rule"), UsageError, "rules"),
        (lambda: captioner("openai:"), UsageError, "openai:NAME"),
        (lambda: captioner("openai:m"), UsageError, "OPENAI_BASE_URL"),
        (lambda: captioner("asr:nowhere").setup(tmp_path), UsageError, "module:function"),
        (lambda: captioner("asr:os:nothing").setup(tmp_path), UsageError, "cannot be loaded"),
    ):
        with pytest.raises(error) as refused:
            wrong()
        assert told in str(refused.value)
