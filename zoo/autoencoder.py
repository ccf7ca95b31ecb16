"""The most common tokenizer: an encoder, a quantizer, a decoder, one stream of tokens.

A family that fits sets `encoder`, `quantizer` and `decoder` in its constructor and writes
`describe`. Both networks take (x, state): with a state they continue where the last piece ended.
"""

from __future__ import annotations

from torch import Tensor, nn

from zoo.layers.quantizers import Quantizer
from zoo.tokenizer import Reconstruction, State, Tokenizer

__all__ = ["Autoencoder"]


class Autoencoder(Tokenizer):
    """Encoder to features (B, C, T, ...), quantized channels-last, decoded from the same."""

    encoder: nn.Module
    quantizer: Quantizer
    decoder: nn.Module

    def encode_piece(self, x: Tensor, state: State) -> dict[str, Tensor]:
        return {"tokens": self.quantizer.encode(self.encoder(x, state).movedim(1, -1))}

    def decode_piece(
        self, streams: dict[str, Tensor], state: State, size: tuple[int, ...]
    ) -> Tensor:
        values = self.quantizer.decode(streams["tokens"])
        precision = next(self.decoder.parameters()).dtype
        return self.decoder(values.to(precision).movedim(-1, 1), state)

    def forward(self, x: Tensor) -> Reconstruction:
        quantized = self.quantizer(self.encoder(x, None).movedim(1, -1))
        ids = {} if quantized.ids is None else {"tokens": quantized.ids}
        return Reconstruction(
            self.decoder(quantized.values.movedim(-1, 1), None), quantized.losses, ids
        )
