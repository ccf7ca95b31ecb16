"""Video from an image U-Net with layers along time: the line from VDM to AnimateDiff.

A network of pictures makes every frame; layers along time, silent at the start, join the frames.
So a trained image model becomes a video model by `grown`, which loads every weight that fits, and
`trains` says which groups of weights learn: the ones along time, those of pictures, adapters. Clips
of one frame are pictures and are learned beside clips.

What is given besides words goes by the names of conditions, all rows of places in raster order:

    image    (B, H * W, C) the first or a reference picture: beside the mixture, read, or both
    low      (B, t * h * w, C) a smaller or slower clip that is to be enlarged by `enlarges`
    control  (B, T * H * W, C) a clip that guides, through an adapter beside the way down
    tracks   (B, T, width) one text, or anything else, for each frame

Frames at the ends or anywhere can be known (`zoo.generator.Known`): to a model trained with
`known` they are shown as they are; `pull` instead draws the rest towards them while sampling.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from zoo.denoiser import Denoiser
from zoo.errors import UsageError
from zoo.generator import Condition, Conditions, Decoding, Known, Samples, Space, valid_positions
from zoo.layers.backbone import BackboneConfig, Conditioner, Given
from zoo.layers.diffusion import Process, against, walk
from zoo.layers.flow import TimeEmbedding
from zoo.layers.unet import Control, Reads, Unet, UnetConfig
from zoo.layers.unet_blocks import Group, Scene, group_of
from zoo.registry import Preset

__all__ = ["VideoUnet", "grown", "packed", "unpacked"]

PICTURE, LOW, CONTROL = "image", "low", "control"


@dataclass(frozen=True)
class Config:
    """`pictures` is how the condition "image" is used; `enlarges` by how much "low" is smaller.

    `prior` is the share of the given picture in what is expected of each frame before the network
    adds the rest. `tiled` lays all frames out as one picture of so many rows and columns.
    `frame_tokens` and `maps_noise` are parts that a frozen image model needs to make clips.
    """

    space: Space
    conditions: tuple[Condition, ...] = ()
    network: UnetConfig = field(default_factory=UnetConfig)
    process: Process = field(default_factory=Process)
    pictures: tuple[Literal["beside", "read"], ...] = ()
    enlarges: tuple[int, ...] = ()
    prior: float = 0.0
    tiled: tuple[int, ...] = ()
    frame_tokens: int = 0
    maps_noise: bool = False
    adapts_frames: bool = False
    known: float = 0.0
    pull: float = 0.0
    trains: tuple[Group, ...] = ()
    drop: float = 0.1


class VideoUnet(Denoiser):
    """A U-Net that names what leads from noisy frames to clean ones."""

    config_class = Config
    lesson_steps = 140

    def __init__(self, config: Config):
        super().__init__(config)
        space, net = config.space, config.network
        if space.discrete:
            raise UsageError("this generator makes values", allowed="a space with channels")
        net.check(space.grid)
        if config.tiled and config.tiled[0] * config.tiled[1] < space.grid[0]:
            raise UsageError(
                f"{space.grid[0]} frames do not fit into {config.tiled} tiles",
                allowed="rows x columns of at least the number of frames",
            )
        named = {condition.name: condition for condition in config.conditions}
        sizes = BackboneConfig(net.width, heads=net.heads, reader_depth=0)
        asked = tuple(c for n, c in named.items() if n not in (PICTURE, LOW, CONTROL))
        self.asked = Conditioner(asked, sizes) if asked else None
        reads_picture = PICTURE in named and "read" in config.pictures
        self.picture = Conditioner((named[PICTURE],), sizes) if reads_picture else None
        words = bool(config.frame_tokens) or any(
            c.kind in ("words", "embeddings", "track") for c in asked
        )
        reads = Reads(words, reads_picture)
        self.time = TimeEmbedding(net.width)
        self.network = Unet(self._entering(named), space.channels, net, reads)
        self.adapter_control = (
            Control(named[CONTROL].size, net, reads) if CONTROL in named else None
        )
        self.temporal_tokens = _zeros(space.grid[0], config.frame_tokens, net.width)
        self.temporal_vectors = _zeros(space.grid[0], int(config.adapts_frames), net.width)
        self.temporal_map = NoiseMap(space.channels) if config.maps_noise else None
        self.picture_scale, self.residual_scale = 1.0, 1.0
        for name, parameter in self.named_parameters():
            parameter.requires_grad_(not config.trains or group_of(name) in config.trains)

    def _entering(self, named: dict[str, Condition]) -> int:
        """Channels that enter the network: the mixture, and what stands beside it with its mask."""
        config = self.config
        beside = [named[PICTURE].size + 1] if "beside" in config.pictures else []
        beside += [named[LOW].size + 1] if config.enlarges else []
        return self.space.channels + bool(config.known) + sum(beside)

    def predict(
        self, x: Tensor, time: Tensor, conditions: Conditions, lengths: Tensor | None = None
    ) -> Tensor:
        noisy, time = x, _per_place(time, x)
        net, frames = self.config.network, x.shape[1]
        valid = valid_positions(lengths, x.shape[:2], x.device)
        x = self.process.scaled(x, time)
        x = torch.cat([x, *self._beside(time, conditions)], dim=-1)
        part = 2 ** len(net.halve_time)
        x, at, valid = (_whole(value, part) for value in (x, time.amax((2, 3)), valid))
        if self.config.tiled:
            x, at, valid = packed(x, self.config.tiled), at.amax(1, keepdim=True), valid[:, :1]
        scene = self._scene(at, valid, conditions)
        flat = x.permute(0, 1, 4, 2, 3).flatten(0, 1)
        if self.temporal_map is not None:
            flat = self.temporal_map(flat, scene)
        made = self.network(flat, scene, self._control(conditions, x, scene))
        made = made.unflatten(0, (len(x), -1)).permute(0, 1, 3, 4, 2)
        if self.config.tiled:
            made = unpacked(made, self.config.tiled)
        made = made[:, :frames]
        if not self.config.prior:
            return made
        return self.residual_scale * made + self._prior(noisy, time, conditions)

    def _beside(self, time: Tensor, conditions: Conditions) -> list[Tensor]:
        """What stands beside the mixture, each with a channel that tells where it is given."""
        made, config = [], self.config
        if config.known:
            made.append(time.eq(0).to(time.dtype).unsqueeze(-1))
        grid = (time.shape[1], *self.space.grid[1:])
        if "beside" in config.pictures:
            first = self._clip(PICTURE, conditions, grid[1:], len(time))
            later = first.new_zeros(1, grid[0], 1, 1, 1)
            later[:, 0] = 1
            made.append(first[:, :1] * later)
        if config.enlarges:
            small = tuple(n // f for n, f in zip(grid[1:], config.enlarges[1:], strict=True))
            low = self._clip(LOW, conditions, small, len(time))
            for axis, factor in enumerate(config.enlarges):
                low = low.repeat_interleave(factor, axis + 1)
            made.append(_whole(low, grid[0])[:, : grid[0]])
        return made

    def _clip(self, name: str, conditions: Conditions, size: tuple[int, ...], batch: int) -> Tensor:
        """A given clip (B, T, *size, C + 1), whose last channel is 1 where it is seen."""
        seen = conditions.seen(name)
        if seen is None:
            width = next(c.size for c in self.config.conditions if c.name == name)
            return torch.zeros(batch, 1, *size, width + 1, device=self.device)
        rows = conditions.values[name].to(self.time.mlp[0].weight.dtype)
        if rows.shape[1] % (size[0] * size[1]):
            raise UsageError(
                f"{name} has {rows.shape[1]} places", allowed=f"a multiple of {size[0] * size[1]}"
            )
        clip = rows.unflatten(1, (-1, *size))
        there = torch.ones_like(clip[..., :1])
        return torch.cat([clip, there], dim=-1) * seen.view(-1, 1, 1, 1, 1)

    def _scene(self, at: Tensor, valid: Tensor, conditions: Conditions) -> Scene:
        """Time and conditions for every frame of the batch."""
        batch, frames = at.shape
        given = Given() if self.asked is None else self.asked(conditions, batch)
        vector = self.time(at.flatten()).unflatten(0, (batch, frames))
        if given.vector is not None:
            vector = vector + given.vector.unsqueeze(1)
        if self.temporal_vectors is not None:
            vector = vector + _whole(self.temporal_vectors.transpose(0, 1), frames)[:, :frames]
        context, mask = self._context(given, frames, batch)
        picture = None if self.picture is None else self.picture(conditions, batch)
        return Scene(
            frames,
            vector.flatten(0, 1),
            valid,
            context,
            mask,
            None if picture is None else _each(picture.context, frames),
            None if picture is None else _each(picture.context_mask, frames),
            self.picture_scale,
        )

    def _context(
        self, given: Given, frames: int, batch: int
    ) -> tuple[Tensor | None, Tensor | None]:
        """The words that each frame reads: those of all frames, then its own."""
        words: list[Tensor] = []
        masks: list[Tensor] = []
        if given.context is not None and given.context_mask is not None:
            words.append(given.context.repeat_interleave(frames, 0))
            masks.append(given.context_mask.repeat_interleave(frames, 0))
        if given.track is not None:
            words.append(_whole(given.track, frames)[:, :frames].flatten(0, 1).unsqueeze(1))
        if self.temporal_tokens is not None:
            own = _whole(self.temporal_tokens.unsqueeze(0), frames)[:, :frames]
            words.append(own.expand(batch, -1, -1, -1).flatten(0, 1))
        if not words:
            return None, None
        masks.extend(own.new_ones(own.shape[:2], dtype=torch.bool) for own in words[len(masks) :])
        return torch.cat(words, dim=1), torch.cat(masks, dim=1)

    def _control(self, conditions: Conditions, x: Tensor, scene: Scene) -> list[Tensor] | None:
        shown = conditions.seen(CONTROL)
        if self.adapter_control is None or shown is None:
            return None
        clip = self._clip(CONTROL, conditions, tuple(x.shape[2:4]), len(x))[..., :-1]
        clip = _whole(clip, x.shape[1])[:, : x.shape[1]]
        residuals = self.adapter_control(clip.permute(0, 1, 4, 2, 3).flatten(0, 1), scene)
        each = [shown.repeat_interleave(len(r) // len(x)).view(-1, 1, 1, 1) for r in residuals]
        return [residual * seen for residual, seen in zip(residuals, each, strict=True)]

    def _prior(self, x: Tensor, time: Tensor, conditions: Conditions) -> Tensor:
        """What a network would name if each frame were the given picture."""
        given = self._clip(PICTURE, conditions, tuple(x.shape[2:4]), len(x))
        still, seen = given[..., :-1].expand_as(x), given[..., -1:]
        noise = self.process.noise(still, x, time)
        return self.config.prior * seen * self.process.wanted(still, noise, time)

    def draw(
        self,
        x: Tensor,
        conditions: Conditions,
        decoding: Decoding,
        dice: torch.Generator,
        known: Known | None,
        lengths: Tensor | None,
    ) -> Samples:
        if known is None or not self.config.pull:
            return super().draw(x, conditions, decoding, dice, known, lengths)

        def denoise(mixture: Tensor, time: Tensor) -> Tensor:
            """The rest goes where the known part would be expected better."""
            with torch.enable_grad():
                leaf = mixture.detach().requires_grad_()
                clean = self.estimate(leaf, time, conditions, decoding.guidance, lengths)
                error = (clean - known.x).square() * known.mask.unsqueeze(-1)
                (slope,) = torch.autograd.grad(error.sum(), leaf)
            alpha, _ = self.process.shares(against(time, mixture))
            clean = clean.detach() - self.config.pull * alpha / 2 * slope
            return self.held(clean, known)

        begin = self.process.start(self.noise(x, dice) * decoding.temperature)
        times = self.times(decoding.steps or self.usual_steps, x.shape[1])
        return Samples(walk(self.process, denoise, begin, times, dice=dice), lengths)


class NoiseMap(nn.Module):
    """Joins the noise of frames before an image model sees it; changes nothing at the start."""

    def __init__(self, channels: int, width: int = 16):
        super().__init__()
        self.rise, self.fall = (
            nn.Conv1d(channels, width, 3, padding=1),
            nn.Conv1d(width, channels, 1),
        )
        nn.init.zeros_(self.fall.weight)
        nn.init.zeros_(self.fall.bias)

    def forward(self, x: Tensor, scene: Scene) -> Tensor:
        channels = self.fall.out_channels
        by_place = x[:, :channels].unflatten(0, (-1, scene.frames)).permute(0, 3, 4, 2, 1)
        y = self.fall(functional.silu(self.rise(by_place.flatten(0, 2))))
        y = y.view(by_place.shape).permute(0, 4, 3, 1, 2).flatten(0, 1)
        return torch.cat([x[:, :channels] + y, x[:, channels:]], dim=1)


def grown(base: VideoUnet, config: Config) -> VideoUnet:
    """A model of another configuration that begins with every weight of `base` that fits."""
    model = VideoUnet(config)
    own = model.state_dict()
    fits = {n: v for n, v in base.state_dict().items() if n in own and own[n].shape == v.shape}
    model.load_state_dict(fits, strict=False)
    return model


def packed(x: Tensor, tiles: tuple[int, ...]) -> Tensor:
    """Frames (B, T, H, W, C) as one picture (B, 1, rows * H, columns * W, C); missing ones are
    zeros."""
    rows, columns = tiles
    x = functional.pad(x, (0,) * 7 + (rows * columns - x.shape[1],))
    return x.unflatten(1, tiles).transpose(2, 3).flatten(3, 4).flatten(1, 2).unsqueeze(1)


def unpacked(x: Tensor, tiles: tuple[int, ...]) -> Tensor:
    """The inverse of `packed`, with as many frames as there are tiles."""
    rows, columns = tiles
    x = x.squeeze(1).unflatten(2, (columns, -1)).unflatten(1, (rows, -1))
    return x.transpose(2, 3).flatten(1, 2)


def _per_place(time: Tensor, x: Tensor) -> Tensor:
    """Times of every place, (B, T, H, W)."""
    return time.view(*time.shape, *(1,) * (4 - time.dim())).expand(x.shape[:-1])


def _whole(x: Tensor, part: int) -> Tensor:
    """The second axis made a multiple of `part`, with zeros (False) at its end."""
    missing = -x.shape[1] % part
    return x if not missing else functional.pad(x, (0, 0) * (x.dim() - 2) + (0, missing))


def _each(x: Tensor | None, frames: int) -> Tensor | None:
    return None if x is None else x.repeat_interleave(frames, 0)


def _zeros(frames: int, count: int, width: int) -> nn.Parameter | None:
    return nn.Parameter(torch.zeros(frames, count, width)) if count else None


_ASKED = (Condition("label", "class", 4), Condition("text", "words"))
_V = Process("cosine", "v")
_CLEAN = Process("cosine", "data")
_FACTORED = ("conv", "full")


def _tiny(*more: Condition, grid: tuple[int, int, int] = (4, 2, 2), **options: Any) -> Config:
    space = Space("video", grid, channels=options.pop("channels", 3))
    return Config(
        space,
        (*_ASKED, *more),
        **{"network": _net(("conv",)), "process": _CLEAN, "adapts_frames": True, **options},
    )


def _net(temporal: tuple[str, ...], **options: Any) -> UnetConfig:
    return UnetConfig(
        **{"dim": 24, "widths": (1, 1), "attend": (0,), "temporal": temporal, **options}
    )


def _full(
    grid: tuple[int, int, int],
    *more: Condition,
    channels: int = 4,
    dim: int = 320,
    text: int = 1024,
    temporal: tuple[str, ...] = _FACTORED,
    network: dict[str, Any] | None = None,
    **options: Any,
) -> Config:
    net = UnetConfig(dim, (1, 2, 4, 4), 2, 8, (0, 1, 2), temporal, **(network or {}))
    space = Space("video", grid, channels=channels)
    asked = (Condition("text", "embeddings", text), *more)
    return Config(space, asked, **{"network": net, "process": _NOISE, **options})


def _picture(channels: int) -> Condition:
    return Condition(PICTURE, "embeddings", channels)


def _low(channels: int) -> Condition:
    return Condition(LOW, "embeddings", channels)


_NOISE = Process("linear", "noise")
_PIXELS: dict[str, Any] = {"channels": 3, "dim": 256, "process": _V}
_BASE, _WITH_PICTURE = "video/video_unet_tiny", "video/video_unet_picture_tiny"
_ENLARGING, _TILED = "video/video_unet_enlarging_tiny", "video/video_unet_tiled_tiny"


def _from(name: str, config: Config, paper: str, tiny: str = _BASE, *serves: str) -> Preset:
    return Preset(f"video/video_unet_{name}", VideoUnet, config, paper, tiny, serves=serves)


PRESETS = (
    Preset(_BASE, VideoUnet, _tiny(known=0.3), "SEINE, arXiv 2310.20700"),
    Preset(
        _WITH_PICTURE,
        VideoUnet,
        _tiny(_picture(3), pictures=("beside", "read"), prior=0.5),
        "TRIP, arXiv 2403.17005",
    ),
    Preset(
        _ENLARGING,
        VideoUnet,
        _tiny(_low(3), enlarges=(2, 2, 2), network=_net(("conv",), halve_time=(0,))),
        "Imagen Video, arXiv 2210.02303",
    ),
    Preset(
        _TILED,
        VideoUnet,
        _tiny(tiled=(2, 2), network=_net(())),
        "Grid Diffusion, arXiv 2404.00234",
    ),
    _from(
        "vdm.pixels64",
        _full((16, 64, 64), temporal=("full",), pull=2.0, **_PIXELS),
        "VDM, arXiv 2204.03458",
        _BASE,
        "vdm",
    ),
    _from(
        "videoldm.base",
        _full((8, 40, 64), known=0.3, trains=("temporal",)),
        "Video LDM, arXiv 2304.08818",
        _BASE,
        "video-ldm",
    ),
    _from(
        "modelscope.base",
        _full((16, 32, 32), temporal=("conv", "conv", "full", "full")),
        "ModelScope text-to-video, arXiv 2308.06571",
    ),
    _from(
        "animatediff.motion",
        _full((16, 32, 32), temporal=("full", "full"), trains=("temporal",)),
        "AnimateDiff, arXiv 2307.04725",
    ),
    _from(
        "makeavideo.base",
        _full((16, 64, 64), **_PIXELS),
        "Make-A-Video, arXiv 2209.14792",
        _BASE,
        "make-a-video",
    ),
    _from(
        "magicvideo.base",
        _full((16, 32, 32), temporal=("full",), network={"directed": True}, adapts_frames=True),
        "MagicVideo, arXiv 2211.11018",
        _BASE,
        "magicvideo",
    ),
    _from(
        "seine.transition",
        _full((16, 40, 64), known=0.8),
        "SEINE, arXiv 2310.20700",
        _BASE,
        "seine",
    ),
    _from(
        "exvideo.long",
        _full((125, 72, 128), network={"extended": True}, trains=("extension",)),
        "ExVideo, arXiv 2406.14130",
        _BASE,
        "exvideo",
    ),
    _from(
        "harivo.base",
        _full((16, 64, 64), frame_tokens=4, maps_noise=True, trains=("temporal",)),
        "HARIVO, arXiv 2410.07763",
        _BASE,
        "harivo",
    ),
    _from(
        "fancyvideo.base",
        _full((16, 64, 64), Condition("frame_text", "track", 1024), known=0.5),
        "FancyVideo, arXiv 2408.08189",
        _BASE,
        "fancyvideo",
    ),
    _from(
        "i2vadapter.base",
        _full((16, 64, 64), network={"adapter": True}, known=0.9, trains=("adapter",)),
        "I2V-Adapter, arXiv 2312.16693",
        _BASE,
        "i2v-adapter",
    ),
    _from(
        "videocrafter2.tune",
        _full((16, 40, 64), trains=("spatial",)),
        "VideoCrafter2, arXiv 2401.09047",
        _BASE,
        "videocrafter2",
    ),
    _from(
        "videocrafter1.i2v",
        _full((16, 40, 64), _picture(1280), pictures=("read",)),
        "VideoCrafter1, arXiv 2310.19512",
        _WITH_PICTURE,
        "videocrafter1",
    ),
    _from(
        "dreamvideo.i2v",
        _full((16, 32, 32), _picture(4), pictures=("beside", "read")),
        "DreamVideo, arXiv 2312.03018",
        _WITH_PICTURE,
        "dreamvideo-i2v",
    ),
    _from(
        "trip.base",
        _full((16, 32, 32), _picture(4), pictures=("beside",), prior=0.5),
        "TRIP, arXiv 2403.17005",
        _WITH_PICTURE,
        "trip",
    ),
    _from(
        "univg.base",
        _full((24, 40, 64), _picture(4), pictures=("beside", "read"), process=_V),
        "UniVG, arXiv 2401.09084",
        _WITH_PICTURE,
        "univg",
    ),
    _from(
        "moonshot.base",
        _full(
            (16, 40, 64), _picture(1280), Condition(CONTROL, "embeddings", 4), pictures=("read",)
        ),
        "MoonShot, arXiv 2401.01827",
        _WITH_PICTURE,
        "moonshot",
    ),
    _from(
        "emuvideo.base",
        _full((16, 64, 64), _picture(8), channels=8, pictures=("beside",), process=_V),
        "Emu Video, arXiv 2311.10709",
        _WITH_PICTURE,
        "emu-video",
    ),
    _from(
        "magicvideo2.i2v",
        _full((32, 72, 72), _picture(4), pictures=("beside", "read")),
        "MagicVideo-V2, arXiv 2401.04468",
        _WITH_PICTURE,
        "magicvideo-v2",
    ),
    _from(
        "imagenvideo.base",
        _full((16, 24, 48), **_PIXELS),
        "Imagen Video, arXiv 2210.02303",
    ),
    _from(
        "imagenvideo.time2",
        _full((32, 24, 48), _low(3), enlarges=(2, 1, 1), **_PIXELS),
        "Imagen Video, arXiv 2210.02303",
        _ENLARGING,
        "imagen-video",
    ),
    _from(
        "imagenvideo.space2",
        _full((32, 48, 96), _low(3), enlarges=(1, 2, 2), temporal=("conv",), **_PIXELS),
        "Imagen Video, arXiv 2210.02303",
        _ENLARGING,
    ),
    _from(
        "lumiere.base",
        _full((80, 128, 128), network={"halve_time": (0, 1, 2)}, **_PIXELS),
        "Lumiere, arXiv 2401.12945",
        _ENLARGING,
        "lumiere",
    ),
    _from(
        "griddiffusion.base",
        _full((4, 32, 32), temporal=(), tiled=(2, 2)),
        "Grid Diffusion, arXiv 2404.00234",
        _TILED,
        "grid-diffusion",
    ),
)
