"""Frozen encoders of transformers as teachers: ViT, DINOv2, CLIP, SigLIP, BEiT, VideoMAE, ViViT.

    tokenizer.learn_from(FeatureTeacher.load("facebook/dinov2-base"))
    teacher(frames, (14, 14))        # (B, T, 14, 14, 768) of frames (B, 3, T, H, W) in -1..1

Frames are resized to what the encoder was trained on and normalised by its own mean and deviation.
Features of its patches are resampled to the grid that is asked for. An encoder of clips sees its
own number of frames, spread over the clip, and each frame takes the features nearest in time.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from zoo.errors import InputError, MissingExtraError, NotFoundError, UsageError

__all__ = ["FeatureTeacher"]

_MEAN, _DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""ImageNet's, which most encoders were trained with."""


class FeatureTeacher:
    """Features of patches by an encoder of images or clips, or by a backbone."""

    def __init__(
        self,
        encoder: nn.Module,
        mean: tuple[float, ...] = _MEAN,
        deviation: tuple[float, ...] = _DEVIATION,
    ):
        """`encoder` comes from AutoModel or AutoBackbone; of a pair with text, images are used."""
        self.encoder: Any = getattr(encoder, "vision_model", encoder)
        self.encoder.eval().requires_grad_(False)
        self.config = self.encoder.config
        if not hasattr(self.config, "image_size"):
            raise UsageError(
                f"{type(encoder).__name__} is no encoder of images or clips",
                allowed="models whose config has an image_size",
            )
        self.mean, self.deviation = torch.tensor(mean), torch.tensor(deviation)

    @classmethod
    def load(cls, repo: str, *, revision: str | None = None) -> FeatureTeacher:
        """An encoder of a repository or folder, from safetensors, with its processor's numbers."""
        try:
            from transformers import AutoModel
            from transformers.image_processing_base import ImageProcessingMixin
        except ImportError as error:
            raise MissingExtraError(
                "a teacher needs transformers", hint="pip install 'clipmill[adapters]'"
            ) from error
        try:
            encoder = AutoModel.from_pretrained(repo, revision=revision, use_safetensors=True)
            known, _ = ImageProcessingMixin.get_image_processor_dict(repo, revision=revision)
        except (OSError, ValueError) as error:
            raise NotFoundError(
                f"no encoder at {repo}: {str(error).strip().partition(chr(10))[0]}",
                allowed="config.json, safetensors and preprocessor_config.json",
            ) from error
        mean, deviation = known.get("image_mean", _MEAN), known.get("image_std", _DEVIATION)
        return cls(encoder, tuple(mean), tuple(deviation))

    @property
    def width(self) -> int:
        """How many features a patch has."""
        return int(self.config.hidden_size)

    def to(self, device: torch.device | str) -> FeatureTeacher:
        self.encoder.to(device)
        return self

    @torch.no_grad()
    def __call__(self, frames: Tensor, grid: tuple[int, int]) -> Tensor:
        """(B, 3, T, H, W) in -1..1 to (B, T, *grid, width)."""
        if frames.ndim != 5 or frames.shape[1] != 3:
            raise InputError(f"frames of shape {tuple(frames.shape)}", allowed="(B, 3, T, H, W)")
        batch, _, count = frames.shape[:3]
        window = getattr(self.config, "num_frames", None)
        if window:
            frames = frames[:, :, _spread(count, window).to(frames.device)]
        images = self._prepared(frames.transpose(1, 2).flatten(0, 1))
        if window:
            maps = self._of_clips(images.unflatten(0, (batch, window)))
        else:
            maps = self._of_images(images).unflatten(0, (batch, count))
        maps = maps[:, _spread(maps.shape[1], count).to(maps.device)]
        resized = functional.interpolate(
            maps.flatten(0, 1), grid, mode="bilinear", antialias=True, align_corners=False
        )
        return resized.unflatten(0, (batch, count)).movedim(2, -1)

    def _prepared(self, images: Tensor) -> Tensor:
        """At the size of the encoder, normalised."""
        like = next(self.encoder.parameters())
        small = functional.interpolate(
            images, _pair(self.config.image_size), mode="bilinear", antialias=True
        )
        mean, deviation = (
            value.to(small).view(1, 3, 1, 1) for value in (self.mean, self.deviation)
        )
        return ((small * 0.5 + 0.5 - mean) / deviation).to(like)

    def _of_images(self, images: Tensor) -> Tensor:
        """(N, 3, H, W) to (N, width, rows, columns)."""
        made = self.encoder(pixel_values=images)
        if hasattr(made, "feature_maps"):
            return made.feature_maps[-1]
        rows, columns = self._patches()
        return _grid_of(made.last_hidden_state, (rows, columns))

    def _of_clips(self, clips: Tensor) -> Tensor:
        """(B, frames, 3, H, W) to (B, steps, width, rows, columns)."""
        tokens = self.encoder(pixel_values=clips).last_hidden_state
        tubelet = self.config.tubelet_size
        step = tubelet[0] if isinstance(tubelet, list | tuple) else tubelet
        steps = clips.shape[1] // step
        return _grid_of(tokens, (steps, *self._patches())).movedim(1, 2)

    def _patches(self) -> tuple[int, int]:
        """Rows and columns of patches."""
        patch = getattr(self.config, "patch_size", None) or self.config.tubelet_size[1:]
        (height, width), (rows, columns) = _pair(self.config.image_size), _pair(patch)
        return height // rows, width // columns


def _grid_of(tokens: Tensor, grid: tuple[int, ...]) -> Tensor:
    """The last tokens (N, L, width) are patches; before them come class tokens and registers."""
    count = int(torch.tensor(grid).prod())
    return tokens[:, tokens.shape[1] - count :].transpose(1, 2).unflatten(2, grid)


def _spread(have: int, want: int) -> Tensor:
    """Of `have` positions in time, the nearest to each of `want` that are spread over them."""
    return ((torch.arange(want) + 0.5) * have / want).long()


def _pair(size: Any) -> tuple[int, int]:
    return (size, size) if isinstance(size, int) else (int(size[0]), int(size[1]))
