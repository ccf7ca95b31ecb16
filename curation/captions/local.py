"""Captions from weights on this machine: image-text-to-text models of `transformers`.

    clipmill caption corpus --with hf:Qwen/Qwen2.5-VL-3B-Instruct --prompt dense

Works with the classes that `AutoModelForImageTextToText` knows (Qwen-VL, SmolVLM2, InternVL,
LLaVA and their like). Frames are given as single pictures. Image processors that work on PIL
pictures are taken, for the others need torchvision. When the memory of the device runs out, the
batch is halved, stays so, and the row says it.
"""

from __future__ import annotations

import hashlib
import io
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from catalogs.errors import MissingExtraError, UsageError
from curation.captions.base import Answer, CaptionError, Job
from curation.captions.prompted import PromptedCaptioner, Question, Reply
from curation.captions.prompts import Prompt

__all__ = ["LocalCaptioner"]

_HASHED_BYTES = 1 << 20


class LocalCaptioner(PromptedCaptioner):
    """A captioner whose model runs in this process."""

    def __init__(
        self,
        path: str,
        prompt: Prompt,
        *,
        revision: str | None = None,
        source: str | None = None,
        batch: int = 8,
        device: str | None = None,
    ):
        if batch < 1:
            raise UsageError(f"a batch of {batch}", allowed="1 or more")
        folder = Path(path)
        name = folder.name if folder.is_dir() else path
        known = revision or (_fingerprint(folder) if folder.is_dir() else "main")
        super().__init__(f"hf:{name}", known, prompt, source)
        self._path, self._asked_revision = path, revision
        self._batch = self._asked_batch = batch
        self._device = device
        self._model: Any = None
        self._processor: Any = None

    def setup(self, pending: Path) -> None:
        try:
            import torch
            from transformers import AutoModelForImageTextToText, AutoProcessor
        except ImportError as error:
            raise MissingExtraError(
                f"captioners of transformers cannot be loaded: {error}",
                hint="pip install 'clipmill[adapters]'",
            ) from error
        options = {} if self._asked_revision is None else {"revision": self._asked_revision}
        device = self._device or ("cuda" if torch.cuda.is_available() else "cpu")
        dtype = torch.bfloat16 if device.startswith("cuda") else torch.float32
        try:
            self._processor = AutoProcessor.from_pretrained(
                self._path, backend="pil", trust_remote_code=False, **options
            )
            model = AutoModelForImageTextToText.from_pretrained(
                self._path, dtype=dtype, trust_remote_code=False, **options
            )
        except ImportError as error:
            raise MissingExtraError(
                f"{self._path} cannot be loaded without another package: {error}",
                hint="where it asks for torchvision: take a model whose image processor also works "
                "on PIL pictures, or serve this one and use openai:MODEL",
            ) from error
        except (OSError, ValueError) as error:
            raise UsageError(
                f"{self._path} cannot be loaded: {str(error).splitlines()[0]}",
                allowed="a folder or Hub name of an image-text-to-text model of transformers",
            ) from error
        self._model = model.to(device).eval()
        self._tokenizer.padding_side = "left"

    @property
    def _tokenizer(self) -> Any:
        return getattr(self._processor, "tokenizer", self._processor)

    def ask(self, question: Question) -> Reply:
        return self._ask_many([question])[0]

    def answers(self, jobs: Iterable[Job]) -> Iterator[tuple[Job, Answer]]:
        """Windows in batches; key frames one clip after the other."""
        if self.prompt.way == "differences":
            yield from super().answers(jobs)
            return
        waiting: list[tuple[Job, Question]] = []
        for job in jobs:
            question = self.question(job)
            if question is None:
                yield job, Answer(())
                continue
            waiting.append((job, question))
            if len(waiting) >= self._batch:
                yield from self._batched(waiting)
                waiting = []
        if waiting:
            yield from self._batched(waiting)

    def _batched(self, waiting: Sequence[tuple[Job, Question]]) -> Iterator[tuple[Job, Answer]]:
        try:
            replies = self._ask_many([question for _, question in waiting])
        except CaptionError as error:
            for job, _ in waiting:
                yield job, Answer((), problem=str(error))
            return
        for (job, question), reply in zip(waiting, replies, strict=True):
            yield job, self.finished(job, question, reply)

    def _ask_many(self, questions: Sequence[Question]) -> list[Reply]:
        """Replies of all questions; the batch shrinks for good when memory runs out."""
        import torch

        replies: list[Reply] = []
        while len(replies) < len(questions):
            part = questions[len(replies) : len(replies) + self._batch]
            try:
                replies += self._generated(part)
            except torch.OutOfMemoryError as error:
                if len(part) == 1:
                    raise CaptionError(
                        "one window alone needs more memory than the device has",
                        hint="show fewer or smaller pictures: --frames, --size",
                    ) from error
                self._batch = max(1, len(part) // 2)
                if torch.cuda.is_available():
                    torch.cuda.empty_cache()
        return replies

    def _generated(self, questions: Sequence[Question]) -> list[Reply]:
        import torch

        began = time.perf_counter()
        inputs = self._inputs(questions).to(self._model.device)
        first = questions[0]
        sampling = (
            {"do_sample": True, "temperature": first.temperature}
            if first.temperature > 0
            else {"do_sample": False}
        )
        with torch.inference_mode():
            out = self._model.generate(**inputs, max_new_tokens=first.max_tokens, **sampling)
        written = out[:, inputs["input_ids"].shape[1] :].cpu()
        read = inputs["attention_mask"].sum(dim=1).tolist()
        seconds = (time.perf_counter() - began) / len(questions)
        return [
            self._reply(row, int(count), first.max_tokens, seconds)
            for row, count in zip(written, read, strict=True)
        ]

    def _reply(self, row: Any, read: int, most: int, seconds: float) -> Reply:
        special = set(self._tokenizer.all_special_ids)
        text = self._tokenizer.decode(row, skip_special_tokens=True).strip()
        written = sum(int(token) not in special for token in row.tolist())
        ended = written < min(most, len(row)) or len(row) < most
        note = f"batch shrunk to {self._batch}" if self._batch < self._asked_batch else None
        return Reply(text, "stop" if ended else "length", read + written, None, seconds, note)

    def _inputs(self, questions: Sequence[Question]) -> Any:
        from PIL import Image

        talks, pictures = [], []
        for question in questions:
            shown = [Image.open(io.BytesIO(jpeg)).convert("RGB") for jpeg in question.pictures]
            content = [{"type": "image"} for _ in shown]
            talk = [
                {"role": "user", "content": [*content, {"type": "text", "text": question.words}]}
            ]
            if question.said:
                answer, wrong = question.said
                talk += [
                    {"role": "assistant", "content": [{"type": "text", "text": answer}]},
                    {"role": "user", "content": [{"type": "text", "text": wrong}]},
                ]
            talks.append(self._processor.apply_chat_template(talk, add_generation_prompt=True))
            pictures.append(shown)
        options: dict[str, Any] = {"images": pictures} if any(pictures) else {}
        return self._processor(text=talks, padding=True, return_tensors="pt", **options)


def _fingerprint(folder: Path) -> str:
    """A revision for weights in a folder: their sizes and beginnings, and the configuration."""
    digest = hashlib.sha256()
    for file in sorted(folder.iterdir()):
        if file.suffix in (".safetensors", ".json") and file.is_file():
            digest.update(f"{file.name}:{file.stat().st_size}:".encode())
            with file.open("rb") as opened:
                digest.update(opened.read(_HASHED_BYTES))
    return digest.hexdigest()[:12]
