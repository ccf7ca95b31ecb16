"""One vocabulary for all: text, camera, sound and video ids, drawn one after the other.

An example is a row of segments, each with its own codes; inside of the model they have ranges of
ids of their own that do not touch. A task says which segments are given and which are made; its
token stands in front, what is given follows, and what is made is learned. So text to video, video
to sound and camera to video are one network with one loss.

    x = model.joined(text=words, video=ids)          # columns of a shard as one row
    made = model.sample(4, known=model.known(text=words))
    model.parted(made.x)["video"]

VideoPoet is this with text, video and sound; CamViG with a camera path, which `binned` makes ids;
Video-LaVIT with key frames and the motion that follows them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import accumulate, chain

import torch
from torch import Tensor, nn
from torch.nn import functional

from zoo.errors import InputError, UsageError, nearest
from zoo.generator import Batch, Condition, Conditions, Decoding, Generator, Known, Samples, Space
from zoo.layers.backbone import Backbone, BackboneConfig, Conditioner, View
from zoo.layers.codes import PlaceEmbedding, choose, guided
from zoo.registry import Preset
from zoo.tokenizer import State


@dataclass(frozen=True)
class Segment:
    """`length` ids of one kind."""

    name: str
    codes: int
    length: int


@dataclass(frozen=True)
class Task:
    """Which segments are given and which are made, in their order."""

    name: str
    made: tuple[str, ...]
    given: tuple[str, ...] = ()


@dataclass(frozen=True)
class Config:
    """The space is all segments in a row. The first task is the one that draws with nothing known,
    and the one whose likelihood is measured."""

    space: Space
    segments: tuple[Segment, ...]
    tasks: tuple[Task, ...]
    conditions: tuple[Condition, ...] = ()
    backbone: BackboneConfig = field(default_factory=BackboneConfig)
    drop: float = 0.1


class Multimodal(Generator):
    """A backbone that sees the past of a row of segments."""

    config_class = Config
    exact_nll = True
    lesson_steps = 150

    def __init__(self, config: Config):
        super().__init__(config)
        length = sum(segment.length for segment in config.segments)
        most = max(segment.codes for segment in config.segments)
        if config.space.grid != (length,) or config.space.levels != (most,):
            raise UsageError(
                f"the segments do not fill {config.space}", allowed=f"grid ({length},), ({most},)"
            )
        named = {segment.name for segment in config.segments}
        for task in config.tasks:
            unknown = sorted({*task.given, *task.made} - named)
            if unknown:
                raise UsageError(
                    f"task {task.name!r} has no segment {unknown[0]!r}",
                    hint=nearest(unknown[0], named),
                )
        dim = config.backbone.dim
        # Of each place of the row: the first id of its range, and how many there are.
        ends = list(accumulate(segment.codes for segment in config.segments))
        firsts = [[end - s.codes] * s.length for end, s in zip(ends, config.segments, strict=True)]
        sizes = [[segment.codes] * segment.length for segment in config.segments]
        self.register_buffer("first", torch.tensor(list(chain(*firsts))), False)
        self.register_buffer("size", torch.tensor(list(chain(*sizes))), False)
        self.codes = sum(segment.codes for segment in config.segments)
        self.conditioner = Conditioner(config.conditions, config.backbone)
        self.backbone = Backbone(
            config.backbone,
            context=self.conditioner.has_context,
            modulated=self.conditioner.has_vector,
        )
        # The tokens of the tasks follow the codes.
        self.embedding = nn.Embedding(self.codes + len(config.tasks), dim)
        self.places = PlaceEmbedding(config.space.grid, dim)
        self.head = nn.Linear(dim, self.codes)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    first: Tensor
    size: Tensor

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        task = int(torch.randint(len(self.config.tasks), ()))
        nats, counted = self._surprise(batch, task)
        return {"nll": (nats * counted).sum() / counted.sum().clamp(min=1)}

    @torch.no_grad()
    def nll(self, batch: Batch, seed: int = 0) -> Tensor:
        """Exact, of what the first task makes."""
        nats, counted = self._surprise(batch, 0)
        return (nats * counted).sum(1) / counted.sum(1)

    def draw(
        self,
        x: Tensor,
        conditions: Conditions,
        decoding: Decoding,
        dice: torch.Generator,
        known: Known | None,
        lengths: Tensor | None,
    ) -> Samples:
        task = self.task_of(known)
        order, given_count = self._order(task, x.shape[1])
        twice = decoding.guidance != 1
        copies = 2 if twice else 1
        both = conditions.joined(conditions.none()) if twice else conditions
        given, state, ids = self.conditioner(both, len(x) * copies), State(), x.clone()
        before = torch.full_like(x[:, :1], self.codes + task)
        for step, place in enumerate(order.tolist()):
            here = order[step : step + 1]
            view = View(here.unsqueeze(1), causal=True)
            inputs = (self.embedding(before) + self.places(view.positions)).repeat(copies, 1, 1)
            features = self.backbone(inputs, view, given, state)
            if step < given_count and known is not None:
                drawn = known.x[:, place]
            else:
                logits = self._logits(features, here)[:, 0]
                if twice:
                    asked, free = logits.chunk(2)
                    logits = guided(asked, free, decoding.guidance)
                drawn = choose(logits, decoding, dice) - self.first[place]
            if known is not None:
                drawn = torch.where(known.mask[:, place], known.x[:, place], drawn)
            ids[:, place] = drawn
            before = (drawn + self.first[place]).unsqueeze(1)
        return Samples(ids, lengths)

    def task_of(self, known: Known | None) -> int:
        """The task that is given most of what is known as a whole; the first if nothing is."""
        if known is None:
            return 0
        whole = [
            segment.name
            for segment in self.config.segments
            if bool(known.mask[:, self._places(segment.name)].all())
        ]
        fits = [i for i, task in enumerate(self.config.tasks) if set(task.given) <= set(whole)]
        return max(fits, key=lambda i: len(self.config.tasks[i].given), default=0)

    def joined(self, **columns: Tensor) -> Tensor:
        """Segments (B, length) as rows of the space; those that are missing are zeros."""
        return self.known(**columns).x

    def known(self, **columns: Tensor) -> Known:
        """Segments (B, length) as what is known."""
        self._check_columns(columns)
        batch = len(next(iter(columns.values())))
        x = torch.zeros(self.space.shape(batch), dtype=torch.long)
        mask = torch.zeros(x.shape, dtype=torch.bool)
        for name, ids in columns.items():
            x[:, self._places(name)], mask[:, self._places(name)] = ids.flatten(1).cpu(), True
        return Known(x, mask)

    def parted(self, x: Tensor) -> dict[str, Tensor]:
        """The segments of rows, by name."""
        return {s.name: x[:, self._places(s.name)] for s in self.config.segments}

    def _check_columns(self, columns: Mapping[str, Tensor]) -> None:
        segments = {segment.name: segment for segment in self.config.segments}
        for name, ids in columns.items():
            if name not in segments:
                raise UsageError(
                    f"there is no segment {name!r}",
                    allowed=", ".join(segments),
                    hint=nearest(name, segments),
                )
            segment, count = segments[name], ids[0].numel()
            if count != segment.length or not 0 <= int(ids.min()) <= int(ids.max()) < segment.codes:
                raise InputError(
                    f"{name} has {count} ids from {int(ids.min())} to {int(ids.max())}",
                    allowed=f"{segment.length} ids from 0 to {segment.codes - 1}",
                )

    def _places(self, name: str) -> slice:
        start = 0
        for segment in self.config.segments:
            if segment.name == name:
                break
            start += segment.length
        return slice(start, start + segment.length)

    def _order(self, task: int, frames: int) -> tuple[Tensor, int]:
        """The places of a task, given ones first, and how many those are."""
        row = torch.arange(self.space.grid[0], device=self.device)
        chosen = self.config.tasks[task]
        parts = [row[self._places(name)] for name in (*chosen.given, *chosen.made)]
        parts = [part[part < frames] for part in parts]
        return torch.cat(parts), sum(len(part) for part in parts[: len(chosen.given)])

    def _surprise(self, batch: Batch, task: int) -> tuple[Tensor, Tensor]:
        """Nats (B, places of the task), and which of them count."""
        order, given_count = self._order(task, batch.x.shape[1])
        ids = batch.x[:, order] + self.first[order]
        start = torch.full_like(ids[:, :1], self.codes + task)
        view = View(order.unsqueeze(1), causal=True)
        x = self.embedding(torch.cat([start, ids[:, :-1]], dim=1)) + self.places(view.positions)
        given = self.conditioner(batch.conditions, len(ids))
        logits = self._logits(self.backbone(x, view, given), order)
        nats = functional.cross_entropy(logits.transpose(1, 2).float(), ids, reduction="none")
        counted = batch.valid()[:, order] & (
            torch.arange(len(order), device=ids.device) >= given_count
        )
        return nats, counted

    def _logits(self, features: Tensor, places: Tensor) -> Tensor:
        """Logits of the whole vocabulary, minus infinity outside of the range of a place."""
        code = torch.arange(self.codes, device=features.device)
        first, size = self.first[places].unsqueeze(1), self.size[places].unsqueeze(1)
        possible = (code >= first) & (code < first + size)
        logits: Tensor = self.head(features).masked_fill(~possible, -torch.inf)
        return logits


def binned(values: Tensor, codes: int, limit: float) -> Tensor:
    """Numbers (B, ...) between -limit and limit as ids (B, n), one for each of `codes` bins."""
    ids = ((values.flatten(1) / limit + 1) / 2 * codes).floor().long()
    return ids.clamp(0, codes - 1)


def unbinned(ids: Tensor, codes: int, limit: float) -> Tensor:
    """The middles of bins."""
    return ((ids + 0.5) / codes * 2 - 1) * limit


def _config(
    modality: str,
    segments: tuple[Segment, ...],
    tasks: tuple[Task, ...],
    backbone: BackboneConfig,
    conditions: tuple[Condition, ...] = (),
) -> Config:
    length = sum(segment.length for segment in segments)
    most = max(segment.codes for segment in segments)
    return Config(Space(modality, (length,), (most,)), segments, tasks, conditions, backbone)


PRESETS = (
    Preset(
        "video/multimodal_ar_tiny",
        Multimodal,
        _config(
            "video",
            (Segment("camera", 8, 2), Segment("video", 8, 4), Segment("sound", 8, 2)),
            (
                Task("all", ("camera", "video", "sound")),
                Task("film", ("video", "sound"), ("camera",)),
                Task("dub", ("sound",), ("video",)),
            ),
            BackboneConfig(48, 2, 2),
            (Condition("label", "class", 4), Condition("text", "words")),
        ),
        "VideoPoet, arXiv 2312.14125",
    ),
    Preset(
        "video/multimodal_ar_videopoet.1b",
        Multimodal,
        _config(
            "video",
            (
                Segment("text", 4096, 64),
                Segment("video", 2**18, 1280),
                Segment("sound", 4096, 106),
            ),
            (
                Task("video alone", ("video",)),
                Task("text to video", ("video",), ("text",)),
                Task("video to sound", ("sound",), ("video",)),
                Task("text to both", ("video", "sound"), ("text",)),
            ),
            BackboneConfig(1536, 24, 16),
        ),
        "VideoPoet, arXiv 2312.14125",
        "video/multimodal_ar_tiny",
        serves=("videopoet",),
    ),
    Preset(
        "video/multimodal_ar_camvig.re10k",
        Multimodal,
        _config(
            "video",
            (Segment("camera", 256, 102), Segment("video", 2**18, 1280)),
            (
                Task("both", ("camera", "video")),
                Task("camera to video", ("video",), ("camera",)),
            ),
            BackboneConfig(1024, 16, 16),
        ),
        "CamViG, arXiv 2405.13195",
        "video/multimodal_ar_tiny",
        serves=("camvig",),
    ),
    Preset(
        "video/multimodal_ar_lavit.webvid",
        Multimodal,
        _config(
            "video",
            (
                Segment("text", 4096, 64),
                Segment("keyframe", 16_384, 256),
                Segment("motion", 1024, 135),
            ),
            (
                Task("clip", ("keyframe", "motion")),
                Task("text to clip", ("keyframe", "motion"), ("text",)),
            ),
            BackboneConfig(1024, 24, 16),
        ),
        "Video-LaVIT, arXiv 2402.03161",
        "video/multimodal_ar_tiny",
        serves=("video-lavit",),
    ),
)
