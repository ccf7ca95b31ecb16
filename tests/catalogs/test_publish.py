"""To the Hub and back with the real client, against a Hub on the loopback interface."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from catalogs.catalog import Catalog
from catalogs.errors import ClipmillError, FormatError, LicenceError, NotFoundError, UsageError
from catalogs.fetch import pull
from catalogs.ledger import find_selection
from catalogs.publish import publish
from catalogs.testing.hub import HubServer
from catalogs.testing.licensed import LICENSED_SOURCES, record_licensed

pytestmark = pytest.mark.filterwarnings(
    "ignore:Use 'content=<...>' to upload raw bytes:DeprecationWarning"
)
FREE = "collection = 'FREE collection'"
FORBIDDEN = [source for source in LICENSED_SOURCES if source.mark in ("CLOSED", "UNCLEAR")]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Catalog:
    return record_licensed(tmp_path_factory.mktemp("publish") / "corpus")


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_PROGRESS_BARS", True)
    with HubServer() as server, server.client():
        yield server


@pytest.fixture
def staging(tmp_path: Path) -> Path:
    return tmp_path / "staging"


def test_a_dataset_goes_to_the_hub_and_back(
    corpus: Catalog, hub: HubServer, staging: Path, tmp_path: Path
) -> None:
    made = publish(corpus, "me/web", selection="web", refused="recipe", staging=staging)
    assert made.url == f"{hub.endpoint}/datasets/me/web"
    assert hub.repo("me/web").private
    assert list(staging.iterdir()) == []
    pulled = pull("me/web", tmp_path / "back")
    assert (pulled.kind, pulled.revision) == ("dataset", made.revision)
    files = {
        path.relative_to(tmp_path / "back").as_posix(): path.read_bytes()
        for path in (tmp_path / "back").rglob("*")
        if path.is_file()
    }
    assert files == hub.files("me/web")
    assert pq.read_table(tmp_path / "back" / "data").num_rows == 21


def test_a_catalog_goes_to_the_hub_and_back(
    corpus: Catalog, hub: HubServer, staging: Path, tmp_path: Path
) -> None:
    publish(corpus, "me/corpus", refused="drop", private=False, staging=staging)
    back = pull("me/corpus", tmp_path / "back").catalog()
    assert back.about == corpus.about
    allowed = [source for source in LICENSED_SOURCES if source not in FORBIDDEN]
    assert {row[0] for row in back.sql("select source_id from sources").rows()} == {
        source.id for source in allowed
    }
    per_clip = ("clips", "captions", "scores/exposure")
    assert [back.rows(table) for table in per_clip] == [24, 24, 24]
    assert (back.rows("signals/basic"), back.rows("selections")) == (3, 21)
    assert back.rows("decisions") == corpus.rows("decisions") * 3 // 5
    assert "quarantine" not in back.tables()
    assert find_selection(back, "web").recipe == find_selection(corpus, "web").recipe
    query = "select * from clips order by clip_id"
    mine = corpus.sql(query).arrow().to_pylist()
    mine = [row for row in mine if row["source_id"] not in _ids(FORBIDDEN)]
    theirs = back.sql(query).arrow().to_pylist()
    assert [_without_uri(row) for row in theirs] == [_without_uri(row) for row in mine]
    assert len(back.files("clips")) == 1


def _ids(sources: list) -> set[str]:
    return {source.id for source in sources}


def _without_uri(row: dict) -> dict:
    return {name: value for name, value in row.items() if name not in ("uri", "created")}


@pytest.mark.parametrize("chosen", [{}, {"selection": "web"}])
def test_nothing_of_a_forbidden_source_is_uploaded(
    corpus: Catalog, hub: HubServer, staging: Path, tmp_path: Path, chosen: dict[str, str]
) -> None:
    publish(corpus, "me/open", refused="drop", staging=staging, **chosen)
    clips = corpus.sql("select clip_id, source_id from clips").rows()
    secrets = {"hush", "/home/someone", "workstation-7", *_ids(FORBIDDEN)}
    secrets |= {source.mark for source in FORBIDDEN}
    secrets |= {clip for clip, owner in clips if owner in _ids(FORBIDDEN)}
    stored = [path.read_bytes() for path in Path(hub.store.path("")).iterdir()]
    assert stored
    for data in stored:
        if data.startswith(b"PAR1"):
            (tmp_path / "blob.parquet").write_bytes(data)
            table = pq.read_table(tmp_path / "blob.parquet")
            data += json.dumps(table.to_pylist(), default=str).encode()
        text = data.decode("utf-8", "replace")
        assert not [secret for secret in secrets if secret in text]


def test_forbidden_clips_stop_a_publication_before_anything_is_sent(
    corpus: Catalog, hub: HubServer, staging: Path
) -> None:
    with pytest.raises(LicenceError, match="14 of 35 clips"):
        publish(corpus, "me/web", selection="web", staging=staging)
    with pytest.raises(LicenceError, match="16 of 40 clips"):
        publish(corpus, "me/web", staging=staging)
    assert hub.requests == []
    assert not staging.exists()


def test_commercial_publication_refuses_noncommercial_sources(
    corpus: Catalog, hub: HubServer, staging: Path
) -> None:
    where = "license = 'CC-BY-NC-4.0'"
    with pytest.raises(LicenceError, match="does not permit commercial use"):
        publish(corpus, "me/nc", where=where, commercial=True, staging=staging)
    publish(corpus, "me/nc", where=where, staging=staging)


def test_acknowledged_terms_are_recorded(corpus: Catalog, hub: HubServer, staging: Path) -> None:
    where = "license = 'Pexels License'"
    publish(corpus, "me/p", where=where, acknowledge=["Pexels License"], staging=staging)
    assert json.loads(hub.files("me/p")["manifest.json"])["acknowledged"] == ["Pexels License"]


@pytest.mark.parametrize("step", ["upload", "commit", "verify"])
def test_an_interrupted_publication_goes_on_where_it_stopped(
    corpus: Catalog, hub: HubServer, staging: Path, tmp_path: Path, step: str
) -> None:
    hub.fail(step, status=400, after=1)
    with pytest.raises(ClipmillError, match="run the same call again"):
        publish(corpus, "me/web", selection="web", refused="recipe", staging=staging)
    sent = hub.count("upload")
    with pytest.raises(NotFoundError, match="has not finished"):
        pull("me/web", tmp_path / "early")
    publish(corpus, "me/web", selection="web", refused="recipe", staging=staging)
    large = [name for name in hub.files("me/web") if name.endswith((".parquet", ".png"))]
    stored = [p for p in Path(hub.store.path("")).iterdir() if len(p.name) == 64]
    assert len(stored) == len(large)
    resent = hub.count("upload") - len(large)
    assert resent == (1 if step == "upload" else 0)
    assert sent > 1
    pull("me/web", tmp_path / "back")


def test_a_killed_publication_goes_on_where_it_stopped(
    corpus: Catalog, hub: HubServer, staging: Path, tmp_path: Path
) -> None:
    code = (
        "import sys; from catalogs.catalog import Catalog; from catalogs.publish import publish\n"
        "publish(Catalog.open(sys.argv[1]), 'me/web', selection='web', refused='recipe',"
        " staging=sys.argv[2])"
    )
    environment = {**os.environ, **hub.environment, "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
    hub.hold("commit")
    arguments = [sys.executable, "-c", code, corpus.storage.root, str(staging)]
    process = subprocess.Popen(arguments, env=environment, stderr=subprocess.DEVNULL)
    hub.wait_until_held("commit", timeout_s=60)
    process.send_signal(signal.SIGKILL)
    process.wait()
    hub.drop_held("commit")
    sent = hub.count("upload")
    publish(corpus, "me/web", selection="web", refused="recipe", staging=staging)
    assert hub.count("upload") == sent
    pull("me/web", tmp_path / "back")


def test_short_disturbances_are_ridden_out(
    corpus: Catalog, hub: HubServer, staging: Path, tmp_path: Path
) -> None:
    hub.fail("batch", status=503)
    hub.fail("upload")
    publish(corpus, "me/free", where=FREE, staging=staging)
    hub.fail("download")
    assert pull("me/free", tmp_path / "back").files == len(hub.files("me/free")) - 1


def test_publishing_again_replaces_what_is_old(
    corpus: Catalog, hub: HubServer, staging: Path, tmp_path: Path
) -> None:
    publish(corpus, "me/web", selection="web", refused="recipe", staging=staging)
    publish(corpus, "me/web", where=FREE, staging=staging)
    names = set(hub.files("me/web"))
    assert {name for name in names if name.startswith("data/")} == {
        "data/train-00000-of-00001.parquet"
    }
    assert not any(name.startswith("rebuild/") for name in names)
    assert pq.read_table(pull("me/web", tmp_path / "back").path / "data").num_rows == 8


def test_unchanged_data_make_no_commit(corpus: Catalog, hub: HubServer, staging: Path) -> None:
    first = publish(corpus, "me/free", where=FREE, staging=staging)
    commits, uploads = len(hub.repo("me/free").commits), hub.count("upload")
    second = publish(corpus, "me/free", where=FREE, staging=staging)
    assert second.revision == first.revision
    assert (len(hub.repo("me/free").commits), hub.count("upload")) == (commits, uploads)


def test_other_peoples_repositories_are_left_alone(
    corpus: Catalog, hub: HubServer, staging: Path, tmp_path: Path
) -> None:
    from huggingface_hub import HfApi

    api = HfApi(endpoint=hub.endpoint)
    api.create_repo("me/old", repo_type="dataset")
    api.upload_file(
        path_or_fileobj=b"precious",
        path_in_repo="data/x.txt",
        repo_id="me/old",
        repo_type="dataset",
    )
    with pytest.raises(UsageError, match="holds something else"):
        publish(corpus, "me/old", where=FREE, private=False, staging=staging)
    api.upload_file(
        path_or_fileobj=b"[1]", path_in_repo="manifest.json", repo_id="me/old", repo_type="dataset"
    )
    with pytest.raises(UsageError, match="holds something else"):
        publish(corpus, "me/old", where=FREE, private=False, staging=staging)
    other = record_licensed(tmp_path / "other", clips_per_source=1)
    publish(corpus, "me/free", where=FREE, staging=staging)
    with pytest.raises(UsageError, match="holds catalog " + corpus.about["id"]):
        publish(other, "me/free", where=FREE, staging=staging)
    publish(other, "me/free", where=FREE, replace=True, staging=staging)


def test_private_data_never_go_to_a_public_repository(
    corpus: Catalog, hub: HubServer, staging: Path
) -> None:
    publish(corpus, "me/free", where=FREE, private=False, staging=staging)
    with pytest.raises(UsageError, match="is public"):
        publish(corpus, "me/free", where=FREE, staging=staging)


def test_damaged_files_are_found_and_fetched_again(
    corpus: Catalog, hub: HubServer, staging: Path, tmp_path: Path
) -> None:
    publish(corpus, "me/free", where=FREE, staging=staging)
    name = "data/train-00000-of-00001.parquet"
    blob = hub.store.path(str(hub.repo("me/free").head.files[name].sha256))
    good = blob.read_bytes()
    blob.write_bytes(good[:-1] + b"?")
    with pytest.raises(FormatError, match=name):
        pull("me/free", tmp_path / "back")
    assert not (tmp_path / "back").exists()
    blob.write_bytes(good)
    before = hub.count("download")
    pull("me/free", tmp_path / "back")
    assert hub.count("download") == before + 1


def test_an_interrupted_pull_fetches_only_what_is_missing(
    corpus: Catalog, hub: HubServer, staging: Path, tmp_path: Path
) -> None:
    publish(corpus, "me/free", where=FREE, staging=staging)
    hub.fail("download", status=403)
    with pytest.raises(ClipmillError, match="pulling me/free failed"):
        pull("me/free", tmp_path / "back")
    assert not (tmp_path / "back").exists()
    pull("me/free", tmp_path / "back")
    large = [n for n in hub.files("me/free") if n.endswith((".parquet", ".png"))]
    assert hub.count("download") == len(large) + 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["back", "staging"]


def test_a_repository_that_clipmill_did_not_write(hub: HubServer, tmp_path: Path) -> None:
    with pytest.raises(ClipmillError, match="check the name"):
        pull("me/nothing", tmp_path / "back")


def test_the_token_stays_with_the_hub(
    corpus: Catalog,
    hub: HubServer,
    staging: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    hub.fail("commit", status=403)
    with pytest.raises(ClipmillError, match="hf auth login") as caught:
        publish(corpus, "me/free", where=FREE, staging=staging)
    assert hub.token not in str(caught.value) + caplog.text
    for file in staging.rglob("*"):
        assert file.is_dir() or hub.token.encode() not in file.read_bytes()
    publish(corpus, "me/free", where=FREE, staging=staging)
    pull("me/free", tmp_path / "back")
    sent = {request.step: request.authorised for request in hub.requests}
    assert not sent["upload"]
    assert not sent["download"]
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    with pytest.raises(ClipmillError, match="hf auth login"):
        publish(corpus, "me/else", where=FREE, staging=staging)


def test_large_files_go_in_parts(
    corpus: Catalog, staging: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_PROGRESS_BARS", True)
    with HubServer(part_bytes=5000, page=2) as hub, hub.client():
        publish(corpus, "me/free", where=FREE, staging=staging)
        pull("me/free", tmp_path / "back")
        assert hub.count("part") > 2
        assert hub.count("tree") > 3


def test_the_loopback_hub_serves_ranges(corpus: Catalog, hub: HubServer, staging: Path) -> None:
    publish(corpus, "me/free", where=FREE, private=False, staging=staging)
    name = "data/train-00000-of-00001.parquet"
    url = f"{hub.endpoint}/datasets/me/free/resolve/main/{name}"
    request = urllib.request.Request(url, headers={"Range": "bytes=4-9"})
    with urllib.request.urlopen(request) as answer:
        assert answer.status == 206
        assert answer.read() == hub.files("me/free")[name][4:10]
