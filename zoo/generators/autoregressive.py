"""Ids one after the other: the likelihood of a grid as a product over its places in some order.

Each step sees what came before, the place it is about to fill, and the conditions. The order is
fixed (rows of frames, or coarse to fine) or drawn anew for each batch. Codes of several levels are
read one after the other (`flat`), shifted against each other so that a step draws one level of each
of several places (`delay`), or drawn by a small transformer inside of a step (`depth`). Where clips
differ in length an id of its own ends them, so the model decides how long a sample is.

VideoGPT, TATS, Loong and LARP in video, T2M-GPT and TM2D in motion are this with other sizes,
tokenizers and conditions.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from zoo.errors import UsageError
from zoo.generator import Batch, Condition, Conditions, Decoding, Generator, Known, Samples, Space
from zoo.layers.attention import TransformerLayer, grid_positions
from zoo.layers.backbone import Backbone, BackboneConfig, Conditioner, View
from zoo.layers.codes import CodeEmbedding, CodeHead, PlaceEmbedding, choose, guided
from zoo.layers.orders import NOTHING, Arrangement, Order, Steps, place_order
from zoo.registry import Preset
from zoo.tokenizer import State


@dataclass(frozen=True)
class Config:
    """`ends` adds the id that ends a clip, for clips of different length."""

    space: Space
    conditions: tuple[Condition, ...] = ()
    backbone: BackboneConfig = field(default_factory=BackboneConfig)
    order: Order = "raster"
    arrangement: Arrangement = "flat"
    depth_layers: int = 2
    ends: bool = False
    drop: float = 0.1


class Autoregressive(Generator):
    """A backbone that sees the past, and heads for the ids of a step."""

    config_class = Config
    exact_nll = True

    def __init__(self, config: Config):
        super().__init__(config)
        space, dim = config.space, config.backbone.dim
        if not space.discrete:
            raise UsageError("this generator draws ids", allowed="a space with code levels")
        if config.ends and config.order != "raster":
            raise UsageError(f"order {config.order!r} has no end", allowed='order="raster"')
        self.conditioner = Conditioner(config.conditions, config.backbone)
        self.backbone = Backbone(
            config.backbone,
            context=self.conditioner.has_context,
            modulated=self.conditioner.has_vector,
        )
        flat = config.arrangement == "flat"
        self.vocabularies = (sum(space.levels),) if flat else space.levels
        self.embedding = CodeEmbedding(self.vocabularies, dim, extra=1)
        self.places = PlaceEmbedding(space.grid, dim)
        self.level = nn.Embedding(len(space.levels), dim)
        self.head = CodeHead(self.vocabularies, dim, extra=1 if config.ends else 0)
        self.inner = nn.ModuleList(
            TransformerLayer(dim, max(1, dim // 64))
            for _ in range(config.depth_layers if config.arrangement == "depth" else 0)
        )
        offsets = torch.tensor([0, *space.levels[:-1]]).cumsum(0)
        self.register_buffer("offsets", offsets if flat else torch.zeros_like(offsets), False)

    offsets: Tensor

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        surprise, counted = self._surprise(batch, None)
        return {"nll": surprise.sum() / counted.sum()}

    @torch.no_grad()
    def nll(self, batch: Batch, seed: int = 0) -> Tensor:
        """Exact, in the order of `seed` where the order is random."""
        surprise, counted = self._surprise(batch, torch.Generator().manual_seed(seed))
        return surprise.sum((1, 2)) / counted.sum((1, 2))

    def _surprise(self, batch: Batch, dice: torch.Generator | None) -> tuple[Tensor, Tensor]:
        """Nats of each slot (B, steps, slots), and which slots count."""
        grid = tuple(batch.x.shape[1 : 1 + len(self.space.grid)])
        order = place_order(self.config.order, grid, dice).to(batch.x.device)
        ids = self._as_places(batch.x)[:, order]
        steps = Steps(len(order), len(self.space.levels), self.config.arrangement)
        targets, counted = self._targets(steps, ids, order, grid, batch)
        given = self.conditioner(batch.conditions, len(ids))
        inputs = torch.cat([targets.new_full(targets[:, :1].shape, NOTHING), targets[:, :-1]], 1)
        view = self._view(order, steps, grid)
        features = self.backbone(self._embedded(inputs, steps, view, 0), view, given)
        logits = self._logits(features, targets, 0, steps, grid)
        surprise = torch.stack(
            [
                functional.cross_entropy(
                    part.flatten(0, 1), targets[..., slot].clamp(min=0).flatten(), reduction="none"
                ).view(targets.shape[:2])
                for slot, part in enumerate(logits)
            ],
            dim=-1,
        )
        return torch.where(counted, surprise, 0.0), counted

    def _targets(
        self, steps: Steps, ids: Tensor, order: Tensor, grid: tuple[int, ...], batch: Batch
    ) -> tuple[Tensor, Tensor]:
        """Ids of every slot, the end included, and which of them are to be learned."""
        frame = order // (len(order) // grid[0])
        valid = batch.valid()[:, frame].unsqueeze(-1).expand(ids.shape)
        if self.config.ends and batch.lengths is not None:
            # The first place behind the last frame that counts holds the end.
            behind = batch.lengths.to(ids.device) * (len(order) // grid[0])
            rows = torch.arange(len(ids), device=ids.device)[behind < len(order)]
            ids, valid = ids.clone(), valid.clone()
            ids[rows, behind[rows], 0] = self.vocabularies[0]
            valid[rows, behind[rows], 0] = True
        targets = steps.split(ids)
        return targets, steps.split(valid.long()).eq(1)

    def draw(
        self,
        x: Tensor,
        conditions: Conditions,
        decoding: Decoding,
        dice: torch.Generator,
        known: Known | None,
        lengths: Tensor | None,
    ) -> Samples:
        grid = tuple(x.shape[1 : 1 + len(self.space.grid)])
        order = place_order(self.config.order, grid).to(x.device)
        if self.config.order == "random":
            order = _known_first(torch.randperm(len(order), generator=dice, device=x.device), known)
        steps = Steps(len(order), len(self.space.levels), self.config.arrangement)
        fixed = self._fixed(known, order, steps)
        both = conditions.joined(conditions.none()) if decoding.guidance != 1 else conditions
        copies = 2 if decoding.guidance != 1 else 1
        given, state = self.conditioner(both, len(x) * copies), State()
        slots = x.new_full((len(x), steps.length, steps.slots), NOTHING)
        ended = x.new_full((len(x),), grid[0])
        view = self._view(order, steps, grid)
        before = slots[:, :1]
        for step in range(steps.length):
            here = View(view.positions[step : step + 1], causal=True)
            fed = self._embedded(before, steps, here, step).repeat(copies, 1, 1)
            features = self.backbone(fed, here, given, state)
            drawn = self._drawn(features, step, steps, grid, decoding, dice)
            if fixed is not None:
                drawn = torch.where(fixed[:, step] == NOTHING, drawn, fixed[:, step])
            if self.config.ends:
                drawn, ended = self._ended(drawn, ended, step, steps, grid)
                if bool((ended * self._per_frame(steps, grid) + steps.slots <= step).all()):
                    break
            slots[:, step] = drawn
            before = slots[:, step : step + 1]
        ids = steps.join(slots.clamp(min=0))[:, order.argsort()]
        made = self._as_grid(ids, x.shape)
        return Samples(made, ended if self.config.ends else lengths)

    def _drawn(
        self,
        features: Tensor,
        step: int,
        steps: Steps,
        grid: tuple[int, ...],
        decoding: Decoding,
        dice: torch.Generator,
    ) -> Tensor:
        """Ids (B, slots) of one step from the features of both halves of guidance."""
        count = len(features) // (1 if decoding.guidance == 1 else 2)
        drawn: list[Tensor] = []
        for slot in range(steps.slots):
            sofar = torch.stack(drawn, -1) if drawn else features.new_zeros(count, 0).long()
            ids = functional.pad(sofar, (0, steps.slots - len(drawn)), value=0).unsqueeze(1)
            ids = ids.repeat(len(features) // count, 1, 1)
            logits = self._logits(features, ids, step, steps, grid, slot)[0][:, 0]
            if decoding.guidance != 1:
                logits = guided(logits[:count], logits[count:], decoding.guidance)
            drawn.append(choose(logits, decoding, dice))
        ids = torch.stack(drawn, -1)
        places = torch.arange(steps.slots, device=ids.device)
        if steps.arrangement == "delay":
            ids = ids.masked_fill((places > step) | (step - places >= steps.count), NOTHING)
        return ids

    def _ended(
        self, drawn: Tensor, ended: Tensor, step: int, steps: Steps, grid: tuple[int, ...]
    ) -> tuple[Tensor, Tensor]:
        """The end is noted and replaced by an id that decodes."""
        ends = drawn[:, 0] == self.vocabularies[0]
        frame = int(steps.places()[step]) // (steps.count // grid[0])
        ended = torch.where(ends & (ended > frame), frame, ended)
        drawn = drawn.clone()
        drawn[ends, 0] = 0
        return drawn, ended

    def _embedded(self, slots: Tensor, steps: Steps, view: View, start: int) -> Tensor:
        """What goes in: the ids of the step before, the place and level that are to be filled."""
        codes = torch.tensor(self.vocabularies, device=slots.device)
        ids = torch.minimum(torch.where(slots == NOTHING, codes, slots), codes)
        x = self.embedding(ids) + self.places(view.positions)
        if steps.arrangement == "flat":
            level = torch.arange(start, start + slots.shape[1], device=slots.device)
            x = x + self.level(level.remainder(steps.levels))
        return x

    def _logits(
        self,
        features: Tensor,
        ids: Tensor,
        start: int,
        steps: Steps,
        grid: tuple[int, ...],
        slot: int | None = None,
    ) -> list[Tensor]:
        """Logits of every slot (or of one), minus infinity at ids that cannot come there."""
        chosen = range(steps.slots) if slot is None else (slot,)
        if self.inner:
            features = self._inside(features, ids)
            logits = [self.head.outs[s](features[:, :, s]) for s in chosen]
        else:
            logits = [self.head.outs[s](features) for s in chosen]
        step = torch.arange(start, start + features.shape[1], device=features.device)
        return [
            part.masked_fill(~self._possible(s, step, steps, grid), -torch.inf)
            for s, part in zip(chosen, logits, strict=True)
        ]

    def _inside(self, features: Tensor, ids: Tensor) -> Tensor:
        """(B, steps, slots, dim): each slot knows the ids of the slots before it."""
        levels = len(self.vocabularies)
        known = [torch.zeros_like(features)]
        known += [self.embedding.tables[s](ids[..., s].clamp(min=0)) for s in range(levels - 1)]
        x = torch.stack(known, dim=2).cumsum(2) + features.unsqueeze(2) + self.level.weight
        shape, mask = x.shape, torch.ones(levels, levels, device=x.device).tril().bool()
        x = x.flatten(0, 1)
        for layer in self.inner:
            x = layer(x, mask=mask)
        return x.view(shape)

    def _possible(self, slot: int, step: Tensor, steps: Steps, grid: tuple[int, ...]) -> Tensor:
        """(steps, vocabulary) True where an id may come."""
        vocabulary = self.vocabularies[slot] + bool(self.config.ends)
        code = torch.arange(vocabulary, device=step.device)
        if steps.arrangement == "flat":
            level = step.remainder(steps.levels)
            first = self.offsets[level].unsqueeze(1)
            size = torch.tensor(self.space.levels, device=step.device)[level].unsqueeze(1)
            possible = (code >= first) & (code < first + size)
        else:
            possible = (code < self.vocabularies[slot]).expand(len(step), -1)
        if self.config.ends and slot == 0:
            frame = self._per_frame(steps, grid)
            begins = step.remainder(frame).eq(0) & step.gt(0) & step.lt(frame * grid[0])
            possible = possible | (begins.unsqueeze(1) & (code == self.vocabularies[0]))
        return possible

    @staticmethod
    def _per_frame(steps: Steps, grid: tuple[int, ...]) -> int:
        """Steps from the first place of one frame to that of the next."""
        places = steps.count // grid[0]
        return places * steps.levels if steps.arrangement == "flat" else places

    def _fixed(self, known: Known | None, order: Tensor, steps: Steps) -> Tensor | None:
        """Slots that are known, NOTHING elsewhere; they must come first in the order."""
        if known is None:
            return None
        mask = known.mask.flatten(1)[:, order]
        if bool((mask[:, 1:] & ~mask[:, :-1]).any()):
            raise UsageError(
                "this generator goes on from what is known, it does not fill in between",
                allowed=f"what comes first in {self.config.order} order",
                hint="a masked generator fills any part",
            )
        ids = self._as_places(known.x)[:, order].masked_fill(~mask.unsqueeze(-1), NOTHING)
        return steps.split(ids)

    def _view(self, order: Tensor, steps: Steps, grid: tuple[int, ...]) -> View:
        places = steps.places().to(order.device)
        return View(grid_positions(grid, order.device)[order][places], causal=True)

    def _as_places(self, x: Tensor) -> Tensor:
        """(B, *grid[, levels]) as (B, places, levels) in one vocabulary where levels share it."""
        ids = x.view(len(x), -1, len(self.space.levels))
        return ids + self.offsets

    def _as_grid(self, ids: Tensor, shape: torch.Size) -> Tensor:
        return (ids - self.offsets).clamp(min=0).view(shape)


def _known_first(order: Tensor, known: Known | None) -> Tensor:
    """A random order begins with what all examples know."""
    if known is None:
        return order
    later = ~known.mask.flatten(1).all(dim=0)[order]
    return order[later.long().argsort(stable=True)]


_ASKED = (Condition("label", "class", 4), Condition("text", "words"))


def _tiny(modality: str, grid: tuple[int, ...], levels: tuple[int, ...], **options: Any) -> Config:
    options.setdefault("backbone", BackboneConfig(dim=48, depth=2, heads=2))
    return Config(Space(modality, grid, levels), _ASKED, **options)


def _video(grid: tuple[int, ...], codes: int, dim: int, depth: int, heads: int) -> Config:
    return Config(
        Space("video", grid, (codes,)),
        (Condition("label", "class", 101),),
        BackboneConfig(dim, depth, heads),
    )


PRESETS = (
    Preset(
        "video/autoregressive_tiny",
        Autoregressive,
        _tiny("video", (3, 2, 2), (8,)),
        "VideoGPT, arXiv 2104.10157",
        serves=("videogpt",),
    ),
    Preset(
        "video/autoregressive_random_tiny",
        Autoregressive,
        _tiny("video", (3, 2, 2), (8,), order="random"),
        "LARP, arXiv 2410.21264",
    ),
    Preset(
        "motion/autoregressive_tiny",
        Autoregressive,
        _tiny(
            "motion",
            (8,),
            (8,),
            ends=True,
            backbone=BackboneConfig(48, 2, 2, shared_heads=1, reads="prefix"),
        ),
        "T2M-GPT, arXiv 2301.06052",
    ),
    Preset(
        "motion/autoregressive_delay_tiny",
        Autoregressive,
        _tiny("motion", (6,), (8, 8), arrangement="delay"),
        "MusicGen's pattern, arXiv 2306.05284",
    ),
    Preset(
        "motion/autoregressive_depth_tiny",
        Autoregressive,
        _tiny("motion", (6,), (8, 8), arrangement="depth", depth_layers=1),
        "RQ-Transformer, arXiv 2203.01941",
    ),
    Preset(
        "video/autoregressive_videogpt.ucf",
        Autoregressive,
        _video((4, 16, 16), 1024, 1024, 20, 16),
        "VideoGPT, arXiv 2104.10157",
        "video/autoregressive_tiny",
    ),
    Preset(
        "video/autoregressive_tats.ucf",
        Autoregressive,
        _video((4, 16, 16), 16384, 1024, 24, 16),
        "TATS, arXiv 2204.03638",
        "video/autoregressive_tiny",
        serves=("tats",),
    ),
    Preset(
        "motion/autoregressive_t2mgpt.humanml3d",
        Autoregressive,
        Config(
            Space("motion", (49,), (512,)),
            (Condition("text", "embeddings", 512),),
            BackboneConfig(1024, 18, 16, reads="prefix"),
            ends=True,
        ),
        "T2M-GPT, arXiv 2301.06052",
        "motion/autoregressive_tiny",
        published={"FID, HumanML3D test": 0.116, "R-precision top 1, HumanML3D test": 0.491},
    ),
    Preset(
        "video/autoregressive_loong.700m",
        Autoregressive,
        Config(
            Space("video", (17, 16, 16), (8192,)),
            (Condition("text", "embeddings", 2048),),
            BackboneConfig(1536, 24, 16, reads="prefix"),
        ),
        "Loong, arXiv 2410.02757",
        "video/autoregressive_tiny",
        serves=("loong",),
    ),
    Preset(
        "video/autoregressive_larp.ucf",
        Autoregressive,
        Config(
            Space("video", (1024,), (8192,)),
            (Condition("label", "class", 101),),
            BackboneConfig(1280, 24, 20),
        ),
        "LARP, arXiv 2410.21264",
        "video/autoregressive_tiny",
        published={"FVD, UCF-101 16x128x128, 632M": 57},
        serves=("larp",),
    ),
    Preset(
        "video/autoregressive_icl.ssv2",
        Autoregressive,
        Config(Space("video", (16, 16, 16), (8192,)), (), BackboneConfig(1280, 24, 20)),
        "Video In-context Learning, arXiv 2407.07356",
        "video/autoregressive_tiny",
        serves=("vid-icl",),
    ),
    Preset(
        "image/autoregressive_fqgan.imagenet",
        Autoregressive,
        Config(
            Space("image", (1, 16, 16), (16_384, 16_384)),
            (Condition("label", "class", 1000),),
            BackboneConfig(1024, 24, 16),
            arrangement="depth",
        ),
        "FQGAN, arXiv 2411.16681",
        "motion/autoregressive_depth_tiny",
        serves=("fqgan",),
    ),
    Preset(
        "image/autoregressive_imagefolder.imagenet",
        Autoregressive,
        Config(
            Space("image", (286,), (4096, 4096)),
            (Condition("label", "class", 1000),),
            BackboneConfig(1024, 24, 16),
            arrangement="depth",
        ),
        "ImageFolder, arXiv 2410.01756",
        "motion/autoregressive_depth_tiny",
        serves=("imagefolder",),
    ),
    Preset(
        "image/autoregressive_jpeglm.7b",
        Autoregressive,
        Config(Space("image", (8192,), (256,)), (), BackboneConfig(4096, 32, 32), ends=True),
        "JPEG-LM, arXiv 2408.08459",
        "motion/autoregressive_tiny",
        serves=("jpeg-lm",),
    ),
)
