"""What differs between the video pipelines of diffusers, as data: one `Traits` a class.

The parts of a pipeline tell most of what is to be known (compression, patches, channels). Here is
what no part tells: names of arguments, what a model was trained to make, and which other class
takes a first picture or a clip with the same parts. `pipelines.py` makes a generator of both.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["TRAITS", "Traits"]


@dataclass(frozen=True, kw_only=True)
class Traits:
    """A pipeline's class: what it makes when nothing else is asked for, and how it is called."""

    frames: int
    size: tuple[int, int]
    """Rows and columns."""
    fps: float
    steps: int
    guidance: float
    multiple: int = 8
    """Of rows and columns, besides what the parts ask for."""
    text: bool = True
    negative: bool = True
    picture: bool = False
    """Whether it cannot do without a first picture."""
    last: bool = False
    """Whether some of the class take a last picture beside the first."""
    from_picture: str = ""
    """The class that takes a first picture with the same parts."""
    from_clip: str = ""
    """The class that goes on from a clip with the same parts."""
    fewest: int = 1
    """Frames that it makes at least."""
    window: str = ""
    """`part.setting` that holds the most frames seen at once; no such limit where empty."""
    exact: bool = False
    """Whether always a whole window is made."""
    longer: Mapping[str, Any] = field(default_factory=dict)
    """Arguments with which more than a window is made."""
    free_noise: bool = False
    """Whether more than a window is made by rescheduled noise (FreeNoise)."""
    frames_name: str = "num_frames"
    guidance_name: str = "guidance_scale"
    fps_name: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Arguments that are always given."""
    needs: tuple[str, ...] = ()
    """Packages that the class cannot do without."""
    vae_float32: bool = False
    """Whether its VAE goes wrong in half precision."""
    window_frames: int = 0
    """The most frames seen at once, where no part tells."""
    serves: tuple[str, ...] = ()


_WAN: dict[str, Any] = {
    "frames": 81, "size": (480, 832), "fps": 16.0, "steps": 50, "guidance": 5.0, "multiple": 16,
    "vae_float32": True,
}  # fmt: skip
_SKYREELS: dict[str, Any] = {
    **_WAN, "frames": 97, "size": (544, 960), "fps": 24.0, "guidance": 6.0, "needs": ("ftfy",),
}  # fmt: skip
_FORCING: dict[str, Any] = {
    **_SKYREELS, "window_frames": 97, "longer": {"overlap_history": 17}, "fps_name": "fps",
}  # fmt: skip
_HUNYUAN: dict[str, Any] = {
    "frames": 129, "size": (720, 1280), "fps": 24.0, "steps": 50, "guidance": 6.0, "multiple": 16,
    "negative": False,
}  # fmt: skip
_LTX: dict[str, Any] = {
    "frames": 161, "size": (512, 704), "fps": 25.0, "steps": 50, "guidance": 3.0, "multiple": 32,
    "fps_name": "frame_rate", "options": {"decode_timestep": 0.05, "decode_noise_scale": 0.025},
}  # fmt: skip
_COGVIDEOX: dict[str, Any] = {
    "frames": 49, "size": (480, 720), "fps": 8.0, "steps": 50, "guidance": 6.0,
}  # fmt: skip

TRAITS: dict[str, Traits] = {
    "AllegroPipeline": Traits(
        frames=88, size=(720, 1280), fps=15.0, steps=100, guidance=7.5,
        options={"clean_caption": False}, vae_float32=True, serves=("allegro",),
    ),
    "AnimateDiffPipeline": Traits(
        frames=16, size=(512, 512), fps=8.0, steps=50, guidance=7.5, free_noise=True,
        window="unet.motion_max_seq_length", serves=("freenoise",),
    ),
    "CogVideoXImageToVideoPipeline": Traits(**_COGVIDEOX, picture=True),
    "CogVideoXPipeline": Traits(**_COGVIDEOX),
    "EasyAnimatePipeline": Traits(
        frames=49, size=(512, 512), fps=8.0, steps=50, guidance=5.0, multiple=16,
        serves=("easyanimate",),
    ),
    "HunyuanVideoPipeline": Traits(**_HUNYUAN, serves=("hunyuanvideo",)),
    "LTXImageToVideoPipeline": Traits(**_LTX, picture=True),
    "LTXPipeline": Traits(**_LTX, from_picture="LTXImageToVideoPipeline"),
    "LattePipeline": Traits(
        frames=16, size=(512, 512), fps=8.0, steps=50, guidance=7.5, frames_name="video_length",
        window="transformer.video_length", exact=True, options={"clean_caption": False},
        serves=("latte",),
    ),
    "MochiPipeline": Traits(frames=19, size=(480, 848), fps=30.0, steps=64, guidance=4.5),
    "SkyReelsV2DiffusionForcingImageToVideoPipeline": Traits(**_FORCING, picture=True),
    "SkyReelsV2DiffusionForcingPipeline": Traits(
        **_FORCING,
        from_picture="SkyReelsV2DiffusionForcingImageToVideoPipeline",
        from_clip="SkyReelsV2DiffusionForcingVideoToVideoPipeline",
    ),
    "SkyReelsV2Pipeline": Traits(**_SKYREELS),
    "StableVideoDiffusionPipeline": Traits(
        frames=25, size=(576, 1024), fps=7.0, steps=25, guidance=3.0, picture=True, text=False,
        negative=False, fewest=2, guidance_name="max_guidance_scale", fps_name="fps",
        options={"decode_chunk_size": 8}, serves=("stable-video-diffusion",),
    ),
    "TextToVideoSDPipeline": Traits(
        frames=16, size=(256, 256), fps=8.0, steps=50, guidance=9.0, serves=("modelscopet2v",),
    ),
    "WanImageToVideoPipeline": Traits(**_WAN, picture=True, last=True, needs=("ftfy",)),
    "WanPipeline": Traits(**_WAN, serves=("wan",)),
}  # fmt: skip
"""By the class that `model_index.json` names."""
