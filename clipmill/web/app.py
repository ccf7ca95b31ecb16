"""The application: the page's files, and the routes of all areas below `/api`."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

from fastapi import FastAPI
from fastapi.responses import Response
from starlette.exceptions import HTTPException

from clipmill.web.answers import handle_errors
from clipmill.web.security import Guard
from clipmill.web.state import Viewer

__all__ = ["AREAS", "create_app"]

AREAS = ("grid", "clip", "media", "bench", "sources", "runs", "tokens", "labels")
"""Each has a module `clipmill.web.api_<area>` with a `router`."""
ADDRESSES = ("/", "/clip/{clip_id}", "/bench", "/sources", "/runs", "/tokens", "/labels")
"""What a person can open; the page shows the area that the address names (page/app.js)."""

PAGE = Path(__file__).parent / "page"
TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}


def create_app(viewer: Viewer, *, token: str) -> FastAPI:
    """The application of one viewer, for visitors who know the token."""
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None, redirect_slashes=False)
    app.state.viewer = viewer
    handle_errors(app)
    for area in AREAS:
        app.include_router(import_module(f"clipmill.web.api_{area}").router)
    _serve_page(app)
    app.add_middleware(Guard, token=token)
    return app


def _serve_page(app: FastAPI) -> None:
    """The files of the page, by the names that there are: no path is made from a request."""

    def file(name: str) -> Response:
        for path in PAGE.iterdir():
            if path.name == name and path.suffix in TYPES:
                return Response(path.read_bytes(), media_type=TYPES[path.suffix])
        raise HTTPException(404, "the page has no such file")

    def index() -> Response:
        return file("index.html")

    app.add_api_route("/page/{name}", file, methods=["GET", "HEAD"])
    for address in ADDRESSES:
        app.add_api_route(address, index, methods=["GET", "HEAD"])
