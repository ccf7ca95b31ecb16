"""What differs between the video VAEs of diffusers, one port a class.

They share `encode` and `decode` and little else. How many frames fit, how many of them a position
of the latent stands for, how latents are brought to unit variance, which names hold these numbers,
and whether a clip can be encoded piece by piece: every class has its own answer. A port gives the
answers under one set of names, and `tokenizers/diffusers_vae.py` makes a tokenizer of them.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from zoo.adapters.vae_port import Learned, Port
from zoo.errors import InputError, UsageError
from zoo.spec import LengthRule
from zoo.tokenizer import State

__all__ = ["PORTS", "pad_with_zeros"]


class Wan(Port):
    """The first frame alone, then four at a time, with features kept from piece to piece."""

    streaming = True

    def __init__(self, vae: Any, tiling: bool):
        super().__init__(vae, tiling)
        self.streaming = not tiling
        halvings = sum(vae.config.temperal_downsample)
        if halvings != 2:
            raise UsageError(
                f"temperal_downsample halves time {halvings} times",
                allowed="2 times: AutoencoderKLWan takes four frames at a time",
            )

    @property
    def time(self) -> int:
        return 4

    @property
    def space(self) -> int:
        known = self.vae.config
        return int(2 ** (len(known.dim_mult) - 1) * (known.patch_size or 1))

    @property
    def channels(self) -> int:
        return int(self.vae.config.z_dim)

    def encode(self, x: Tensor, state: State) -> Tensor:
        from diffusers.models.autoencoders.autoencoder_kl_wan import patchify

        if self.tiling:
            return super().encode(x, state)
        if self.vae.config.patch_size is not None:
            x = patchify(x, patch_size=self.vae.config.patch_size)
        features = self._features(state, self.vae.encoder)
        moments = self.vae.quant_conv(self.vae.encoder(x, feat_cache=features, feat_idx=[0]))
        return moments.chunk(2, dim=1)[0]

    def decode(self, z: Tensor, state: State) -> Tensor:
        from diffusers.models.autoencoders.autoencoder_kl_wan import unpatchify

        if self.tiling:
            return super().decode(z, state)
        opening = self.vae.decoder not in state
        features = self._features(state, self.vae.decoder)
        z = self.vae.post_quant_conv(z)
        x = self.vae.decoder(z, feat_cache=features, feat_idx=[0], first_chunk=opening)
        if self.vae.config.patch_size is not None:
            x = unpatchify(x, patch_size=self.vae.config.patch_size)
        return x

    def reconstruct(self, z: Tensor) -> Tensor:
        return self.vae.decode(z).sample

    def _features(self, state: State, half: nn.Module) -> list[Any]:
        from diffusers.models.autoencoders.autoencoder_kl_wan import WanCausalConv3d

        if half not in state:
            state[half] = [None] * sum(isinstance(m, WanCausalConv3d) for m in half.modules())
        return state[half]


class HunyuanVideo(Port):
    """Clips of more than 16 frames in overlapping windows that are blended, as published."""


class HunyuanVideo15(Port):
    """Its attention mask fits one clip."""

    one_by_one = True


class CogVideoX(Port):
    """Eight frames at a time, the first eight with the frame before them.

    The decoder doubles the frames of an even number of latents without keeping the first one, so
    1+4k frames come back as 4+4k where k is odd. Steps of eight frames avoid it.
    """

    step = 2

    @property
    def space(self) -> int:
        return int(2 ** (len(self.vae.config.block_out_channels) - 1))


class LtxVideo(Port):
    """Statistics are buffers; a decoder that wants a time step decodes at 0, without noise."""

    @property
    def time(self) -> int:
        return int(self.vae.temporal_compression_ratio)

    def statistics(self) -> tuple[Tensor, Tensor]:
        scale = float(self.vae.config.scaling_factor)
        return self.vae.latents_mean.float(), self.vae.latents_std.float() / scale

    def decode(self, z: Tensor, state: State) -> Tensor:
        moment = None
        if self.vae.config.timestep_conditioning:
            moment = torch.zeros(len(z), device=z.device, dtype=z.dtype)
        with self._steady(z):
            return self.vae.decode(z, moment).sample

    def _steady(self, z: Tensor) -> contextlib.AbstractContextManager[None]:
        """Decoders that inject noise draw the same noise each time."""
        if not any(self.vae.config.decoder_inject_noise):
            return contextlib.nullcontext()
        return _seeded(z.device)


class Mochi(Port):
    @property
    def time(self) -> int:
        return math.prod(self.vae.config.temporal_expansions)

    @property
    def space(self) -> int:
        return math.prod(self.vae.config.spatial_expansions)


class Allegro(Port):
    """Windows of 24 frames that overlap by 8 and are blended, as published.

    The class works in tiles only, and cuts off what does not fill one. Here a tile is as large as
    the frame, so that any size is encoded; `tiling` brings the published tiles of 320 pixels back.
    """

    causal = False
    step = 4
    one_by_one = True
    _WINDOW, _STRIDE = 24, 16

    def __init__(self, vae: Any, tiling: bool):
        super().__init__(vae, tiling)
        vae.enable_tiling()
        self.tile, self.tile_stride = vae.kernel[1:], vae.stride[1:]

    @property
    def length(self) -> LengthRule:
        return LengthRule(self._WINDOW, self._STRIDE)

    @property
    def first(self) -> int:
        return self._WINDOW // self.time

    def decode(self, z: Tensor, state: State) -> Tensor:
        self.fit(*(n * self.space for n in z.shape[-2:]))
        return super().decode(z, state).transpose(1, 2)

    def _posterior(self, x: Tensor) -> Any:
        self.fit(*x.shape[-2:])
        return super()._posterior(x)

    def fit(self, rows: int, columns: int) -> None:
        size = (rows, columns)
        if not self.tiling:
            self.vae.kernel, self.vae.stride = (self._WINDOW, *size), (self._STRIDE, *size)
            return
        for extent, tile, stride in zip(size, self.tile, self.tile_stride, strict=True):
            if extent < tile or (extent - tile) % stride:
                raise InputError(
                    f"frames of {size[0]}x{size[1]} are not whole tiles",
                    allowed=f"{self.tile[0]}+{self.tile_stride[0]}k rows and "
                    f"{self.tile[1]}+{self.tile_stride[1]}k columns",
                    hint="crop or resize the frames, or load with tiling=False",
                )


class Magvit(Port):
    """The first frame alone, then four at a time; layers keep features, here in the state."""

    streaming = True

    def __init__(self, vae: Any, tiling: bool):
        super().__init__(vae, tiling)
        self.streaming = not tiling
        self.pace = max(1, vae.num_sample_frames_batch_size // self.time)

    @property
    def time(self) -> int:
        return int(self.vae.temporal_compression_ratio)

    def encode(self, x: Tensor, state: State) -> Tensor:
        if self.tiling:
            return super().encode(x, state)
        with _carried(self.vae.encoder, state):
            moments = self.vae.quant_conv(self.vae.encoder(x))
        return moments.chunk(2, dim=1)[0]

    def decode(self, z: Tensor, state: State) -> Tensor:
        if self.tiling:
            return super().decode(z, state)
        with _carried(self.vae.decoder, state):
            frames = [
                self.vae.decoder(part) for part in self.vae.post_quant_conv(z).split(1, dim=2)
            ]
        return torch.cat(frames, dim=2)

    def reconstruct(self, z: Tensor) -> Tensor:
        return self.vae.decode(z).sample


class Cosmos(Port):
    """No posterior: the encoder gives latents. Statistics differ for the first positions in time;
    those of the last known position hold for all later ones."""

    can_tile = False

    @property
    def space(self) -> int:
        return int(self.vae.config.spatial_compression_ratio)

    def statistics(self) -> tuple[Tensor, Tensor]:
        mean, deviation = super().statistics()
        return mean.view(self.channels, -1), deviation.view(self.channels, -1)

    def learn(self, x: Tensor) -> Learned:
        return self.encode(x, {}), None, {}


class TemporalDecoder(Port):
    """Frames encoded one by one, decoded 14 together as Stable Video Diffusion was trained to."""

    streaming = True
    can_tile = False
    pace = 14

    @property
    def time(self) -> int:
        return 1

    @property
    def space(self) -> int:
        return int(2 ** (len(self.vae.config.block_out_channels) - 1))

    def decode(self, z: Tensor, state: State) -> Tensor:
        frames = self.vae.decode(z.transpose(1, 2).flatten(0, 1), num_frames=z.shape[2]).sample
        return frames.unflatten(0, (len(z), -1)).transpose(1, 2)

    def _posterior(self, x: Tensor) -> Any:
        from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution

        moments = self.vae.quant_conv(self.vae.encoder(x.transpose(1, 2).flatten(0, 1)))
        return DiagonalGaussianDistribution(moments.unflatten(0, (len(x), -1)).transpose(1, 2))


class VidTok(Port):
    """Causal models want copies of the first frame in front, which `encode` does not add.

    Ids of the FSQ models; latents of the KL models are near unit variance as they are.
    """

    def __init__(self, vae: Any, tiling: bool):
        super().__init__(vae, tiling)
        self.causal = bool(vae.config.is_causal)
        self.step = 1 if self.causal else self.first

    @property
    def time(self) -> int:
        return int(self.vae.temporal_compression_ratio)

    @property
    def space(self) -> int:
        return int(2 ** len(self.vae.encoder.spatial_ds))

    @property
    def length(self) -> LengthRule:
        if self.causal:
            return super().length
        frames = int(self.vae.num_sample_frames_batch_size)
        return LengthRule(frames, frames)

    @property
    def first(self) -> int:
        return 1 if self.causal else int(self.vae.num_latent_frames_batch_size)

    @property
    def levels(self) -> tuple[int, ...]:
        known = self.vae.config
        return (int(known.codebook_size),) if known.regularizer == "fsq" else ()

    @property
    def channels(self) -> int:
        return 0 if self.levels else int(self.vae.config.z_channels)

    def statistics(self) -> tuple[Tensor, Tensor]:
        return torch.zeros(self.channels), torch.ones(self.channels)

    def encode(self, x: Tensor, state: State) -> Tensor:
        if self.levels:
            return self.vae.encode(self._padded(x))[1].long()
        return super().encode(x, state)

    def decode(self, z: Tensor, state: State) -> Tensor:
        return self.vae.decode(z, decode_from_indices=not z.is_floating_point())

    def learn(self, x: Tensor) -> Learned:
        if not self.levels:
            return super().learn(x)
        values, ids = self.vae.encode(self._padded(x))
        return values, ids.long(), {}

    def _posterior(self, x: Tensor) -> Any:
        return super()._posterior(self._padded(x))

    def _padded(self, x: Tensor) -> Tensor:
        if not self.causal:
            return x
        return torch.cat([x[:, :, :1].expand(-1, -1, self.time - 1, -1, -1), x], dim=2)


def pad_with_zeros(vae: Any) -> None:
    """Make a causal AutoencoderVidTok what VidTok 1.0 was: zeros in front, nearest frames."""
    if not getattr(vae, "is_causal", False) or not hasattr(vae, "regularizer"):
        raise UsageError("zero_padding is for causal models of VidTok", allowed="False")
    for layer in vae.modules():
        if hasattr(layer, "enable_cached"):
            layer.enable_cached, layer.interpolation_mode = False, "nearest"
        elif hasattr(layer, "causal_cache"):
            layer.register_forward_pre_hook(_start_from_zeros)


def _start_from_zeros(layer: Any, inputs: tuple[Tensor, ...]) -> None:
    """The layer finds zeros where it keeps the frames before a piece."""
    frames = max(1, getattr(layer, "time_pad", 1))
    before = inputs[0][:, :, :1].expand(-1, -1, frames, *inputs[0].shape[3:])
    layer.is_first_chunk, layer.causal_cache = False, torch.zeros_like(before)


@contextlib.contextmanager
def _carried(half: nn.Module, state: State) -> Iterator[None]:
    """Give layers what they remember of this clip, and take it back: streams must not mix."""
    layers = [layer for layer in half.modules() if hasattr(layer, "prev_features")]
    _remember(layers, state)
    try:
        yield
        state.update((layer, layer.prev_features) for layer in layers)
    finally:
        _remember(layers, {})


def _remember(layers: Iterable[Any], state: State) -> None:
    for layer in layers:
        layer.prev_features = state.get(layer)


@contextlib.contextmanager
def _seeded(device: torch.device) -> Iterator[None]:
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(0)
        yield


PORTS: dict[str, type[Port]] = {
    "AutoencoderKLAllegro": Allegro,
    "AutoencoderKLCogVideoX": CogVideoX,
    "AutoencoderKLCosmos": Cosmos,
    "AutoencoderKLHunyuanVideo": HunyuanVideo,
    "AutoencoderKLHunyuanVideo15": HunyuanVideo15,
    "AutoencoderKLLTXVideo": LtxVideo,
    "AutoencoderKLMagvit": Magvit,
    "AutoencoderKLMochi": Mochi,
    "AutoencoderKLTemporalDecoder": TemporalDecoder,
    "AutoencoderKLWan": Wan,
    "AutoencoderVidTok": VidTok,
}
"""What serves each class."""
