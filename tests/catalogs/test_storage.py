"""The door to files: a local folder and an object store keep the same promises."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from catalogs.errors import NotFoundError
from catalogs.storage import Storage


@pytest.fixture(params=["local", "s3"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    if request.param == "local":
        return Storage(tmp_path / "root")
    return Storage(request.getfixturevalue("bucket") + f"/{tmp_path.name}")


def test_only_the_first_creates(storage: Storage) -> None:
    assert storage.create("a/b.json", b"first")
    assert not storage.create("a/b.json", b"second")
    assert storage.read("a/b.json") == b"first"


def test_of_many_creators_one_wins(storage: Storage) -> None:
    won: list[int] = []

    def create(number: int) -> None:
        if storage.create("log.json", str(number).encode()):
            won.append(number)

    threads = [threading.Thread(target=create, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1
    assert storage.read("log.json") == str(won[0]).encode()


def test_replace_publish_and_delete(storage: Storage) -> None:
    storage.replace("x", b"1")
    storage.replace("x", b"2")
    assert storage.read("x") == b"2"
    staged = storage.staging_file(".parquet")
    staged.write_bytes(b"rows")
    storage.publish(staged, "clips/y.parquet")
    assert not staged.exists()
    assert storage.read("clips/y.parquet") == b"rows"
    storage.delete("x")
    storage.delete("x")
    assert not storage.exists("x")
    assert storage.exists("clips/y.parquet")
    with pytest.raises(NotFoundError, match="does not exist"):
        storage.read("x")


def test_walk_and_folders(storage: Storage) -> None:
    for path in ("clips/b", "clips/log/a", "clipsy/c", "scores/blur/d", "top"):
        storage.create(path, b"12")
    assert [item.path for item in storage.walk("clips")] == ["clips/b", "clips/log/a"]
    assert {item.bytes for item in storage.walk("")} == {2}
    assert {"clips", "clipsy", "scores"} <= set(storage.folders(""))
    assert storage.folders("scores") == ["blur"]
    assert storage.folders("nothing") == []
