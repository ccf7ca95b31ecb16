"""The demo's second half: the selected clips and takes as tokens, checked against their media."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

from catalogs import Catalog
from clipmill.checks import Check
from tokenize_jobs.feed import TokenFeed
from tokenize_jobs.job import Report, tokenize
from tokenize_jobs.plan import transform_for
from tokenize_jobs.transform import Transform
from tokenize_jobs.verify import Verified, draw_verified, verify

__all__ = ["tokens_of"]

PICTURES = Transform(size=(128, 128), window=17)
TAKES = Transform(window=64)
VERIFIED = 4
GOOD_DB = 24.0
"""PSNR that the starter weights reach on footage that they never saw."""


def tokens_of(corpus: Path, folder: Path, workers: int | None) -> Iterator[Check]:
    """Encode the demo's selections, look at a sample, and read everything back in batches."""
    for what, model, selection, asked in (
        ("clips", "video/starter", "demo-clips", PICTURES),
        ("takes", "motion/starter", "demo-takes", TAKES),
    ):
        report = _encoded(corpus, model, selection, asked, workers)
        again = _encoded(corpus, model, selection, asked, workers)
        yield Check(
            f"windows of {what} encoded", str(report.planned["windows"]), str(report.windows)
        )
        yield Check(f"windows of {what} encoded by the second run", "0", str(again.windows))
        yield Check(f"windows of {what} read back", *_read_back(corpus, report, selection))
        yield from _looked_at(corpus, folder, model, asked, what)


def _encoded(
    corpus: Path, model: str, selection: str, asked: Transform, workers: int | None
) -> Report:
    return tokenize(
        str(corpus), model, selection=selection, transform=asked, workers=workers, progress=None
    )


def _read_back(corpus: Path, report: Report, selection: str) -> tuple[str, str]:
    """Windows that are stored, and those that one epoch of batches brings."""
    feed = TokenFeed(corpus, report.table, selection=selection, batch=8)
    return str(report.windows), str(sum(len(batch["tokens"]) for batch in feed))


def _looked_at(
    corpus: Path, folder: Path, model: str, asked: Transform, what: str
) -> Iterator[Check]:
    """Decode a sample again; pictures are kept as films, original beside reconstruction."""
    from zoo.hub import load

    tokenizer = load(model)
    transform = transform_for(tokenizer.spec, asked)
    found = list(verify(Catalog.open(corpus), tokenizer, transform, clips=VERIFIED))
    equal = sum(check.equal for check in found)
    yield Check(f"stored ids of {what} are those of the model", str(len(found)), str(equal))
    if what == "clips":
        draw_verified(found, folder / "reconstructed", Fraction(12))
        good = _mean(found) >= GOOD_DB
        yield Check(f"they decode to pictures of {GOOD_DB:g} dB or more", "True", str(good))


def _mean(found: list[Verified]) -> float:
    return sum(check.error for check in found) / len(found)
