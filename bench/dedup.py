"""How many planted copies are found, how many strangers are called copies, and at what cost.

    python bench/dedup.py DIR --work W        copies of every video below DIR, among all of them
    python bench/dedup.py --clips 1000000     made-up clips of ten seconds: time and memory
    python bench/dedup.py --catalog 30000     a catalog of made-up clips, and a thousand more

The first plants one copy of each kind of `catalogs.testing.altered` of each video, and a part of it
inside of another video, curates all of them without cutting and searches. Copies and the catalog
stay in W, so that a second run makes what is missing. A copy counts as found when its original is
in a pair with it, a part inside of another video when most of it is told at its place. A pair of
two originals that DIR's `ground_truth.json` (in DIR or above it) does not name as one family, or as
parts of each other, is false, and so is one of their copies.

The second makes hashes that change as those of footage do, one clip in fifty a noisy copy of
another, searches them, sorts their anchors for those that come later, and adds a thousand clips
twice: a catalog that has been searched pays for the new ones only. The third does so in a catalog
on disk, with all that a search reads and writes there.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from catalogs.catalog import Catalog
from catalogs.duplicates import duplicate_groups
from catalogs.recipe import Dedup, NearDuplicates
from catalogs.testing.altered import (
    ALTERATIONS,
    INSIDE_FROM_S,
    SUBCLIP_S,
    render_altered,
    render_inside,
)
from curation.dedup import find_near
from curation.dedup.candidates import Candidate, candidates_among, candidates_between
from curation.dedup.search import aligned
from curation.dedup.sequences import Anchors, HashedSource, anchors_of
from curation.dedup.shelf import Shelves
from curation.jobs.rows import VIDEO_COLUMNS
from curation.jobs.run import curate
from curation.jobs.scan import VIDEO_SUFFIXES
from curation.jobs.settings import MillSettings
from curation.segment import SegmentSettings
from curation.signals import SET_VERSION

NEAR = NearDuplicates()
INSIDE = "inside"
KINDS = [*ALTERATIONS, INSIDE]
LEAST_TOLD_S = 2.0
BATCH, SECONDS, PER_SECOND = 1000, 10, 8
COPY_EVERY = 50
SCATTER = 0x9E3779B97F4A7C15F39CC0605CEDC835
"""Ids are hashes of files: what comes later lies anywhere among them."""
ADDED, IN_ONE_COMMIT = 1000, 5000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("folder", type=Path, nargs="?", help="videos, at any depth")
    parser.add_argument("--clips", type=int, nargs="+", help="sizes of made-up corpora")
    parser.add_argument("--catalog", type=int, nargs="+", help="sizes of made-up catalogs")
    parser.add_argument("--kinds", nargs="+", default=KINDS, choices=KINDS)
    parser.add_argument("--work", type=Path, help="where copies and the catalog stay")
    options = parser.parse_args()
    figures: dict[str, Any] = {}
    if options.folder is not None:
        with tempfile.TemporaryDirectory(prefix="clipmill-bench-") as work:
            figures["planted"] = planted(options.folder, options.kinds, options.work or Path(work))
    if options.clips:
        with tempfile.TemporaryDirectory(prefix="clipmill-bench-") as work:
            figures["made_up"] = [made_up(count, Path(work)) for count in options.clips]
    if options.catalog:
        with tempfile.TemporaryDirectory(prefix="clipmill-bench-") as work:
            figures["catalogs"] = [in_catalog(count, Path(work)) for count in options.catalog]
    print(json.dumps(figures))


# -- planted copies --------------------------------------------------------------------------


@dataclass(frozen=True)
class Copy:
    """A planted copy, and the originals of which it shows something."""

    path: Path
    kind: str
    of: Path
    host: Path | None = None


def planted(folder: Path, kinds: Sequence[str], work: Path) -> dict[str, Any]:
    originals = sorted(p for p in folder.rglob("*") if p.suffix.lower() in VIDEO_SUFFIXES)
    related = _related(folder)
    copies = _copies(originals, kinds, related, work / "copies")
    settings = MillSettings(segment=SegmentSettings(detector="none"), operators=())
    curate([folder, work / "copies"], work / "corpus", settings=settings, workers=2, progress=None)
    began = time.perf_counter()
    report = find_near(Catalog.open(work / "corpus"), NEAR)
    search_s = time.perf_counter() - began
    catalog = Catalog.open(work / "corpus")
    pairs, scores = _pairs(catalog)
    parts = _parts_told(catalog)
    found: dict[str, list[bool]] = defaultdict(list)
    for copy in copies:
        told = frozenset((copy.path.name, copy.of.name))
        hit = parts.get(told, 0.0) >= LEAST_TOLD_S if copy.host else told in pairs
        found[copy.kind].append(hit)
        if not hit:
            print(f"missed: {copy.path.name}", file=sys.stderr)
    of = {path.name: {path.name} for path in originals}
    of |= {copy.path.name: {p.name for p in (copy.of, copy.host) if p} for copy in copies}
    false = [pair for pair in pairs if not _belongs(pair, of, related)]
    for pair in false:
        print(f"false: {sorted(pair)} {scores[pair]:.2f}", file=sys.stderr)
    recall = {kind: sum(hits) / len(hits) for kind, hits in found.items()}
    families = _families(pairs, {path.name for path in originals})
    figures = {
        "originals": len(originals),
        "copies": len(copies),
        "recall": {kind: round(value, 3) for kind, value in recall.items()},
        "precision": round(1 - len(false) / max(1, len(pairs)), 4),
        "pairs": len(pairs),
        "searched": report.sources,
        "search_s": round(search_s, 1),
        "families": families,
    }
    for kind, hits in found.items():
        print(f"{kind:10} {sum(hits):4} of {len(hits):4}  recall {recall[kind]:.3f}")
    print(f"precision {figures['precision']:.4f} of {len(pairs)} pairs, search {search_s:.1f} s")
    for family in families:
        print("family:", ", ".join(family))
    return figures


def _copies(
    originals: Sequence[Path], kinds: Sequence[str], related: set[frozenset[str]], folder: Path
) -> list[Copy]:
    """Copies of all kinds; those that lie in the folder already are not made again."""
    folder.mkdir(parents=True, exist_ok=True)
    copies = []
    for place, original in enumerate(originals):
        strangers = [
            other
            for other in [*originals[place + 1 :], *originals[:place]]
            if frozenset((original.name, other.name)) not in related
        ]
        for kind in kinds:
            suffix = ".webm" if kind in ALTERATIONS and "vp9" in ALTERATIONS[kind].codec else ".mp4"
            host = strangers[len(strangers) // 2] if kind == INSIDE and strangers else None
            copy = Copy(folder / f"{original.name}--{kind}{suffix}", kind, original, host)
            try:
                _make(copy)
            except Exception as error:  # one odd file must not cost the others' figures
                print(f"not planted: {copy.path.name}: {error}", file=sys.stderr)
            else:
                copies.append(copy)
    return copies


def _make(copy: Copy) -> None:
    if copy.path.exists():
        return
    half = copy.path.with_name(f".half-{copy.path.name}")
    if copy.host:
        render_inside(copy.of, copy.host, half)
    else:
        render_altered(copy.of, half, copy.kind)
    half.rename(copy.path)


def _pairs(catalog: Catalog) -> tuple[set[frozenset[str]], dict[frozenset[str], float]]:
    scores: dict[frozenset[str], float] = {}
    for group in duplicate_groups(catalog, Dedup(near=NEAR)):
        names = {member.clip_id: Path(member.uri or "").name for member in group.members}
        for pair in group.pairs:
            scores[frozenset((names[pair.clip_id], names[pair.other_clip]))] = pair.score
    return set(scores), scores


def _parts_told(catalog: Catalog) -> dict[frozenset[str], float]:
    """Seconds between where a planted part begins and ends that are told of two files."""
    names = dict(catalog.sql("select source_id, uri from sources").rows())
    told: dict[frozenset[str], float] = defaultdict(float)
    rows = catalog.sql(
        "select source_id, other_id, start_s, end_s, other_start_s, other_end_s from matches"
    ).rows()
    for one, other, *spans in rows:
        files = [Path(names[source]).name for source in (one, other)]
        for file, start, end in zip(files, spans[::2], spans[1::2], strict=True):
            if f"--{INSIDE}." in file:
                low = max(start, INSIDE_FROM_S)
                told[frozenset(files)] += max(0.0, min(end, INSIDE_FROM_S + SUBCLIP_S) - low)
    return told


def _related(folder: Path) -> set[frozenset[str]]:
    """Originals that share footage, as the ground truth says."""
    for parent in (folder, *folder.resolve().parents):
        path = parent / "ground_truth.json"
        if path.is_file():
            truth = json.loads(path.read_text())
            families = truth.get("near_duplicates", {}).get("families", {}).values()
            related = {frozenset((a, b)) for family in families for a in family for b in family}
            users: dict[str, set[str]] = defaultdict(set)
            for name, about in truth.get("videos", {}).items():
                for part in about.get("parts", ()):
                    related.add(frozenset((Path(name).name, part["source"])))
                    users[part["source"]].add(Path(name).name)
            for names in users.values():
                related |= {frozenset((a, b)) for a in names for b in names}
            return related
    return set()


def _belongs(
    pair: frozenset[str], of: Mapping[str, set[str]], related: set[frozenset[str]]
) -> bool:
    one, other = (of[name] for name in pair)
    return any(a == b or frozenset((a, b)) in related for a in one for b in other)


def _families(pairs: set[frozenset[str]], originals: set[str]) -> list[list[str]]:
    groups: list[set[str]] = []
    for pair in pairs:
        if pair <= originals:
            touched = [group for group in groups if group & pair]
            groups = [group for group in groups if not group & pair]
            groups.append(set(pair).union(*touched))
    return sorted(sorted(group) for group in groups)


# -- made-up clips ---------------------------------------------------------------------------


def made_up(count: int, work: Path) -> dict[str, Any]:
    """Search `count` clips, then add a thousand, twice."""
    _batch.cache_clear()
    shelves = Shelves(Catalog.create(work / f"clips-{count}"), NEAR.search, threads=2)
    with _Clock() as search:
        with _Clock() as gather:
            anchors = _anchors(0, count)
        with _Clock() as meet:
            candidates = candidates_among(anchors, NEAR.max_distance, mirrored=True, threads=2)
        names = [_name(number) for number in range(count)]
        with _Clock() as look:
            matches = sum(1 for _ in aligned(candidates, names, _load, NEAR.max_distance))
    peak_gib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    with _Clock() as sort:
        shelves.add(["0"], names, anchors)
    del anchors
    runs, added = {"0": count}, []
    for run in range(1, 3):
        first = sum(runs.values())
        with _Clock() as add:
            _add(shelves, runs, str(run), first)
        added.append({"s": round(add.seconds, 1), "cpu_s": round(add.cpu_s, 1)})
    figures = {
        "clips": count,
        "search_s": round(search.seconds, 1),
        "gather_s": round(gather.seconds, 1),
        "meet_s": round(meet.seconds, 1),
        "align_s": round(look.seconds, 1),
        "cpu_s": round(search.cpu_s, 1),
        "peak_gib": round(peak_gib, 2),
        "pairs": matches,
        "planted": count // COPY_EVERY,
        "sort_s": round(sort.seconds, 1),
        "adding_1000": added,
    }
    print(
        f"{count:9,} clips: {search.seconds:7.1f} s, {search.cpu_s:.1f} s of CPU (making clips and "
        f"anchors {gather.seconds:.1f}, meeting {meet.seconds:.1f}, looking closely "
        f"{look.seconds:.1f}), {peak_gib:.2f} GiB, {matches} of {figures['planted']} copies; "
        f"sorting for later {sort.seconds:.1f} s; 1,000 more {added}",
        flush=True,
    )
    return figures


def _add(shelves: Shelves, runs: dict[str, int], run: str, first: int) -> None:
    """A thousand clips come to those that were searched."""
    new = _anchors(first, first + ADDED)
    names = [_name(number) for number in range(first, first + ADDED)]
    found = candidates_among(new, NEAR.max_distance, mirrored=True, threads=2)
    for shelf in shelves.of(runs):
        for pairs in candidates_between(
            new, shelf.sets, NEAR.max_distance, mirrored=True, threads=2
        ):
            for ours, theirs in pairs.owners.tolist():
                names.append(shelf.ids[theirs].decode())
                found.add(Candidate(ours, len(names) - 1, pairs.look))
    assert any(aligned(found, names, _load, NEAR.max_distance))
    shelves.add([run], names[:ADDED], new)
    runs[run] = ADDED
    shelves.tidy(runs)


def in_catalog(count: int, work: Path) -> dict[str, Any]:
    """Search a catalog of `count` clips, then a thousand more, three times."""
    catalog = Catalog.create(work / f"catalog-{count}")
    for first in range(0, count, IN_ONE_COMMIT):
        _record(catalog, first, min(first + IN_ONE_COMMIT, count))
    with _Clock() as search:
        find_near(catalog.refresh(), NEAR)
    added = []
    for first in range(count, count + 3 * ADDED, ADDED):
        _record(catalog, first, first + ADDED)
        with _Clock() as add:
            report = find_near(catalog.refresh(), NEAR)
        assert report.sources == ADDED
        added.append({"s": round(add.seconds, 1), "cpu_s": round(add.cpu_s, 1)})
    figures = {
        "clips": count,
        "search_s": round(search.seconds, 1),
        "cpu_s": round(search.cpu_s, 1),
        "adding_1000": added,
    }
    print(
        f"{count:9,} clips in a catalog: {search.seconds:.1f} s, {search.cpu_s:.1f} s of CPU; "
        f"1,000 more {added}",
        flush=True,
    )
    return figures


def _record(catalog: Catalog, first: int, last: int) -> None:
    """Write the signals of some clips, as curating them does."""
    rows = []
    for number in range(first, last):
        clip = _batch(number // BATCH)[number % BATCH]
        samples = len(clip.pts)
        parts = np.zeros(samples, np.uint8)
        parts[clip.with_halves] |= 1
        parts[clip.with_crops] |= 2
        rows.append(
            {
                "source_id": f"{number * SCATTER % 2**128:032x}",
                "chunk": 0,
                "of_chunks": 1,
                "set_version": SET_VERSION,
                "frames": samples,
                "time_base_num": clip.time_base.numerator,
                "time_base_den": clip.time_base.denominator,
                "pts": clip.pts,
                "end_pts": clip.end_pts,
                "phash": clip.whole[:, 0].view(np.int64),
                "rgb_mean": np.full(samples, 100.0, np.float32),
                "hash_frames": np.arange(samples, dtype=np.int32),
                "hash_quality": np.full(samples, 100, np.uint8).tobytes(),
                "hash_parts": parts.tobytes(),
                "hash_whole": clip.whole.tobytes(),
                "hash_halves": clip.halves.tobytes(),
                "hash_crops": clip.crops.tobytes(),
                "hash_inside": b"",
            }
        )
    catalog.refresh().append("signals/video", rows, VIDEO_COLUMNS)


class _Clock:
    """Seconds, and seconds of CPU, of a block."""

    def __enter__(self) -> _Clock:
        self._began, self._cpu = time.perf_counter(), time.process_time()
        return self

    def __exit__(self, *_: object) -> None:
        self.seconds = time.perf_counter() - self._began
        self.cpu_s = time.process_time() - self._cpu


def _anchors(first: int, last: int) -> Anchors:
    return Anchors.joined(
        (start - first, anchors_of(_batch(start // BATCH)[: last - start]))
        for start in range(first, last, BATCH)
    )


def _name(number: int) -> str:
    return f"{number:032x}"


def _load(names: Sequence[str]) -> Mapping[str, HashedSource]:
    numbers = sorted(int(name, 16) for name in names)
    return {_name(n): _batch(n // BATCH)[n % BATCH] for n in numbers}


@lru_cache(maxsize=4)
def _batch(number: int) -> list[HashedSource]:
    """A thousand clips. Some hardly change, some change half of the bits in a second."""
    random = np.random.default_rng(number)
    samples = SECONDS * PER_SECOND
    steps = _sparse(random, (BATCH, samples, 4), 4)
    calm = random.random(BATCH) < 0.6
    steps[calm] &= _sparse(random, (int(calm.sum()), samples, 4), 3)
    steps[:, 0] = _sparse(random, (BATCH, 4), 1)
    whole = np.bitwise_xor.accumulate(steps, axis=1)
    copies = np.arange(COPY_EVERY - 1, BATCH, COPY_EVERY)
    noise = _sparse(random, (len(copies), samples, 4), 4)
    whole[copies] = whole[copies - 1] ^ noise
    halves = _sparse(random, (BATCH, samples // 2, 2, 4), 1)
    crops = _sparse(random, (BATCH, samples // 4, 5, 4), 1)
    return [
        HashedSource(
            source_id=_name(number * BATCH + place),
            time_base=Fraction(1, PER_SECOND),
            pts=np.arange(samples),
            end_pts=samples,
            good=np.ones(samples, bool),
            whole=whole[place],
            with_halves=np.arange(0, samples, 2),
            halves=halves[place],
            with_crops=np.arange(0, samples, 4),
            crops=crops[place],
            with_bars=np.zeros(0, np.intp),
            inside=np.zeros((0, 4), np.uint64),
        )
        for place in range(BATCH)
    ]


def _sparse(
    random: np.random.Generator, shape: tuple[int, ...], halvings: int
) -> NDArray[np.uint64]:
    """Random words in which one bit of 2 ** halvings is set."""
    words = random.integers(0, 2**64, shape, np.uint64)
    for _ in range(halvings - 1):
        words &= random.integers(0, 2**64, shape, np.uint64)
    return words


if __name__ == "__main__":
    main()
