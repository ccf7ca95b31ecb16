"""A memory that is written, read and forgotten position by position, in chunks of matrix products.

    memory_t = memory_{t-1} * exp(decay_t) + key_t value_t^T
    y_t      = query_t memory_t

Linear attention is this without forgetting, a selective state space is this with decays that depend
on the input. Inside a chunk it is attention with a triangular mask; between chunks only the memory
is handed on. So the cost grows with the length, not with its square, and a stream goes on from the
memory alone.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["CHUNK", "scan"]

CHUNK = 64


def scan(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    decay: Tensor | None = None,
    memory: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Read-outs (..., N, V) and the memory (..., K, V) after the last position.

    `query` and `key` are (..., N, K), `value` (..., N, V), `decay` (..., N) logarithms, at most 0.
    """
    count = query.shape[-2]
    size = min(CHUNK, count)
    query, key, value = (_chunks(part, size) for part in (query, key, value))
    if decay is None:
        decay = query.new_zeros(query.shape[:-1])
    else:
        decay = _chunks(decay.unsqueeze(-1), size).squeeze(-1)
    faded = decay.cumsum(-1)
    later = torch.ones(size, size, dtype=torch.bool, device=query.device).triu(1)
    between = (faded.unsqueeze(-1) - faded.unsqueeze(-2)).masked_fill(later, -torch.inf).exp()
    inside = (query @ key.transpose(-1, -2) * between) @ value
    to_end = (faded[..., -1:] - faded).exp().unsqueeze(-1)
    written = (key * to_end).transpose(-1, -2) @ value
    left = faded[..., -1].exp()[..., None, None]
    if memory is None:
        memory = torch.zeros_like(written[..., 0, :, :])
    before = []
    for chunk in range(written.shape[-3]):
        before.append(memory)
        memory = memory * left[..., chunk, :, :] + written[..., chunk, :, :]
    carried = (query * faded.exp().unsqueeze(-1)) @ torch.stack(before, dim=-3)
    return (inside + carried).flatten(-3, -2)[..., :count, :], memory


def _chunks(x: Tensor, size: int) -> Tensor:
    """(..., N, W) as (..., chunks, size, W), zeros behind the end."""
    return functional.pad(x, (0, 0, 0, -x.shape[-2] % size)).unflatten(-2, (-1, size))
