"""Ids as bytes that waste no bits: an 18-bit id takes 18 bits instead of 32 or 64.

    packed = pack_ids(ids, levels)
    unpack_ids(packed, levels, count=ids.numel() // len(levels))

Positions follow each other without padding, their levels in order, the most significant bit
first; only the last byte is filled up with zeros.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from zoo.errors import UsageError

__all__ = ["bits_per_position", "pack_ids", "unpack_ids"]


def bits_per_position(levels: Sequence[int]) -> int:
    return sum(_widths(levels))


def pack_ids(ids: Tensor, levels: Sequence[int]) -> bytes:
    """Bytes of `ids (..., L)`, or `(...)` for one level."""
    columns = ids.reshape(-1, len(levels)).cpu().numpy().astype(np.int64)
    if columns.size and (columns.min() < 0 or (columns >= np.asarray(levels)).any()):
        raise UsageError(
            "ids outside their codebooks cannot be packed",
            allowed=", ".join(f"0 to {size - 1}" for size in levels),
        )
    bits = [
        (columns[:, level, None] >> np.arange(width - 1, -1, -1)) & 1
        for level, width in enumerate(_widths(levels))
    ]
    return np.packbits(np.concatenate(bits, axis=1).astype(np.uint8)).tobytes()


def unpack_ids(packed: bytes, levels: Sequence[int], count: int) -> Tensor:
    """The int64 ids of `count` positions: `(count,)` for one level, else `(count, L)`."""
    widths = _widths(levels)
    expected = -(-count * sum(widths) // 8)
    if len(packed) != expected:
        raise UsageError(
            f"{len(packed)} bytes for {count} positions of {sum(widths)} bits",
            allowed=f"{expected} bytes",
        )
    flat = np.unpackbits(np.frombuffer(packed, dtype=np.uint8), count=count * sum(widths))
    bits = flat.reshape(count, sum(widths)).astype(np.int64)
    parts = np.split(bits, np.cumsum(widths)[:-1], axis=1)
    columns = [
        part @ (1 << np.arange(width - 1, -1, -1, dtype=np.int64))
        for part, width in zip(parts, widths, strict=True)
    ]
    ids = torch.from_numpy(np.stack(columns, axis=1))
    return ids.squeeze(1) if len(levels) == 1 else ids


def _widths(levels: Sequence[int]) -> list[int]:
    return [max(1, (size - 1).bit_length()) for size in levels]
