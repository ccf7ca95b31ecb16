"""Captions as ids or embeddings: what a text encoder is, and those that come along.

    encoder = text_encoder("bytes")              UTF-8, 0 at the end; needs no model
    text_encoder("words")                        hashed words, as small generators read them
    text_encoder("hf:google/t5-v1_1-base")       hidden states of a text encoder of transformers
    text_encoder("hf-ids:google/t5-v1_1-base")   the ids of its tokenizer alone

A text is encoded alone, so that its tokens depend on nothing else; it has as many positions as it
needs. To add an encoder, implement `TextEncoder` and register it under the entry-point group
`clipmill.text_encoders`: the name before the colon finds it and what follows it is handed over.
"""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from functools import cached_property
from importlib.metadata import entry_points, version
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from catalogs.errors import MissingExtraError, NotFoundError, UsageError, nearest
from catalogs.ids import file_sha256
from tokenize_jobs.shards import TokenStream, TokenTable

__all__ = ["GROUP", "TEXT_HASH", "TextEncoder", "text_encoder"]

GROUP = "clipmill.text_encoders"
TEXT_HASH = "left(sha256({}), 32)"
"""SQL for the hash of a text, which stands in `transform_hash`."""

LONGEST = 512
"""Positions of a text that a model of transformers sees, unless it was made for fewer."""


class TextEncoder(ABC):
    """Turns a text into one array: ids (positions,), or embeddings (positions, channels)."""

    name: str
    """Of its table, `tokens/NAME@...`."""
    stream: TokenStream

    @property
    @abstractmethod
    def settings(self) -> Mapping[str, Any]:
        """Everything that decides the outcome; another value is another table."""

    @abstractmethod
    def encode(self, text: str) -> NDArray[Any]:
        """The array of a text; one position at least, also of an empty one."""

    @cached_property
    def table(self) -> TokenTable:
        """Where its tokens are kept."""
        known = {"name": self.name, "stream": self.stream.packing.unit, **self.settings}
        spec = hashlib.sha256(json.dumps(known, sort_keys=True).encode()).hexdigest()
        weights = str(self.settings.get("weights", ""))
        return TokenTable(self.name, spec, weights, [self.stream], versions=self.versions)

    @property
    def versions(self) -> Mapping[str, str]:
        """Packages that decide the outcome."""
        return {"clipmill": version("clipmill")}


class Utf8(TextEncoder):
    """The bytes of a text and a 0, which no text holds."""

    name = "text/bytes"
    stream = TokenStream(levels=(256,))
    settings: Mapping[str, Any] = {"version": 1}

    def encode(self, text: str) -> NDArray[Any]:
        return np.frombuffer(text.replace("\0", " ").encode() + b"\0", np.uint8)


class Words(TextEncoder):
    """Hashes of words, the same that `zoo.layers.text` makes of a text while a generator runs."""

    name = "text/words"

    def __init__(self) -> None:
        from zoo.layers.text import BUCKETS, MOST_WORDS

        self.stream = TokenStream(levels=(BUCKETS,))
        self._settings = {"version": 1, "most": MOST_WORDS}

    @property
    def settings(self) -> Mapping[str, Any]:
        return self._settings

    def encode(self, text: str) -> NDArray[Any]:
        from zoo.layers.text import word_ids

        return word_ids([text])[0].numpy()


class Transformer(TextEncoder):
    """A text encoder of transformers, or its tokenizer alone. Weights are read when needed.

    `address` is a repository of the Hub or a folder, with `@revision` where one is wanted.
    """

    _CLASSES: ClassVar[Mapping[str, str]] = {
        "t5": "T5EncoderModel",
        "mt5": "MT5EncoderModel",
        "umt5": "UMT5EncoderModel",
        "clip": "CLIPTextModel",
        "clip_text_model": "CLIPTextModel",
        "siglip": "SiglipTextModel",
    }
    """Halves of models that read texts; of others the whole is taken."""

    def __init__(self, address: str, *, ids_only: bool = False):
        self._repo, _, revision = address.partition("@")
        if not self._repo:
            raise UsageError("hf: names no model", allowed="hf:ORG/NAME or hf:FOLDER")
        self._revision = revision or None
        self._ids_only = ids_only
        self._config = self._loaded("AutoConfig")
        text = getattr(self._config, "text_config", self._config)
        self._longest = min(LONGEST, getattr(text, "max_position_embeddings", LONGEST))
        plain = self._repo.rstrip("/").rsplit("/", 1)[-1]
        self.name = f"text/{plain}.ids" if ids_only else f"text/{plain}"
        self.stream = (
            TokenStream(levels=(max(len(self._tokenizer), text.vocab_size),))
            if ids_only
            else TokenStream(channels=text.hidden_size)
        )

    @cached_property
    def settings(self) -> Mapping[str, Any]:
        return {"version": 1, "longest": self._longest, "weights": self._fingerprint()}

    @property
    def versions(self) -> Mapping[str, str]:
        return {**super().versions, **{n: version(n) for n in ("torch", "transformers")}}

    def encode(self, text: str) -> NDArray[Any]:
        read = self._tokenizer(
            [text], truncation=True, max_length=self._longest, return_tensors="pt"
        )
        if self._ids_only:
            return np.asarray(read["input_ids"][0].numpy())
        import torch

        with torch.inference_mode():
            seen = {
                key: read[key].to(self._model.device) for key in ("input_ids", "attention_mask")
            }
            return np.asarray(self._model(**seen).last_hidden_state[0].float().cpu().numpy())

    def _fingerprint(self) -> str:
        """Of the files that decide the outcome: their hashes, or the commit on the Hub."""
        folder = Path(self._repo)
        if not folder.is_dir():
            return str(getattr(self._config, "_commit_hash", None) or self._revision or "main")
        names = ["tokenizer*", "vocab*", "merges*", "spiece*"]
        names += [] if self._ids_only else ["*.safetensors", "config.json"]
        files = sorted({path for name in names for path in folder.glob(name)})
        known = json.dumps([[path.name, file_sha256(path)] for path in files])
        return hashlib.sha256(known.encode()).hexdigest()

    @cached_property
    def _tokenizer(self) -> Any:
        return self._loaded("AutoTokenizer")

    @cached_property
    def _model(self) -> Any:
        import torch

        kind = self._CLASSES.get(self._config.model_type, "AutoModel")
        model = self._loaded(kind, use_safetensors=True).eval().requires_grad_(False)
        return model.to("cuda" if torch.cuda.is_available() else "cpu")

    def _loaded(self, kind: str, **options: Any) -> Any:
        try:
            import transformers
        except ImportError as error:
            raise MissingExtraError(
                "text encoders of the Hub need transformers",
                hint="pip install 'clipmill[adapters]'",
            ) from error
        try:
            return getattr(transformers, kind).from_pretrained(
                self._repo, revision=self._revision, trust_remote_code=False, **options
            )
        except (OSError, ValueError) as error:
            raise NotFoundError(
                f"no text encoder at {self._repo}: {str(error).strip().partition(chr(10))[0]}",
                allowed="a repository of the Hub or a folder with config.json, a tokenizer and "
                "safetensors",
            ) from error


def _ids_of(address: str) -> TextEncoder:
    return Transformer(address, ids_only=True)


_BUILT_IN: Mapping[str, Callable[[str], TextEncoder]] = {
    "bytes": lambda _: Utf8(),
    "words": lambda _: Words(),
    "hf": Transformer,
    "hf-ids": _ids_of,
}


def text_encoder(address: str) -> TextEncoder:
    """The encoder of a name, or of NAME:ADDRESS."""
    name, _, rest = address.partition(":")
    if name in _BUILT_IN:
        return _BUILT_IN[name](rest)
    found = {entry.name: entry for entry in entry_points(group=GROUP)}
    if name not in found:
        known = [*_BUILT_IN, *sorted(found)]
        raise NotFoundError(
            f"no text encoder is called {name!r}",
            allowed=", ".join(f"{n}:REPOSITORY" if n.startswith("hf") else n for n in known),
            hint=nearest(name, known),
        )
    make: Callable[[str], TextEncoder] = found[name].load()
    return make(rest)
