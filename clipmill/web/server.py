"""Serving the viewer on the loopback interface."""

from __future__ import annotations

import contextlib
import secrets
import socket
import threading
import webbrowser
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from catalogs.recipe import Recipe

__all__ = ["serve"]

HOST = "127.0.0.1"
BACKLOG = 256
LEAVE_S = 3
"""What is still being sent to a slow client is cut off so long after Ctrl-C."""


def serve(
    catalog: str | Path,
    port: int = 0,
    *,
    open_browser: bool = True,
    reviewer: str | None = None,
    recipe: Recipe | None = None,
    tell: Callable[[str], None] = print,
) -> None:
    """Serve a catalog until Ctrl-C.

    Args:
        catalog: folder or prefix of the catalog.
        port: 0 takes a free one.
        open_browser: show the page at once.
        reviewer: whose labels are stored; None serves reading alone.
        recipe: put on the bench.
        tell: is given the address, which holds the token, when the server listens.
    """
    from clipmill.web.state import Viewer
    from clipmill.web.views import clip_table

    viewer = Viewer(str(catalog), reviewer=reviewer, recipe=recipe)
    # DuckDB reads the clips while Python loads what answers.
    threading.Thread(target=clip_table, args=(viewer.edition,), daemon=True).start()
    import uvicorn

    from clipmill.web.app import create_app

    token = secrets.token_urlsafe(24)
    app = create_app(viewer, token=token)
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((HOST, port))
        listener.listen(BACKLOG)
        address = f"http://{HOST}:{listener.getsockname()[1]}/?token={token}"
        threading.Thread(target=_import_pandas, daemon=True).start()
        tell(address)
        if open_browser:
            threading.Thread(target=webbrowser.open, args=(address,), daemon=True).start()
        config = uvicorn.Config(
            app,
            log_level="critical",  # what fails is logged by the guard; what Ctrl-C cuts off is not
            access_log=False,
            server_header=False,
            timeout_keep_alive=30,
            timeout_graceful_shutdown=LEAVE_S,
            limit_concurrency=512,
        )
        with contextlib.suppress(KeyboardInterrupt):  # which uvicorn raises again when it is done
            uvicorn.Server(config).run(sockets=[listener])


def _import_pandas() -> None:
    """What pyarrow does for its first list, here while DuckDB reads the clips."""
    with contextlib.suppress(ImportError):
        import_module("pandas")
