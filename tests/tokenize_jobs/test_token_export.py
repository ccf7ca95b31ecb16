"""Exported tokens are the catalog's, as the packages that read these forms see them."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from catalogs.errors import UsageError
from tokenize_jobs.export import export_tokens
from tokenize_jobs.mds import MdsWriter
from tokenize_jobs.shards import TokenStream, TokenTable
from tokenize_jobs.testing import TokenCorpus, clip_name, ids_of, record_tokens

CLIPS = 7
STREAMS = [TokenStream(levels=(1000,)), TokenStream("latents", channels=2, precision="bfloat16")]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> TokenCorpus:
    made = record_tokens(
        tmp_path_factory.mktemp("export") / "corpus",
        clips=CLIPS,
        table=TokenTable("video/vq", "5" * 64, "3" * 64, STREAMS),
        arrays=lambda n: {
            "tokens": ids_of(n, (2, 3) if n % 2 else (1, 300)),
            "latents": np.full((3, 2), n / 2, np.float32),
        },
    )
    caption = {"caption_id": "c", "clip_id": clip_name(2), "kind": "brief", "text": "Émile läuft"}
    made.catalog.append("captions", [caption])
    return made


def export(corpus: TokenCorpus, folder: Path, form: Any, **options: Any) -> Path:
    columns = ["captions", "collection"]
    done = export_tokens(corpus.catalog, "video/vq", folder, form=form, columns=columns, **options)
    assert (done.windows, done.files) == (CLIPS, sum(1 for f in folder.iterdir()))
    assert done.bytes == sum(f.stat().st_size for f in folder.iterdir())
    return folder


def check(corpus: TokenCorpus, clip: str, arrays: dict[str, Any], about: dict[str, Any]) -> None:
    for name, stored in corpus.arrays[clip].items():
        assert arrays[name].tolist() == stored.tolist()
    assert arrays["tokens"].dtype == np.uint16
    assert arrays["latents"].dtype == np.float32
    number = int(clip, 16)
    assert about["clip_id"] == clip
    assert about["collection"] == ("odd" if number % 2 else "even")
    assert about["captions"] == (["Émile läuft"] if number == 2 else [])


def test_tars_hold_a_sample_per_window(corpus: TokenCorpus, tmp_path: Path) -> None:
    folder = export(corpus, tmp_path / "out", "webdataset", per_shard=3)
    assert sorted(f.name for f in folder.iterdir()) == ["00000.tar", "00001.tar", "00002.tar"]
    samples: dict[str, dict[str, bytes]] = {}
    for path in sorted(folder.iterdir()):
        with tarfile.open(path) as tar:
            for member in tar:
                key, _, extension = member.name.partition(".")
                file = tar.extractfile(member)
                assert file is not None
                samples.setdefault(key, {})[extension] = file.read()
    assert list(samples) == [f"{clip_name(n)}-00000" for n in range(CLIPS)]
    for key, parts in samples.items():
        arrays = {name: np.load(io.BytesIO(parts[f"{name}.npy"])) for name in ("tokens", "latents")}
        check(corpus, key[:32], arrays, json.loads(parts["json"]))


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_webdataset_opens_the_tars(corpus: TokenCorpus, tmp_path: Path) -> None:
    webdataset = pytest.importorskip("webdataset")
    folder = export(corpus, tmp_path / "out", "webdataset")
    samples = list(webdataset.WebDataset(str(folder / "00000.tar"), shardshuffle=False).decode())
    assert len(samples) == CLIPS
    for sample in samples:
        arrays = {name: sample[f"{name}.npy"] for name in ("tokens", "latents")}
        check(corpus, sample["__key__"][:32], arrays, sample["json"])


def test_arrays_hold_the_windows_in_rows(corpus: TokenCorpus, tmp_path: Path) -> None:
    folder = export(corpus, tmp_path / "out", "npy")
    lines = [json.loads(line) for line in (folder / "index.jsonl").read_text("utf-8").splitlines()]
    assert [line["clip_id"] for line in lines] == [clip_name(n) for n in range(CLIPS)]
    assert sorted(path.name for path in folder.glob("tokens*.npy")) == [
        "tokens-1x300.npy",
        "tokens-2x3.npy",
    ]
    assert np.load(folder / "latents.npy").shape == (CLIPS, 3, 2)
    for line in lines:
        arrays = {n: np.load(folder / f)[line["rows"][n]] for n, f in line["files"].items()}
        check(corpus, line["clip_id"], arrays, line)


def test_one_grid_is_one_array(tmp_path: Path) -> None:
    corpus = record_tokens(tmp_path / "corpus", clips=5)
    export_tokens(
        corpus.catalog, "video/vq", tmp_path / "out", form="npy", where="collection = 'odd'"
    )
    rows = np.load(tmp_path / "out" / "tokens.npy")
    assert [ids.tolist() for ids in rows] == [ids_of(n).tolist() for n in (1, 3)]


def test_streaming_opens_the_mds_shards(corpus: TokenCorpus, tmp_path: Path) -> None:
    try:
        from streaming.base.format import reader_from_json
    except (ImportError, RuntimeError) as error:
        pytest.skip(f"mosaicml-streaming cannot be imported: {error}")
    folder = export(corpus, tmp_path / "out", "mds", per_shard=3)
    shards = json.loads((folder / "index.json").read_text())["shards"]
    assert [shard["samples"] for shard in shards] == [3, 3, 1]
    clips = []
    for shard in shards:
        reader = reader_from_json(str(folder), None, shard)
        for number in range(shard["samples"]):
            sample = reader[number]
            check(corpus, sample["about"]["clip_id"], sample, sample["about"])
            clips.append(sample["about"]["clip_id"])
    assert clips == [clip_name(n) for n in range(CLIPS)]


def test_an_mds_shard_is_laid_out_as_its_readers_expect(tmp_path: Path) -> None:
    """Byte by byte, where the package is not installed to say so."""
    writer = MdsWriter(tmp_path, {"tokens": "ndarray:uint16", "about": "json"})
    writer.write_shard([{"tokens": np.array([[7, 8, 300]], np.uint16), "about": {"n": 1}}])
    writer.finish()
    data = (tmp_path / "shard.00000.mds").read_bytes()
    count, first, end = np.frombuffer(data[:12], np.uint32).tolist()
    assert (count, end) == (1, len(data))
    assert json.loads(data[12:first])["column_names"] == ["about", "tokens"]
    assert np.frombuffer(data[first : first + 8], np.uint32).tolist() == [8, 9]
    assert data[first + 8 : first + 16] == b'{"n": 1}'
    assert data[first + 16 : first + 19] == bytes([2 << 2, 1, 3])
    assert np.frombuffer(data[first + 19 :], np.uint16).tolist() == [7, 8, 300]
    (shard,) = json.loads((tmp_path / "index.json").read_text())["shards"]
    assert shard["raw_data"] == {"basename": "shard.00000.mds", "bytes": len(data), "hashes": {}}


def test_nothing_is_written_over_and_unknown_forms_are_refused(
    corpus: TokenCorpus, tmp_path: Path
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").touch()
    with pytest.raises(UsageError, match="already exists"):
        export(corpus, tmp_path / "out", "npy")
    with pytest.raises(UsageError, match="cannot be exported as 'csv'"):
        export(corpus, tmp_path / "other", "csv")
    assert not (tmp_path / "other").exists()
