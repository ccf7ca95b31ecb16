"""Ids depend on content alone and never change between machines, runs or releases."""

from __future__ import annotations

import hashlib
import io
from fractions import Fraction
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from catalogs.ids import ID_LENGTH, clip_id, file_sha256, settings_hash, source_id
from catalogs.timebase import Span

SOURCE = source_id(hashlib.sha256(b"film").hexdigest())
scalars = st.none() | st.booleans() | st.integers() | st.text(max_size=8)
settings = st.dictionaries(st.text(max_size=6), scalars | st.lists(scalars, max_size=3))


def test_ids_are_what_they_were_in_the_first_release() -> None:
    assert SOURCE == "d0607f7ad2628b2af9158dfba06ce871"
    assert clip_id("0" * 32, Span(0, 48, Fraction(1, 24))) == "a9adc007ad069fd787f6718608e51160"
    assert settings_hash({"b": [1, 2.5], "a": "ä"}) == "56d36f6cee8e"


def test_a_clip_id_can_be_computed_by_hand() -> None:
    name = f"{SOURCE}:1001/1000:2/1"
    expected = hashlib.sha256(name.encode()).hexdigest()[:ID_LENGTH]
    assert clip_id(SOURCE, Span(1_001, 2_000, Fraction(1, 1_000))) == expected


@given(
    st.integers(0, 2**40),
    st.integers(1, 2**30),
    st.fractions(min_value=Fraction(1, 10**6), max_value=1, max_denominator=10**6),
    st.integers(1, 10_000),
)
def test_a_clip_is_its_instants_not_its_ticks(
    start: int, length: int, base: Fraction, times: int
) -> None:
    coarse = Span(start, start + length, base)
    fine = Span(start * times, (start + length) * times, base / times)
    assert clip_id(SOURCE, coarse) == clip_id(SOURCE, fine)
    longer = Span(start * times, (start + length) * times + 1, base / times)
    assert clip_id(SOURCE, longer) != clip_id(SOURCE, coarse)


@given(st.lists(st.tuples(st.integers(0, 500), st.integers(1, 500)), unique=True, min_size=2))
def test_different_spans_have_different_ids(pairs: list[tuple[int, int]]) -> None:
    spans = {Span(start, start + length, Fraction(1, 25)) for start, length in pairs}
    assert len({clip_id(SOURCE, span) for span in spans}) == len(spans)


@given(settings)
def test_the_order_of_settings_does_not_matter(values: dict[str, object]) -> None:
    backwards = dict(reversed(list(values.items())))
    assert settings_hash(values) == settings_hash(backwards)


@given(settings, st.text(min_size=7, max_size=8))
def test_another_setting_gives_another_hash(values: dict[str, object], key: str) -> None:
    assert settings_hash(values) != settings_hash({**values, key: 1})


def test_a_file_hashes_the_same_by_path_and_by_stream(tmp_path: Path) -> None:
    data = bytes(range(256)) * 40_000
    (tmp_path / "film.mp4").write_bytes(data)
    expected = hashlib.sha256(data).hexdigest()
    assert file_sha256(tmp_path / "film.mp4") == expected
    assert file_sha256(io.BytesIO(data)) == expected
    assert source_id(expected) == expected[:ID_LENGTH]
