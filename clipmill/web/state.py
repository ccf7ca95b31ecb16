"""What the routes share: the catalog at its newest version, and a few locked connections to it.

    @router.get("/thing")
    def thing(viewer: ViewerState) -> Response:
        with viewer.session() as session:
            return answer(session.sql("select ...").dicts())

An `Edition` is one version of the catalog with all that was computed for it. When somebody commits,
the next request starts a new edition; requests that run keep theirs.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated, TypeVar

from fastapi import Depends, Request

from catalogs.catalog import Catalog
from catalogs.deadline import deadline
from catalogs.errors import QueryError
from catalogs.query import Session
from catalogs.recipe import Recipe
from clipmill.web.answers import BusyError
from clipmill.web.memo import Memo

__all__ = ["MEMORY", "QUESTION_S", "Edition", "Viewer", "ViewerState", "stopped_after"]

SESSIONS = 4
"""Questions that DuckDB works on at once."""
MEMORY = "2GB"
"""What one connection may use."""
QUESTION_S = 20.0
WAIT_S = 30.0
VIEWS, KEPT = 16, 256
"""How many views of the grid, and how many other values, an edition keeps."""
LOOK_AGAIN_S = 1.0
"""How long the newest version of the catalog is taken for the newest."""

_Value = TypeVar("_Value")


class Edition:
    """One version of the catalog, its connections, and what was computed from it."""

    def __init__(self, catalog: Catalog):
        self.catalog = catalog
        self.version = catalog.version
        self._idle: queue.LifoQueue[Session] = queue.LifoQueue()
        self._left = threading.Semaphore(SESSIONS)
        self.views = Memo(VIEWS)
        self.searching = threading.Lock()
        self._kept = Memo(KEPT)

    @contextmanager
    def session(self, seconds: float = QUESTION_S) -> Iterator[Session]:
        """A locked connection, for this thread alone; what runs after `seconds` is stopped."""
        if not self._left.acquire(timeout=WAIT_S):
            raise BusyError("the viewer answers too many questions", hint="try again in a moment")
        try:
            session = self._take()
            try:
                with stopped_after(seconds, session):
                    yield session
            finally:
                self._idle.put(session)
        finally:
            self._left.release()

    def _take(self) -> Session:
        try:
            return self._idle.get_nowait()
        except queue.Empty:
            # A catalog object is for one thread, so each connection has its own.
            return Session(self.catalog.at(self.version), memory=MEMORY)

    def kept(self, name: str, make: Callable[[], _Value]) -> _Value:
        """A value that is computed once for this version."""
        return self._kept.get(name, make)


class Viewer:
    """One served catalog.

    `reviewer` names who may store labels, None serves reading alone; `recipe` lies on the bench.
    """

    def __init__(self, path: str, *, reviewer: str | None = None, recipe: Recipe | None = None):
        self.path = path
        self.reviewer = reviewer
        self.recipe = recipe
        self._looking = threading.Lock()
        self._edition = Edition(Catalog.open(path))
        self._looked = time.monotonic()

    @property
    def edition(self) -> Edition:
        """The newest edition; a commit is noticed within a second."""
        if time.monotonic() - self._looked > LOOK_AGAIN_S and self._looking.acquire(blocking=False):
            try:
                self._look()
            finally:
                self._looking.release()
        return self._edition

    def refresh(self) -> None:
        """Notice a commit of our own at once."""
        with self._looking:
            self._look()

    def _look(self) -> None:
        newest = Catalog.open(self.path)
        if newest.version != self._edition.version:
            self._edition = Edition(newest)
        self._looked = time.monotonic()

    @property
    def catalog(self) -> Catalog:
        """The catalog at the edition's version, as an object of one's own."""
        edition = self.edition
        return edition.catalog.at(edition.version)

    @contextmanager
    def session(self, seconds: float = QUESTION_S) -> Iterator[Session]:
        """A locked connection to the newest edition; see `Edition.session`."""
        with self.edition.session(seconds) as session:
            yield session


@contextmanager
def stopped_after(seconds: float, session: Session) -> Iterator[None]:
    """Stop what a connection does when the time is up, with an error that says so."""
    with deadline(session.connection, seconds) as late:
        try:
            yield
        except Exception as error:
            if late.is_set():
                raise QueryError(
                    f"the question was stopped after {seconds:g} s", hint="ask for less"
                ) from error
            raise


def _viewer(request: Request) -> Viewer:
    viewer: Viewer = request.app.state.viewer
    return viewer


ViewerState = Annotated[Viewer, Depends(_viewer)]
"""What a route asks for to reach the catalog."""
