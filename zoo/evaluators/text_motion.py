"""Texts and motions as unit vectors of one space, near each other where they belong together.

Two readers, a transformer over hashed words and one over patches of frames, learn that each motion
of a batch is nearer to its own text than to the others (InfoNCE, both ways; arXiv 2103.00020).
Texts that are equal word by word are no negatives of each other. R-precision, matching scores and
Frechet distances of motion are measured in this space; numbers compare under one evaluator only, so
protocols carry the hash of its weights.

    model = TextMotion(Config(features=263))
    model.fit_normalizer(motions)
    fit_evaluator(model, Pairs(motions, texts), Training(steps=2000, batch=64), "runs/judge")
    judge = load_evaluator("runs/judge/model")
    judge.motions([features]), judge.texts(["a person walks"])

Batches, padding and company do not change a vector.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional

from zoo.artefact import CONFIG, FORMAT, WEIGHTS, read_config, read_weights
from zoo.card import Facts
from zoo.config import config_from_json, config_to_json
from zoo.errors import InputError, UsageError
from zoo.layers.attention import TransformerLayer, grid_positions, rotary_angles
from zoo.layers.normalise import Normalizer
from zoo.layers.text import WordReader, word_ids
from zoo.training.run import Lesson, Outcome, Run, Taught, autocast
from zoo.training.settings import Training

__all__ = ["Config", "PairBatch", "Pairs", "TextMotion", "fit_evaluator", "load_evaluator"]

FAMILY = "text_motion"
AT_ONCE = 64
_SHARPEST = math.log(100)


@dataclass(frozen=True)
class Config:
    """`features` of a frame; `patch` frames make a token of the motion reader."""

    features: int = 263
    fps: float = 20.0
    patch: int = 4
    dim: int = 128
    depth: int = 3
    heads: int = 4
    space: int = 128


@dataclass(frozen=True)
class PairBatch:
    """Motions (B, T, D), padded; how long they are (B,); and the words of their texts."""

    features: Tensor
    lengths: Tensor
    words: Tensor

    def __len__(self) -> int:
        return len(self.features)

    def to(self, device: torch.device | str) -> PairBatch:
        return PairBatch(*(t.to(device) for t in (self.features, self.lengths, self.words)))

    def split(self, parts: int) -> list[PairBatch]:
        """Equal parts, in order."""
        chunks = [t.split(len(self) // parts) for t in (self.features, self.lengths, self.words)]
        return [PairBatch(*part) for part in zip(*chunks, strict=True)]

    @classmethod
    def of(cls, motions: Sequence[Tensor], texts: Sequence[str]) -> Self:
        features, lengths = _padded(motions)
        return cls(features, lengths, word_ids(texts))


class MotionReader(nn.Module):
    """Normalised frames (B, T, D) to a vector for each motion."""

    def __init__(self, config: Config):
        super().__init__()
        self.patch, self.width = config.patch, config.dim // config.heads
        self.stem = nn.Linear(config.patch * config.features, config.dim)
        self.layers = nn.ModuleList(
            TransformerLayer(config.dim, config.heads) for _ in range(config.depth)
        )
        self.norm = nn.RMSNorm(config.dim)

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        counts = -(-lengths // self.patch)
        x = functional.pad(x, (0, 0, 0, -x.shape[1] % self.patch))
        x = self.stem(x.unflatten(1, (-1, self.patch)).flatten(2))
        seen = torch.arange(x.shape[1], device=x.device) < counts[:, None]
        angles = rotary_angles(grid_positions((x.shape[1],), x.device), self.width)
        for layer in self.layers:
            x = layer(x, angles=angles, mask=seen[:, None, None, :])
        return _pooled(self.norm(x), seen)


class TextMotion(nn.Module):
    """The evaluator; `sha256` names its weights once they are saved or loaded."""

    sha256: str = ""

    def __init__(self, config: Config | None = None):
        super().__init__()
        self.config = config or Config()
        dim = self.config.dim
        self.normalizer = Normalizer((self.config.features,))
        self.motion_reader = MotionReader(self.config)
        self.word_reader = WordReader(dim, self.config.depth, self.config.heads)
        self.motion_head = nn.Linear(dim, self.config.space)
        self.text_head = nn.Linear(dim, self.config.space)
        self.log_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))

    @property
    def device(self) -> torch.device:
        return self.log_scale.device

    @property
    def identity(self) -> str:
        """What a protocol says of this evaluator."""
        return f"clipmill {FAMILY}, weights sha256 {self.sha256[:12] or 'not saved'}"

    def fit_normalizer(self, motions: Sequence[Tensor]) -> None:
        """Take mean and deviation of every feature from motions (T, D) of the training set."""
        self.normalizer.fit(motions)

    def forward(self, batch: PairBatch) -> Tensor:
        """The contrastive loss, in nats."""
        motions = self.embed_motions(batch.features, batch.lengths)
        texts = self.embed_words(batch.words)
        logits = motions @ texts.T * self.log_scale.clamp(max=_SHARPEST).exp()
        twins = (batch.words[:, None] == batch.words[None]).all(-1)
        twins = twins & ~torch.eye(len(batch), dtype=torch.bool, device=logits.device)
        logits = logits.masked_fill(twins, -torch.inf)
        own = torch.arange(len(batch), device=logits.device)
        return (functional.cross_entropy(logits, own) + functional.cross_entropy(logits.T, own)) / 2

    def embed_motions(self, features: Tensor, lengths: Tensor) -> Tensor:
        """(B, space) of padded motions (B, T, D)."""
        inside = torch.arange(features.shape[1], device=features.device) < lengths[:, None]
        x = self.normalizer(features) * inside.unsqueeze(-1)
        return functional.normalize(self.motion_head(self.motion_reader(x, lengths)), dim=-1)

    def embed_words(self, words: Tensor) -> Tensor:
        """(B, space) of the words of texts, as `zoo.layers.text.word_ids` numbers them."""
        read = self.word_reader(words)
        return functional.normalize(self.text_head(_pooled(read, words.ne(0))), dim=-1)

    @torch.no_grad()
    def motions(self, motions: Sequence[Tensor]) -> Tensor:
        """Vectors (N, space) of motions (T, D) of any lengths, on the CPU."""
        self.eval()
        made = []
        for start in range(0, len(motions), AT_ONCE):
            features, lengths = _padded(motions[start : start + AT_ONCE])
            if features.shape[-1] != self.config.features:
                raise InputError(
                    f"motions of {features.shape[-1]} features",
                    allowed=f"{self.config.features}, as the evaluator learned",
                )
            made.append(self.embed_motions(features.to(self.device), lengths.to(self.device)).cpu())
        return torch.cat(made) if made else torch.zeros(0, self.config.space)

    @torch.no_grad()
    def texts(self, texts: Sequence[str]) -> Tensor:
        """Vectors (N, space) of texts, on the CPU."""
        self.eval()
        made = [
            self.embed_words(word_ids(texts[start : start + AT_ONCE]).to(self.device)).cpu()
            for start in range(0, len(texts), AT_ONCE)
        ]
        return torch.cat(made) if made else torch.zeros(0, self.config.space)

    def save(self, folder: str | Path) -> Path:
        """Write `model.safetensors` and `config.json`."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        tensors = {name: value.contiguous() for name, value in self.state_dict().items()}
        save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})
        self.sha256 = hashlib.sha256((folder / WEIGHTS).read_bytes()).hexdigest()
        known = {
            "format": FORMAT,
            "family": FAMILY,
            "config": config_to_json(self.config),
            "weights_file_sha256": self.sha256,
        }
        (folder / CONFIG).write_text(json.dumps(known, indent=2) + "\n")
        return folder


def load_evaluator(folder: str | Path) -> TextMotion:
    """The evaluator of a folder, in eval mode, after a check of its bytes."""
    folder = Path(folder)
    known = read_config(folder)
    if known.get("family") != FAMILY:
        raise UsageError(
            f"{folder} holds a model of family {known.get('family')!r}",
            allowed=f"an evaluator ({FAMILY})",
        )
    model = TextMotion(config_from_json(Config, known["config"]))
    model.sha256 = known["weights_file_sha256"]
    model.load_state_dict(read_weights(folder, model.sha256))
    return model.eval()


class Pairs:
    """Endless batches of motions, each with one of its texts, in an order that a seed decides."""

    def __init__(
        self,
        motions: Sequence[Tensor],
        texts: Sequence[Sequence[str]],
        *,
        batch: int,
        longest: int = 196,
        seed: int = 0,
    ):
        """Motions (T, D) are cut to `longest` frames at a random place."""
        if len(motions) != len(texts) or not all(texts):
            raise UsageError(
                f"{len(motions)} motions and {len(texts)} lists of texts",
                allowed="a list of one text or more for each motion",
            )
        if len(motions) < batch:
            raise UsageError(f"{len(motions)} motions do not fill a batch of {batch}")
        self.motions, self.texts = motions, texts
        self.batch, self.longest, self.seed = batch, longest, seed
        self.seen, self.rank, self.world = 0, 0, 1

    def __iter__(self) -> Iterator[PairBatch]:
        while True:
            dice = np.random.default_rng((self.seed, self.seen))
            self.seen += 1
            chosen = dice.permutation(len(self.motions))[: self.batch]
            motions = [self._cut(self.motions[number], dice) for number in chosen]
            texts = [str(dice.choice(list(self.texts[number]))) for number in chosen]
            whole = PairBatch.of(motions, texts)
            yield whole.split(self.world)[self.rank]

    def _cut(self, motion: Tensor, dice: np.random.Generator) -> Tensor:
        start = int(dice.integers(max(0, len(motion) - self.longest) + 1))
        return motion[start : start + self.longest]

    def state_dict(self) -> dict[str, Any]:
        return {"seen": self.seen}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.seen = state["seen"]

    def shard(self, rank: int, world: int) -> Pairs:
        feed = Pairs(
            self.motions, self.texts, batch=self.batch, longest=self.longest, seed=self.seed
        )
        feed.seen, feed.rank, feed.world = self.seen, rank, world
        return feed


def fit_evaluator(
    model: TextMotion,
    feed: Pairs,
    settings: Training,
    out_dir: str | Path,
    *,
    device: str | None = None,
    progress: bool = True,
) -> Outcome:
    """Train `model` to the end of `settings`, from its latest checkpoint in `out_dir` if any."""
    chosen = device or ("cuda" if torch.cuda.is_available() else "cpu")
    lesson = _Matching(model.to(chosen), settings)
    return Run(lesson, feed, settings, Path(out_dir), whole=True).go(progress, None)


class _Matching(Lesson[PairBatch]):
    """The contrastive loss of whole batches: parts are smaller games of the same kind."""

    model: TextMotion

    def __init__(self, model: TextMotion, settings: Training):
        self.model, self.settings, self.levels = model, settings, {}

    def check(self, batch: PairBatch) -> None:
        if batch.features.shape[-1] != self.model.config.features:
            raise InputError(
                f"motions of {batch.features.shape[-1]} features",
                allowed=str(self.model.config.features),
            )

    def parts(self, batch: PairBatch, count: int) -> Sequence[PairBatch]:
        return batch.to(self.model.device).split(count)

    def teach(self, part: PairBatch, share: float, step: int) -> Taught:
        with autocast(self.settings, self.model.device):
            loss = self.model(part)
        (loss * share).backward()
        return Taught({"loss": loss})

    def save(self, folder: Path, facts: Facts | None) -> None:
        self.model.save(folder)


def _padded(motions: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """(B, T, D) with zeros behind shorter ones, and their lengths."""
    lengths = torch.tensor([len(motion) for motion in motions])
    return nn.utils.rnn.pad_sequence([m.float() for m in motions], batch_first=True), lengths


def _pooled(x: Tensor, seen: Tensor) -> Tensor:
    """The mean over what is seen."""
    weights = seen.unsqueeze(-1).to(x.dtype)
    return (x * weights).sum(1) / weights.sum(1).clamp(min=1)
