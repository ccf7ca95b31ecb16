"""What tokens decode to, beside what was encoded. `decode` runs in a guarded child."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from catalogs.errors import UsageError
from tokenize_jobs.transform import Transform
from tokenize_jobs.work import as_input, as_shown, round_trip_error

if TYPE_CHECKING:
    from zoo.tokenizer import Tokenizer

__all__ = ["decode", "packed_pair"]

Array = NDArray[Any]


def decode(
    model: str, spec_hash: str, streams: Mapping[str, Array], values: Array, transform: Transform
) -> tuple[Array, float]:
    """What was decoded, in the form of `values`, and its error: PSNR in dB, or MPJPE in mm.

    Args:
        model: name of the tokenizer; it is never fetched.
        spec_hash: of the tokenizer that made the tokens.
        streams: the tokens of a window.
        values: what was encoded.
        transform: how it had been made.
    """
    import torch

    from zoo.errors import ZooError

    try:
        tokenizer = _loaded(model)
        if tokenizer.spec.hash != spec_hash:
            raise UsageError(
                f"{model} is another version now: its specification is "
                f"{tokenizer.spec.hash[:12]}, the tokens are of {spec_hash[:12]}",
                hint="tokenize the clip again",
            )
        given = {
            stream.name: torch.from_numpy(np.array(streams[stream.name])).long()[None]
            if streams[stream.name].dtype.kind in "iu"
            else torch.from_numpy(np.array(streams[stream.name], np.float32))[None]
            for stream in tokenizer.spec.streams
            if stream.name in streams
        }
        x = as_input(values)
        tokens = tokenizer.tokens(given, tokenizer.spec.extents(x.shape))
        back = tokenizer.decode(tokens).float().cpu()
    except ZooError as error:
        raise UsageError(error.problem, allowed=error.allowed, hint=error.hint) from error
    return as_shown(back, values), round_trip_error(x, back, transform)


@lru_cache(maxsize=1)
def _loaded(model: str) -> Tokenizer:
    import torch

    from zoo.hub import load_tokenizer, shipped

    if model not in shipped() and not model.startswith("local-dir:"):
        raise UsageError(
            f"{model} does not lie on this machine, and the viewer fetches no models",
            hint="clipmill zoo pull brings it here",
        )
    torch.set_num_threads(1)
    return load_tokenizer(model)


def packed_pair(head: Mapping[str, Any], original: Array, decoded: Array) -> bytes:
    """Two arrays of one shape behind a JSON head, as the page reads them."""
    text = json.dumps(
        {**head, "shape": list(original.shape), "dtype": str(original.dtype)},
        separators=(",", ":"),
    ).encode()
    text += b" " * (-len(text) % 4)
    return struct.pack("<I", len(text)) + text + original.tobytes() + decoded.tobytes()
