"""Video and motion that go on: each frame, or block of frames, has a noise level of its own.

Two schemes. With `forcing`, all frames of a clip are noisy, each as much as chance has it, and a
frame sees the others (or those before it) as noisy as they are. Sampling may then clean all frames
at once, one after the other, or anything between: `pace` is the number of steps by which a block
starts later than the one before it (diffusion forcing, FVDM, AR-Diffusion).

With `clean`, a noisy block sees clean frames before it, as it does in sampling. What it sees is a
choice: all of them, the last few, the first as an anchor, one at random, old ones by fewer tokens
(ViD-GPT, ART-V, RIVER, FAR). Keys and values of finished frames are kept; `roll` goes on without
end in constant memory, and may be asked for something else at every block.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor, nn

from zoo.denoiser import Denoiser
from zoo.errors import UsageError
from zoo.generator import Batch, Condition, Conditions, Decoding, Known, Samples, Space
from zoo.layers.backbone import BackboneConfig, View
from zoo.layers.diffusion import Process, ladder, pushed, walk
from zoo.layers.dit import Dit, cut, joined
from zoo.registry import Preset
from zoo.tokenizer import State

Scheme = Literal["forcing", "clean"]

FAR, CLEAN, NOISY = 0, 1, 2
"""Kinds of tokens: old frames by few tokens, finished frames, the frames that are being made."""


@dataclass(frozen=True)
class Config:
    """`block` frames are made together.

    Of `forcing`: `causal` hides later blocks, `ordered` trains with noise that only grows in time.
    Of `clean`: `recent` is the number of frames before a block that it sees, 0 for all; `anchor`
    adds the first frame, `sparse` one frame at random, `far` older frames by patches of that side.
    `blur` is the most noise that training adds to finished frames, so that flaws do not pile up.
    Below 1, `warm` begins a block at that time from the frame before it.
    """

    space: Space
    conditions: tuple[Condition, ...] = ()
    backbone: BackboneConfig = field(default_factory=BackboneConfig)
    process: Process = field(default_factory=Process)
    patch: tuple[int, ...] = ()
    scheme: Scheme = "forcing"
    block: int = 1
    causal: bool = True
    ordered: bool = False
    pace: int = 0
    recent: int = 0
    anchor: bool = False
    sparse: bool = False
    far: int = 0
    blur: float = 0.0
    warm: float = 1.0
    drop: float = 0.1


class CausalDiffusion(Denoiser):
    """A transformer over frames of different noise."""

    config_class = Config

    def __init__(self, config: Config):
        super().__init__(config)
        space, small = config.space, config.patch or (1,) * len(config.space.grid)
        if space.discrete or small[0] != 1:
            raise UsageError("this generator makes frames of values", allowed="patches of 1 frame")
        if config.far and not config.recent:
            raise UsageError("old frames are those that are not recent", allowed="recent=4, say")
        self.network = Dit(space, config.conditions, config.backbone, config.patch)
        self.old = (1, *(config.far for _ in space.grid[1:])) if config.far else ()
        area = config.far ** (len(space.grid) - 1) * space.channels
        self.enter_old = nn.Linear(area, config.backbone.dim) if config.far else None

    @property
    def learns_known(self) -> bool:
        return True

    @property
    def resting(self) -> bool:
        """Whether keys and values of finished frames can be kept as they are."""
        return not (self.config.sparse or self.config.far)

    def draw_times(self, batch: Batch) -> Tensor:
        """(B, T) Noise of each block; a third of the examples have the same for all."""
        size = batch.x.shape[:2]
        blocks = -(-size[1] // self.config.block)
        time = self.process.draw_times((size[0], blocks), batch.x.device)
        if self.config.ordered:
            time = time.sort(dim=1).values
        if self.config.scheme == "forcing":
            same = torch.rand(size[0], 1, device=time.device) < 1 / 3
            time = torch.where(same, time[:, :1], time)
        return time.repeat_interleave(self.config.block, 1)[:, : size[1]]

    def named(self, batch: Batch, mixture: Tensor, time: Tensor) -> Tensor:
        """With the scheme `clean`, each block sees the batch's own frames before it."""
        if self.config.scheme == "forcing":
            return super().named(batch, mixture, time)
        if time.dim() == 1:
            time = time.unsqueeze(1).expand(mixture.shape[:2])
        blur = torch.rand_like(time[:, :1]).expand_as(time) * self.config.blur
        seen = self.process.mix(batch.x, torch.randn_like(mixture), blur)
        return self.after(seen, mixture, time, batch.conditions, blur)

    def predict(
        self, x: Tensor, time: Tensor, conditions: Conditions, lengths: Tensor | None = None
    ) -> Tensor:
        """With the scheme `clean`, the frames before a block are taken as finished."""
        if time.dim() == 1:
            time = time.unsqueeze(1).expand(x.shape[:2])
        if self.config.scheme == "clean":
            return self.after(x, x, time, conditions)
        mask = self.visible(*self._places(x, NOISY)) if self.config.causal else None
        return self.network(x, time, conditions, lengths=lengths, mask=mask)

    def after(
        self,
        seen: Tensor,
        x: Tensor,
        time: Tensor,
        conditions: Conditions,
        blur: Tensor | None = None,
        *,
        first: int = 0,
        chosen: Tensor | None = None,
    ) -> Tensor:
        """The target behind frames `x`, which begin at `first`, after the finished frames `seen`.

        All in one sequence: what `sample` does block by block with kept keys and values.
        """
        network, grid = self.network, tuple(x.shape[1:-1])
        blur = seen.new_zeros(seen.shape[:2]) if blur is None else blur
        kinds = [(seen, blur, CLEAN, 0), (x, time, NOISY, first)]
        tokens = [network.tokens(part, start) for part, _, _, start in kinds]
        vectors = [network.vector(at, tuple(part.shape[1:-1])) for part, at, _, _ in kinds]
        places = [self._places(part, kind, start) for part, _, kind, start in kinds]
        if self.enter_old is not None:
            tokens.append(self._old(seen))
            vectors.append(self._old_vector(seen, blur))
            places.append(self._places(seen, FAR))
        kind, frame = (torch.cat(parts) for parts in zip(*places, strict=True))
        positions = torch.cat([self._positions(part, k, s) for part, _, k, s in kinds])
        if self.enter_old is not None:
            positions = torch.cat([positions, self._positions(seen, FAR)])
        if self.config.sparse and chosen is None:
            before = torch.arange(seen.shape[1], device=x.device) - 1
            chosen = torch.rand(len(x), len(before), device=x.device) * before
        mask = self.visible(kind, frame, chosen)
        given = network.conditioner(conditions, len(x)).plus(torch.cat(vectors, 1))
        made = network.backbone(torch.cat(tokens, 1), View(positions, mask=mask), given)
        own = made[:, tokens[0].shape[1] : tokens[0].shape[1] + tokens[1].shape[1]]
        small = tuple(g // p for g, p in zip(grid, network.patch, strict=True))
        return joined(network.leave(own), small, network.patch)

    def visible(self, kind: Tensor, frame: Tensor, chosen: Tensor | None = None) -> Tensor:
        """(N, N) or (B, N, N) True where one token sees another.

        `chosen` (B, frames) is a frame that each frame sees besides its recent ones.
        """
        config = self.config
        begin = frame // config.block * config.block
        query, start, key = frame.unsqueeze(1), begin.unsqueeze(1), frame.unsqueeze(0)
        asks, tells = kind.unsqueeze(1), kind.unsqueeze(0)
        together = (asks == tells) & (start == begin.unsqueeze(0))
        if config.scheme == "forcing":
            return start >= key // config.block * config.block
        finished = (tells == CLEAN) & (key < start)
        recent = key >= start - (config.recent or int(frame.max()) + 1)
        near = finished & (recent | (config.anchor & (key == 0)))
        old = (tells == FAR) & (key < start - config.recent)
        among_old = (asks == FAR) & (tells == FAR) & (key <= query)
        if not config.sparse:
            return together | (torch.where(asks == FAR, among_old, near | old))
        near = near & (asks == NOISY)
        assert chosen is not None
        picked = chosen.long()[:, frame].unsqueeze(2) == key
        return together | near | (picked & finished & (asks == NOISY))

    def _places(self, x: Tensor, kind: int, first: int = 0) -> tuple[Tensor, Tensor]:
        """Kind and frame of every token of frames."""
        frame = self._positions(x, kind, first)[:, 0]
        return torch.full_like(frame, kind), frame

    def _positions(self, x: Tensor, kind: int, first: int = 0) -> Tensor:
        grid = tuple(x.shape[1:-1])
        if kind != FAR:
            return self.network.positions(grid, x.device, first)
        corner = self.network.positions(grid, x.device)
        scale = torch.tensor(self.old, device=x.device)
        return corner[(corner % scale == 0).all(1)]

    def _old(self, seen: Tensor) -> Tensor:
        assert self.enter_old is not None
        return self.enter_old(cut(seen, self.old)) + self.network.places(self._positions(seen, FAR))

    def _old_vector(self, seen: Tensor, blur: Tensor) -> Tensor:
        each = len(self._positions(seen, FAR)) // seen.shape[1]
        return self.network.time(blur.flatten()).unflatten(0, blur.shape).repeat_interleave(each, 1)

    def times(self, steps: int, frames: int) -> Tensor:
        """Blocks start `pace` steps after each other: 0 is all at once, `steps` one by one."""
        down = ladder(steps, self.process.shift)
        if self.config.scheme == "clean":
            return down
        late = torch.arange(frames) // self.config.block * self.config.pace
        step = torch.arange(steps + int(late.max()) + 1).unsqueeze(1)
        return down[(step - late).clamp(0, steps)]

    def draw(
        self,
        x: Tensor,
        conditions: Conditions,
        decoding: Decoding,
        dice: torch.Generator,
        known: Known | None,
        lengths: Tensor | None,
    ) -> Samples:
        if self.config.scheme == "forcing":
            return super().draw(x, conditions, decoding, dice, known, lengths)
        noise = self.noise(x, dice) * decoding.temperature
        made = self._blocks(noise, [conditions], decoding, dice, known)
        return Samples(torch.cat(list(made), dim=1), lengths)

    @torch.no_grad()
    def roll(
        self,
        count: int,
        frames: int,
        conditions: Sequence[Conditions] = (),
        decoding: Decoding | None = None,
        *,
        seed: int = 0,
    ) -> Iterator[Tensor]:
        """Blocks of `count` examples, one after the other, `frames` in all, of any number.

        `conditions` are those of the blocks in turn; the last one holds for the rest.
        """
        if self.config.scheme != "clean":
            raise UsageError("only frames after finished ones go on", allowed='scheme="clean"')
        self.eval()
        dice = torch.Generator(self.device).manual_seed(seed)
        noise = self.noise(torch.zeros(self.space.shape(count, frames), device=self.device), dice)
        asked = [each.to(self.device) for each in conditions] or [Conditions()]
        yield from self._blocks(noise, asked, decoding or Decoding(), dice, None)

    def _blocks(
        self,
        noise: Tensor,
        asked: Sequence[Conditions],
        decoding: Decoding,
        dice: torch.Generator,
        known: Known | None,
    ) -> Iterator[Tensor]:
        state = State()
        seen, size = noise[:, :0], self.config.block
        for number, first in enumerate(range(0, noise.shape[1], size)):
            fresh = noise[:, first : first + size]
            part = None
            if known is not None:
                part = Known(*(v[:, first : first + size] for v in (known.x, known.mask)))
            if part is not None and bool(part.mask.all()):
                made = part.x
            else:
                conditions = asked[min(number, len(asked) - 1)]
                made = self._block(fresh, seen, state, first, conditions, decoding, dice, part)
            yield made
            if self.resting:
                conditions = asked[min(number, len(asked) - 1)]
                self._keep(made, first, conditions, decoding, state)
            seen = torch.cat([seen, made], dim=1)

    def _block(
        self,
        fresh: Tensor,
        seen: Tensor,
        state: State,
        first: int,
        conditions: Conditions,
        decoding: Decoding,
        dice: torch.Generator,
        known: Known | None,
    ) -> Tensor:
        """A block from noise, after finished frames or what is kept of them."""

        def denoise(mixture: Tensor, time: Tensor) -> Tensor:
            time = time.unsqueeze(1).expand(mixture.shape[:2])
            both, copies = _both(conditions, decoding)
            twice, times = (
                mixture.repeat(copies, *[1] * (mixture.dim() - 1)),
                time.repeat(copies, 1),
            )
            if self.resting or not first:
                named = self.network(twice, times, both, state=dict(state), first=first)
            else:
                before = seen.repeat(copies, *[1] * (seen.dim() - 1))
                chosen = self._pick(twice, first, dice)
                named = self.after(before, twice, times, both, first=first, chosen=chosen)
            clean = self.process.clean(named, twice, times)
            if copies == 2:
                asked, unasked = clean.chunk(2)
                clean = pushed(asked, unasked, decoding.guidance)
            return clean if known is None else self.held(clean, known)

        steps = ladder(decoding.steps or self.usual_steps, self.process.shift)
        begin = self.process.start(fresh)
        if self.config.warm < 1 and first:
            steps = ladder(decoding.steps or self.usual_steps, begin=self.config.warm)
            last = seen[:, -1:].expand_as(fresh)
            begin = self.process.mix(last, fresh, steps[:1].expand(len(fresh)).to(fresh))
        return walk(self.process, denoise, begin, steps, dice=dice)

    def _pick(self, x: Tensor, first: int, dice: torch.Generator) -> Tensor | None:
        """A frame before the last one for each example, drawn anew at each step."""
        if not self.config.sparse:
            return None
        share = torch.rand(len(x), 1, generator=dice, device=x.device)
        return (share * max(0, first - 1)).long().expand(-1, first + x.shape[1])

    def _keep(
        self, made: Tensor, first: int, conditions: Conditions, decoding: Decoding, state: State
    ) -> None:
        """Add a finished block to what is kept, and let go of what is no longer seen."""
        both, copies = _both(conditions, decoding)
        whole = made.repeat(copies, *[1] * (made.dim() - 1))
        self.network(whole, whole.new_zeros(whole.shape[:2]), both, state=state, first=first)
        if not self.config.recent:
            return
        each = len(self.network.positions((1, *made.shape[2:-1]), made.device))
        most = self.config.recent * each
        for layer, kept in state.items():
            count = kept[0].shape[2]
            anchor = each if self.config.anchor and count > most else 0
            state[layer] = tuple(
                torch.cat([part[:, :, :anchor], part[:, :, max(anchor, count - most) :]], dim=2)
                for part in kept
            )


def _both(conditions: Conditions, decoding: Decoding) -> tuple[Conditions, int]:
    """The conditions of both halves of guidance, and how many there are."""
    if decoding.guidance == 1:
        return conditions, 1
    return conditions.joined(conditions.none()), 2


_ASKED = (Condition("label", "class", 4), Condition("text", "words"))


def _tiny(grid: tuple[int, ...], **options: Any) -> Config:
    modality = "motion" if len(grid) == 1 else "video"
    backbone = BackboneConfig(48, 2, 2, reader_depth=0)
    process = Process(times="logit-normal", spread=0.7)
    return Config(Space(modality, grid, channels=4), _ASKED, backbone, process, **options)


def _full(
    grid: tuple[int, ...], channels: int, dim: int, depth: int, heads: int, **options: Any
) -> Config:
    return Config(
        Space("video", grid, channels=channels),
        (Condition("text", "embeddings", options.pop("text", 4096)),),
        BackboneConfig(dim, depth, heads),
        patch=(1, 2, 2),
        **options,
    )


_V = Process("cosine", "v")

PRESETS = (
    Preset(
        "video/causal_diffusion_tiny",
        CausalDiffusion,
        _tiny((4, 2, 2), ordered=True, pace=2),
        "AR-Diffusion, arXiv 2503.07418",
    ),
    Preset(
        "video/causal_diffusion_clean_tiny",
        CausalDiffusion,
        _tiny((4, 2, 2), scheme="clean"),
        "ViD-GPT, arXiv 2406.10981",
    ),
    Preset(
        "video/causal_diffusion_far_tiny",
        CausalDiffusion,
        _tiny((4, 2, 2), scheme="clean", recent=2, far=2, blur=0.1),
        "FAR, arXiv 2503.19325",
    ),
    Preset(
        "video/causal_diffusion_sparse_tiny",
        CausalDiffusion,
        _tiny((4, 2, 2), scheme="clean", recent=1, sparse=True, warm=0.98),
        "RIVER, arXiv 2211.14575",
    ),
    Preset(
        "motion/causal_diffusion_blocks_tiny",
        CausalDiffusion,
        _tiny((12,), scheme="clean", block=4, recent=2, anchor=True, blur=0.1),
        "DART, arXiv 2410.05260",
    ),
    Preset(
        "video/causal_diffusion_fvdm.ffs",
        CausalDiffusion,
        _full((16, 32, 32), 4, 1152, 28, 16, causal=False),
        "FVDM, arXiv 2410.03160",
        "video/causal_diffusion_tiny",
        serves=("fvdm",),
    ),
    Preset(
        "video/causal_diffusion_ardiffusion.ucf",
        CausalDiffusion,
        _full((16, 16, 16), 4, 1152, 28, 16, ordered=True, pace=5),
        "AR-Diffusion, arXiv 2503.07418",
        "video/causal_diffusion_tiny",
        serves=("ar-diffusion",),
    ),
    Preset(
        "video/causal_diffusion_skyreels.1b",
        CausalDiffusion,
        _full((25, 68, 120), 16, 1536, 30, 12, block=5, ordered=True, pace=5),
        "SkyReels-V2, arXiv 2504.13074",
        "video/causal_diffusion_tiny",
    ),
    Preset(
        "video/causal_diffusion_vidgpt.t2v",
        CausalDiffusion,
        _full((17, 32, 32), 4, 1152, 28, 16, scheme="clean", block=8, process=_V),
        "ViD-GPT, arXiv 2406.10981",
        "video/causal_diffusion_clean_tiny",
        serves=("vid-gpt",),
    ),
    Preset(
        "video/causal_diffusion_far.b",
        CausalDiffusion,
        _full((16, 16, 16), 32, 768, 12, 12, scheme="clean", recent=8, far=4, blur=0.1),
        "FAR, arXiv 2503.19325",
        "video/causal_diffusion_far_tiny",
        serves=("far",),
    ),
    Preset(
        "video/causal_diffusion_river.256",
        CausalDiffusion,
        _full(
            (16, 32, 32), 4, 768, 9, 8, scheme="clean", recent=1, sparse=True, warm=0.9, text=512
        ),
        "RIVER, arXiv 2211.14575",
        "video/causal_diffusion_sparse_tiny",
        serves=("river",),
    ),
    Preset(
        "video/causal_diffusion_artv.t2v",
        CausalDiffusion,
        _full((16, 40, 64), 4, 1152, 28, 16, scheme="clean", recent=2, anchor=True, blur=0.2),
        "ART-V, arXiv 2311.18834",
        "motion/causal_diffusion_blocks_tiny",
        serves=("art-v",),
    ),
    Preset(
        "motion/causal_diffusion_dart.babel",
        CausalDiffusion,
        Config(
            Space("motion", (16,), channels=276),
            (Condition("text", "embeddings", 512),),
            BackboneConfig(512, 8, 4),
            _V,
            scheme="clean",
            block=8,
            recent=2,
        ),
        "DART, arXiv 2410.05260",
        "motion/causal_diffusion_blocks_tiny",
        serves=("dart",),
    ),
)
