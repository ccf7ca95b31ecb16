"""`tokenize`: equal ids for any crew, by hand too; nothing twice; broken sources set apart."""

from __future__ import annotations

import os
import shutil
import signal
import threading
from collections.abc import Iterator
from fractions import Fraction
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

import zoo
from catalogs.catalog import Catalog
from catalogs.errors import UsageError
from catalogs.schema import view_name
from catalogs.testing import Shot, render_take, render_video
from curation.jobs.run import curate
from curation.jobs.settings import Limits, MillSettings
from curation.media.decode import read_sequential
from tokenize_jobs.job import Report, tokenize
from tokenize_jobs.plan import make_plan, table_of
from tokenize_jobs.read import fitted
from tokenize_jobs.shards import unpack
from tokenize_jobs.transform import Transform
from tokenize_jobs.verify import draw_verified, verify
from tokenize_jobs.work import TokenWorker

ASKED = Transform(fps=Fraction(12), size=(32, 32), window=9)


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory, cluster: str) -> Path:
    folder = tmp_path_factory.mktemp("tokens")
    render_video(folder / "a.mp4", [Shot("pan_left", 40), Shot("zoom_in", 40, seed=1)])
    render_video(folder / "b.mp4", [Shot("still", 30, seed=2), Shot("pan_left", 50, seed=3)])
    render_video(folder / "c.mp4", [Shot("zoom_in", 60, seed=4)])
    render_take(folder / "walk.bvh", "walk", seconds=5)
    settings = MillSettings(operators=())
    curate([folder], folder / "corpus", settings=settings, address=cluster, progress=None)
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


def test_any_order_of_units_gives_equal_ids(
    corpus: Catalog, model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(corpus.storage.root, tmp_path / "other")
    whole = stored(corpus, encode(corpus, model, workers=0))
    monkeypatch.setattr("tokenize_jobs.plan.UNIT_FRAMES", 10)
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


def test_a_dry_run_counts_and_writes_nothing(corpus: Catalog, model: str) -> None:
    version = corpus.version
    planned = encode(corpus, model, dry_run=True)
    assert corpus.refresh().version == version
    report = encode(corpus, model, workers=0)
    assert planned.planned["windows"] == report.windows
    assert planned.planned["tokens"] == report.tokens
    assert planned.planned["bytes"] == report.bytes


def test_a_source_that_is_gone_is_quarantined_and_the_rest_is_complete(
    corpus: Catalog, model: str, template: Path, tmp_path: Path
) -> None:
    rows = corpus.sql("select * from sources where uri like '%b.mp4'").dicts()
    rows[0]["uri"] = str(tmp_path / "gone.mp4")
    corpus.upsert("sources", rows)
    report = encode(corpus, model, workers=0)
    assert report.quarantined == 1
    assert report.status == "done"
    (uri, stage) = corpus.refresh().sql("select uri, stage from quarantine").one()
    assert (uri, stage) == (rows[0]["uri"], "open")
    tokens = stored(corpus, report)
    assert len(tokens) == report.planned["windows"] - _windows_of(corpus, model, "gone.mp4")


def _windows_of(corpus: Catalog, model: str, name: str) -> int:
    spec = zoo.load(model).spec
    where = f"uri like '%{name}'"
    plan = make_plan(corpus, spec, table_of(spec, {}), _completed(spec), where=where)
    return plan.windows


def _completed(spec) -> Transform:
    from tokenize_jobs.plan import transform_for

    return transform_for(spec, ASKED)


def test_takes_become_tokens(corpus: Catalog, tmp_path: Path) -> None:
    from dataclasses import replace

    preset = zoo.preset("motion/conv_vq_tiny")
    torch.manual_seed(0)
    preset.family(replace(preset.config, features=263)).save(tmp_path / "motion")
    model = f"local-dir:{tmp_path / 'motion'}"
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


def test_a_killed_reader_costs_nothing(
    corpus: Catalog, model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The decoding child dies in the middle of a source; the next run completes it."""
    made = partial(TokenWorker, model, ASKED, corpus.storage.root, Limits())
    monkeypatch.setattr("tokenize_jobs.job.TokenWorker", lambda *_: Killing(made()))
    first = encode(corpus, model, workers=0)
    assert first.quarantined == 1
    monkeypatch.undo()
    second = encode(corpus, model, workers=0)
    assert second.quarantined == 0
    assert first.windows + second.windows == first.planned["windows"]
    assert len(stored(corpus, second)) == first.planned["windows"]


class Killing:
    """A worker whose reader is killed once it has begun its second unit."""

    def __init__(self, worker: TokenWorker):
        self._worker = worker
        self._units = 0

    def ready(self) -> str:
        return self._worker.ready()

    def work(self, unit):
        self._units += 1
        if self._units == 2:
            with _killed_soon(self._worker):
                return self._worker.work(unit)
        return self._worker.work(unit)


class _killed_soon:  # noqa: N801 - used as a function
    def __init__(self, worker: TokenWorker):
        self._guard = worker._guard
        self._thread = threading.Thread(target=self._kill)
        self._go = threading.Event()

    def __enter__(self) -> None:
        stream = self._guard.stream

        def watched(*args, **options) -> Iterator:
            for number, item in enumerate(stream(*args, **options)):
                if number == 0:
                    self._go.set()
                    self._thread.join()
                yield item

        self._guard.stream = watched
        self._thread.start()

    def _kill(self) -> None:
        self._go.wait()
        os.kill(self._guard.pid, signal.SIGKILL)

    def __exit__(self, *_: object) -> None:
        self._go.set()
        self._thread.join()
        del self._guard.stream
