"""Which frames of a clip to look at: for captioners, embeddings and people with little time.

    choose(clip, "uniform", count=8)      # evenly spread
    choose(clip, "per-second", count=64)  # one a second
    choose(clip, "changes", count=8)      # those that show most of what the clip shows

Frames are numbers within the clip, from 0, in order. Nothing is decoded: changes are told from the
stored thumbnails, of which there is one for every frame. `pictures` does the same among the stored
storyboard, whose pictures need no decoding either.

`changes` begins with the frame that is most like all others and goes on with the one that is least
like those it has, until nothing new is left. So a frozen shot gives one frame, whatever `count`
is. Of each quarter of a second only the stillest frame is considered, for it is the sharpest.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from catalogs.errors import UsageError, nearest
from curation.operators.base import Clip, StoryFrame
from curation.operators.statistics import frame_rate

__all__ = [
    "METHODS",
    "SERVES",
    "Method",
    "choose",
    "choose_for",
    "key_frames",
    "pictures",
    "share_tokens",
    "sheet",
    "summarize",
]

Method = Literal["uniform", "per-second", "changes"]
METHODS: tuple[Method, ...] = get_args(Method)

SERVES: Mapping[str, tuple[str, ...]] = {
    "choose": ("ocsampler",),
    "choose_for": ("b-vllm",),
    "share_tokens": ("quota",),
    "summarize": ("gpt2mvs",),
}
"""Published systems whose choice of frames each function is."""

NEW_255 = 6.0
"""Mean difference of two thumbnails from which they show something else; noise stays below 2."""
CANDIDATES_PER_S = 4
MOST_CANDIDATES = 2000

Numbers = NDArray[np.int64]


def choose(
    clip: Clip, method: Method = "uniform", *, count: int = 8, per_s: float = 1.0
) -> list[int]:
    """At most `count` frames of a clip, in order.

    Args:
        method: see above.
        count: never exceeded.
        per_s: frames a second of "per-second"; where that makes more than `count`, they are
            spread evenly.
    """
    frames = clip.span.stop - clip.span.start
    _check(method, count, per_s)
    if method == "changes":
        return sorted(frame for frame, _ in key_frames(clip, count))
    wanted = count if method == "uniform" else max(1, int(clip.seconds * per_s))
    return _spread(frames, min(wanted, count, frames)).tolist()


def key_frames(clip: Clip, count: int) -> list[tuple[int, float]]:
    """Frames with how much each adds to those before it, 0..255, most informative first."""
    if clip.source_signals is None:
        raise UsageError(
            f"clip {clip.clip_id} was handed over without video signals",
            allowed="video clips with their stored signals",
            hint="takes and clips without signals can be spread evenly: uniform, per-second",
        )
    candidates = _still_candidates(clip)
    thumbs = clip.source_signals.thumbs[clip.span][candidates]
    flat = thumbs.reshape(len(thumbs), -1).astype(np.float32)
    return [(int(candidates[at]), news) for at, news in _most_different(flat, count)]


def pictures(
    clip: Clip, method: Method = "uniform", *, count: int = 8, per_s: float = 1.0
) -> list[StoryFrame]:
    """At most `count` stored pictures of a clip, those next to the frames that `choose` names."""
    if not clip.story or clip.source_signals is None:
        at = _spread(len(clip.story), min(count, len(clip.story)))
        return [clip.story[place] for place in at.tolist()]
    shown = clip.source_signals.pts[clip.span][choose(clip, method, count=count, per_s=per_s)]
    stored = np.array([item.pts for item in clip.story])
    near = np.abs(stored[None] - shown[:, None]).argmin(axis=1)
    return [clip.story[place] for place in sorted(set(near.tolist()))]


def sheet(chosen: Sequence[StoryFrame], *, columns: int = 4, size: int = 224) -> bytes:
    """Pictures in reading order as one JPEG, for models and people that look at one picture."""
    import io

    from PIL import Image

    from curation.pictures import contact_sheet, fitted

    if not chosen:
        raise UsageError("no pictures for a contact sheet", allowed="at least one")
    shown = [fitted(Image.open(io.BytesIO(item.jpeg)), size) for item in chosen]
    texts = [str(number + 1) for number in range(len(shown))]
    target = io.BytesIO()
    contact_sheet(shown, texts, columns).save(target, "JPEG", quality=85)
    return target.getvalue()


def choose_for(
    relevance: NDArray[np.floating],
    vectors: NDArray[np.floating],
    count: int,
    *,
    alike: float = 0.95,
) -> list[int]:
    """At most `count` frames, in order, by what a text asks for, each thing shown once.

    Args:
        relevance: of each frame to the text: the cosine of their vectors.
        vectors: of the frames, of length one.
        alike: a frame with a higher cosine to one that was chosen shows nothing else.
    """
    chosen: list[int] = []
    for frame in np.argsort(-relevance, kind="stable").tolist():
        if len(chosen) == count:
            break
        if not chosen or float((vectors[chosen] @ vectors[frame]).max()) <= alike:
            chosen.append(frame)
    return sorted(chosen)


def share_tokens(
    relevance: NDArray[np.floating], budget: int, *, sharpness: float = 20.0
) -> Numbers:
    """Tokens for each frame, `budget` together: the more a frame has to do with a text, the more.

    Args:
        relevance: of each frame to the text: the cosine of their vectors.
        sharpness: 0 gives every frame the same, more prefers the relevant ones.
    """
    weight = np.exp(sharpness * (relevance - relevance.max()))
    exact = weight / weight.sum() * budget
    whole = np.floor(exact).astype(np.int64)
    left = budget - int(whole.sum())
    whole[np.argsort(whole - exact, kind="stable")[:left]] += 1
    return whole


def summarize(
    relevance: NDArray[np.floating], seconds: NDArray[np.floating], budget_s: float
) -> list[int]:
    """Stretches, in order, that tell most of what a text asks for in so many seconds.

    Args:
        relevance: of each stretch to the text.
        seconds: how long each is.
    """
    chosen, left = [], budget_s
    for stretch in np.argsort(-relevance, kind="stable").tolist():
        if seconds[stretch] <= left:
            chosen.append(stretch)
            left -= float(seconds[stretch])
    return sorted(chosen)


def _check(method: str, count: int, per_s: float) -> None:
    if method not in METHODS:
        raise UsageError(
            f"frames cannot be chosen by {method!r}",
            allowed=", ".join(METHODS),
            hint=nearest(method, METHODS),
        )
    if count < 1 or per_s <= 0:
        raise UsageError(f"{count} frames, {per_s:g} a second", allowed="more than none of both")


def _spread(frames: int, count: int) -> Numbers:
    """The middles of `count` equal stretches."""
    return ((np.arange(count) + 0.5) * frames / max(count, 1)).astype(np.int64)


def _still_candidates(clip: Clip) -> Numbers:
    """The frame of each stretch that changes least from the one before."""
    change = np.nan_to_num(np.asarray(clip.signal("lum_delta"), np.float32).copy())
    change[0] = change[1] if len(change) > 1 else 0.0  # the cut before the clip is not its motion
    step = max(frame_rate(clip) / CANDIDATES_PER_S, len(change) / MOST_CANDIDATES, 1.0)
    edges = np.unique((np.arange(int(np.ceil(len(change) / step)) + 1) * step).astype(np.int64))
    stretches = zip(edges[:-1], np.minimum(edges[1:], len(change)), strict=True)
    return np.array([a + int(change[a:b].argmin()) for a, b in stretches], np.int64)


def _most_different(flat: NDArray[np.float32], count: int) -> list[tuple[int, float]]:
    """Positions with their distance to the ones before, farthest first; the most typical begins."""
    middle = np.median(flat, axis=0)
    first = int(np.abs(flat - middle).mean(axis=1).argmin())
    chosen = [(first, 255.0)]
    distance = np.abs(flat - flat[first]).mean(axis=1)
    while len(chosen) < count and distance.max() >= NEW_255:
        best = int(distance.argmax())
        chosen.append((best, float(distance[best])))
        distance = np.minimum(distance, np.abs(flat - flat[best]).mean(axis=1))
    return chosen
