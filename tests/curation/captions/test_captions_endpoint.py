"""Captioning through an endpoint that does what endpoints do on bad days."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from catalogs import Catalog
from catalogs.errors import ConflictError, UsageError
from curation.captions.base import CaptionError
from curation.captions.endpoint import Endpoint, EndpointError, EndpointSettings, Pace
from curation.captions.journal import AnswerJournal
from curation.captions.prompted import Question
from curation.captions.registry import CaptionOptions, Maker
from curation.jobs.captioning import CaptionReport, caption

CLIPS = 6
KEY = "sk-very-secret-1234567890"


def run(catalog: Path, endpoint: Any, **options: Any) -> CaptionReport:
    chosen = {"prompt": "brief", "endpoint": endpoint.url, "backoff_s": 0.001} | options
    return caption(catalog, Maker("openai:m", CaptionOptions(**chosen)), progress=None)


def test_every_clip_is_asked_once_and_again_changes_nothing(
    filmed: Path, endpoint: Any, rows_of: Any
) -> None:
    report = run(filmed, endpoint)
    assert (report.status, report.captioned, report.failed) == ("done", CLIPS, 0)
    rows = rows_of(filmed)
    assert {row["text"] for row in rows} == {"A plain caption."}
    assert {(r["kind"], r["model"], r["prompt_id"], r["origin"]) for r in rows} == {
        ("brief", "openai:m", "brief", "model")
    }
    assert sum(row["tokens"] for row in rows) == report.tokens == CLIPS * 120
    evidence = json.loads(rows[0]["evidence"])
    assert evidence["answered_by"] == "served-name"
    assert len(evidence["frames_s"]) >= 1
    assert max(endpoint.asked.values()) == 1
    again = run(filmed, endpoint)
    assert (again.captioned, again.present) == (0, CLIPS)
    assert sum(endpoint.asked.values()) == CLIPS


def test_pictures_and_words_reach_the_server(filmed: Path, endpoint: Any) -> None:
    run(filmed, endpoint, frames=1)
    content = endpoint.bodies[0]["messages"][0]["content"]
    assert [part["type"] for part in content] == ["image_url", "text"]
    assert content[0]["image_url"]["url"].startswith("data:image/jpeg;base64,/9j/")
    assert re.search(r"at \d+\.\d seconds", content[1]["text"])
    assert "{" not in content[1]["text"]


def test_a_bad_day_loses_nothing(filmed: Path, endpoint: Any, reply: Any, rows_of: Any) -> None:
    """429, 500, cut connections, what is no JSON, and what has no choices: all are tried again."""
    trouble = [
        reply(status=429, headers={"Retry-After": "0"}),
        reply(status=500),
        reply(cut=True),
        reply(raw=b"<html>busy</html>"),
        reply(raw=b"{}"),
        reply(status=503, headers={"Retry-After": "Fri, 31 Dec 1999 23:59:59 GMT"}),
    ]
    endpoint.behave = lambda number, body: trouble[number] if number < len(trouble) else reply()
    report = run(filmed, endpoint, concurrency=2)
    assert (report.status, report.captioned, report.failed) == ("done", CLIPS, 0)
    assert len(rows_of(filmed)) == CLIPS
    assert report.usage["retries"] == len(trouble)
    assert report.usage["requests"] == CLIPS + len(trouble) == sum(endpoint.asked.values())
    assert report.usage["answers"] == CLIPS
    assert report.usage["tokens_in"] == CLIPS * 100
    assert report.usage["tokens_out"] == CLIPS * 20
    assert max(endpoint.answered.values()) == 1
    assert endpoint.most_at_once <= 2


def test_what_fails_stays_open_and_the_others_go_on(
    filmed: Path, endpoint: Any, reply: Any, rows_of: Any
) -> None:
    endpoint.behave = lambda number, body: reply(status=400, error="bad") if number < 2 else reply()
    report = run(filmed, endpoint)
    assert (report.captioned, report.failed) == (CLIPS - 2, 2)
    assert report.problems == {"the endpoint refuses with status 400: bad": 2}
    endpoint.behave = lambda number, body: reply()
    again = run(filmed, endpoint)
    assert (again.captioned, again.present, again.failed) == (2, CLIPS - 2, 0)
    assert len(rows_of(filmed)) == CLIPS
    assert max(endpoint.answered.values()) == 1


def test_a_slow_server_is_given_up_and_asked_again(endpoint: Any, reply: Any) -> None:
    never = threading.Event()
    endpoint.behave = lambda number, body: reply(hold=never) if number == 0 else reply()
    asked = Endpoint(EndpointSettings(endpoint.url, "m", timeout_s=0.2, backoff_s=0.001))
    assert asked.ask(Question("?")).text == "A plain caption."
    assert asked.usage.retries == 1
    never.set()


def test_patience_ends(endpoint: Any, reply: Any) -> None:
    endpoint.behave = lambda number, body: reply(status=500)
    asked = Endpoint(EndpointSettings(endpoint.url, "m", attempts=3, backoff_s=0.001))
    with pytest.raises(CaptionError, match=r"3 attempts failed.*500"):
        asked.ask(Question("?"))
    assert sum(endpoint.asked.values()) == 3


def test_a_refusal_is_kept_as_it_was_given(
    filmed: Path, endpoint: Any, reply: Any, rows_of: Any
) -> None:
    endpoint.behave = lambda number, body: reply(refusal="I cannot help with that.")
    assert run(filmed, endpoint, prompt="structured").captioned == CLIPS
    rows = rows_of(filmed)
    assert {row["text"] for row in rows} == {"I cannot help with that."}
    assert json.loads(rows[0]["evidence"])["finish"] == "refusal"
    assert max(endpoint.asked.values()) == 1


def test_json_is_asked_for_and_broken_json_once_more(
    filmed: Path, endpoint: Any, reply: Any, rows_of: Any
) -> None:
    good = json.dumps({"content": "a red wall", "motion": "nothing moves"})
    endpoint.behave = lambda number, body: reply(
        text=good if len(body["messages"]) > 1 or number % 2 else "content: a wall"
    )
    report = run(filmed, endpoint, prompt="apart", concurrency=1)
    assert report.captioned == CLIPS
    rows = rows_of(filmed)
    assert {row["kind"] for row in rows} == {"structured", "content", "motion"}
    assert len(rows) == 3 * CLIPS
    form = endpoint.bodies[0]["response_format"]
    assert form["type"] == "json_schema"
    assert form["json_schema"]["schema"]["required"] == ["content", "motion"]
    assert sum(row["tokens"] for row in rows) == report.tokens == 120 * sum(endpoint.asked.values())


def test_json_that_never_comes_is_kept_with_the_problem(
    filmed: Path, endpoint: Any, reply: Any, rows_of: Any
) -> None:
    endpoint.behave = lambda number, body: reply(text="no braces here")
    assert run(filmed, endpoint, prompt="apart").captioned == CLIPS
    rows = rows_of(filmed)
    assert {row["kind"] for row in rows} == {"structured"}
    assert "not the JSON" in json.loads(rows[0]["evidence"])["problem"]


def test_nothing_that_was_answered_is_asked_again_after_a_kill(
    filmed: Path, endpoint: Any, reply: Any, rows_of: Any
) -> None:
    """The server answers three requests and holds the others; then the run is killed."""
    held = threading.Event()
    endpoint.behave = lambda number, body: reply(hold=held if number >= 3 else None)
    command = [
        *(sys.executable, "-m", "clipmill", "caption", str(filmed), "--with", "openai:m"),
        *("--prompt", "brief", "--endpoint", endpoint.url, "--concurrency", "1", "--quiet"),
    ]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        for _ in range(4):  # the fourth is only sent when the third is in the journal
            assert endpoint.arrived.acquire(timeout=120)
        os.kill(process.pid, signal.SIGKILL)
    assert len(list((filmed / "pending").glob("*.jsonl"))) == 1
    assert "captions" not in Catalog.open(filmed).tables()
    endpoint.behave = lambda number, body: reply()
    report = run(filmed, endpoint)
    held.set()
    assert (report.status, report.captioned) == ("done", CLIPS)
    assert report.usage["from_journal"] == 3
    assert report.usage["requests"] == CLIPS - 3
    assert len(rows_of(filmed)) == CLIPS
    asked_twice = [text for text, count in endpoint.asked.items() if count > 1]
    assert len(asked_twice) == 1, "the one that was on its way"
    assert not list((filmed / "pending").glob("*.jsonl")), "all is committed"


def test_a_journal_survives_a_line_that_was_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    journal = AnswerJournal(path)
    journal.put("one", {"text": "ünd"})
    journal.put("two", {"text": "zwei"})
    with pytest.raises(ConflictError, match="another run"):
        AnswerJournal(path)
    journal.close()
    path.write_bytes(path.read_bytes()[:-5])
    journal = AnswerJournal(path)
    assert journal.get("one") == {"text": "ünd"}
    assert journal.get("two") is None
    journal.put("two", {"text": "deux"})
    journal.close()
    again = AnswerJournal(path)
    assert again.get("two") == {"text": "deux"}
    again.close(done=True)
    assert not path.exists()


def test_the_limit_on_cost_is_kept(filmed: Path, endpoint: Any, rows_of: Any) -> None:
    """An answer costs 0.0012; what a request may cost at most is reserved before it is sent."""
    prices = {"price_in": 10.0, "price_out": 10.0, "frames": 1, "max_tokens": 20}
    report = run(filmed, endpoint, max_cost=0.0215, concurrency=1, **prices)
    assert report.status == "stopped"
    assert 0 < report.captioned < CLIPS
    assert report.usage["cost"] == pytest.approx(0.0012 * report.captioned)
    assert report.usage["cost"] <= 0.0215
    assert sum(endpoint.asked.values()) == report.captioned == len(rows_of(filmed))
    rest = run(filmed, endpoint, max_cost=1.0, concurrency=1, **prices)
    assert (rest.status, rest.captioned) == ("done", CLIPS - report.captioned)
    with pytest.raises(UsageError, match="needs prices"):
        run(filmed, endpoint, max_cost=1.0)


def test_requests_are_spread_over_the_minute() -> None:
    now = 0.0
    pace = Pace(120, lambda: now)
    assert [pace.delay() for _ in range(4)] == [0.0, 0.5, 1.0, 1.5]
    now = 100.0
    assert pace.delay() == 0.0
    assert Pace(None).delay() == 0.0


def test_the_key_is_sent_and_never_stored_or_told(
    filmed: Path, endpoint: Any, reply: Any, monkeypatch: pytest.MonkeyPatch, rows_of: Any
) -> None:
    monkeypatch.setenv("MY_KEY", KEY)
    endpoint.behave = lambda number, body: (
        reply(status=400, error=f"wrong with {KEY}") if number < 1 else reply()
    )
    report = run(filmed, endpoint, key_env="MY_KEY")
    assert set(endpoint.keys) == {f"Bearer {KEY}"}
    assert report.failed == 1
    assert KEY not in str(report.to_dict())
    assert "***" in str(report.problems)
    stored = b"".join(file.read_bytes() for file in filmed.rglob("*") if file.is_file())
    assert KEY.encode() not in stored
    assert KEY not in str(Catalog.open(filmed).sql("select * from runs").dicts())


def test_a_wrong_key_ends_the_run_with_what_to_check(
    filmed: Path, endpoint: Any, reply: Any
) -> None:
    endpoint.behave = lambda number, body: reply(status=401, error="who are you?")
    with pytest.raises(EndpointError, match="401: who are you") as refused:
        run(filmed, endpoint)
    assert "OPENAI_API_KEY" in str(refused.value)
    assert sum(endpoint.asked.values()) <= 8, "no request after the first were answered"


def test_newer_models_get_the_field_that_they_ask_for(endpoint: Any, reply: Any) -> None:
    endpoint.behave = lambda number, body: (
        reply(status=400, error="use max_completion_tokens") if "max_tokens" in body else reply()
    )
    asked = Endpoint(EndpointSettings(endpoint.url, "m", backoff_s=0.001))
    assert asked.ask(Question("?", max_tokens=7)).text
    assert endpoint.bodies[-1]["max_completion_tokens"] == 7


@pytest.mark.parametrize("url", ["ftp://x/v1", "127.0.0.1:8000", "http://"])
def test_an_address_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(UsageError, match="no address"):
        EndpointSettings(url, "m")
