"""NIRVANA: groups of frames as the changes of one small network that draws patches.

A network gets the place of a patch and gives the patch in all frames of a group. It is fitted to a
group starting from the network of the group before, and what is stored is how the weights changed,
in whole steps. Fitting stops as soon as a group is drawn as well as the first one: a group in which
nothing moves changes nothing and costs next to no bits.

There is nothing to train beforehand. Groups come in order, so a stream is encoded as it comes.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional

from zoo.fitted import FittedTokenizer
from zoo.layers import integer_weights
from zoo.registry import Preset
from zoo.spec import Axis, LengthRule, StreamSpec, TokenizerSpec
from zoo.tokenizer import State
from zoo.tokens import Tokens

__all__ = ["PRESETS", "Config", "Nirvana"]

_LIMIT = 255
"""The largest change of a weight, in steps."""


@dataclass(frozen=True)
class Config:
    """`steps` is the most that a group may take; `slack` the error it may have over the first."""

    group: int = 4
    patch: int = 32
    frequencies: int = 8
    width: int = 256
    layers: int = 3
    step: float = 1 / 256
    steps: int = 2_000
    rate: float = 2e-3
    slack: float = 1.1


class PatchNet(nn.Module):
    """Places (N, 2) of -1..1 to patches (N, values)."""

    def __init__(self, config: Config):
        super().__init__()
        self.frequencies = config.frequencies
        widths = [4 * config.frequencies] + [config.width] * config.layers
        self.hidden = nn.ModuleList(
            nn.Linear(before, after) for before, after in itertools.pairwise(widths)
        )
        self.head = nn.Linear(config.width, 3 * config.group * config.patch**2)

    def forward(self, places: Tensor) -> Tensor:
        waves = (
            places[..., None]
            * torch.pi
            * 1.5 ** torch.arange(self.frequencies, device=places.device, dtype=places.dtype)
        )
        x = torch.cat([waves.sin(), waves.cos()], dim=-1).flatten(1)
        for layer in self.hidden:
            x = functional.gelu(layer(x))
        return self.head(x)


class Nirvana(FittedTokenizer):
    """Fits a patch network to every group of frames, warm from the group before."""

    config_class = Config
    encode_side = ("net",)

    def __init__(self, config: Config):
        super().__init__(config)
        self.net = PatchNet(config)

    def describe(self) -> TokenizerSpec:
        stream = StreamSpec(
            axes=(Axis("n", extent=integer_weights.count(self.net)),), levels=(2 * _LIMIT + 1,)
        )
        return TokenizerSpec(
            modality="video",
            channels=3,
            length=LengthRule(self.config.group, self.config.group),
            streams=(stream,),
            multiple=self.config.patch,
            value_range=(-1.0, 1.0),
            causal=True,
            streaming=True,
        )

    def encode_piece(self, x: Tensor, state: State) -> dict[str, Tensor]:
        before = state.get("weights", integer_weights.flat(self.net))
        change = self._fit(_patches(x, self.config.patch), before, _places(x, self.config), state)
        state["weights"] = before + change
        return {"tokens": (change / self.config.step).round().long()[None, None] + _LIMIT}

    def decode_piece(
        self, streams: dict[str, Tensor], state: State, size: tuple[int, ...]
    ) -> Tensor:
        before = state.get("weights", integer_weights.flat(self.net))
        change = (streams["tokens"][0, 0] - _LIMIT).to(before) * self.config.step
        state["weights"] = before + change
        blank = before.new_zeros(1, 3, *size)
        patches = self._draw(state["weights"], _places(blank, self.config))
        return _picture(patches, blank.shape, self.config.patch)

    def compress(self, tokens: Tokens) -> list[list[bytes]]:
        """The bytes of every group of every clip."""
        self.check_tokens(tokens)
        return [
            [integer_weights.pack(group - _LIMIT, _LIMIT) for group in clip] for clip in tokens.ids
        ]

    def decompress(self, groups: list[bytes], size: tuple[int, ...]) -> Tokens:
        """The tokens of one clip of `size` from the bytes of its groups."""
        amount = integer_weights.count(self.net)
        changes = [integer_weights.unpack(data, amount, _LIMIT) + _LIMIT for data in groups]
        return self.tokens({"tokens": torch.stack(changes)[None].to(self.device)}, size)

    @torch.enable_grad()
    def _fit(self, wanted: Tensor, before: Tensor, places: Tensor, state: State) -> Tensor:
        """The change of the weights, on whole steps; `state` keeps the first group's error."""
        goal = state.get("error", 0.0) * self.config.slack
        change = torch.zeros_like(before).requires_grad_()
        optimizer = torch.optim.Adam([change], lr=self.config.rate)
        for _ in range(self.config.steps):
            error = self._error(wanted, before, change, places)
            if float(error.detach()) <= goal:
                break
            optimizer.zero_grad()
            error.backward()
            optimizer.step()
        with torch.no_grad():
            state.setdefault("error", float(self._error(wanted, before, change, places)))
            return integer_weights.rounded(change, self.config.step, _LIMIT)

    def _error(self, wanted: Tensor, before: Tensor, change: Tensor, places: Tensor) -> Tensor:
        whole = integer_weights.rounded(change, self.config.step, _LIMIT)
        return (self._draw(before + whole, places) - wanted).square().mean()

    def _draw(self, weights: Tensor, places: Tensor) -> Tensor:
        return functional_call(self.net, integer_weights.named(self.net, weights), (places,))


def _places(x: Tensor, config: Config) -> Tensor:
    """Centres of the patches of frames, (N, 2) in -1..1."""
    rows, columns = (
        (torch.arange(n // config.patch, device=x.device, dtype=x.dtype) * 2 + 1)
        / (n // config.patch)
        - 1
        for n in x.shape[-2:]
    )
    return torch.cartesian_prod(rows, columns)


def _patches(x: Tensor, patch: int) -> Tensor:
    """(1, 3, T, H, W) to (N, 3 * T * patch * patch)."""
    return functional.unfold(x.flatten(1, 2), patch, stride=patch)[0].T


def _picture(patches: Tensor, shape: torch.Size, patch: int) -> Tensor:
    """Undo `_patches`."""
    flat = functional.fold(patches.T[None], tuple(shape[-2:]), patch, stride=patch)
    return flat.unflatten(1, shape[1:3])


_PAPER = (
    "NIRVANA: Neural Implicit Representations of Videos with Adaptive Networks and "
    "Autoregressive Patch-wise Modeling, arXiv:2212.14593"
)

PRESETS = (
    Preset(
        "video/nirvana_tiny",
        Nirvana,
        Config(group=2, patch=4, frequencies=4, width=24, layers=1, steps=15, rate=1e-2),
        _PAPER,
    ),
    Preset(
        "video/nirvana.32", Nirvana, Config(), _PAPER, "video/nirvana_tiny", serves=("nirvana",)
    ),
)
