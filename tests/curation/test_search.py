"""Search: the right clips, never stale, filtered, and nearly all that an exact search finds."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from numpy.typing import NDArray

import curation.search.bm25 as bm25
import curation.search.vectors as vectors_module
from catalogs import Catalog
from catalogs.errors import ClipmillError, NotFoundError, QueryError, UsageError
from catalogs.recipe import parse_recipe
from catalogs.select import select
from catalogs.testing import Shot, render_take, render_video
from catalogs.testing.records import record_clips
from curation.embed import embed
from curation.jobs.run import curate
from curation.jobs.settings import MillSettings
from curation.search import Searcher, search
from curation.search.chances import chances
from curation.search.clusters import cluster
from curation.search.tags import read_vocabulary, tag

SHOTS = {
    "pan_left": "The camera pans to the left over a textured wall.",
    "pan_right": "The camera pans to the right over a textured wall.",
    "zoom_in": "The camera zooms in on a colourful pattern.",
    "shake": "Hand-held footage, the camera shakes heavily.",
    "slide_text": "A slide with text on screen, nothing moves.",
    "moving_shapes": "Bright shapes move across a dark background.",
}
TAKES = {"walk": {}, "jump": {"count": 2}, "turn": {"turn_deg": 90.0}, "wave": {"side": "left"}}
QUERIES = {
    "camera panning left": "pan_left",
    "pan to the right": "pan_right",
    "zooming in": "zoom_in",
    "shaky hand-held camera": "shake",
    "text on a slide": "slide_text",
    "shapes moving on dark background": "moving_shapes",
    "a person walks forward": "walk",
    "jumping twice": "jump",
    "turns around": "turn",
    "waves with the left hand": "wave",
}


@pytest.fixture(scope="module")
def corpus_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten rendered files, with captions as captioners write them, embedded by words and looks."""
    media = tmp_path_factory.mktemp("media")
    for kind in SHOTS:
        render_video(media / f"{kind}.mp4", [Shot(kind, 36, seed=4)])  # type: ignore[arg-type]
    for action, options in TAKES.items():
        render_take(media / f"{action}.bvh", action, **options)  # type: ignore[arg-type]
    folder = tmp_path_factory.mktemp("catalog") / "corpus"
    settings = MillSettings(operators=("motion",))
    curate([media], folder, settings=settings, workers=0, progress=None)
    catalog = Catalog.open(folder)
    clips = catalog.sql("select clip_id, uri from clips where kind = 'video'").rows()
    rows = [
        {"caption_id": clip, "clip_id": clip, "kind": "brief", "text": SHOTS[Path(uri).stem]}
        for clip, uri in clips
    ]
    catalog.append("captions", rows)
    embed(catalog, "words", workers=0, progress=None)
    embed(catalog, "visual", workers=0, progress=None)
    return folder


@pytest.fixture
def searcher(corpus_folder: Path) -> Iterator[Searcher]:
    with Searcher(Catalog.open(corpus_folder)) as made:
        yield made


def names(hits: list) -> list[str]:
    return [Path(hit.uri).stem for hit in hits]


@pytest.mark.parametrize(("query", "wanted"), QUERIES.items())
def test_written_queries_find_their_clips(searcher: Searcher, query: str, wanted: str) -> None:
    hits = searcher.search(query, limit=3)
    assert names(hits)[0] == wanted, [(hit.caption, hit.found_by) for hit in hits]
    assert {"captions", "words"} <= set(hits[0].found_by)
    assert json.dumps(hits[0].to_dict())


def test_diffusionret_gives_a_distribution_with_the_right_clip_on_top(searcher: Searcher) -> None:
    rows = searcher.catalog.sql("select clip_id, uri from clips").rows()
    known = {clip: Path(uri).stem for clip, uri in rows}
    for query in ("camera panning left", "zooming in"):
        ranked = chances(searcher, query)
        given = [chance for _, chance in ranked]
        assert sum(given) == pytest.approx(1)
        assert given == sorted(given, reverse=True)
        assert given[0] > given[-1]
        assert known[ranked[0][0]] == QUERIES[query]


def test_a_caption_that_says_it_best_is_shown(searcher: Searcher) -> None:
    (hit,) = searcher.search("zooming", limit=1)
    assert hit.caption == SHOTS["zoom_in"]
    assert hit.score == pytest.approx(2 / 61)


def test_a_clip_finds_what_looks_like_it(searcher: Searcher) -> None:
    clip = searcher.search("pans left", limit=1)[0].clip_id
    found = searcher.search(like=clip[:10], limit=20)
    assert clip not in {hit.clip_id for hit in found}
    assert {"visual", "words"} <= set(found[0].found_by)
    assert names(found)[0] == "pan_right"


def test_filters_are_sql_over_clips(searcher: Searcher) -> None:
    everything = names(searcher.search("camera", limit=20))
    moving = names(searcher.search("camera", where="motion_px > 1", limit=20))
    assert 0 < len(moving) < len(everything) + 1
    assert names(searcher.search("person walks", where="kind = 'video'")) == []
    within = "clip_id in (select clip_id from captions where text like '%zooms%')"
    assert names(searcher.search("camera", where=within)) == ["zoom_in"]
    assert searcher.search("camera", where="false") == []


@pytest.mark.parametrize(
    ("where", "error"),
    [
        ("motoin_px > 1", "motoin_px"),
        ("true) from clips; drop table clips; --", "statement|syntax|Parser"),
        ("(select count(*) from read_text('/etc/passwd')) > 0", "disabled|allowed|Permission"),
    ],
)
def test_filters_are_locked_in(searcher: Searcher, where: str, error: str) -> None:
    with pytest.raises(QueryError, match=error):
        searcher.search("camera", where=where)


def test_unknown_requests_say_what_to_do(searcher: Searcher, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="a text, a clip"):
        searcher.search()
    with pytest.raises(NotFoundError, match="no clip begins"):
        searcher.search(like="zzz")
    assert searcher.search("xylophone quartet") == []
    empty = record_clips(tmp_path / "empty", [{"clip_id": "a", "duration_s": 1.0}])
    with pytest.raises(NotFoundError, match="neither captions nor embeddings"):
        search(empty, "anything")
    with pytest.raises(NotFoundError, match="visual, words"):
        Searcher(searcher.catalog, models=["wrods"])


# -- indexes -------------------------------------------------------------------------------


def topics(count: int, dims: int = 24, seed: int = 0) -> NDArray[np.float32]:
    """Vectors around thirty middles."""
    middles = np.random.default_rng(7).normal(size=(30, dims))
    random = np.random.default_rng(seed)
    found = middles[random.integers(0, 30, count)] + 0.6 * random.normal(size=(count, dims))
    return found.astype(np.float16).astype(np.float32)


def embedded(folder: Path, vectors: NDArray[np.float32], first: int = 0) -> Catalog:
    """More clips with these vectors under the name `tiny`."""
    ids = [f"c{number:05}" for number in range(first, first + len(vectors))]
    rows = [
        {"clip_id": n, "duration_s": float(k % 10), "uri": n, "start_s": 0.0, "end_s": 1.0}
        for k, n in enumerate(ids)
    ]
    catalog = record_clips(folder, rows)
    table = pa.table({"clip_id": ids, "model_version": ["1"] * len(ids), "vector": list(vectors)})
    catalog.append("embeddings/tiny", table)
    return catalog


def exact(vectors: NDArray[np.float32], query: NDArray[np.float32], keep: NDArray[np.bool_]) -> set:
    cosines = vectors @ query / np.linalg.norm(vectors, axis=1)
    cosines[~keep] = -2
    return {f"c{number:05}" for number in np.argsort(-cosines)[:10]}


@pytest.fixture
def small_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vectors_module, "EXACT", 1000)
    monkeypatch.setattr(vectors_module, "COMPARED_ALL", 100)
    monkeypatch.setattr(vectors_module, "DEPTHS", (10, 50, 200))


@pytest.mark.parametrize("where", [None, "duration_s < 3", "duration_s < 0.5"])
@pytest.mark.parametrize("indexed", [True, False])
def test_an_index_finds_what_comparing_all_finds(
    where: str | None,
    indexed: bool,
    small_limits: None,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    if not indexed:
        monkeypatch.setattr(vectors_module, "EXACT", 10_000)
    vectors = topics(4000)
    catalog = embedded(tmp_path / "corpus", vectors)
    number = np.arange(4000) % 10
    keep = {None: number >= 0, "duration_s < 3": number < 3, "duration_s < 0.5": number < 1}[where]
    with Searcher(catalog) as made:
        assert made.index("tiny").is_exact != indexed
        hits = 0
        for query in topics(40, seed=5):
            found = {clip for clip, _ in made.nearest("tiny", query, 10, where)}
            hits += len(found & exact(vectors, query, keep))
    assert hits / 400 >= (0.95 if indexed else 0.999)


def test_an_index_is_kept_and_never_stale(
    small_limits: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    folder, vectors = tmp_path / "corpus", topics(3000)
    catalog = embedded(folder, vectors)
    with Searcher(catalog) as made:
        assert made.nearest("tiny", vectors[5], 1)[0][0] == "c00005"
    built = []
    build = vectors_module._build
    monkeypatch.setattr(vectors_module, "_build", lambda *a: built.append(1) or build(*a))
    new = -vectors[:3]
    embedded(folder, new, first=3000)
    with Searcher(Catalog.open(folder)) as made:
        assert made.nearest("tiny", new[2], 1)[0][0] == "c03002"
        assert made.nearest("tiny", vectors[5], 1)[0][0] == "c00005"
    assert built == []
    catalog = Catalog.open(folder)
    changed = {"clip_id": "c00005", "model_version": "1", "vector": new[1].tolist()}
    catalog.upsert("embeddings/tiny", [changed])
    with Searcher(catalog) as made:
        assert made.nearest("tiny", vectors[5], 1)[0][0] != "c00005"
        assert "c00005" in dict(made.nearest("tiny", new[1], 2))
    assert built == [1]
    assert len(list((folder / ".cache" / "search").iterdir())) == 1


def test_clips_of_another_cutting_are_not_found(tmp_path: Path) -> None:
    folder = tmp_path / "corpus"
    embedded(folder, topics(20))
    old = {"clip_id": "old", "duration_s": 1.0}
    catalog = record_clips(folder, [old], cutting="another")
    catalog.append(
        "captions", [{"caption_id": "1", "clip_id": "old", "text": "a", "kind": "brief"}]
    )
    with Searcher(catalog, cutting="cutting-1") as made:
        assert len(made.nearest("tiny", topics(1)[0], 100)) == 20
        assert made.search("a") == []


def test_words_are_indexed_once_and_again_when_captions_come(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    built = []
    build = bm25._built
    monkeypatch.setattr(bm25, "_built", lambda session: built.append(1) or build(session))
    catalog = embedded(tmp_path / "corpus", topics(5))

    def caption(clip: str, text: str) -> None:
        name = {"caption_id": clip + text, "clip_id": clip, "kind": "brief", "text": text}
        catalog.append("captions", [name])

    caption("c00001", "A dog runs over the meadow.")
    for _ in range(2):
        assert [hit.clip_id for hit in search(catalog, "running dogs", models=[])] == ["c00001"]
    caption("c00002", "A dog, a dog and another dog.")
    found = [hit.clip_id for hit in search(catalog, "dog", models=[])]
    assert found == ["c00002", "c00001"]
    assert search(catalog, "the", models=[])[0].clip_id == "c00001"
    assert len(built) == 2


def test_rare_words_count_more_than_common_ones(tmp_path: Path) -> None:
    catalog = embedded(tmp_path / "corpus", topics(12))
    texts = ["a street with cars"] * 10 + ["a street with a zebra", "a zebra"]
    catalog.append(
        "captions",
        [
            {"caption_id": str(k), "clip_id": f"c{k:05}", "kind": "brief", "text": text}
            for k, text in enumerate(texts)
        ],
    )
    found = [hit.clip_id for hit in search(catalog, "street zebra", models=[], limit=3)]
    assert set(found[:2]) == {"c00010", "c00011"}


# -- groups and tags -----------------------------------------------------------------------


def test_groups_are_named_by_their_captions_and_can_be_capped(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    middles = {"a dog runs": 12, "rain over a city": 6, "a slow dance": 3}
    parts, texts = [], []
    for text, count in middles.items():
        parts.append(random.normal(size=24) + 0.05 * random.normal(size=(count, 24)))
        texts += [text] * count
    lonely = random.normal(size=(1, 24))
    catalog = embedded(tmp_path / "corpus", np.concatenate([*parts, lonely]).astype(np.float32))
    catalog.append(
        "captions",
        [
            {"caption_id": str(k), "clip_id": f"c{k:05}", "kind": "brief", "text": text}
            for k, text in enumerate(texts)
        ],
    )
    for _ in range(2):
        report = cluster(catalog, count=4)
    assert [group.clips for group in report.clusters] == [12, 6, 3, 1]
    assert set(report.clusters[0].name.split(", ")) == {"dog", "runs"}
    assert "rain" in report.clusters[1].name
    assert report.clusters[3].name == "group 3"
    assert report.outliers[0][0] == "c00021"
    assert 2 < report.even_as < 4
    assert catalog.refresh().rows("scores/clusters") == 22
    recipe = parse_recipe("name: capped\nbalance: {by: cluster, cap: 4}\n")
    assert select(catalog, recipe, "capped").clips == report.capped(4) == 12


def test_a_group_count_beyond_the_clips_is_refused(tmp_path: Path) -> None:
    catalog = embedded(tmp_path / "corpus", topics(3))
    with pytest.raises(UsageError, match="1 to 3"):
        cluster(catalog, count=4)
    with pytest.raises(NotFoundError, match="tiny"):
        cluster(catalog, "tinny")


def test_tags_come_from_a_vocabulary(corpus_folder: Path, tmp_path: Path) -> None:
    words = tmp_path / "tags.txt"
    words.write_text("# camera\npan: the camera pans\nzoom: the camera zooms\n\ntext on screen\n")
    vocabulary = read_vocabulary(words)
    assert list(vocabulary) == ["pan", "zoom", "text on screen"]
    catalog = Catalog.open(corpus_folder)
    counts = tag(catalog, vocabulary, "words", most=1)
    assert counts["text on screen"] == 1
    rows = catalog.refresh().sql("select uri, tag from clips where tag is not null").rows()
    tags = {Path(uri).stem: name for uri, name in rows}
    assert tags["zoom_in"] == "zoom"
    assert tags["pan_left"] == "pan"
    with pytest.raises(ClipmillError, match="embeds no texts"):
        tag(catalog, vocabulary, "visual")
