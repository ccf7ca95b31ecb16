"""Nobody but the owner of the token gets an answer, and no answer gives more than the catalog."""

from __future__ import annotations

import asyncio
import http.client
import json
import logging
import re
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import pytest

from catalogs import Catalog
from catalogs.errors import QueryError
from clipmill.web.app import AREAS, create_app
from clipmill.web.security import CONTENT_POLICY, Guard
from clipmill.web.state import Edition

OUTSIDE = (
    "../../etc/passwd",
    "..%2f..%2fetc%2fpasswd",
    "/etc/passwd",
    "%2fetc%2fpasswd",
    "..",
    "\x00",
)
REFUSED_SQL = {
    "a file": "exists (from read_text('/etc/hostname'))",
    "a file as a table": "exists (from '/etc/hostname')",
    "a file elsewhere": "exists (from read_parquet('/tmp/other.parquet'))",
    "a folder's listing": "exists (from glob('/etc/*'))",
    "the network": "exists (from read_csv('http://127.0.0.1:1/x.csv'))",
    "the environment": "getenv('HOME') is not null",
    "an extension": "true); install httpfs; select (true",
    "a setting": "true); set enable_external_access = true; select (true",
    "a change": "true); drop table sources; select (true",
    "rows that are no clips": "true) union all select 123456789 -- \n where (true",
}


@contextmanager
def connected(served: Any) -> Iterator[http.client.HTTPConnection]:
    connection = http.client.HTTPConnection(urlsplit(served.address).netloc, timeout=60)
    try:
        yield connection
    finally:
        connection.close()


def ask(
    served: Any, path: str, method: str = "GET", *, cookie: bool = True, **headers: str
) -> tuple[int, dict[str, str], bytes]:
    """One request exactly as written: no path is normalised on the way."""
    given = {"Cookie": "=".join(served.cookie)} if cookie else {}
    with connected(served) as connection:
        connection.putrequest(method, path, skip_host="Host" in headers)
        for name, value in (given | headers).items():
            connection.putheader(name, value)
        connection.endheaders()
        response = connection.getresponse()
        found = {name.lower(): value for name, value in response.getheaders()}
        return response.status, found, response.read()


@pytest.mark.parametrize("path", ["/", "/page/app.js", "/api/about", "/api/clips", "/nothing"])
def test_without_the_token_there_is_no_answer(web_server: Any, path: str) -> None:
    name, _ = web_server.cookie
    strangers: list[dict[str, str]] = [{}, {"Cookie": f"{name}=wrong"}, {"Cookie": f"{name}="}]
    for headers in strangers:
        status, answered, body = ask(web_server, path, cookie=False, **headers)
        assert (status, json.loads(body)["problem"]) == (401, "the token is missing or wrong")
        assert "set-cookie" not in answered
    status, _, _ = ask(web_server, f"{path}?token=wrong", cookie=False)
    assert status == 401


def test_the_first_visit_brings_a_cookie_that_no_script_reads(web_server: Any) -> None:
    status, headers, _ = ask(web_server, f"/?token={web_server.token}", cookie=False)
    assert status == 200
    flags = headers["set-cookie"].split("; ")
    assert {"HttpOnly", "SameSite=Strict", "Path=/"} <= set(flags)


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example:80", "", "[::1", "0.0.0.0"]
)
def test_another_host_name_is_refused(web_server: Any, host: str) -> None:
    status, _, body = ask(web_server, "/api/about", Host=host)
    assert status == 400
    assert b"corpus" not in body


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"])
def test_only_reading_methods_pass(web_server: Any, method: str) -> None:
    assert ask(web_server, "/api/clips", method)[0] == 405


@pytest.mark.parametrize("origin", [None, "null", "http://evil.example", "http://127.0.0.1:1"])
def test_a_post_of_another_page_is_refused(web_server: Any, origin: str | None) -> None:
    headers = {} if origin is None else {"Origin": origin}
    assert ask(web_server, "/api/labels", "POST", **headers)[0] == 403


def test_every_answer_forbids_what_the_page_does_not_need(web_server: Any) -> None:
    paths = (
        "/",
        "/page/style.css",
        "/api/about",
        "/api/nothing",
        "/api/clips?where=x",
        "/api/clips",
    )
    answers = [ask(web_server, path) for path in paths]
    answers.append(ask(web_server, "/", cookie=False))
    assert {status for status, _, _ in answers} == {200, 400, 401, 404}
    for _, found, _ in answers:
        assert found["content-security-policy"] == CONTENT_POLICY
        assert found["x-content-type-options"] == "nosniff"
        assert found["referrer-policy"] == "no-referrer"
        assert found["cache-control"] == "no-store"


def test_no_page_has_a_script_or_style_in_line() -> None:
    import clipmill.web.app as module

    for path in module.PAGE.iterdir():
        text = path.read_text()
        assert "innerHTML" not in text
        assert "https://" not in text, f"{path.name} names another host"
        if path.suffix == ".html":
            assert text.count("<script") == text.count('<script type="module" src="/page/')
            assert " style=" not in text
            assert "<style" not in text


def test_paths_lead_nowhere_else(web_server: Any) -> None:
    """Every route with a parameter, with values that would lead out of it."""
    routers = [import_module(f"clipmill.web.api_{area}").router for area in AREAS]
    every = [route.path for router in routers for route in router.routes if "GET" in route.methods]
    routes = ["/page/{name}", "/clip/{clip_id}", *(path for path in every if "{" in path)]
    assert len(routes) >= 5
    for route in routes:
        for value in OUTSIDE:
            path = re.sub(r"\{[^}]*\}", lambda _, value=value: quote(value, safe="/%."), route)
            status, _, body = ask(web_server, path)
            page = route.startswith("/clip/") and status == 200 and b"<!doctype html>" in body
            assert status in {400, 404} or page, (route, value, status)
            assert b"root:" not in body


@pytest.mark.parametrize("what", REFUSED_SQL)
def test_sql_reads_nothing_but_the_catalog(web_server: Any, what: str) -> None:
    status, _, body = ask(web_server, f"/api/clips?where={quote(REFUSED_SQL[what])}")
    answered = json.loads(body)
    assert status == 400, answered
    assert set(answered) == {"problem", "allowed", "hint"}


@pytest.mark.parametrize(
    "query",
    ["from=-1", "limit=501", "limit=x", "sort=nothing", "columns=nothing", "range=motion_px",
     "range=motion_px:a:b", "range=motion_px:inf:", "range=motion_px::", "like=zz",
     "where=" + "x" * 10_001],
)  # fmt: skip
def test_a_wrong_question_is_explained(web_server: Any, query: str) -> None:
    status, _, body = ask(web_server, f"/api/clips?{query}")
    assert status in {400, 404}
    assert json.loads(body)["problem"]


def test_a_question_that_takes_too_long_is_stopped(web_server: Any) -> None:
    edition = Edition(Catalog.open(web_server.corpus))
    endless = "select count(*) from range(10000000) a, range(10000000) b where a.range < b.range"
    with pytest.raises(QueryError, match=r"stopped after 0\.1 s"), edition.session(0.1) as session:
        session.sql(endless).value()
    with edition.session() as session:
        assert session.sql("select 1").value() == 1


def test_many_requests_at_once_are_all_answered(web_server: Any) -> None:
    query = "/api/clips?limit=1&where=duration_s%20%3E%200"
    with ThreadPoolExecutor(200) as pool:
        found = list(pool.map(lambda _: ask(web_server, query)[0], range(200)))
    assert found == [200] * 200


def test_slow_clients_hold_up_nobody(web_server: Any) -> None:
    place = urlsplit(web_server.address)
    with ExitStack() as stack:
        for _ in range(60):
            slow = stack.enter_context(socket.create_connection((place.hostname, place.port)))
            slow.sendall(b"GET /api/about HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Slow: ")
        assert ask(web_server, "/api/about")[0] == 200


def test_a_failure_tells_the_page_nothing(caplog: pytest.LogCaptureFixture) -> None:
    async def fails(scope: Any, receive: Any, send: Any) -> None:
        raise RuntimeError("a secret")

    sent: list[dict[str, Any]] = []

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http", "method": "GET", "path": "/", "query_string": b"token=t",
        "headers": [(b"host", b"127.0.0.1")],
    }  # fmt: skip
    with caplog.at_level(logging.CRITICAL, "clipmill.web.security"):
        asking = Guard(fails, token="t")(scope, None, send)  # type: ignore[arg-type]
        with ThreadPoolExecutor(1) as pool:  # the driver of the browser has a loop in this thread
            pool.submit(asyncio.run, asking).result()
    start, body = sent
    assert start["status"] == 500
    assert (b"content-security-policy", CONTENT_POLICY.encode()) in start["headers"]
    assert b"secret" not in body["body"]


def test_every_area_has_its_module() -> None:
    folder = Path(create_app.__code__.co_filename).parent
    found = {path.stem.removeprefix("api_") for path in folder.glob("api_*.py")}
    assert found == set(AREAS)
