"""Tokenizers whose decoder draws: `decode` takes a seed and a number of steps.

    tokenizer.decode(tokens)                     # seed 0, as many steps as the configuration says
    tokenizer.decode(tokens, seed=7, steps=50)   # another draw, slower and finer

Equal seeds give equal media. The tokens do not depend on either.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from zoo.errors import UsageError
from zoo.layers.flow import denoised
from zoo.tokenizer import Tokenizer
from zoo.tokens import Tokens

__all__ = ["DenoisingTokenizer"]


class DenoisingTokenizer(Tokenizer):
    """The base of families with a denoising decoder; `config.decoder_steps` is the usual number."""

    _seed, _steps = 0, 0

    def decode(self, tokens: Tokens, *, seed: int = 0, steps: int = 0) -> Tensor:
        """Media of the size that was encoded; `steps` of 0 is the configured number."""
        if steps < 0:
            raise UsageError(f"{steps} steps", allowed="1 or more, or 0 for the configured number")
        self._seed, self._steps = seed, steps or self.config.decoder_steps
        return super().decode(tokens)

    def draw(self, predict: Callable[[Tensor, Tensor], Tensor], like: Tensor) -> Tensor:
        """One piece, with the seed and the steps of the call of `decode` that is under way."""
        return denoised(predict, like, self._seed, self._steps)
