"""Shards of distant catalogs: fetched once, kept within a bound, shared by processes."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from catalogs import Catalog
from catalogs.errors import FormatError, NotFoundError, UsageError
from catalogs.publish import publish
from catalogs.testing.hub import HubServer
from tokenize_jobs.feed import TokenFeed
from tokenize_jobs.feed_cache import ShardCache
from tokenize_jobs.testing import TokenCorpus, ids_of, record_tokens

SIZE = 1000


@dataclass(frozen=True)
class Folder:
    """A source that notes each fetch in a file."""

    path: Path

    @property
    def name(self) -> str:
        return str(self.path)

    def fetch(self, path: str, target: Path) -> None:
        with open(self.path / "fetched", "a") as log:
            log.write(f"{path}\n")
        target.write_bytes(path.encode() * SIZE)

    def fetched(self) -> list[str]:
        return (self.path / "fetched").read_text().split()


@pytest.fixture
def cache(tmp_path: Path) -> ShardCache:
    (tmp_path / "source").mkdir()
    return ShardCache(Folder(tmp_path / "source"), tmp_path / "cache", 3 * SIZE)


def read(cache: ShardCache, name: str) -> bytes:
    with cache.open(name, SIZE) as file:
        return file.read()


def fetched(cache: ShardCache) -> list[str]:
    assert isinstance(cache.source, Folder)
    return cache.source.fetched()


def held(cache: ShardCache) -> int:
    return sum(path.stat().st_size for path in cache.folder.glob("*.parquet"))


def test_a_shard_is_fetched_once_and_the_oldest_goes(cache: ShardCache) -> None:
    for clock, name in enumerate("abcab"):
        assert read(cache, name) == name.encode() * SIZE
        for path in cache.folder.glob("*.parquet"):
            if path.read_bytes().startswith(name.encode()):
                os.utime(path, (clock, clock))
    assert fetched(cache) == ["a", "b", "c"]
    read(cache, "d")
    assert held(cache) == 3 * SIZE
    read(cache, "a")
    read(cache, "b")
    assert fetched(cache) == ["a", "b", "c", "d"]
    read(cache, "c")
    assert fetched(cache) == ["a", "b", "c", "d", "c"]


def test_a_shard_can_be_read_after_it_went(cache: ShardCache) -> None:
    with cache.open("a", SIZE) as file:
        for name in "bcd":
            read(cache, name)
        assert file.read() == b"a" * SIZE
    assert held(cache) <= cache.limit_bytes


def test_what_a_killed_process_left_does_not_stay(cache: ShardCache) -> None:
    read(cache, "a")
    (path,) = cache.folder.glob("*.parquet")
    part = path.with_suffix(".part")
    part.write_bytes(b"x" * 2 * SIZE)
    os.utime(part, (1, 1))
    read(cache, "b")
    read(cache, "c")
    assert not part.exists()
    assert fetched(cache) == ["a", "b", "c"]


def test_sizes_that_cannot_be_are_refused(cache: ShardCache) -> None:
    with (
        pytest.raises(FormatError, match="has 1,000 bytes, the catalog says 999"),
        cache.open("a", 999),
    ):
        pass
    assert held(cache) == 0
    with (
        pytest.raises(UsageError, match="more than the cache may hold"),
        cache.open("a", 3 * SIZE + 1),
    ):
        pass


def read_all(cache: ShardCache, names: str) -> list[bytes]:
    return [read(cache, name)[:1] for name in names]


def test_processes_wait_for_each_others_fetches(cache: ShardCache) -> None:
    names = "abcabc"
    with multiprocessing.get_context("fork").Pool(4) as pool:
        results = pool.starmap(read_all, [(cache, names)] * 4)
    assert results == [[name.encode() for name in names]] * 4
    assert sorted(fetched(cache)) == ["a", "b", "c"]


# -- whole feeds -------------------------------------------------------------------------------


def clips_in(feed: Any) -> list[int]:
    return [int(clip, 16) for batch in feed for clip in batch["clip_id"]]


def check_feed(feed: TokenFeed, corpus: TokenCorpus, cache: Path, limit: int) -> None:
    """Two epochs of right ids, within the bound."""
    for _ in range(2):
        clips = []
        for batch in feed:
            for clip, ids in zip(batch["clip_id"], batch["tokens"], strict=True):
                assert ids.tolist() == corpus.arrays[clip]["tokens"].tolist()
                clips.append(clip)
            assert sum(path.stat().st_size for path in cache.glob("*.parquet")) <= limit
        assert sorted(clips) == sorted(corpus.arrays)


def limit_of(corpus: TokenCorpus) -> int:
    """Room for half of the shards."""
    return sum(item.bytes for item in corpus.catalog.files(corpus.table.name)) // 2


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """An address in an object store on this machine."""
    import boto3
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    for name, value in {
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ALLOW_HTTP": "true",
    }.items():
        monkeypatch.setenv(name, value)
    boto3.client("s3", region_name="us-east-1").create_bucket(Bucket="tokens")
    yield "s3://tokens"
    server.stop()


def test_a_feed_from_an_object_store(bucket: str, tmp_path: Path) -> None:
    corpus = record_tokens(f"{bucket}/corpus", clips=24, commits=6)
    limit = limit_of(corpus)
    options: dict[str, Any] = {"batch": 4, "columns": ["clip_id"], "cache": tmp_path}
    feed = TokenFeed(f"{bucket}/corpus", "video/vq", cache_bytes=limit, **options)
    check_feed(feed, corpus, tmp_path, limit)
    feed.set_epoch(0)
    files = feed.index.file[[feed.places(n) for n in range(len(feed))]].ravel()
    shards = list(dict.fromkeys(files.tolist()))
    assert len(shards) == 6
    near = max(abs(shards.index(a) - shards.index(b)) for a, b in pairwise(files))
    assert near < 5, "an epoch goes through the shards in stretches that fit the cache"


@pytest.mark.filterwarnings("ignore:Use 'content=<...>' to upload raw bytes:DeprecationWarning")
def test_a_feed_from_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_PROGRESS_BARS", True)
    corpus = record_tokens(
        tmp_path / "corpus", clips=24, arrays=lambda n: {"tokens": ids_of(n, (n % 5 + 1, 3))}
    )
    address, cache = "hf://datasets/me/tokens", tmp_path / "cache"
    options: dict[str, Any] = {"batch": 4, "columns": ["clip_id", "collection"], "cache": cache}
    with HubServer() as hub, hub.client():
        publish(corpus.catalog, "me/tokens", staging=tmp_path / "staging")
        stored = [
            len(data) for path, data in hub.files("me/tokens").items() if path.endswith(".parquet")
        ]
        feed = TokenFeed(address, "video/vq", **options)
        catalogs = list((cache / "catalogs").iterdir())
        assert len(catalogs) == 1
        assert list(catalogs[0].glob("clips/*.parquet"))
        assert not list(catalogs[0].glob("tokens/*/*.parquet"))
        check_feed(feed, corpus, cache, sum(stored))
        before = hub.count("download") + hub.count("resolve")
        assert sorted(clips_in(feed)) == list(range(24))
        assert hub.count("download") + hub.count("resolve") == before
        publish(corpus.catalog, "me/rows", where="true", staging=tmp_path / "staging")
        with pytest.raises(NotFoundError, match="holds no catalog"):
            TokenFeed("hf://datasets/me/rows", "video/vq", **options)
    with pytest.raises(UsageError, match="not an address of the Hub"):
        TokenFeed("hf://me/tokens", "video/vq", **options)


def test_a_catalog_by_its_path(tmp_path: Path) -> None:
    record_tokens(tmp_path / "corpus", clips=4)
    feed = TokenFeed(tmp_path / "corpus", "video/vq", columns=["clip_id"])
    assert sorted(clips_in(feed)) == [0, 1, 2, 3]
    assert sorted(
        clips_in(TokenFeed(Catalog.open(tmp_path / "corpus"), "video", columns=["clip_id"]))
    )
