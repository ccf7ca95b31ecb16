"""How pretrained generators of diffusers are trained on: one flow a class.

A flow says how texts are read, what the network is called with, how latents are laid out, and how
much more often late times come, which is what the class's own sampler does.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from zoo.adapters.pipelines import Pipeline
from zoo.errors import UsageError

__all__ = ["FLOWS", "Flow"]


class Flow(ABC):
    """How a class of pipelines is trained: texts, mixtures, what its network is called with."""

    longest_text: int

    def __init__(self, pipeline: Pipeline):
        self.pipe, self.spec = pipeline.pipe, pipeline.spec

    def shift(self, grid: Sequence[int]) -> float:
        """How much more often noise comes than with no shift, as the sampler's schedule has it."""
        known = self.pipe.scheduler.config
        if not known.get("use_dynamic_shifting"):
            return float(known.get("flow_shift") or known.get("shift") or 1.0)
        least, most = known.get("base_image_seq_len", 256), known.get("max_image_seq_len", 4096)
        low, high = known.get("base_shift", 0.5), known.get("max_shift", 1.15)
        places = math.prod(grid)
        return math.exp(low + (high - low) * (places - least) / (most - least))

    @abstractmethod
    def embed(self, text: str) -> Tensor:
        """(n, width) of a text, without padding."""

    @abstractmethod
    def predict(self, noisy: Tensor, share: Tensor, texts: Tensor, mask: Tensor) -> Tensor:
        """Noise minus latents (B, C, T, H, W), where `share` (B,) of `noisy` is noise."""

    @abstractmethod
    def asked(self, texts: Tensor, mask: Tensor, name: str) -> dict[str, Tensor]:
        """Texts as the pipeline takes them."""

    def unpacked(self, made: Tensor, grid: Sequence[int]) -> Tensor:
        """What the pipeline makes as latents (B, C, T, H, W)."""
        return made

    def padded(self, texts: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Texts of one length (B, longest, width), and where they hold something."""
        network = self.pipe.transformer
        made = torch.zeros(len(texts), self.longest_text, texts[0].shape[1])
        mask = torch.zeros(len(texts), self.longest_text, dtype=torch.bool)
        for row, held, text in zip(made, mask, texts, strict=True):
            row[: len(text)], held[: len(text)] = text, True
        return made.to(network.device, network.dtype), mask.to(network.device)


class WanFlow(Flow):
    """Padding of texts is zeros that are seen."""

    longest_text = 512

    def __init__(self, pipeline: Pipeline):
        super().__init__(pipeline)
        known = self.pipe.config
        if self.pipe.transformer_2 is not None or known.get("expand_timesteps"):
            raise UsageError(
                f"{pipeline.name} has two networks, or a time for each place",
                allowed="Wan 2.1 and its like: one network, one time",
            )

    def embed(self, text: str) -> Tensor:
        made: Tensor = self.pipe.encode_prompt(
            [text], do_classifier_free_guidance=False, max_sequence_length=self.longest_text
        )[0][0]
        return made[: int(made.abs().sum(-1).gt(0).sum())]

    def predict(self, noisy: Tensor, share: Tensor, texts: Tensor, mask: Tensor) -> Tensor:
        network = self.pipe.transformer
        made: Tensor = network(
            hidden_states=noisy.to(network.dtype),
            timestep=share * 1000,
            encoder_hidden_states=texts,
            return_dict=False,
        )[0]
        return made

    def asked(self, texts: Tensor, mask: Tensor, name: str) -> dict[str, Tensor]:
        return {f"{name}_embeds": texts}


class LtxFlow(Flow):
    """Latents in a row, texts with a mask."""

    longest_text = 128

    def embed(self, text: str) -> Tensor:
        made, mask, *_ = self.pipe.encode_prompt(
            [text], do_classifier_free_guidance=False, max_sequence_length=self.longest_text
        )
        return torch.as_tensor(made[0][mask[0].bool()])

    def predict(self, noisy: Tensor, share: Tensor, texts: Tensor, mask: Tensor) -> Tensor:
        network, grid = self.pipe.transformer, noisy.shape[2:]
        space = self.pipe.vae_spatial_compression_ratio
        made = network(
            hidden_states=self.pipe._pack_latents(noisy.to(network.dtype), *self._patch),
            timestep=share * 1000,
            encoder_hidden_states=texts,
            encoder_attention_mask=mask,
            num_frames=grid[0],
            height=grid[1],
            width=grid[2],
            rope_interpolation_scale=(
                self.pipe.vae_temporal_compression_ratio / self.spec.fps,
                space,
                space,
            ),
            return_dict=False,
        )[0]
        return self.unpacked(made, grid)

    def asked(self, texts: Tensor, mask: Tensor, name: str) -> dict[str, Tensor]:
        return {f"{name}_embeds": texts, f"{name}_attention_mask": mask}

    def unpacked(self, made: Tensor, grid: Sequence[int]) -> Tensor:
        unpacked: Tensor = self.pipe._unpack_latents(made, *grid, *self._patch)
        return unpacked

    @property
    def _patch(self) -> tuple[int, int]:
        return self.pipe.transformer_spatial_patch_size, self.pipe.transformer_temporal_patch_size


FLOWS: Mapping[str, type[Flow]] = {"LTXPipeline": LtxFlow, "WanPipeline": WanFlow}
"""By the pipeline's class."""
