"""An epoch holds every window once, in one order, however many ranks and workers read it."""

from __future__ import annotations

import json
import pickle
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from catalogs.errors import NotFoundError, SchemaError, UsageError
from catalogs.recipe import parse_recipe
from catalogs.select import select
from tokenize_jobs.feed import TokenFeed
from tokenize_jobs.shards import TokenStream, TokenTable
from tokenize_jobs.testing import TokenCorpus, clip_name, ids_of, record_tokens

CLIPS = 53


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> TokenCorpus:
    """Clips on two grids; nothing may be written to it."""
    torch.set_num_threads(1)
    made = record_tokens(
        tmp_path_factory.mktemp("feed") / "corpus",
        clips=CLIPS,
        arrays=lambda n: {"tokens": ids_of(n, (2, 3) if n % 3 else (2, 2))},
    )
    captions = [
        {"caption_id": f"{n}-{kind}", "clip_id": clip_name(n), "kind": kind, "text": f"{kind} {n}"}
        for n in range(0, CLIPS, 2)
        for kind in ("brief", "detailed")
    ]
    made.catalog.append("captions", captions)
    return made


def feed_of(corpus: TokenCorpus, **options: Any) -> TokenFeed:
    chosen = {"batch": 4, "seed": 1, "columns": ["clip_id"], **options}
    return TokenFeed(corpus.catalog, "video/vq", **chosen)


def clips_in(batches: Iterable[dict[str, Any]]) -> list[int]:
    return [int(clip, 16) for batch in batches for clip in batch["clip_id"]]


# -- what comes --------------------------------------------------------------------------------


def test_an_epoch_gives_every_window_once_with_its_own_ids(corpus: TokenCorpus) -> None:
    feed = feed_of(corpus)
    batches = list(feed)
    assert sorted(clips_in(batches)) == list(range(CLIPS))
    for batch in batches:
        assert batch["tokens"].dtype == torch.int64
        for clip, ids in zip(batch["clip_id"], batch["tokens"], strict=True):
            assert ids.numpy().tolist() == corpus.arrays[clip]["tokens"].tolist()
    assert [batch["step"] for batch in batches] == list(range(1, len(batches) + 1))


def test_epochs_and_seeds_differ_and_repeat(corpus: TokenCorpus) -> None:
    feed = feed_of(corpus)
    first, second = clips_in(feed), clips_in(feed)
    assert first != second
    assert clips_in(feed_of(corpus)) == first
    assert clips_in(feed_of(corpus, epoch=1)) == second
    assert clips_in(feed_of(corpus, seed=2)) != first
    feed.set_epoch(0)
    assert clips_in(feed) == first
    in_order = clips_in(feed_of(corpus, shuffle=False, bucket=False))
    places = [n for part in np.array_split(np.arange(CLIPS), 3) for n in part]
    assert sorted(in_order) == places
    assert in_order == clips_in(feed_of(corpus, shuffle=False, bucket=False, seed=5))


@pytest.mark.parametrize(("workers", "start"), [(1, "fork"), (2, "fork"), (1, "spawn")])
def test_workers_change_nothing(corpus: TokenCorpus, workers: int, start: str) -> None:
    alone = list(feed_of(corpus))
    loaded = list(feed_of(corpus).loader(workers, start=start))
    assert clips_in(loaded) == clips_in(alone)
    for ours, theirs in zip(alone, loaded, strict=True):
        assert torch.equal(ours["tokens"], theirs["tokens"])
        assert ours["tokens"].dtype == theirs["tokens"].dtype


@pytest.mark.parametrize("world", [2, 3, 5])
def test_ranks_share_the_one_order(corpus: TokenCorpus, world: int) -> None:
    alone = [clips_in([batch]) for batch in feed_of(corpus)]
    ranks = [
        [clips_in([batch]) for batch in feed_of(corpus, rank=rank, world=world)]
        for rank in range(world)
    ]
    for rank, batches in enumerate(ranks):
        assert batches == alone[rank::world]


def test_every_rank_gets_as_many_full_batches(corpus: TokenCorpus) -> None:
    feeds = [feed_of(corpus, rank=rank, world=3, drop_last=True) for rank in range(3)]
    sizes = [len(feed) for feed in feeds]
    batches = [list(feed) for feed in feeds]
    assert sizes == [len(part) for part in batches] == [4, 4, 4]
    assert all(len(batch["tokens"]) == 4 for part in batches for batch in part)
    assert len({clip for part in batches for clip in clips_in(part)}) == 48


def test_a_training_context_tells_rank_and_world(corpus: TokenCorpus) -> None:
    class Context:
        def get_world_rank(self) -> int:
            return 1

        def get_world_size(self) -> int:
            return 2

    feed = feed_of(corpus, context=Context())
    assert (feed.rank, feed.world) == (1, 2)


def test_buckets_keep_the_shape_and_without_them_windows_are_padded(corpus: TokenCorpus) -> None:
    shapes = {tuple(batch["tokens"].shape[1:]) for batch in feed_of(corpus)}
    assert shapes == {(2, 2), (2, 3)}
    for batch in feed_of(corpus, bucket=False, pad=999, columns=["clip_id", "lengths"]):
        for n, clip in enumerate(batch["clip_id"]):
            ids = corpus.arrays[clip]["tokens"]
            assert batch["tokens_grid"][n].tolist() == list(ids.shape)
            assert batch["tokens_lengths"][n] == ids.size == batch["tokens_mask"][n].sum()
            assert batch["tokens"][n][batch["tokens_mask"][n]].tolist() == ids.ravel().tolist()
            assert (batch["tokens"][n][~batch["tokens_mask"][n]] == 999).all()


def test_several_streams_and_levels_and_latents(tmp_path: Path) -> None:
    streams = [
        TokenStream("codes", levels=(10, 300)),
        TokenStream("half", channels=2),
        TokenStream("brain", channels=3, precision="bfloat16"),
    ]
    dice = np.random.default_rng(0)
    corpus = record_tokens(
        tmp_path / "corpus",
        clips=5,
        table=TokenTable("video/vq", "5" * 64, "3", streams),
        arrays=lambda n: {
            "codes": dice.integers(0, 10, (3, 2)),
            "half": dice.normal(size=(2, 2, 2)).astype(np.float16),
            "brain": torch.randn(4, 3).to(torch.bfloat16).float().numpy(),
        },
    )
    for options in ({}, {"bucket": False}):
        (batch,) = feed_of(corpus, batch=5, **options)
        for clip, codes, half, brain in zip(
            batch["clip_id"], batch["codes"], batch["half"], batch["brain"], strict=True
        ):
            arrays = corpus.arrays[clip]
            assert codes.tolist() == arrays["codes"].tolist()
            assert half.dtype == torch.float16
            assert half.reshape(2, 2, 2).tolist() == arrays["half"].tolist()
            assert brain.dtype == torch.bfloat16
            assert brain.float().tolist() == arrays["brain"].tolist()
    assert next(iter(feed_of(corpus, ids="stored")))["codes"].dtype == torch.uint16


# -- what is joined ----------------------------------------------------------------------------


def test_captions_classes_and_columns_are_joined(corpus: TokenCorpus) -> None:
    options = {"columns": ["clip_id", "captions", "duration_s", "frames"], "classes": "collection"}
    feed = feed_of(corpus, **options)
    drawn: dict[int, set[str]] = {}
    for _ in range(8):
        for batch in feed:
            assert batch["duration_s"].tolist() == [2.0] * len(batch["clip_id"])
            assert batch["frames"].tolist() == [50] * len(batch["clip_id"])
            for clip, caption, label in zip(
                clips_in([batch]), batch["captions"], batch["classes"], strict=True
            ):
                assert feed.class_names[label] == ("odd" if clip % 2 else "even")
                drawn.setdefault(clip, set()).add(caption)
    assert all(drawn[clip] == {""} for clip in range(1, CLIPS, 2))
    allowed = {clip: {f"brief {clip}", f"detailed {clip}"} for clip in range(0, CLIPS, 2)}
    assert all(drawn[clip] <= allowed[clip] for clip in allowed)
    assert sum(drawn[clip] == allowed[clip] for clip in allowed) > 20, "both captions get used"
    again = feed_of(corpus, rank=1, world=2, **options)
    texts = [batch["captions"] for batch in feed_of(corpus, **options)]
    assert [batch["captions"] for batch in again] == texts[1::2]


def test_one_kind_of_caption(corpus: TokenCorpus) -> None:
    for batch in feed_of(
        corpus, columns=["clip_id", "captions:brief"], where="collection = 'even'"
    ):
        assert batch["captions"] == [f"brief {clip}" for clip in clips_in([batch])]


def test_captions_of_other_parts_of_the_clip_are_left_out(tmp_path: Path) -> None:
    corpus = record_tokens(tmp_path / "corpus", clips=1, commits=1)
    parts = [("before", 1.0, 2.0), ("after", 2.0, 3.0), ("late", 5.0, None)]
    corpus.catalog.append(
        "captions",
        [
            {"caption_id": text, "clip_id": clip_name(0), "text": text, "start_s": s, "end_s": e}
            for text, s, e in parts
        ],
    )
    feed = feed_of(corpus, columns=["captions"])
    drawn = {caption for _ in range(5) for batch in feed for caption in batch["captions"]}
    assert drawn == {"before"}


def test_classes_are_those_given(corpus: TokenCorpus) -> None:
    names = ["odd", "even", "other"]
    feed = feed_of(corpus, classes="collection", class_names=names)
    for batch in feed:
        assert [names[n] for n in batch["classes"]] == [
            "odd" if clip % 2 else "even" for clip in clips_in([batch])
        ]
    with pytest.raises(SchemaError, match="'even' is none of the classes"):
        list(feed_of(corpus, classes="collection", class_names=["odd"]))


def test_a_selection_a_split_and_a_condition_choose_clips(tmp_path: Path) -> None:
    corpus = record_tokens(tmp_path / "corpus", clips=60)
    catalog = corpus.catalog
    gates = f"gates: {{some: \"clip_id < '{clip_name(40)}'\"}}"
    splits_of_half = "splits: {train: 0.5, val: 0.5}"
    select(catalog, parse_recipe(f"name: some\n{gates}\n{splits_of_half}\n"), "some")
    catalog.refresh()
    splits = {
        split: {int(clip, 16) for (clip,) in catalog.sql(query, [split]).rows()}
        for split in ("train", "val")
        for query in ["select clip_id from selections where split = ?"]
    }
    for split, clips in splits.items():
        assert clips
        feed = feed_of(corpus, selection="some", split=split)
        assert sorted(clips_in(feed)) == sorted(clips)
    assert len(clips_in(feed_of(corpus, selection="some"))) == 40
    assert sorted(clips_in(feed_of(corpus, where="collection = 'odd'"))) == list(range(1, 60, 2))
    mixed = feed_of(corpus, mixture={"some": 1.0}, split="val")
    assert sorted(clips_in(mixed)) == sorted(splits["val"])


def test_a_mixture_and_weights_decide_how_often(tmp_path: Path) -> None:
    corpus = record_tokens(tmp_path / "corpus", clips=40)
    catalog = corpus.catalog
    for name, end in (("few", 10), ("all", 40)):
        gates = f"gates: {{some: \"clip_id < '{clip_name(end)}'\"}}"
        select(catalog, parse_recipe(f"name: {name}\n{gates}\n"), name)
    catalog.refresh()
    counts = np.bincount(clips_in(feed_of(corpus, mixture={"few": 0.6, "all": 0.4})), minlength=40)
    assert counts.sum() == 50
    assert set(counts[:10]) <= {3, 4}
    assert set(counts[10:]) <= {0, 1}
    weighted = feed_of(corpus, weights="duration_s")
    assert np.bincount(clips_in(weighted)).tolist() == [2] * 40
    half = weighted.loader(2, start="fork")
    assert np.bincount(clips_in(half)).tolist() == [2] * 40


# -- going on ----------------------------------------------------------------------------------


@pytest.mark.parametrize("bucket", [True, False])
@pytest.mark.parametrize(
    "plan", [[(1, 0, 4), (3, 0, 4)], [(4, 0, 2), (3, 2, 3), (1, 0, 3)], [(2, 2, 2), (1, 1, 5)]]
)
def test_no_window_is_lost_or_doubled_when_ranks_workers_and_batches_change(
    corpus: TokenCorpus, bucket: bool, plan: list[tuple[int, int, int]]
) -> None:
    """Three batches on each rank of every stage but the last, which ends the epoch."""
    seen: list[int] = []
    state = None
    for stage, (world, workers, batch) in enumerate(plan):
        last = stage == len(plan) - 1
        states = []
        for rank in range(world):
            feed = feed_of(corpus, rank=rank, world=world, batch=batch, bucket=bucket)
            if state is not None:
                feed.load_state_dict(state)
            for step, made in enumerate(feed.loader(workers, start="fork" if workers else None)):
                seen += clips_in([made])
                if not last and step == 2 - stage:
                    break
            states.append(json.loads(json.dumps(feed.state_dict())))
        assert all(other == states[0] for other in states)
        state = states[0]
    assert sorted(seen) == list(range(CLIPS))
    assert state is not None
    assert (state["epoch"], state["consumed"]) == (1, [])


def test_a_resumed_feed_gives_what_the_first_would_have(corpus: TokenCorpus) -> None:
    whole = clips_in(feed_of(corpus))
    feed = feed_of(corpus)
    batches = iter(feed)
    head = clips_in(next(batches) for _ in range(5))
    resumed = feed_of(corpus)
    resumed.load_state_dict(feed.state_dict())
    assert len(resumed) == len(feed)
    assert head + clips_in(resumed) == whole
    assert resumed.epoch == 1


def test_iterating_again_goes_on(corpus: TokenCorpus) -> None:
    feed = feed_of(corpus)
    head = clips_in([next(iter(feed)), next(iter(feed))])
    assert head + clips_in(feed) == clips_in(feed_of(corpus))


def test_a_loader_of_ones_own_tells_the_step(corpus: TokenCorpus) -> None:
    feed = feed_of(corpus)
    loader = torch.utils.data.DataLoader(
        feed, batch_size=None, num_workers=2, multiprocessing_context="fork"
    )
    batches = iter(loader)
    made = [next(batches) for _ in range(3)]
    resumed = feed_of(corpus)
    resumed.load_state_dict(feed.state_dict(step=made[-1]["step"]))
    assert clips_in(made) + clips_in(resumed) == clips_in(feed_of(corpus))


def test_a_state_of_another_feed_is_refused(corpus: TokenCorpus) -> None:
    state = feed_of(corpus).state_dict()
    for options, words in (
        ({"seed": 2}, "saved with seed = 1, this feed has 2"),
        ({"where": "collection = 'odd'"}, "saved with where = None"),
        ({"bucket": False}, "saved with bucket = True"),
    ):
        with pytest.raises(UsageError, match=words):
            feed_of(corpus, **options).load_state_dict(state)
    older = TokenFeed(corpus.catalog.at(corpus.catalog.version - 1), "video/vq", batch=4, seed=1)
    with pytest.raises(UsageError, match="saved with version") as raised:
        older.load_state_dict(state)
    assert f"catalog.at({corpus.catalog.version})" in str(raised.value)


def test_a_feed_reads_the_version_it_was_made_with(tmp_path: Path) -> None:
    corpus = record_tokens(tmp_path / "corpus", clips=12)
    feed = feed_of(corpus)
    state = feed.state_dict()
    corpus.add([20, 21], lambda n: {"tokens": ids_of(n)})
    corpus.catalog.compact()
    assert sorted(clips_in(feed)) == list(range(12))
    with pytest.raises(UsageError, match="saved with version = 4"):
        feed_of(corpus).load_state_dict(state)
    old = TokenFeed(corpus.catalog.at(4), "video/vq", batch=4, seed=1, columns=["clip_id"])
    old.load_state_dict(state)
    corpus.catalog.compact(vacuum=True)
    with pytest.raises(NotFoundError, match="was vacuumed"):
        list(old)


def test_a_feed_carries_no_connection(corpus: TokenCorpus) -> None:
    feed = feed_of(corpus, columns=["clip_id", "captions"])
    head = next(iter(feed))
    copy = pickle.loads(pickle.dumps(feed))  # noqa: S301 - our own bytes
    assert clips_in([head]) + clips_in(copy) == clips_in(feed_of(corpus))


# -- what is refused ---------------------------------------------------------------------------


def test_windows_of_two_transforms_are_not_mixed_by_accident(tmp_path: Path) -> None:
    corpus = record_tokens(tmp_path / "corpus", clips=4, commits=1)
    corpus.add(range(4), lambda n: {"tokens": ids_of(n)}, transform="u")
    with pytest.raises(UsageError, match="2 different transform_hash values") as raised:
        feed_of(corpus)
    assert "windows=\"transform_hash = 't'\"" in str(raised.value)
    assert sorted(clips_in(feed_of(corpus, windows="transform_hash = 'u'"))) == [0, 1, 2, 3]
    both = feed_of(corpus, windows="transform_hash in ('t', 'u')")
    assert len(clips_in(both)) == 8


def test_wrong_questions_are_refused(corpus: TokenCorpus) -> None:
    with pytest.raises(NotFoundError, match="no column 'durations_s'") as raised:
        feed_of(corpus, columns=["durations_s"])
    assert "duration_s" in str(raised.value)
    with pytest.raises(NotFoundError, match="has no window of these clips"):
        feed_of(corpus, where="duration_s > 100")
    with pytest.raises(SchemaError, match="'width' is NULL for 53 windows"):
        feed_of(corpus, columns=["width"])
    with pytest.raises(SchemaError, match="53 windows no weight"):
        feed_of(corpus, weights="width")
    for options in ({"rank": 2, "world": 2}, {"batch": 0}):
        with pytest.raises(UsageError, match="cannot be"):
            feed_of(corpus, **options)
    with pytest.raises(UsageError, match="a mixture names its selections"):
        feed_of(corpus, mixture={"a": 1}, where="true")


def test_windows_of_an_older_cutting_are_given_out(tmp_path: Path) -> None:
    """Tokens outlive a new way of cutting: without a condition, all are given out."""
    made = record_tokens(tmp_path / "corpus", clips=6)
    catalog = made.catalog
    (clip,) = catalog.sql("select * from clips_all limit 1").dicts()
    stored = catalog.spec("clips").schema.names
    later = datetime(2030, 1, 1, tzinfo=UTC)
    row = {name: value for name, value in clip.items() if name in stored}
    catalog.append("clips", [row | {"cutting": "newer", "created": later}])
    assert catalog.sql("select count(*) from clips").value() == 1
    feed = TokenFeed(catalog, made.table.name, batch=4)
    assert sum(len(batch["tokens"]) for batch in feed) == 6
