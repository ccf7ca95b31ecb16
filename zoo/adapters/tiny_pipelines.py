"""Every video pipeline of `pipeline_traits.py` in miniature, with random weights.

For tests, and for trying commands without a download: `tiny_pipeline("WanPipeline")` is a pipeline
of diffusers, and `save_pretrained` makes the folder that `diffusers:FOLDER` loads. Its text encoder
knows a few words; what it makes is noise of the right shape.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch

from zoo.registry import create

__all__ = ["BUILDERS", "WORDS", "tiny_pipeline"]

WORDS = ("a", "bird", "blue", "cat", "circle", "dog", "falls", "red", "runs", "slowly", "square")
_SPECIAL = ("<pad>", "</s>", "<unk>")
WIDTH = 16


def tiny_pipeline(name: str, seed: int = 0) -> Any:
    """A pipeline of class `name`, in eval mode."""
    import diffusers

    with torch.random.fork_rng():
        torch.manual_seed(seed)
        parts = BUILDERS[name]()
        pipe = getattr(diffusers, name)(**parts)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def _vae(kind: str) -> Any:
    return create(f"video/diffusers_{kind}_tiny").vae


def _picture_vae() -> Any:
    from diffusers import AutoencoderKL

    return AutoencoderKL(
        down_block_types=["DownEncoderBlock2D"] * 2,
        up_block_types=["UpDecoderBlock2D"] * 2,
        block_out_channels=[8, 8],
        latent_channels=4,
        norm_num_groups=4,
        sample_size=16,
    ).eval()


def _tokenizer(most: int = 64, **options: Any) -> Any:
    """Words of `WORDS`, each one id."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    vocabulary = {word: number for number, word in enumerate((*_SPECIAL, *WORDS))}
    made = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.post_processor = processors.TemplateProcessing(
        single="$A </s>", special_tokens=[("</s>", 1)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=made,
        pad_token="<pad>",
        eos_token="</s>",
        unk_token="<unk>",
        model_max_length=most,
        **options,
    )


def _t5(kind: str = "T5") -> Any:
    import transformers

    config = getattr(transformers, f"{kind}Config")(
        vocab_size=len(_SPECIAL) + len(WORDS),
        d_model=WIDTH, d_ff=32, d_kv=8, num_layers=1, num_heads=2,
        pad_token_id=0, eos_token_id=1,
    )  # fmt: skip
    return getattr(transformers, f"{kind}EncoderModel")(config).eval()


_READER: dict[str, Any] = {
    "vocab_size": len(_SPECIAL) + len(WORDS), "hidden_size": WIDTH, "intermediate_size": 32,
    "num_hidden_layers": 3, "num_attention_heads": 2, "pad_token_id": 0, "eos_token_id": 1,
    "bos_token_id": 2,
}  # fmt: skip


def _clip_text() -> Any:
    import transformers

    config = transformers.CLIPTextConfig(**_READER, max_position_embeddings=77)
    return transformers.CLIPTextModel(config).eval()


def _language_model(kind: str) -> Any:
    import transformers

    known = {**_READER, "num_key_value_heads": 2, "max_position_embeddings": 512}
    config = getattr(transformers, f"{kind}Config")(**known)
    return getattr(transformers, f"{kind}Model")(config).eval()


def _clip_vision(projected: bool) -> Any:
    import transformers

    config = transformers.CLIPVisionConfig(
        hidden_size=WIDTH, intermediate_size=32, projection_dim=WIDTH, num_hidden_layers=2,
        num_attention_heads=2, image_size=224, patch_size=56,
    )  # fmt: skip
    name = "CLIPVisionModelWithProjection" if projected else "CLIPVisionModel"
    return getattr(transformers, name)(config).eval()


def _pictures() -> Any:
    from transformers import CLIPImageProcessorPil

    return CLIPImageProcessorPil()


def _flow(**options: Any) -> Any:
    from diffusers import FlowMatchEulerDiscreteScheduler

    return FlowMatchEulerDiscreteScheduler(**options)


def _steps(name: str, **options: Any) -> Any:
    import diffusers

    return getattr(diffusers, name)(**options)


def _network(name: str, **config: Any) -> Any:
    import diffusers

    return getattr(diffusers, name)(**config).eval()


_WAN: dict[str, Any] = {
    "num_attention_heads": 2, "attention_head_dim": 12, "in_channels": 4, "out_channels": 4,
    "text_dim": WIDTH, "freq_dim": 16, "ffn_dim": 32, "num_layers": 2, "rope_max_seq_len": 32,
}  # fmt: skip


def _wan(**changed: Any) -> dict[str, Any]:
    return {
        "vae": _vae("wan"),
        "transformer": _network("WanTransformer3DModel", **{**_WAN, **changed}),
        "scheduler": _flow(shift=3.0),
        "text_encoder": _t5("UMT5"),
        "tokenizer": _tokenizer(),
    }


def _wan_picture() -> dict[str, Any]:
    return {
        **_wan(in_channels=12, image_dim=WIDTH),
        "image_encoder": _clip_vision(projected=False),
        "image_processor": _pictures(),
    }


def _skyreels() -> dict[str, Any]:
    return {
        **_wan(),
        "transformer": _network("SkyReelsV2Transformer3DModel", **_WAN),
        "scheduler": _steps(
            "UniPCMultistepScheduler",
            flow_shift=8.0, use_flow_sigmas=True, prediction_type="flow_prediction",
        ),
    }  # fmt: skip


def _hunyuan() -> dict[str, Any]:
    transformer = _network(
        "HunyuanVideoTransformer3DModel",
        in_channels=4, out_channels=4, num_attention_heads=2, attention_head_dim=10,
        num_layers=1, num_single_layers=1, num_refiner_layers=1, text_embed_dim=WIDTH,
        pooled_projection_dim=WIDTH, rope_axes_dim=(2, 4, 4),
    )  # fmt: skip
    return {
        "vae": _vae("hunyuanvideo"),
        "transformer": transformer,
        "scheduler": _flow(shift=7.0),
        "text_encoder": _language_model("Llama"),
        "tokenizer": _tokenizer(512, padding_side="right"),
        "text_encoder_2": _clip_text(),
        "tokenizer_2": _tokenizer(77),
    }


def _ltx() -> dict[str, Any]:
    transformer = _network(
        "LTXVideoTransformer3DModel",
        in_channels=16, out_channels=16, num_attention_heads=2, attention_head_dim=8,
        cross_attention_dim=16, num_layers=2, caption_channels=WIDTH,
    )  # fmt: skip
    return {
        "vae": _vae("ltx"),
        "transformer": transformer,
        "scheduler": _flow(
            use_dynamic_shifting=True, base_shift=0.95, max_shift=2.05, base_image_seq_len=1024
        ),
        "text_encoder": _t5(),
        "tokenizer": _tokenizer(),
    }


def _cogvideox(channels: int = 4) -> dict[str, Any]:
    transformer = _network(
        "CogVideoXTransformer3DModel",
        num_attention_heads=2, attention_head_dim=16, in_channels=channels, out_channels=4,
        time_embed_dim=8, text_embed_dim=WIDTH, num_layers=1, sample_width=4, sample_height=4,
        sample_frames=9, max_text_seq_length=226, use_rotary_positional_embeddings=True,
    )  # fmt: skip
    return {
        "vae": _vae("cogvideox"),
        "transformer": transformer,
        "scheduler": _steps("CogVideoXDDIMScheduler"),
        "text_encoder": _t5(),
        "tokenizer": _tokenizer(),
    }


def _allegro() -> dict[str, Any]:
    transformer = _network(
        "AllegroTransformer3DModel",
        num_attention_heads=2, attention_head_dim=12, num_layers=1, cross_attention_dim=24,
        sample_width=8, sample_height=8, sample_frames=6, caption_channels=WIDTH,
    )  # fmt: skip
    return {
        "vae": _vae("allegro"),
        "transformer": transformer,
        "scheduler": _steps("EulerAncestralDiscreteScheduler"),
        "text_encoder": _t5(),
        "tokenizer": _tokenizer(),
    }


def _easyanimate() -> dict[str, Any]:
    transformer = _network(
        "EasyAnimateTransformer3DModel",
        num_attention_heads=2, attention_head_dim=16, in_channels=4, out_channels=4, patch_size=2,
        time_embed_dim=8, text_embed_dim=WIDTH, num_layers=1, mmdit_layers=1,
        sample_width=4, sample_height=4,
    )  # fmt: skip
    turns = (
        "{% for m in messages %}{% for c in m['content'] %}{{ c['text'] }}{% endfor %}{% endfor %}"
    )
    return {
        "vae": _vae("easyanimate"),
        "transformer": transformer,
        "scheduler": _flow(),
        "text_encoder": _language_model("Qwen2"),
        "tokenizer": _tokenizer(512, chat_template=turns),
    }


def _mochi() -> dict[str, Any]:
    """The pipeline counts on 12 channels."""
    vae = _network(
        "AutoencoderKLMochi",
        latent_channels=12, encoder_block_out_channels=[32] * 4,
        decoder_block_out_channels=[32] * 4, layers_per_block=[1] * 5,
    )  # fmt: skip
    transformer = _network(
        "MochiTransformer3DModel",
        num_attention_heads=2, attention_head_dim=8, num_layers=2, pooled_projection_dim=WIDTH,
        in_channels=12, qk_norm="rms_norm", text_embed_dim=WIDTH, time_embed_dim=4,
    )  # fmt: skip
    return {
        "vae": vae,
        "transformer": transformer,
        "scheduler": _flow(),
        "text_encoder": _t5(),
        "tokenizer": _tokenizer(256),
    }


def _latte() -> dict[str, Any]:
    transformer = _network(
        "LatteTransformer3DModel",
        num_attention_heads=2, attention_head_dim=8, in_channels=4, out_channels=8, num_layers=1,
        cross_attention_dim=16, attention_bias=True, sample_size=8, patch_size=2,
        activation_fn="gelu-approximate", num_embeds_ada_norm=1000,
        norm_type="ada_norm_single", norm_elementwise_affine=False, norm_eps=1e-6,
        caption_channels=WIDTH, video_length=16,
    )  # fmt: skip
    return {
        "vae": _picture_vae(),
        "transformer": transformer,
        "scheduler": _steps("DDIMScheduler"),
        "text_encoder": _t5(),
        "tokenizer": _tokenizer(),
    }


def _modelscope() -> dict[str, Any]:
    unet = _network(
        "UNet3DConditionModel",
        block_out_channels=(8, 8), layers_per_block=1, sample_size=8, norm_num_groups=4,
        down_block_types=("CrossAttnDownBlock3D", "DownBlock3D"),
        up_block_types=("UpBlock3D", "CrossAttnUpBlock3D"),
        cross_attention_dim=WIDTH, attention_head_dim=4,
    )  # fmt: skip
    return {
        "vae": _picture_vae(),
        "unet": unet,
        "scheduler": _steps("DDIMScheduler"),
        "text_encoder": _clip_text(),
        "tokenizer": _tokenizer(77),
    }


def _animatediff() -> dict[str, Any]:
    known: dict[str, Any] = {"block_out_channels": (8, 8), "norm_num_groups": 4}
    unet = _network(
        "UNet2DConditionModel",
        **known, layers_per_block=1, sample_size=8, cross_attention_dim=WIDTH,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
    )  # fmt: skip
    motion = _network(
        "MotionAdapter",
        block_out_channels=(8, 8), motion_layers_per_block=1, motion_norm_num_groups=2,
        motion_num_attention_heads=4, motion_max_seq_length=8,
    )  # fmt: skip
    return {
        "vae": _picture_vae(),
        "unet": unet,
        "motion_adapter": motion,
        "scheduler": _steps("DDIMScheduler", clip_sample=False),
        "text_encoder": _clip_text(),
        "tokenizer": _tokenizer(77),
    }


def _stable_video() -> dict[str, Any]:
    unet = _network(
        "UNetSpatioTemporalConditionModel",
        block_out_channels=(32, 32), layers_per_block=1, sample_size=8, num_frames=25,
        down_block_types=("CrossAttnDownBlockSpatioTemporal", "DownBlockSpatioTemporal"),
        up_block_types=("UpBlockSpatioTemporal", "CrossAttnUpBlockSpatioTemporal"),
        cross_attention_dim=WIDTH, num_attention_heads=2, addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=24,
    )  # fmt: skip
    return {
        "vae": _vae("svd"),
        "unet": unet,
        "scheduler": _steps(
            "EulerDiscreteScheduler",
            prediction_type="v_prediction", use_karras_sigmas=True, sigma_min=0.002,
            sigma_max=700.0, timestep_spacing="leading", timestep_type="continuous",
        ),
        "image_encoder": _clip_vision(projected=True),
        "feature_extractor": _pictures(),
    }  # fmt: skip


BUILDERS: Mapping[str, Callable[[], dict[str, Any]]] = {
    "AllegroPipeline": _allegro,
    "AnimateDiffPipeline": _animatediff,
    "CogVideoXImageToVideoPipeline": lambda: _cogvideox(8),
    "CogVideoXPipeline": _cogvideox,
    "EasyAnimatePipeline": _easyanimate,
    "HunyuanVideoPipeline": _hunyuan,
    "LTXImageToVideoPipeline": _ltx,
    "LTXPipeline": _ltx,
    "LattePipeline": _latte,
    "MochiPipeline": _mochi,
    "SkyReelsV2DiffusionForcingImageToVideoPipeline": _skyreels,
    "SkyReelsV2DiffusionForcingPipeline": _skyreels,
    "SkyReelsV2Pipeline": _skyreels,
    "StableVideoDiffusionPipeline": _stable_video,
    "TextToVideoSDPipeline": _modelscope,
    "WanImageToVideoPipeline": _wan_picture,
    "WanPipeline": _wan,
}
