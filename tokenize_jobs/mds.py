"""MDS shards, as `streaming.StreamingDataset` reads them, written without that package.

A shard is a count, the position of every sample, the description of its columns as JSON, and the
samples. A sample is the sizes of its columns followed by their bytes. `index.json` lists shards.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["MdsWriter"]

_VERSION = 2
_SHAPE_TYPES = ("<u1", "<u2", "<u4")


class MdsWriter:
    """Writes shards with the columns `ndarray:DTYPE` (of any shape) and `json`."""

    def __init__(self, folder: Path, columns: Mapping[str, str]):
        self._folder = folder
        self._encodings = dict(sorted(columns.items()))
        self._shards: list[dict[str, Any]] = []
        self._about = {
            "column_encodings": list(self._encodings.values()),
            "column_names": list(self._encodings),
            "column_sizes": [None] * len(self._encodings),
            "compression": None,
            "format": "mds",
            "hashes": [],
            "size_limit": None,
            "version": _VERSION,
        }

    def write_shard(self, samples: Sequence[Mapping[str, Any]]) -> None:
        """One more shard with these samples."""
        name = f"shard.{len(self._shards):05d}.mds"
        encoded = [self._sample(sample) for sample in samples]
        about = json.dumps(self._about, sort_keys=True).encode()
        count = np.uint32(len(encoded)).tobytes()
        positions = np.cumsum([0, *map(len, encoded)], dtype=np.uint32)
        positions += np.uint32(len(count) + positions.nbytes + len(about))
        data = b"".join([count, positions.tobytes(), about, *encoded])
        (self._folder / name).write_bytes(data)
        raw = {"basename": name, "bytes": len(data), "hashes": {}}
        self._shards.append(
            {**self._about, "raw_data": raw, "samples": len(encoded), "zip_data": None}
        )

    def finish(self) -> None:
        """Write the index, without which no shard is found."""
        index = {"shards": self._shards, "version": _VERSION}
        (self._folder / "index.json").write_text(json.dumps(index, sort_keys=True))

    def _sample(self, sample: Mapping[str, Any]) -> bytes:
        parts = [
            _array(sample[name]) if encoding.startswith("ndarray") else _json(sample[name])
            for name, encoding in self._encodings.items()
        ]
        return np.asarray([len(part) for part in parts], np.uint32).tobytes() + b"".join(parts)


def _json(value: Any) -> bytes:
    return json.dumps(value).encode()


def _array(array: NDArray[Any]) -> bytes:
    """The number of axes and the width of their lengths in a byte, the lengths, the values."""
    longest = max(array.shape)
    width = 0 if longest < 2**8 else 1 if longest < 2**16 else 2
    shape = np.asarray(array.shape, _SHAPE_TYPES[width])
    return bytes([array.ndim << 2 | width]) + shape.tobytes() + array.tobytes()
