"""Who is answered, and what every answer carries.

The viewer shows files of a person's machine, so three guards stand in front of every route:

- the Host header must name the loopback interface: a page elsewhere whose name was rebound to
  127.0.0.1 is refused;
- the token must be there, in the address of the first visit or in the cookie which that visit
  sets, compared in constant time;
- only reading methods pass; a POST, to routes that have one, must come from our own page.

Every answer forbids other origins, frames, inline scripts, guessing of types and caching.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import logging
from collections.abc import Iterable
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qs, urlsplit

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

__all__ = ["CONTENT_POLICY", "Guard"]

LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
READING = frozenset({"GET", "HEAD"})
CONTENT_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' blob: data:",
        "media-src 'self' blob:",
        "connect-src 'self'",
        "frame-ancestors 'none'",
        "base-uri 'none'",
        "form-action 'none'",
    )
)
HEADERS = {
    "Content-Security-Policy": CONTENT_POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}

_LOG = logging.getLogger(__name__)


class Guard:
    """The ASGI layer in front of the viewer."""

    def __init__(self, app: ASGIApp, *, token: str):
        self._app = app
        self._token = token.encode()
        self._cookie = f"clipmill-{hashlib.sha256(self._token).hexdigest()[:12]}"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            return
        headers = _text_headers(scope["headers"])
        visiting = self._is_token(_query_token(scope))

        started = False

        async def send_guarded(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                out = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    out[name] = value
                out.setdefault("Cache-Control", "no-store")
                if visiting:
                    cookie = f"{self._cookie}={self._token.decode()}"
                    out.append("Set-Cookie", f"{cookie}; Path=/; HttpOnly; SameSite=Strict")
            await send(message)

        if refusal := self._refusal(scope["method"], headers, visiting):
            await _refuse(send_guarded, *refusal)
            return
        try:
            await self._app(scope, receive, send_guarded)
        except Exception:
            _LOG.exception("the viewer failed at %s", scope["path"])
            if started:
                raise
            await _refuse(send_guarded, 500, "the viewer failed", "its terminal says how")

    def _refusal(
        self, method: str, headers: dict[str, str], visiting: bool
    ) -> tuple[int, str, str] | None:
        """Status, problem and next step, unless the request may pass."""
        host = headers.get("host", "")
        if _hostname(host) not in LOOPBACK:
            return 400, f"this viewer has no host {host!r}", "open it at 127.0.0.1"
        if not (visiting or self._is_token(_cookie(headers.get("cookie", ""), self._cookie))):
            return 401, "the token is missing or wrong", "open the address that clipmill printed"
        if method == "POST":
            if urlsplit(headers.get("origin", "")).netloc != host:
                return 403, "this did not come from the viewer's own page", "use the page"
        elif method not in READING:
            return 405, f"{method} is not a method that reads", "use GET"
        return None

    def _is_token(self, given: str) -> bool:
        return hmac.compare_digest(given.encode(errors="replace"), self._token)


def _text_headers(raw: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    return {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in raw}


def _query_token(scope: Scope) -> str:
    found = parse_qs(scope["query_string"].decode("latin-1")).get("token", [""])
    return found[0]


def _cookie(header: str, name: str) -> str:
    try:
        found = SimpleCookie(header).get(name)
    except CookieError:
        return ""
    return found.value if found else ""


def _hostname(host: str) -> str:
    """The name in a Host header: without the port, without the brackets of IPv6."""
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


async def _refuse(send: Send, status: int, problem: str, hint: str) -> None:
    body = json.dumps({"problem": problem, "allowed": None, "hint": hint}).encode()
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
