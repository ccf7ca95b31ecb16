"""Any endpoint that speaks the chat protocol of OpenAI: vLLM, SGLang, Ollama, or a hosted one.

    Endpoint(EndpointSettings("http://127.0.0.1:8000/v1", "Qwen/Qwen2.5-VL-7B-Instruct"))

Requests are repeated when it makes sense to (429, 5xx, cut and slow connections), as late as the
server asks for. Every answer is in the journal before it is used. The key is read from the
environment when it is needed; it is in no setting, no row and no message.
"""

from __future__ import annotations

import base64
import hashlib
import http.client
import json
import os
import random
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit

from catalogs.errors import ClipmillError, UsageError
from curation.captions.base import CaptionError
from curation.captions.journal import AnswerJournal
from curation.captions.prompted import Question, Reply

__all__ = ["Endpoint", "EndpointError", "EndpointSettings", "LimitError", "Usage"]

AGAIN = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 529})
HOPELESS = frozenset({401, 402, 403, 404})
"""Statuses that every other request would get too."""
TOKENS_PER_PICTURE = 1600
BYTES_PER_TOKEN = 2
"""What a request may cost at most, before the server has counted."""
LOOPBACK = ("127.0.0.1", "localhost", "::1")


class EndpointError(ClipmillError):
    """An endpoint that answers no request: a wrong address, key or model."""


class LimitError(ClipmillError):
    """The next request might cost more than is left."""


@dataclass(frozen=True, slots=True)
class EndpointSettings:
    """Where and how politely to ask."""

    url: str
    """Up to and with `/v1`."""
    model: str
    key_env: str = "OPENAI_API_KEY"
    """The environment variable that holds the key; local servers need none."""
    concurrency: int = 8
    requests_per_minute: float | None = None
    max_cost: float | None = None
    """Of one run, in the currency of the prices."""
    price_in: float | None = None
    """Of a million tokens that are read."""
    price_out: float | None = None
    """Of a million tokens that are written."""
    timeout_s: float = 120.0
    attempts: int = 6
    backoff_s: float = 1.0
    longest_wait_s: float = 60.0

    def __post_init__(self) -> None:
        if urlsplit(self.url).scheme not in ("http", "https") or not urlsplit(self.url).hostname:
            raise UsageError(
                f"{self.url!r} is no address of an endpoint",
                allowed="http://HOST:PORT/v1 or https://...",
            )
        if self.max_cost is not None and (self.price_in is None or self.price_out is None):
            raise UsageError(
                "a limit on cost needs prices",
                hint="give the price of a million tokens: --price-in 0.15 --price-out 0.60",
            )
        if self.concurrency < 1 or self.attempts < 1:
            raise UsageError(
                f"{self.concurrency} requests at once, {self.attempts} attempts",
                allowed="1 or more of both",
            )


@dataclass(slots=True)
class Usage:
    """What was asked and paid."""

    requests: int = 0
    """Sent, failed ones too."""
    answers: int = 0
    retries: int = 0
    from_journal: int = 0
    """Answers that an earlier run had paid for."""
    tokens_in: int = 0
    tokens_out: int = 0
    cost: float = 0.0
    lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def to_dict(self) -> dict[str, Any]:
        names = ("requests", "answers", "retries", "from_journal", "tokens_in", "tokens_out")
        return {name: getattr(self, name) for name in names} | {"cost": round(self.cost, 6)}


class Endpoint:
    """A chat endpoint. May be asked from many threads."""

    def __init__(
        self,
        settings: EndpointSettings,
        journal: AnswerJournal | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
        stop: threading.Event | None = None,
    ):
        self.settings = settings
        self.usage = Usage()
        self.stop = stop or threading.Event()
        self._journal = journal
        self._pace = Pace(settings.requests_per_minute, clock)
        self._budget = _Budget(settings.max_cost)
        self._limit_field = "max_tokens"
        local = urlsplit(settings.url).hostname in LOOPBACK
        proxies = [urllib.request.ProxyHandler({})] if local else []
        self._opener = urllib.request.build_opener(*proxies)

    def ask(self, question: Question) -> Reply:
        """The answer to a question, from the journal if it was given before."""
        body = self._body(question)
        key = hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()
        kept = None if self._journal is None else self._journal.get(key)
        if kept is not None:
            with self.usage.lock:
                self.usage.from_journal += 1
            return Reply(**kept)
        bound = self._cost(_most_tokens(body), question.max_tokens)
        self._budget.reserve(bound)
        spent = 0.0
        try:
            began = time.perf_counter()
            answer = self._posted(body)
            spent = self._count(answer, bound)
            reply = _reply(answer, time.perf_counter() - began)
            if self._journal is not None:
                plain = {name: getattr(reply, name) for name in Reply.__slots__}
                self._journal.put(key, plain)
        finally:
            self._budget.settle(bound, spent)
        return reply

    def _body(self, question: Question) -> dict[str, Any]:
        content: list[dict[str, Any]] = [
            {
                "type": "image_url",
                "image_url": {"url": "data:image/jpeg;base64," + base64.b64encode(jpeg).decode()},
            }
            for jpeg in question.pictures
        ]
        content.append({"type": "text", "text": question.words})
        messages: list[dict[str, Any]] = [{"role": "user", "content": content}]
        if question.said:
            answer, wrong = question.said
            messages += [
                {"role": "assistant", "content": answer},
                {"role": "user", "content": wrong},
            ]
        body: dict[str, Any] = {
            "model": self.settings.model,
            "messages": messages,
            "max_tokens": question.max_tokens,
            "temperature": question.temperature,
        }
        if question.schema is not None:
            described = {"name": "caption", "strict": True, "schema": question.schema}
            body["response_format"] = {"type": "json_schema", "json_schema": described}
        return body

    # -- sending ---------------------------------------------------------------------------

    def _posted(self, body: Mapping[str, Any]) -> Mapping[str, Any]:
        """The answer to a request, tried until it makes no sense any more."""
        trouble = ""
        for attempt in range(1, self.settings.attempts + 1):
            if attempt > 1:
                with self.usage.lock:
                    self.usage.retries += 1
            self._wait(self._pace.delay())
            try:
                return self._once(body)
            except _TryAgainError as error:
                trouble = str(error)
                if attempt < self.settings.attempts:
                    self._wait(self._pause(attempt, error.after_s))
        raise CaptionError(f"{self.settings.attempts} attempts failed, the last with: {trouble}")

    def _once(self, body: Mapping[str, Any]) -> Mapping[str, Any]:
        with self.usage.lock:
            self.usage.requests += 1
        sent = dict(body)
        sent[self._limit_field] = sent.pop("max_tokens")
        request = urllib.request.Request(
            self.settings.url.rstrip("/") + "/chat/completions",
            data=json.dumps(sent).encode(),
            headers={"Content-Type": "application/json", **self._authorization()},
            method="POST",
        )
        try:
            with self._opener.open(request, timeout=self.settings.timeout_s) as response:
                answer = json.loads(response.read())
        except urllib.error.HTTPError as error:
            with error:
                self._refused(error, self._words(error))
        except (OSError, http.client.HTTPException) as error:
            raise _TryAgainError(f"{type(error).__name__}: {self._clean(str(error))}") from None
        except ValueError:
            raise _TryAgainError("the answer is no JSON") from None
        if not isinstance(answer, dict) or not answer.get("choices"):
            raise _TryAgainError("the answer holds no choices")
        return answer

    def _authorization(self) -> dict[str, str]:
        key = os.environ.get(self.settings.key_env)
        return {"Authorization": f"Bearer {key}"} if key else {}

    def _refused(self, error: urllib.error.HTTPError, words: str) -> None:
        """Decide about a status that is no success. Always raises."""
        told = f"status {error.code}: {words}" if words else f"status {error.code}"
        if error.code == 400 and "max_completion_tokens" in words:
            self._limit_field = "max_completion_tokens"
            raise _TryAgainError(told, after_s=0.0)
        if error.code in AGAIN:
            raise _TryAgainError(told, after_s=_retry_after(error.headers.get("Retry-After")))
        if error.code in HOPELESS:
            raise EndpointError(
                f"{self.settings.url} refuses with {told}",
                hint=f"check the address, the model {self.settings.model!r} and the key in the "
                f"environment variable {self.settings.key_env}",
            )
        raise CaptionError(f"the endpoint refuses with {told}")

    def _words(self, error: urllib.error.HTTPError) -> str:
        try:
            text = error.read(2000).decode(errors="replace")
        except (OSError, http.client.HTTPException):
            return ""
        try:
            found = json.loads(text)["error"]
            text = found["message"] if isinstance(found, dict) else str(found)
        except (ValueError, KeyError, TypeError):
            text = text.strip()
        return self._clean(" ".join(text.split())[:300])

    def _clean(self, text: str) -> str:
        """Without the key, which some servers send back."""
        key = os.environ.get(self.settings.key_env)
        return text.replace(key, "***") if key else text

    def _pause(self, attempt: int, after_s: float | None) -> float:
        if after_s is not None:
            return min(after_s, self.settings.longest_wait_s)
        most = min(self.settings.backoff_s * 2 ** (attempt - 1), self.settings.longest_wait_s)
        return random.uniform(0.5, 1.0) * most

    def _wait(self, seconds: float) -> None:
        if self.stop.wait(seconds) if seconds > 0 else self.stop.is_set():
            raise CaptionError("the run was stopped")

    # -- counting --------------------------------------------------------------------------

    def _cost(self, tokens_in: int, tokens_out: int) -> float:
        settings = self.settings
        million = 1e6
        return (
            tokens_in * (settings.price_in or 0) + tokens_out * (settings.price_out or 0)
        ) / million

    def _count(self, answer: Mapping[str, Any], bound: float) -> float:
        """Add what an answer cost; the most it can have cost when the server does not say."""
        used = answer.get("usage") or {}
        read, written = used.get("prompt_tokens"), used.get("completion_tokens")
        cost = bound if read is None or written is None else self._cost(read, written)
        with self.usage.lock:
            self.usage.answers += 1
            self.usage.tokens_in += read or 0
            self.usage.tokens_out += written or 0
            self.usage.cost += cost
        return cost


class _TryAgainError(Exception):
    """A request that may succeed later."""

    def __init__(self, problem: str, after_s: float | None = None):
        super().__init__(problem)
        self.after_s = after_s


class Pace:
    """Spreads requests evenly over every minute."""

    def __init__(self, per_minute: float | None, clock: Callable[[], float] = time.monotonic):
        self._every_s = 60.0 / per_minute if per_minute else 0.0
        self._clock = clock
        self._next = float("-inf")
        self._lock = threading.Lock()

    def delay(self) -> float:
        """How long to wait for one's turn."""
        if not self._every_s:
            return 0.0
        with self._lock:
            now = self._clock()
            turn = max(now, self._next)
            self._next = turn + self._every_s
            return turn - now


class _Budget:
    """What may still be spent; requests on their way count with the most they can cost."""

    def __init__(self, most: float | None):
        self._most = most
        self._spent = self._reserved = 0.0
        self._lock = threading.Lock()

    def reserve(self, cost: float) -> None:
        with self._lock:
            if self._most is not None and self._spent + self._reserved + cost > self._most + 1e-12:
                raise LimitError(
                    f"{self._spent:.4f} of {self._most:g} are spent and the next request may cost "
                    f"{cost:.4f}",
                    hint="run again with a higher --max-cost; nothing is asked twice",
                )
            self._reserved += cost

    def settle(self, reserved: float, spent: float) -> None:
        with self._lock:
            self._reserved -= reserved
            self._spent += spent


def _most_tokens(body: Mapping[str, Any]) -> int:
    """More tokens than a request can be read as."""
    total = 0
    for message in body["messages"]:
        content = message["content"]
        parts = [{"type": "text", "text": content}] if isinstance(content, str) else content
        for part in parts:
            is_text = part["type"] == "text"
            total += (
                len(part["text"].encode()) // BYTES_PER_TOKEN + 16
                if is_text
                else TOKENS_PER_PICTURE
            )
    return total


def _reply(answer: Mapping[str, Any], seconds: float) -> Reply:
    choice = answer["choices"][0]
    message = choice.get("message") or {}
    content = message.get("content") or ""
    if isinstance(content, list):
        content = "".join(part.get("text", "") for part in content if isinstance(part, dict))
    finish = choice.get("finish_reason")
    if message.get("refusal"):
        content, finish = message["refusal"], "refusal"
    used = answer.get("usage") or {}
    tokens = (
        used["prompt_tokens"] + used["completion_tokens"]
        if used.get("prompt_tokens") is not None and used.get("completion_tokens") is not None
        else None
    )
    return Reply(content, finish, tokens, answer.get("model"), round(seconds, 6))


def _retry_after(text: str | None) -> float | None:
    """Seconds of a Retry-After header: a number, or a date."""
    if text is None:
        return None
    try:
        return max(0.0, float(text))
    except ValueError:
        pass
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - time.time())
    except ValueError:
        return None
