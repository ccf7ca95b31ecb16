"""`tokenize`: equal ids for any crew, by hand too; nothing twice; broken sources set apart."""

from __future__ import annotations

import shutil
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch

import zoo
from catalogs.catalog import Catalog
from catalogs.errors import UsageError
from catalogs.query import Session
from catalogs.schema import view_name
from catalogs.testing import Shot, render_take, render_video
from curation.jobs.run import curate
from curation.jobs.settings import MillSettings
from curation.media.decode import read_sequential
from tokenize_jobs.job import Report, tokenize
from tokenize_jobs.plan import make_plan, table_of, transform_for
from tokenize_jobs.read import fitted
from tokenize_jobs.shards import unpack
from tokenize_jobs.transform import Transform
from tokenize_jobs.verify import draw_verified, verify

ASKED = Transform(fps=Fraction(12), size=(32, 32), window=9)


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tokens")
    render_video(folder / "a.mp4", [Shot("pan_left", 40), Shot("zoom_in", 40, seed=1)])
    render_video(folder / "b.mp4", [Shot("still", 30, seed=2), Shot("pan_left", 50, seed=3)])
    render_video(folder / "c.mp4", [Shot("zoom_in", 60, seed=4)])
    render_take(folder / "walk.bvh", "walk", seconds=5)
    settings = MillSettings(operators=())
    curate([folder], folder / "corpus", settings=settings, workers=0, progress=None)
    return folder


@pytest.fixture
def corpus(template: Path, tmp_path: Path) -> Catalog:
    shutil.copytree(template / "corpus", tmp_path / "corpus")
    return Catalog.open(tmp_path / "corpus")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("model")
    zoo.create("video/causal_cnn_fsq_tiny").save(folder)
    return f"local-dir:{folder}"


def encode(corpus: Catalog, model: str, asked: Transform = ASKED, **options) -> Report:
    return tokenize(corpus, model, transform=asked, progress=None, **options)


def stored(corpus: Catalog, report: Report) -> dict[tuple[str, int], np.ndarray]:
    rows = corpus.refresh().sql(
        f'select * from "{view_name(report.table)}" order by clip_id, window_index'
    )
    table = rows.arrow()
    keys = zip(table["clip_id"].to_pylist(), table["window_index"].to_pylist(), strict=True)
    arrays = unpack(table, corpus.columns(report.table))
    found = {key: row["tokens"] for key, row in zip(keys, arrays, strict=True)}
    assert len(found) == table.num_rows, "no window is stored twice"
    return found


def same(one: dict, other: dict) -> None:
    assert one.keys() == other.keys()
    assert all(np.array_equal(one[key], other[key]) for key in one)


def test_a_plan_makes_windows_when_their_turn_comes(corpus: Catalog, model: str) -> None:
    spec = zoo.load(model).spec
    table, transform = table_of(spec, {}), transform_for(spec, ASKED)
    plan = make_plan(corpus, spec, table, transform)
    assert len(plan.units) == 3
    assert not any(unit.windows for unit in plan.units)
    with Session(corpus, cutting="-") as session:
        opened = [unit.opened(session, transform) for unit in plan.units]
    assert sum(len(unit.windows) for unit in opened) == plan.windows
    for unit in opened:
        assert sum(window.frames for window, _ in unit.windows) == unit.frames
        assert unit.opened(session, transform) is unit, "what was lost is done as it was handed out"


def test_ids_are_those_of_the_zoo_by_hand(corpus: Catalog, model: str, template: Path) -> None:
    report = encode(corpus, model, workers=0)
    tokens = stored(corpus, report)
    assert report.windows == len(tokens) == report.planned["windows"]
    tokenizer = zoo.load(model)
    frames = {}
    path = template / "c.mp4"
    with read_sequential(path, short_side=32) as reader:
        for batch in reader:
            frames |= dict(zip(batch.pts.tolist(), batch.images, strict=True))
    rows = corpus.sql(
        f"select t.clip_id, t.window_index, t.start_pts, t.frames, c.time_base_num::double / "
        f'c.time_base_den as tick from "{view_name(report.table)}" t join clips c '
        "using (clip_id) join sources s using (source_id) where s.uri = ?",
        [str(path)],
    ).dicts()
    assert rows
    for row in rows:
        times = [row["start_pts"] + n / 12 / row["tick"] for n in range(row["frames"])]
        shown = [max(pts for pts in frames if pts <= time + 1e-6) for time in times]
        pictures = np.stack([fitted(frames[pts], (32, 32)) for pts in shown])
        x = torch.from_numpy(pictures).permute(3, 0, 1, 2)[None].float() / 127.5 - 1
        by_hand = tokenizer.encode(x).ids[0].numpy()
        assert np.array_equal(by_hand, tokens[row["clip_id"], row["window_index"]])


def test_any_crew_gives_equal_ids(template: Path, model: str, cluster: str, tmp_path: Path) -> None:
    found = []
    for name, workers in (("alone", 0), ("one", 1), ("two", 2)):
        shutil.copytree(template / "corpus", tmp_path / name)
        corpus = Catalog.open(tmp_path / name)
        found.append(stored(corpus, encode(corpus, model, workers=workers, address=cluster)))
    same(found[0], found[1])
    same(found[0], found[2])


def test_shares_of_any_size_give_equal_ids(
    corpus: Catalog, model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(corpus.storage.root, tmp_path / "other")
    whole = stored(corpus, encode(corpus, model, workers=0))
    monkeypatch.setattr("tokenize_jobs.share.FIRST_FRAMES", 10)
    monkeypatch.setattr("tokenize_jobs.share.SHARE_S", 1e-6)
    monkeypatch.setattr("tokenize_jobs.share.LEAST_FRAMES", 10)
    other = Catalog.open(tmp_path / "other")
    same(whole, stored(other, encode(other, model, workers=0)))


def test_a_second_run_does_only_what_is_missing(corpus: Catalog, model: str) -> None:
    first = encode(corpus, model, where="duration_s < 2.2", workers=0)
    rest = encode(corpus, model, workers=0)
    again = encode(corpus, model, workers=0)
    assert first.windows > 0
    assert rest.windows > 0
    assert rest.present == first.windows
    assert (again.windows, again.present) == (0, first.windows + rest.windows)


def test_another_transform_and_other_weights_are_other_tokens(
    corpus: Catalog, model: str, tmp_path: Path
) -> None:
    first = encode(corpus, model, workers=0)
    other_size = encode(corpus, model, Transform(fps=Fraction(12), size=(16, 16)), workers=0)
    torch.manual_seed(1)
    zoo.create("video/causal_cnn_fsq_tiny").save(tmp_path / "other")
    other_model = encode(corpus, f"local-dir:{tmp_path / 'other'}", workers=0)
    assert other_size.windows > 0
    assert other_size.table == first.table != other_model.table
    assert other_model.windows == first.windows
    stale = corpus.refresh().sql(
        "select tokens, max(created) as made from token_shards group by tokens "
        "qualify made < max(made) over (partition by split_part(tokens, '@', 1))"
    )
    assert [tokens for tokens, _ in stale.rows()] == [first.table]


def test_a_dry_run_counts_and_writes_nothing(corpus: Catalog, model: str) -> None:
    version = corpus.version
    planned = encode(corpus, model, dry_run=True)
    assert corpus.refresh().version == version
    report = encode(corpus, model, workers=0)
    assert planned.planned["windows"] == report.windows
    assert planned.planned["tokens"] == report.tokens
    assert planned.planned["bytes"] == report.bytes


@pytest.mark.parametrize("damage", ["gone", "cut off"])
def test_a_broken_source_is_quarantined_and_taken_out_once_it_is_mended(
    damage: str, corpus: Catalog, model: str, template: Path, tmp_path: Path
) -> None:
    whole = (template / "b.mp4").read_bytes()
    broken = tmp_path / "b.mp4"
    (row,) = corpus.sql("select * from sources where uri like '%b.mp4'").dicts()
    corpus.upsert("sources", [row | {"uri": str(broken)}])
    if damage == "cut off":
        broken.write_bytes(whole[: len(whole) // 2])
    first = encode(corpus, model, workers=0)
    assert (first.status, first.quarantined) == ("done", 1)
    (found,) = corpus.refresh().sql("select * from quarantine").dicts()
    assert (found["uri"], found["stage"]) == (str(broken), "tokenize")
    assert found["error_class"] == {"gone": "missing", "cut off": "changed"}[damage]
    assert found["run_id"] == first.run_id
    missing = corpus.sql(
        f"select count(*) from clips where source_id = ? and clip_id not in "
        f'(select clip_id from "{view_name(first.table)}")',
        [row["source_id"]],
    ).one()
    assert missing == (len(_clips_of(corpus, row["source_id"])),)
    assert encode(corpus, model, workers=0).quarantined == 1
    assert corpus.refresh().rows("quarantine") == 1

    broken.write_bytes(whole)
    second = encode(corpus, model, workers=0)
    assert second.quarantined == 0
    assert first.windows + second.windows == first.planned["windows"]
    assert len(stored(corpus, second)) == first.planned["windows"]
    assert corpus.rows("quarantine") == 0


def _clips_of(corpus: Catalog, source: str) -> list[tuple]:
    return corpus.sql("select clip_id from clips where source_id = ?", [source]).rows()


def test_quarantine_rows_of_others_stay(corpus: Catalog, model: str) -> None:
    (row,) = corpus.sql("select uri, source_id from sources where uri like '%b.mp4'").dicts()
    corpus.append("quarantine", [row | {"stage": "score", "error_class": "e", "detail": "d"}])
    encode(corpus, model, workers=0)
    assert corpus.refresh().sql("select stage from quarantine").rows() == [("score",)]


def _completed(spec) -> Transform:
    return transform_for(spec, ASKED)


def motion_model(folder: Path) -> str:
    preset = zoo.preset("motion/conv_vq_tiny")
    torch.manual_seed(0)
    preset.family(replace(preset.config, features=263)).save(folder / "motion")
    return f"local-dir:{folder / 'motion'}"


def test_takes_become_tokens(corpus: Catalog, tmp_path: Path) -> None:
    model = motion_model(tmp_path)
    report = encode(corpus, model, Transform(window=32), workers=0)
    assert report.windows == report.planned["windows"] > 0
    assert report.quality_unit == "mm MPJPE"
    assert encode(corpus, model, Transform(window=32), workers=0).windows == 0


def test_verify_finds_what_is_not_what_it_should_be(
    corpus: Catalog, model: str, tmp_path: Path
) -> None:
    report = encode(corpus, model, workers=0)
    tokenizer = zoo.load(model)
    checks = list(verify(corpus.refresh(), tokenizer, _completed(tokenizer.spec), clips=3))
    assert len(checks) == 3
    assert all(check.equal for check in checks)
    films = draw_verified(checks, tmp_path / "films", Fraction(12))
    assert [film.stat().st_size > 1000 for film in films] == [True] * 3
    (row,) = corpus.sql(
        f'select * from "{view_name(report.table)}" where clip_id = ? and window_index = 0',
        [checks[0].clip_id],
    ).dicts()
    row["tokens"] = bytes(reversed(row["tokens"]))
    with corpus.transaction("damage") as txn:
        txn.upsert(report.table, [row], table_of(tokenizer.spec, {}).columns())
    again = list(verify(corpus.refresh(), tokenizer, _completed(tokenizer.spec), clips=3))
    assert [check.clip_id for check in again if not check.equal] == [checks[0].clip_id]


def test_what_the_tokenizer_does_not_take_is_refused(corpus: Catalog, tmp_path: Path) -> None:
    zoo.create("motion/conv_vq_tiny").save(tmp_path / "motion")
    with pytest.raises(UsageError, match="values a frame"):
        encode(corpus, f"local-dir:{tmp_path / 'motion'}", Transform())


def test_a_clip_without_a_whole_body_does_not_cost_the_others_of_its_take(
    corpus: Catalog, tmp_path: Path
) -> None:
    (row,) = corpus.sql("select * exclude (created) from clips where kind = 'mocap'").dicts()
    names = {column.name for column in corpus.columns("clips")}
    tiny = {name: value for name, value in row.items() if name in names} | {
        "clip_id": "0" * 32, "end_pts": row["start_pts"] + 1, "end_frame": row["start_frame"] + 1,
    }  # fmt: skip
    corpus.append("clips", [tiny])
    report = encode(corpus, motion_model(tmp_path), Transform(window=32), workers=0)
    assert report.quarantined == 1
    clips = {clip for clip, _ in stored(corpus, report)}
    assert clips == {row["clip_id"]}
