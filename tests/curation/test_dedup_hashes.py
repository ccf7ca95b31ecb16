"""Hashes of pictures: what survives, what turning does to them, and pictures between two."""

from __future__ import annotations

from fractions import Fraction

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from curation.dedup.hashes import BITS, View, as_words, between, distance, seen
from curation.signals.bars import boxes_inside, flat_margins
from curation.signals.pictures import (
    CROPS,
    HASH_BYTES,
    PictureHasher,
    PictureHashes,
    hash_windows,
    picture_quality,
)

WHOLE = (0.0, 1.0, 0.0, 1.0)


@pytest.fixture(scope="module")
def picture() -> NDArray[np.uint8]:
    """Blobs of many sizes, as a photograph has them."""
    random = np.random.default_rng(3)
    total = np.zeros((448, 768), np.float32)
    for size in (4, 9, 18, 40, 90):
        noise = random.normal(size=(448 // size + 2, 768 // size + 2)).astype(np.float32)
        total += cv2.resize(noise, (768, 448), interpolation=cv2.INTER_CUBIC) * size**0.7
    low, high = np.percentile(total, (1, 99))
    return np.clip(255 * (total - low) / (high - low), 0, 255).astype(np.uint8)


def small(picture: NDArray[np.uint8], size: tuple[int, int] = (96, 56)) -> NDArray[np.uint8]:
    return cv2.resize(picture, size, interpolation=cv2.INTER_AREA)


def hashed(luma: NDArray[np.uint8]) -> NDArray[np.uint64]:
    return as_words(hash_windows(luma[None], (WHOLE,))[0])


@pytest.mark.parametrize(
    ("view", "turned"),
    [
        ("mirrored", lambda p: p[:, ::-1]),
        ("turned90", lambda p: np.rot90(p, -1)),
        ("turned180", lambda p: p[::-1, ::-1]),
        ("turned270", lambda p: np.rot90(p)),
    ],
)
def test_the_hash_of_a_turned_picture_follows_from_the_hash(picture, view: View, turned) -> None:
    luma = small(picture)
    expected = hashed(np.ascontiguousarray(turned(luma)))
    assert distance(seen(hashed(luma), view), expected)[0] <= 1
    assert distance(hashed(luma), expected)[0] > 80


@pytest.mark.parametrize(
    "altered",
    [
        lambda p: (p * 0.6 + 30).astype(np.uint8),
        lambda p: (255 * (p / 255.0) ** 0.7).astype(np.uint8),
        lambda p: cv2.GaussianBlur(p, (9, 9), 0),
        lambda p: cv2.resize(p, (200, 120), interpolation=cv2.INTER_AREA),
    ],
    ids=["contrast", "gamma", "blur", "size"],
)
def test_what_changes_no_structure_changes_few_bits(picture, altered) -> None:
    assert distance(hashed(small(picture)), hashed(small(altered(picture))))[0] <= 20


def test_strangers_differ_in_about_half_of_the_bits(picture) -> None:
    other = np.ascontiguousarray(np.roll(picture, 200, axis=1)[::-1])
    assert 90 < distance(hashed(small(picture)), hashed(small(other)))[0] < 166


@pytest.mark.parametrize("share", CROPS)
def test_a_crop_is_the_hash_of_its_window(picture, share: float) -> None:
    rows, columns = (round(side * (1 - share) / 2) for side in picture.shape)
    cropped = picture[rows : 448 - rows, columns : 768 - columns]
    hashes = _all(small(picture)).crops[0]
    near = distance(as_words(hashes), hashed(small(cropped)))
    assert near[CROPS.index(share)] <= 24
    assert near.argmin() == CROPS.index(share)


@pytest.mark.parametrize("level", [0, 90, 235], ids=["black", "grey", "white"])
@pytest.mark.parametrize("axis", [0, 1], ids=["letterbox", "pillarbox"])
def test_bars_are_seen_through(picture, level: int, axis: int) -> None:
    around = [(0, 0), (0, 0)]
    around[axis] = (80, 80)
    framed = small(np.pad(picture, around, constant_values=level))
    assert flat_margins(small(picture)[None]) == [(0, 0)]
    (margins,) = flat_margins(framed[None])
    assert margins is not None
    expected = [0.0, 0.0]
    expected[axis] = 80 / (picture.shape[axis] + 160)
    assert margins == pytest.approx(expected, abs=0.01)
    found = _all(framed)
    assert found.with_bars.tolist() == [0]
    assert distance(as_words(found.inside), hashed(small(picture)))[0] <= 31
    assert not len(_all(small(picture)).inside)


def test_bars_are_what_nearly_all_frames_have() -> None:
    barred, dark_scene, too_dark, titled = (0.1, 0.0), (0.2, 0.15), None, (0.02, 0.0)
    frames = [barred] * 15 + [dark_scene] * 20 + [too_dark] * 20 + [titled] * 2
    wanted = [barred, dark_scene, too_dark, titled]
    steady = (0.1, 0.9, 0.0, 1.0)
    assert boxes_inside(frames, wanted) == [steady, steady, steady, (0.02, 0.98, 0.0, 1.0)]


def test_where_many_frames_have_no_bars_each_is_taken_by_itself() -> None:
    found = boxes_inside([(0.1, 0.0)] * 5 + [(0.0, 0.0)] * 2, [(0.1, 0.0), (0.0, 0.0), None])
    assert found == [(0.1, 0.9, 0.0, 1.0), None, None]


def test_the_dark_edges_of_scenes_are_no_bars(picture) -> None:
    """Night around a lit window, inside of bars, then the whole picture inside of the same bars."""
    night = np.zeros_like(picture)
    night[120:330, 200:560] = picture[120:330, 200:560]
    bars = [(64, 64), (0, 0)]
    hasher = PictureHasher(Fraction(1, 8))
    for frame, shown in enumerate([night] * 6 + [picture] * 2):
        hasher.look(frame, frame, small(np.pad(shown, bars)), 0.0)
    found = hasher.finish()
    assert found.with_bars.tolist() == list(range(8))
    apart = distance(
        as_words(found.inside),
        np.stack([hashed(small(night))[0]] * 6 + [hashed(small(picture))[0]] * 2),
    )
    assert apart.max() <= 24


def _all(luma: NDArray[np.uint8]) -> PictureHashes:
    hasher = PictureHasher(Fraction(1, 25))
    hasher.look(0, 0, luma, 0.0)
    return hasher.finish()


def test_a_mark_leaves_one_half_alone(picture) -> None:
    marked = picture.copy()
    marked[20:120, 600:750] = 255
    before, after = (as_words(_all(small(p)).halves[0]) for p in (picture, marked))
    assert distance(before, after)[1] <= 4
    assert distance(before, after)[0] > 4


def test_flat_pictures_have_no_quality(picture) -> None:
    flat = np.full((56, 96), 90, np.uint8)
    assert picture_quality(np.stack([flat, small(picture)])).tolist()[0] == 0
    assert picture_quality(small(picture)[None])[0] >= 50
    assert not hash_windows(flat[None], (WHOLE,)).any()


def test_a_picture_between_two_has_what_they_have_in_common() -> None:
    random = np.random.default_rng(1)
    before = random.integers(0, 2, BITS, np.uint8)
    changed = random.permutation(BITS)[:60]
    after, halfway = before.copy(), before.copy()
    after[changed] ^= 1
    halfway[changed[:30]] ^= 1
    words = [as_words(np.packbits(bits)[None]) for bits in (halfway, before, after)]
    assert distance(words[0], words[1])[0] == distance(words[0], words[2])[0] == 30
    assert between(*words)[0] == 0
    stranger = as_words(np.packbits(random.integers(0, 2, (1, BITS), np.uint8)))
    assert between(stranger, words[1], words[2])[0] > 90


def test_fast_frames_are_all_hashed_and_calm_ones_eight_times_a_second(picture) -> None:
    luma = small(picture)
    calm, fast = PictureHasher(Fraction(1, 48)), PictureHasher(Fraction(1, 48))
    for frame in range(48):
        calm.look(frame, frame, luma, 0.5)
        fast.look(frame, frame, luma, 9.0)
    assert calm.finish().frames.tolist() == list(range(0, 48, 6))
    found = fast.finish()
    assert len(found.frames) == 48
    assert found.with_halves.tolist() == [0, 12, 24, 36]
    assert found.with_crops.tolist() == [0, 24]
    assert found.crops.shape == (2, len(CROPS), HASH_BYTES)
