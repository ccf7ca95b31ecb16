"""The video VAEs of diffusers as tokenizers: Wan, HunyuanVideo, CogVideoX, LTX, Mochi, VidTok, ...

The network is the class of diffusers as it is, named in the configuration; `adapters/vae_ports.py`
holds what differs between the classes. Latents are the mode of the posterior, brought to about unit
variance by the numbers that came with the weights, channels last. Ids of VidTok's FSQ models are
the published ones.

    zoo.load("diffusers:Wan-AI/Wan2.1-T2V-1.3B-Diffusers:vae")      published weights
    zoo.create("video/diffusers_wan.v21")                           the same network, fresh weights

Without the extra `adapters` there are no presets here.
"""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from zoo.adapters.vae_port import Port
from zoo.adapters.vae_ports import PORTS, pad_with_zeros
from zoo.errors import MissingExtraError, UsageError, nearest
from zoo.registry import Preset
from zoo.spec import Axis, StreamSpec, TokenizerSpec
from zoo.tokenizer import Reconstruction, State, Tokenizer

__all__ = ["PRESETS", "Config", "DiffusersVae"]

_DECODER_KEYS = (
    "decode",
    "out_channels",
    "spatial_us",
    "tempo_us",
    "temporal_upsample",
    "timestep_conditioning",
    "up_block",
    "upsample",
)
"""Beginnings of names of settings that touch only the decoder."""


@dataclass(frozen=True)
class Config:
    """`vae` is a class of diffusers; its settings are JSON, those of the decoder on their own.

    `tiling` encodes large frames in tiles as the class does, which changes the latents.
    `zero_padding` is for weights of VidTok 1.0, which saw black before the first frame and nearest
    frames in the decoder; the class is made like VidTok 1.1.
    """

    vae: str
    settings: str = "{}"
    decoder_settings: str = "{}"
    precision: str = "float32"
    tiling: bool = False
    zero_padding: bool = False

    @classmethod
    def of(
        cls,
        vae: str,
        settings: Mapping[str, Any],
        **options: Any,
    ) -> Config:
        """The configuration of a class with settings as in its `config.json`."""
        known = {key: value for key, value in settings.items() if not key.startswith("_")}
        decoder = {key: known.pop(key) for key in list(known) if key.startswith(_DECODER_KEYS)}
        return cls(vae, _text(known), _text(decoder), **options)


class DiffusersVae(Tokenizer):
    """One VAE behind its port."""

    config_class = Config
    encode_side = ("vae",)
    decode_side = ("vae.decoder.", "vae.post_quant_conv.")
    loss_weights: ClassVar[dict[str, float]] = {"kl": 1e-6}

    def __init__(self, config: Config, vae: Any = None):
        """`vae` is a network that was built already, by `from_pretrained`."""
        super().__init__(config)
        self.vae = _build(config) if vae is None else vae
        nn.Module.to(self.vae, getattr(torch, config.precision))
        if config.zero_padding:
            if config.tiling:
                raise UsageError("zero_padding does not go with tiling", allowed="tiling=False")
            pad_with_zeros(self.vae)
        self.port: Port = PORTS[config.vae](self.vae, config.tiling)
        self.pace = self.port.pace

    def describe(self) -> TokenizerSpec:
        port = self.port
        stream = StreamSpec(
            axes=(Axis("h", stride=port.space), Axis("w", stride=port.space)),
            first=port.first,
            step=port.step,
            levels=port.levels,
            channels=port.channels,
        )
        return TokenizerSpec(
            modality="video",
            channels=3,
            length=port.length,
            streams=(stream,),
            multiple=port.space,
            value_range=(-1.0, 1.0),
            causal=port.causal,
            streaming=port.streaming,
        )

    def encode_piece(self, x: Tensor, state: State) -> dict[str, Tensor]:
        tokens = self.port.encode(x, state)
        if self.port.levels:
            return {"tokens": tokens}
        latents = tokens.float()
        mean, deviation = self._statistics(latents)
        return {"tokens": ((latents - mean) / deviation).movedim(1, -1)}

    def decode_piece(
        self, streams: dict[str, Tensor], state: State, size: tuple[int, ...]
    ) -> Tensor:
        tokens = streams["tokens"]
        if self.port.levels:
            return self.port.decode(tokens, state).float()
        latents = tokens.float().movedim(-1, 1)
        mean, deviation = self._statistics(latents)
        return self.port.decode((latents * deviation + mean).to(self.vae.dtype), state).float()

    def forward(self, x: Tensor) -> Reconstruction:
        latents, ids, losses = self.port.learn(x)
        return Reconstruction(
            self.port.reconstruct(latents), losses, {} if ids is None else {"tokens": ids}
        )

    def example_shape(self, batch: int = 2) -> tuple[int, ...]:
        """Smaller than usual: on a CPU these networks take their time."""
        length = self.port.length
        frames = length.first if length.first > 1 else length.first + length.step
        return (batch, 3, frames, 2 * self.port.space, 2 * self.port.space)

    def _statistics(self, latents: Tensor) -> tuple[Tensor, ...]:
        """Mean and deviation that fit (B, C, T, H, W); the last position's hold for later ones."""
        frames = latents.shape[2]
        found = []
        for value in self.port.statistics():
            known = value.to(latents).reshape(latents.shape[1], -1)[:, :frames]
            rest = known[:, -1:].expand(-1, frames - known.shape[1])
            found.append(torch.cat([known, rest], dim=1)[None, :, :, None, None])
        return tuple(found)


def _build(config: Config) -> Any:
    """The network with fresh weights."""
    if config.vae not in PORTS:
        raise UsageError(
            f"no port for {config.vae!r} of diffusers",
            allowed=", ".join(PORTS),
            hint=nearest(config.vae, PORTS),
        )
    if not _INSTALLED:
        raise MissingExtraError(
            f"{config.vae} needs diffusers", hint="pip install 'clipmill[adapters]'"
        )
    import diffusers

    settings = {**json.loads(config.settings), **json.loads(config.decoder_settings)}
    with torch.device("cpu"):  # the module is imported here, and some hold tables of numbers
        network = getattr(diffusers, config.vae)
    if settings.get("regularizer") == "fsq":
        return _build_fsq(network, settings)
    return network(**settings)


def _build_fsq(network: Any, settings: dict[str, Any]) -> Any:
    """VidTok reads numbers off its levels while it is built, which the meta device cannot do."""
    from diffusers.models.autoencoders.autoencoder_vidtok import FSQRegularizer

    with torch.device("cpu"):
        regularization = FSQRegularizer([8] * settings["z_channels"])
    vae = network(**{**settings, "regularizer": "kl"})
    vae.register_to_config(regularizer="fsq")
    vae.regularizer, vae.regularization = "fsq", regularization
    return vae


def _text(settings: Mapping[str, Any]) -> str:
    return json.dumps(settings, sort_keys=True, separators=(",", ":"))


_INSTALLED = importlib.util.find_spec("diffusers") is not None

_TINY: dict[str, tuple[str, dict[str, Any]]] = {
    "wan": ("AutoencoderKLWan", {
        "base_dim": 8, "z_dim": 4, "dim_mult": [1, 2, 2], "num_res_blocks": 1,
        "temperal_downsample": [True, True], "scale_factor_spatial": 4,
        "latents_mean": [0.1, -0.2, 0.3, 0.0], "latents_std": [1.0, 1.5, 0.5, 2.0],
    }),
    "hunyuanvideo": ("AutoencoderKLHunyuanVideo", {
        "latent_channels": 4, "block_out_channels": [16, 16, 16], "layers_per_block": 1,
        "down_block_types": ["HunyuanVideoDownBlock3D"] * 3,
        "up_block_types": ["HunyuanVideoUpBlock3D"] * 3,
        "norm_num_groups": 4, "spatial_compression_ratio": 4,
    }),
    "hunyuanvideo15": ("AutoencoderKLHunyuanVideo15", {
        "latent_channels": 4, "block_out_channels": [16, 16, 16], "layers_per_block": 1,
        "spatial_compression_ratio": 4,
    }),
    "cogvideox": ("AutoencoderKLCogVideoX", {
        "latent_channels": 4, "block_out_channels": [16, 16, 16], "layers_per_block": 1,
        "down_block_types": ["CogVideoXDownBlock3D"] * 3,
        "up_block_types": ["CogVideoXUpBlock3D"] * 3,
        "norm_num_groups": 4,
    }),
    "ltx": ("AutoencoderKLLTXVideo", {
        "latent_channels": 16, "block_out_channels": [16, 16, 16],
        "decoder_block_out_channels": [16, 16, 16],
        "down_block_types": ["LTXVideoDownBlock3D"] * 3,
        "layers_per_block": [1] * 4, "decoder_layers_per_block": [1] * 4,
        "spatio_temporal_scaling": [True, True, False],
        "decoder_spatio_temporal_scaling": [True, True, False],
        "decoder_inject_noise": [False] * 4, "downsample_type": ["conv"] * 3,
        "upsample_residual": [False] * 3, "upsample_factor": [1] * 3, "patch_size": 2,
    }),
    "mochi": ("AutoencoderKLMochi", {
        "latent_channels": 4, "encoder_block_out_channels": [32, 32, 32, 32],
        "decoder_block_out_channels": [32, 32, 32, 32], "layers_per_block": [1, 1, 1, 1, 1],
        "latents_mean": [0.1, -0.2, 0.3, 0.0], "latents_std": [1.0, 1.5, 0.5, 2.0],
    }),
    "allegro": ("AutoencoderKLAllegro", {
        "latent_channels": 4, "block_out_channels": [8, 8, 8], "layers_per_block": 1,
        "down_block_types": ["AllegroDownBlock3D"] * 3,
        "up_block_types": ["AllegroUpBlock3D"] * 3,
        "temporal_downsample_blocks": [True, True, False],
        "temporal_upsample_blocks": [True, True, False], "norm_num_groups": 4,
    }),
    "easyanimate": ("AutoencoderKLMagvit", {
        "latent_channels": 4, "block_out_channels": [16, 16, 16], "layers_per_block": 1,
        "down_block_types": ["SpatialDownBlock3D", *["SpatialTemporalDownBlock3D"] * 2],
        "up_block_types": ["SpatialUpBlock3D", *["SpatialTemporalUpBlock3D"] * 2],
        "norm_num_groups": 4,
    }),
    "cosmos": ("AutoencoderKLCosmos", {
        "latent_channels": 4, "encoder_block_out_channels": [16, 16, 16, 16],
        "decode_block_out_channels": [16, 16, 16, 16], "num_layers": 1,
        "latents_mean": [0.1] * 16, "latents_std": [0.5] * 16,
    }),
    "svd": ("AutoencoderKLTemporalDecoder", {
        "block_out_channels": [32, 32], "down_block_types": ["DownEncoderBlock2D"] * 2,
    }),
    "vidtok_kl": ("AutoencoderVidTok", {"ch": 16, "ch_mult": [1, 1, 1], "num_res_blocks": 1}),
    "vidtok_fsq": ("AutoencoderVidTok", {
        "ch": 16, "ch_mult": [1, 1, 1], "num_res_blocks": 1, "z_channels": 5,
        "double_z": False, "regularizer": "fsq", "codebook_size": 8**5,
    }),
}  # fmt: skip

_WAN = "Wan: Open and Advanced Large-Scale Video Generative Models, arXiv:2503.20314"
_HUNYUAN = (
    "HunyuanVideo: A Systematic Framework For Large Video Generative Models, arXiv:2412.03603"
)
_HUNYUAN15 = "HunyuanVideo 1.5 Technical Report, arXiv:2511.18870"
_COGVIDEOX = (
    "CogVideoX: Text-to-Video Diffusion Models with An Expert Transformer, arXiv:2408.06072"
)
_LTX = "LTX-Video: Realtime Video Latent Diffusion, arXiv:2501.00103"
_MOCHI = "Mochi 1 (genmo/mochi-1-preview)"
_ALLEGRO = (
    "Allegro: Open the Black Box of Commercial-Level Video Generation Model, arXiv:2410.15458"
)
_EASY = "EasyAnimate: A High-Performance Long Video Generation Method, arXiv:2405.18991"
_COSMOS = "Cosmos World Foundation Model Platform for Physical AI, arXiv:2501.03575"
_SVD = "Stable Video Diffusion: Scaling Latent Video Diffusion Models, arXiv:2311.15127"
_VIDTOK = "VidTok: A Versatile and Open-Source Video Tokenizer, arXiv:2412.13061"
_PAPERS = {
    "wan": _WAN, "hunyuanvideo": _HUNYUAN, "hunyuanvideo15": _HUNYUAN15, "cogvideox": _COGVIDEOX,
    "ltx": _LTX, "mochi": _MOCHI, "allegro": _ALLEGRO, "easyanimate": _EASY, "cosmos": _COSMOS,
    "svd": _SVD, "vidtok_kl": _VIDTOK, "vidtok_fsq": _VIDTOK,
}  # fmt: skip

_BENCH = "TokenBench"
_MCL = "MCL-JCV, 17x256x256, 30 fps"
_FULL: tuple[tuple[str, str, dict[str, Any], dict[str, float | str], tuple[str, ...]], ...] = (
    ("wan.v21", "wan", {}, {"parameters": 126.9e6}, ("wan",)),
    ("hunyuanvideo.v1", "hunyuanvideo", {}, {"parameters": 246.5e6}, ("hunyuanvideo",)),
    ("hunyuanvideo15.v15", "hunyuanvideo15", {}, {"parameters": 1260.6e6}, ()),
    ("cogvideox.2b", "cogvideox", {}, {
        "parameters": 215.6e6,
        f"psnr ({_BENCH})": 33.15, f"ssim ({_BENCH})": 0.908, f"rfvd ({_BENCH})": 6.97,
    }, ()),
    ("cogvideox.5b", "cogvideox", {"scaling_factor": 0.7}, {"parameters": 215.6e6}, ()),
    ("ltx.v09", "ltx", {}, {"parameters": 419.2e6}, ()),
    ("mochi.v1", "mochi", {}, {"parameters": 459.7e6}, ()),
    ("allegro.v1", "allegro", {}, {"parameters": 175.0e6}, ("allegro",)),
    ("easyanimate.v51", "easyanimate", {}, {"parameters": 244.4e6}, ("easyanimate",)),
    ("cosmos.cv8x8x8", "cosmos", {}, {
        "parameters": 105.7e6,
        f"psnr ({_BENCH})": 36.86, f"ssim ({_BENCH})": 0.917, f"rfvd ({_BENCH})": 11.62,
    }, ()),
    ("svd.xt", "svd", {
        "block_out_channels": [128, 256, 512, 512], "layers_per_block": 2,
        "down_block_types": ["DownEncoderBlock2D"] * 4, "sample_size": 768,
    }, {}, ("stable-video-diffusion",)),
    ("vidtok_kl.causal_488_ch16", "vidtok_kl", {"z_channels": 16}, {
        f"psnr ({_MCL})": 35.04, f"ssim ({_MCL})": 0.942,
        f"lpips ({_MCL})": 0.047, f"rfvd ({_MCL})": 78.9,
    }, ()),
    ("vidtok_fsq.causal_488_k32768", "vidtok_fsq", {
        "z_channels": 5, "double_z": False, "regularizer": "fsq", "codebook_size": 8**5,
    }, {
        "parameters": 157.5e6, f"psnr ({_MCL})": 29.16, f"ssim ({_MCL})": 0.854,
        f"lpips ({_MCL})": 0.117, f"rfvd ({_MCL})": 196.9,
    }, ("vidtok",)),
)  # fmt: skip


def _presets() -> tuple[Preset, ...]:
    tiny = [
        Preset(f"video/diffusers_{name}_tiny", DiffusersVae, Config.of(*config), _PAPERS[name])
        for name, config in _TINY.items()
    ]
    full = [
        Preset(
            f"video/diffusers_{name}",
            DiffusersVae,
            Config.of(_TINY[kind][0], settings, zero_padding=kind.startswith("vidtok")),
            _PAPERS[kind],
            f"video/diffusers_{kind}_tiny",
            published,
            serves,
        )
        for name, kind, settings, published, serves in _FULL
    ]
    return (*tiny, *full)


PRESETS = _presets() if _INSTALLED else ()
