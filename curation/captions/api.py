"""Captions from an endpoint: many windows at once, none paid for twice."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

from catalogs.errors import UsageError
from catalogs.ids import settings_hash
from curation.captions.base import Answer, CaptionError, Job
from curation.captions.endpoint import Endpoint, EndpointSettings, LimitError
from curation.captions.journal import AnswerJournal
from curation.captions.prompted import PromptedCaptioner, Question, Reply
from curation.captions.prompts import Prompt

__all__ = ["ApiCaptioner"]

READ_AHEAD = 2
"""Windows that are made ready for each request on its way."""


class ApiCaptioner(PromptedCaptioner):
    """A captioner behind an endpoint."""

    streams = True

    def __init__(
        self,
        settings: EndpointSettings,
        prompt: Prompt,
        *,
        revision: str = "api",
        source: str | None = None,
    ):
        super().__init__(f"openai:{settings.model}", revision, prompt, source)
        self._settings = settings
        self._endpoint: Endpoint | None = None
        self._journal: AnswerJournal | None = None

    def setup(self, pending: Path) -> None:
        about = {"model": self.name, "revision": self.revision, "prompt": self.prompt_hash}
        self._journal = AnswerJournal(pending / f"captions-{settings_hash(about)}.jsonl")
        self._endpoint = Endpoint(self._settings, self._journal, stop=threading.Event())

    def ask(self, question: Question) -> Reply:
        if self._endpoint is None:
            raise UsageError("the endpoint is not open", hint="call setup() before the first ask()")
        return self._endpoint.ask(question)

    def answers(self, jobs: Iterable[Job]) -> Iterator[tuple[Job, Answer]]:
        """Answers as they come. A limit on cost ends it; what is on its way is awaited."""
        source = iter(jobs)
        running: dict[Future[Answer], Job] = {}
        with ThreadPoolExecutor(self._settings.concurrency, "caption") as pool:
            try:
                while True:
                    while (
                        not self.stopped and len(running) < READ_AHEAD * self._settings.concurrency
                    ):
                        job = next(source, None)
                        if job is None:
                            break
                        running[pool.submit(self.caption, job)] = job
                    if not running:
                        return
                    done, _ = wait(running, return_when=FIRST_COMPLETED)
                    for future in done:
                        job = running.pop(future)
                        try:
                            yield job, future.result()
                        except CaptionError as error:
                            yield job, Answer((), problem=str(error))
                        except LimitError as error:
                            self.stopped = error.problem
            finally:
                if self._endpoint is not None and running:
                    self._endpoint.stop.set()  # requests that have not begun stay unsent
                pool.shutdown(cancel_futures=True)

    def usage(self) -> dict[str, Any]:
        return self._endpoint.usage.to_dict() if self._endpoint else {}

    def close(self, *, done: bool = True) -> None:
        if self._journal is not None:
            self._journal.close(done=done)
            self._journal = None
