"""How blue a clip is: skies, seas and swimming pools."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from catalogs.schema import Column
from curation.operators import Clip, Operator


class Blueness(Operator):
    """0 without blue, 1 where blue is all there is; skies lie around 0.5."""

    name = "blueness"
    version = 1
    needs = "frames"
    columns = (
        Column("blue_share", pa.float32(), "mean share of blue in the light of a picture", "0..1"),
    )

    def score(self, clips: Sequence[Clip]) -> Sequence[Mapping[str, Any]]:
        return [{"blue_share": self._share(clip)} for clip in clips]

    def _share(self, clip: Clip) -> float | None:
        shares = [
            picture[..., 2].sum() / max(1, picture.sum(dtype=np.int64)) for picture in clip.pictures
        ]
        return float(np.mean(shares)) if shares else None
