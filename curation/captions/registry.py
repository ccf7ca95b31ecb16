"""Captioners by their address: `rules`, `openai:MODEL`, `hf:PATH`, `asr:ENGINE`, or a plugin's.

    captioner("openai:qwen2.5-vl-7b", CaptionOptions(prompt="camera", endpoint="http://..."))

A package of one's own adds a captioner under the entry-point group `clipmill.captioners`: a
function that takes what stands behind the colon and the options, and returns a `Captioner`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from importlib.metadata import entry_points
from typing import Any

from catalogs.errors import UsageError, nearest
from curation.captions.base import Captioner
from curation.captions.prompts import Prompt, prompt

__all__ = ["CaptionOptions", "Maker", "captioner", "captioner_names"]

GROUP = "clipmill.captioners"
ENDPOINT_VARIABLE = "OPENAI_BASE_URL"


@dataclass(frozen=True, slots=True)
class CaptionOptions:
    """Settings of captioners; each takes those that concern it."""

    prompt: str | None = None
    kind: str | None = None
    frames: int | None = None
    frame_choice: str | None = None
    short_side: int | None = None
    decoded: bool | None = None
    window_s: float | None = None
    language: str | None = None
    max_tokens: int | None = None
    temperature: float | None = None
    source: str | None = None
    """The model whose captions are rewritten."""
    revision: str | None = None
    endpoint: str | None = None
    key_env: str = "OPENAI_API_KEY"
    concurrency: int = 8
    requests_per_minute: float | None = None
    max_cost: float | None = None
    price_in: float | None = None
    price_out: float | None = None
    timeout_s: float = 120.0
    backoff_s: float = 1.0
    batch: int = 8
    device: str | None = None

    def chosen_prompt(self, default: str = "dense") -> Prompt:
        """The prompt with the options that change it."""
        asked = prompt(
            self.prompt or default,
            kind=self.kind,
            window_s=self.window_s,
            language=self.language,
            max_tokens=self.max_tokens,
            temperature=self.temperature,
        )
        if asked.sampling is None:
            return asked
        changes: dict[str, Any] = {
            "count": self.frames,
            "how": self.frame_choice,
            "short_side": self.short_side,
            "decoded": self.decoded,
        }
        known = {name: value for name, value in changes.items() if value is not None}
        return replace(asked, sampling=replace(asked.sampling, **known)) if known else asked


@dataclass(frozen=True, slots=True)
class Maker:
    """Builds a captioner wherever it is called; crosses process borders."""

    address: str
    options: CaptionOptions = CaptionOptions()

    def __call__(self) -> Captioner:
        return captioner(self.address, self.options)


Build = Callable[[str, CaptionOptions], Captioner]


def _rules(rest: str, options: CaptionOptions) -> Captioner:
    from curation.captions.rules import VideoRules

    return VideoRules()


def _openai(rest: str, options: CaptionOptions) -> Captioner:
    from curation.captions.api import ApiCaptioner
    from curation.captions.endpoint import EndpointSettings

    url = options.endpoint or os.environ.get(ENDPOINT_VARIABLE)
    if not url:
        raise UsageError(
            f"no endpoint is known for the model {rest!r}",
            allowed="--endpoint http://HOST:PORT/v1 or the variable " + ENDPOINT_VARIABLE,
        )
    settings = EndpointSettings(
        url=url,
        model=rest,
        key_env=options.key_env,
        concurrency=options.concurrency,
        requests_per_minute=options.requests_per_minute,
        max_cost=options.max_cost,
        price_in=options.price_in,
        price_out=options.price_out,
        timeout_s=options.timeout_s,
        backoff_s=options.backoff_s,
    )
    chosen = options.chosen_prompt()
    return ApiCaptioner(settings, chosen, revision=options.revision or "api", source=options.source)


def _transformers(rest: str, options: CaptionOptions) -> Captioner:
    from curation.captions.local import LocalCaptioner

    return LocalCaptioner(
        rest,
        options.chosen_prompt(),
        revision=options.revision,
        source=options.source,
        batch=options.batch,
        device=options.device,
    )


def _speech(rest: str, options: CaptionOptions) -> Captioner:
    from curation.captions.speech import SpeechCaptioner

    return SpeechCaptioner(rest, revision=options.revision, language=options.language)


BUILT_IN: Mapping[str, Build] = {
    "rules": _rules,
    "openai": _openai,
    "hf": _transformers,
    "asr": _speech,
}
_NEED_A_NAME = ("openai", "hf", "asr")


def captioner_names() -> list[str]:
    """What may stand in front of the colon."""
    return [*BUILT_IN, *(found.name for found in entry_points(group=GROUP))]


def captioner(address: str, options: CaptionOptions | None = None) -> Captioner:
    """The captioner at an address."""
    scheme, _, rest = address.partition(":")
    build: Build | None = BUILT_IN.get(scheme)
    if build is None:
        found = {point.name: point for point in entry_points(group=GROUP)}
        if scheme not in found:
            raise UsageError(
                f"no captioner is called {address!r}",
                allowed="rules, openai:MODEL, hf:PATH, asr:ENGINE"
                + "".join(f", {name}" for name in found),
                hint=nearest(scheme, captioner_names()),
            )
        build = found[scheme].load()
    if scheme in _NEED_A_NAME and not rest:
        raise UsageError(f"{address!r} names no model", allowed=f"{scheme}:NAME")
    return build(rest, options or CaptionOptions())
