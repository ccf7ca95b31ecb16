"""Licences: what names mean, and which sources a policy refuses."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from catalogs.catalog import Catalog
from catalogs.errors import LicenceError, UsageError
from catalogs.licence import NO_LICENCE, Policy, Terms, enforce, terms_of
from catalogs.testing.licensed import LICENSED_SOURCES, record_licensed

IDS = {source.mark: source.id for source in LICENSED_SOURCES}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Catalog:
    return record_licensed(tmp_path_factory.mktemp("licence") / "corpus", clips_per_source=3)


@pytest.mark.parametrize(
    "name",
    [
        *("CC0-1.0", "CC-BY-4.0", "CC BY-SA 3.0", "cc_by_4.0", "MIT", "The MIT License", "ISC"),
        *("BSD-3-Clause", "Apache-2.0", "Apache License, Version 2.0", "MPL-2.0", "Unlicense"),
        *("GPL-3.0-or-later", "LGPL-2.1-only", "Apache-2.0 WITH LLVM-exception", "Public Domain"),
        *("ODC-By-1.0", "ODbL-1.0", "CDLA-Permissive-2.0", "MIT OR Proprietary"),
        *("https://creativecommons.org/licenses/by/4.0/", "CC-PDDC"),
        "https://creativecommons.org/publicdomain/zero/1.0/",
    ],
)
def test_free_licences_permit_everything(name: str) -> None:
    assert terms_of(name) == Terms("yes", "yes", "yes")


@pytest.mark.parametrize(
    ("name", "terms"),
    [
        ("CC-BY-NC-4.0", Terms("yes", "no", "yes")),
        ("cc by-nc-sa 4.0", Terms("yes", "no", "yes")),
        ("Creative Commons Attribution-NonCommercial 4.0", Terms("yes", "no", "yes")),
        ("https://creativecommons.org/licenses/by-nc-nd/4.0/", Terms("yes", "no", "no")),
        ("CC-BY-NC-4.0 or later", Terms("yes", "no", "yes")),
        ("CC-BY-ND-4.0", Terms("yes", "yes", "no")),
        ("CC-BY-4.0 AND CC-BY-NC-ND-4.0", Terms("yes", "no", "no")),
        ("CC-BY-4.0, academic use only", Terms("yes", "no", "yes")),
        ("All rights reserved", Terms("no", "no", "no")),
        ("Proprietary", Terms("no", "no", "no")),
        ("MIT, but do not redistribute", Terms("no", "no", "no")),
        ("research use only", Terms("unknown", "no", "unknown")),
        ("MIT non-commercial", Terms("unknown", "no", "unknown")),
    ],
)
def test_conditions_are_understood(name: str, terms: Terms) -> None:
    assert terms_of(name) == terms


@pytest.mark.parametrize(
    "name",
    [None, "", "Pexels License", "Apache-2.0 WITH Commons Clause", "not public domain", "mitral"],
)
def test_what_is_not_understood_whole_is_unknown(name: str | None) -> None:
    assert terms_of(name) == Terms()


def test_the_sources_own_terms_win() -> None:
    given = {"redistribute": "no", "commercial": None, "derive": "unknown"}
    assert terms_of("MIT").overridden(given) == Terms("no", "yes", "unknown")
    with pytest.raises(LicenceError, match="maybe"):
        terms_of("MIT").overridden({"redistribute": "maybe"})


def test_sources_are_split_with_reasons(corpus: Catalog) -> None:
    verdict = enforce(corpus, policy=Policy.of("redistribute"))
    assert verdict.allowed_sources == {IDS["FREE"], IDS["NONCOM"], IDS["GRANTED"]}
    assert verdict.reasons == {
        IDS["CLOSED"]: "All rights reserved does not permit redistribution",
        IDS["UNCLEAR"]: "Pexels License: unknown whether it permits redistribution",
    }
    assert (verdict.allowed_clips, verdict.refused_clips) == (9, 6)


def test_commercial_use_refuses_noncommercial_sources(corpus: Catalog) -> None:
    verdict = enforce(corpus, policy=Policy.of("redistribute", "commercial"))
    assert verdict.reasons[IDS["NONCOM"]] == "CC-BY-NC-4.0 does not permit commercial use"
    assert IDS["GRANTED"] in verdict.allowed_sources


def test_without_a_use_nothing_is_refused(corpus: Catalog) -> None:
    assert enforce(corpus, policy=Policy.of()).allowed_sources == set(IDS.values())


@pytest.mark.parametrize("name", ["Pexels License", "UNCLEAR collection", IDS["UNCLEAR"]])
def test_unknown_terms_can_be_acknowledged_by_name(corpus: Catalog, name: str) -> None:
    verdict = enforce(corpus, policy=Policy.of("redistribute", acknowledged=[name]))
    assert IDS["UNCLEAR"] in verdict.allowed_sources


def test_a_plain_no_cannot_be_acknowledged(corpus: Catalog) -> None:
    names = ["All rights reserved", IDS["CLOSED"]]
    verdict = enforce(corpus, policy=Policy.of("redistribute", acknowledged=names))
    assert IDS["CLOSED"] in verdict.reasons


def test_chosen_clips_and_sources_that_nobody_knows(corpus: Catalog) -> None:
    clips = pa.table({"source_id": [IDS["FREE"], IDS["FREE"], "stranger"]})
    verdict = enforce(corpus, clips, Policy.of("redistribute"))
    assert verdict.allowed_clips == 2
    assert verdict.reasons["stranger"].startswith(NO_LICENCE)


def test_the_error_tells_what_how_many_and_what_to_do(corpus: Catalog) -> None:
    verdict = enforce(corpus, policy=Policy.of("redistribute"))
    with pytest.raises(LicenceError) as caught:
        verdict.raise_if_refused("cannot publish")
    text = str(caught.value)
    assert "6 of 15 clips" in text
    assert "All rights reserved does not permit redistribution (3 clips of 1 sources)" in text
    assert "acknowledge=['Pexels License']" in text


def test_a_use_that_does_not_exist() -> None:
    with pytest.raises(UsageError, match="'comercial'"):
        Policy.of("comercial")  # type: ignore[arg-type]


def test_an_empty_catalog_is_permitted(tmp_path: Path) -> None:
    verdict = enforce(Catalog.create(tmp_path / "empty"))
    assert (verdict.allowed_clips, verdict.reasons) == (0, {})
