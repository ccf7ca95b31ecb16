"""Arrays go into a table of tokens and come back, from Python and from SQL; others are refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from numpy.typing import NDArray

from catalogs.errors import FormatError, NotFoundError, SchemaError, UsageError
from catalogs.query import Session
from tokenize_jobs.feed_layout import MappedShard
from tokenize_jobs.packing import Packing
from tokenize_jobs.shards import TokenStream, TokenTable, find_tokens, unpack
from tokenize_jobs.testing import VQ, clip_name, ids_of, record_tokens

VIEW = "tokens_video_vq_555555555555"


def table_of(*streams: TokenStream) -> TokenTable:
    return TokenTable("video/vq", "5" * 64, "3" * 64, list(streams))


def random_ids(stream: TokenStream, grid: tuple[int, ...], number: int) -> NDArray[Any]:
    dice = np.random.default_rng(number)
    levels = [dice.integers(0, n, grid) for n in stream.levels]
    return np.stack(levels, -1) if len(levels) > 1 else levels[0]


@pytest.mark.parametrize(
    ("levels", "unit"),
    [
        ((256,), "uint8"),
        ((257,), "uint16"),
        ((65_536,), "uint16"),
        ((65_537,), "uint32"),
        ((1024, 512, 8), "uint16[3]"),
    ],
)
def test_ids_come_back_in_the_smallest_type(
    tmp_path: Path, levels: tuple[int, ...], unit: str
) -> None:
    stream = TokenStream(levels=levels)
    table = table_of(stream)
    corpus = record_tokens(
        tmp_path / "corpus",
        clips=6,
        table=table,
        arrays=lambda n: {"tokens": random_ids(stream, (n % 3 + 1, 4, 4), n)},
    )
    columns = corpus.catalog.columns(table.name)
    assert {column.name: column.unit for column in columns}["tokens"] == unit
    rows = corpus.catalog.sql(f"from {VIEW}").arrow()
    for clip, arrays in zip(rows["clip_id"].to_pylist(), unpack(rows, columns), strict=True):
        assert arrays["tokens"].dtype == unit.split("[")[0]
        assert (arrays["tokens"] == corpus.arrays[clip]["tokens"]).all()


@pytest.mark.parametrize("precision", ["float16", "bfloat16"])
def test_latents_are_rounded_as_torch_rounds_them(tmp_path: Path, precision: Any) -> None:
    stream = TokenStream("latents", channels=4, precision=precision)
    special = np.array([0, -0.0, 1, -1.5, np.inf, -np.inf, np.nan, 1e-7], np.float32)
    values = np.concatenate([special, np.random.default_rng(0).normal(size=1016) * 8])
    array = values.astype(np.float32).reshape(16, 16, 4)
    corpus = record_tokens(
        tmp_path / "corpus",
        clips=1,
        commits=1,
        table=table_of(stream),
        arrays=lambda n: {"latents": array},
    )
    expected = torch.from_numpy(array).to(getattr(torch, precision)).float().numpy()
    rows = corpus.catalog.sql(f"from {VIEW}").arrow()
    (found,) = unpack(rows, corpus.catalog.columns(corpus.table.name))
    np.testing.assert_array_equal(found["latents"].astype(np.float32), expected)
    query = f"select unpack_{precision}(latents) from {VIEW}"
    listed = np.asarray(corpus.catalog.sql(query).value(), np.float32)
    np.testing.assert_array_equal(listed, expected.ravel())


def test_sql_reads_ids_in_a_locked_session(tmp_path: Path) -> None:
    streams = [TokenStream(f"s{n}", levels=(n,)) for n in (200, 40_000, 100_000)]
    corpus = record_tokens(
        tmp_path / "corpus",
        clips=5,
        table=table_of(*streams),
        arrays=lambda n: {s.name: random_ids(s, (2, 5), n) for s in streams},
    )
    with Session(corpus.catalog) as session:
        rows = session.sql(
            "select clip_id, unpack_uint8(s200), unpack_uint16(s40000), unpack_uint32(s100000), "
            f"s200_grid from {VIEW}"
        ).rows()
        repeated = session.sql(f"select max(list_max(unpack_uint8(s200))) from {VIEW}").value()
    assert len(rows) == 5
    for clip, *lists, grid in rows:
        assert grid == [2, 5]
        for ids, stream in zip(lists, streams, strict=True):
            assert ids == corpus.arrays[clip][stream.name].ravel().tolist()
    assert repeated == max(int(made["s200"].max()) for made in corpus.arrays.values())


def test_a_row_tells_what_was_encoded_and_its_shard_how(tmp_path: Path) -> None:
    corpus = record_tokens(tmp_path / "corpus", clips=6, commits=2)
    catalog = corpus.catalog
    rows = catalog.sql(f"from {VIEW} order by clip_id").dicts()
    assert [row["clip_id"] for row in rows] == [clip_name(n) for n in range(6)]
    assert {(row["start_pts"], row["end_pts"], row["time_base_den"]) for row in rows} == {
        (0, 50, 25)
    }
    assert {(row["spec_hash"], row["weights_hash"], row["transform_hash"]) for row in rows} == {
        ("5" * 64, "3" * 64, "t")
    }
    shards = catalog.sql("from token_shards").dicts()
    assert sorted(shard["shard"] for shard in shards) == sorted({row["shard"] for row in rows})
    for shard in shards:
        clips = [row["clip_id"] for row in rows if row["shard"] == shard["shard"]]
        used = {value for clip in clips for value in corpus.arrays[clip]["tokens"].ravel().tolist()}
        assert shard["codes_used"] == [len(used)]
        assert (shard["windows"], shard["positions"], shard["bytes"]) == (3, 18, 36)
        assert (shard["levels"], shard["dtype"], json.loads(shard["quality"])) == (
            [1000],
            "uint16",
            {},
        )


def test_writing_windows_again_changes_nothing(tmp_path: Path) -> None:
    corpus = record_tokens(tmp_path / "corpus", clips=6, commits=1)
    before = corpus.catalog.sql(f"from {VIEW} order by clip_id").rows()
    corpus.add(range(6), lambda n: {"tokens": ids_of(n + 1)})
    assert corpus.catalog.sql(f"from {VIEW} order by clip_id").rows() == before
    assert corpus.catalog.rows("token_shards") == 1


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.full((2, 2), 1000), "from 1000 to 1000"),
        (np.full((2, 2), -1), "from -1 to -1"),
        (np.zeros((2, 2)), "ids of 'tokens' are float64"),
        (np.zeros((0, 2), np.int64), "does not fit uint16"),
    ],
)
def test_arrays_that_are_no_ids_are_refused(
    tmp_path: Path, array: NDArray[Any], message: str
) -> None:
    with pytest.raises(SchemaError, match=message):
        record_tokens(tmp_path / "c", clips=1, commits=1, arrays=lambda n: {"tokens": array})


def test_arrays_must_be_the_streams(tmp_path: Path) -> None:
    with pytest.raises(SchemaError, match="arrays are named ids") as raised:
        record_tokens(tmp_path / "c", clips=1, commits=1, arrays=lambda n: {"ids": ids_of(n)})
    assert raised.value.allowed == "tokens"
    two = TokenStream(levels=(10, 10))
    with pytest.raises(SchemaError, match=r"shape \(2, 3\) does not fit uint8\[2\]"):
        record_tokens(tmp_path / "d", clips=1, commits=1, table=table_of(two))
    with pytest.raises(UsageError, match="levels"):
        TokenStream()


def test_a_table_keeps_the_type_of_its_streams(tmp_path: Path) -> None:
    corpus = record_tokens(tmp_path / "corpus", clips=2, commits=1)
    corpus.table = table_of(TokenStream(levels=(100,)))
    with pytest.raises(SchemaError, match="holds tokens uint16, not tokens uint8"):
        corpus.add([7], lambda n: {"tokens": ids_of(n) % 100})


def test_a_token_takes_at_most_five_hundredths_more_than_its_type(tmp_path: Path) -> None:
    stream = TokenStream(levels=(32_768,))
    corpus = record_tokens(
        tmp_path / "corpus",
        clips=500,
        commits=1,
        table=table_of(stream),
        arrays=lambda n: {"tokens": random_ids(stream, (5, 16, 16), n)},
    )
    size = sum(item.bytes for item in corpus.catalog.files(corpus.table.name))
    assert size / (500 * 1280) <= 1.05 * 2


def test_merged_files_can_be_read_row_by_row(tmp_path: Path) -> None:
    corpus = record_tokens(
        tmp_path / "corpus", clips=9, arrays=lambda n: {"tokens": ids_of(n, (n + 1,))}
    )
    corpus.catalog.compact(vacuum=True)
    (item,) = corpus.catalog.files(corpus.table.name)
    path = tmp_path / "corpus" / corpus.table.name / item.path
    with open(path, "rb") as file:
        shard = MappedShard(file, {"tokens": Packing("uint16")}, "shard")
    clips = pq.read_table(path, columns=["clip_id"])["clip_id"].to_pylist()
    for row, clip in enumerate(clips):
        ids = corpus.arrays[clip]["tokens"]
        room = shard.row("tokens", row, ids.size * 2)
        assert np.frombuffer(room, np.uint16).tolist() == ids.tolist()


@pytest.mark.parametrize("options", [{"compression": "zstd"}, {"data_page_size": 64}])
def test_a_file_of_another_layout_is_refused(tmp_path: Path, options: dict[str, Any]) -> None:
    corpus = record_tokens(tmp_path / "corpus", clips=50, commits=1)
    (item,) = corpus.catalog.files(corpus.table.name)
    rows = pq.read_table(tmp_path / "corpus" / corpus.table.name / item.path)
    plain = {"compression": "none", "use_dictionary": False, "write_batch_size": 8}
    pq.write_table(rows, tmp_path / "other.parquet", **{**plain, **options})
    with (
        open(tmp_path / "other.parquet", "rb") as file,
        pytest.raises(FormatError, match="compressed, paged or damaged"),
    ):
        MappedShard(file, {"tokens": Packing("uint16")}, "shard")


def test_tables_are_found_by_how_their_name_begins(tmp_path: Path) -> None:
    catalog = record_tokens(tmp_path / "corpus", clips=2, commits=1).catalog
    assert VQ.name == "tokens/video.vq@555555555555"
    for name in ("video/vq", "video.vq", "video.vq@5555", VQ.name):
        assert find_tokens(catalog, name) == VQ.name
    with pytest.raises(NotFoundError, match="no table of tokens begins with 'audio'") as raised:
        find_tokens(catalog, "audio")
    assert VQ.name in str(raised.value)
    record_tokens(
        tmp_path / "corpus",
        clips=1,
        commits=1,
        table=TokenTable("video/vq2", "6" * 64, "3", VQ.streams),
    )
    with pytest.raises(NotFoundError, match="several"):
        find_tokens(catalog.refresh(), "video/v")


def test_an_unknown_packing_names_those_there_are() -> None:
    assert Packing.parse("uint32[8]") == Packing("uint32", 8)
    with pytest.raises(FormatError, match="int7"):
        Packing.parse("int7")
