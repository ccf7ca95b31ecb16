"""Answers of the viewer: JSON that holds any value of a catalog, and errors for people."""

from __future__ import annotations

import json
import re
from typing import Annotated, Any

from fastapi import FastAPI, Path, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from starlette.exceptions import HTTPException

from catalogs.errors import ClipmillError, NotFoundError
from clipmill.cli.output import plain

__all__ = ["BusyError", "ClipId", "answer", "handle_errors"]

ClipId = Annotated[str, Path(pattern="^[0-9a-f]{32}$", description="a clip's id")]
SourceId = Annotated[str, Path(pattern="^[0-9a-f]{32}$", description="a source's id")]


class BusyError(ClipmillError):
    """More questions at once than the viewer answers."""


def answer(value: Any, status: int = 200) -> Response:
    """A value as JSON: times as ISO text, bytes as base64, NaN as null."""
    text = json.dumps(plain(value), ensure_ascii=False, separators=(",", ":"))
    return Response(text, status, media_type="application/json")


def handle_errors(app: FastAPI) -> None:
    """Make every error an answer {problem, allowed, hint}; a traceback goes to no page."""

    @app.exception_handler(ClipmillError)
    def ours(_: Request, error: ClipmillError) -> Response:
        status = 400
        if isinstance(error, NotFoundError):
            status = 404
        elif isinstance(error, BusyError):
            status = 503
        return _problem(status, error.problem, error.allowed, error.hint)

    @app.exception_handler(RequestValidationError)
    def invalid(_: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"][1:])
        value = first.get("input")
        shown = f"{value!r} is no good {where}" if isinstance(value, str) else f"{where} is wrong"
        return _problem(400, shown, first["msg"], None)

    @app.exception_handler(HTTPException)
    def plain_status(_: Request, error: HTTPException) -> Response:
        return _problem(error.status_code, str(error.detail), None, None)


def _problem(status: int, problem: str, allowed: str | None, hint: str | None) -> Response:
    # What is quoted may be anything, a lone surrogate too: it must not break the answer.
    problem = re.sub(r"[\ud800-\udfff]", "?", problem)
    return answer({"problem": problem, "allowed": allowed, "hint": hint}, status)
