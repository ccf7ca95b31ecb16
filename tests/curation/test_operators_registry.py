"""Where operators come from, and how they are held to what they declare."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from catalogs.errors import ClipmillError, MissingExtraError, NotFoundError, SchemaError, UsageError
from catalogs.schema import Column
from catalogs.testing import Shot, render_video
from curation import operators
from curation.operators import Clip, Operator, OperatorError, checked_scores
from curation.operators.docs import markdown

REPOSITORY = Path(__file__).resolve().parents[2]
EXAMPLE = Path(__file__).parent / "plugin_example"
CLIP = Clip({"clip_id": "c", "start_frame": 0, "end_frame": 1, "duration_s": 1.0}, {})

Provide = Callable[..., None]


@pytest.fixture
def provide(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Provide]:
    """Put a package that provides an operator on the path."""
    monkeypatch.syspath_prepend(tmp_path)

    def provide(package: str, entry: str, source: str) -> None:
        (tmp_path / f"{package}.py").write_text(source)
        info = tmp_path / f"{package}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[clipmill.operators]\n{entry}\n")
        operators._registered.cache_clear()

    yield provide
    operators._registered.cache_clear()
    sys.modules.pop("elsewhere", None)


def source_of(name: str, column: str, setup: str = "pass") -> str:
    return f"""
import pyarrow as pa
from catalogs.schema import Column
from curation.operators import Operator

class Given(Operator):
    name = {name!r}
    version = 1
    needs = "row"
    extra = "given"
    columns = (Column({column!r}, pa.float32(), "something"),)

    def setup(self):
        {setup}

    def score(self, clips):
        return [{{}} for _ in clips]
"""


def test_built_in_operators_come_through_the_entry_points() -> None:
    stated = re.search(
        r'entry-points."clipmill.operators"\]\n(.*?)\n\n',
        (REPOSITORY / "pyproject.toml").read_text(),
        re.DOTALL,
    )
    assert stated
    declared = {line.split(" = ")[0] for line in stated[1].splitlines()}
    assert declared <= set(operators.names())
    for name in declared:
        kind = operators.operator_class(name)
        assert kind.name == name
        assert kind.columns


def test_every_column_has_one_owner_a_meaning_and_a_unit_where_it_has_one() -> None:
    owners = operators.column_owners()
    assert owners["motion_px"] == "motion"
    for name in operators.names():
        for column in operators.operator_class(name).columns:
            assert owners[column.name] == name
            assert column.meaning
            assert column.unit or not pa.types.is_floating(column.type) or "ratio" in column.name


def test_the_page_of_operators_is_in_step_with_the_declarations() -> None:
    written = (REPOSITORY / "docs" / "operators.md").read_text()
    assert written == markdown(), "run: python -m curation.operators.docs > docs/operators.md"


def test_the_example_of_the_page_is_the_package_that_is_tested() -> None:
    page = (REPOSITORY / "docs" / "write-an-operator.md").read_text()
    assert (EXAMPLE / "clipmill_blueness.py").read_text() in page
    assert 'blueness = "clipmill_blueness:Blueness"' in page


def test_an_installed_package_adds_an_operator(tmp_path: Path) -> None:
    target, source = tmp_path / "site", tmp_path / "source"
    shutil.copytree(EXAMPLE, source)
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps"]
    subprocess.run(
        [*pip, "--no-build-isolation", "--disable-pip-version-check", "--target", target, source],
        check=True,
    )
    truth = render_video(tmp_path / "a.mp4", [Shot("still", 6)])
    code = (
        "import sys\n"
        "from curation.operators import checked_scores, create, names\n"
        "from curation.operators.trial import clip_of_file\n"
        "assert 'blueness' in names()\n"
        "print(checked_scores(create('blueness'), [clip_of_file(sys.argv[1])])[0]['blue_share'])\n"
    )
    paths = os.pathsep.join([str(target), str(REPOSITORY)])
    done = subprocess.run(
        [sys.executable, "-c", code, truth.path],
        env=os.environ | {"PYTHONPATH": paths},
        check=True,
        capture_output=True,
        text=True,
    )
    assert 0.05 < float(done.stdout) < 0.95


def test_a_name_that_is_taken_is_an_error_that_names_both(provide: Provide) -> None:
    provide("elsewhere", "motion = elsewhere:Given", source_of("motion", "other"))
    with pytest.raises(SchemaError, match="two packages provide an operator 'motion'") as caught:
        operators.names()
    assert "elsewhere:Given" in str(caught.value)
    assert "curation.operators.motion:Motion" in str(caught.value)


def test_a_column_that_is_taken_is_an_error(provide: Provide) -> None:
    provide("elsewhere", "given = elsewhere:Given", source_of("given", "motion_px"))
    with pytest.raises(SchemaError, match="both claim the column 'motion_px'"):
        operators.column_owners()


@pytest.mark.parametrize(
    ("entry", "error", "words"),
    [
        ("given = elsewhere:Column", SchemaError, "not an Operator class"),
        ("other = elsewhere:Given", SchemaError, "calls itself given"),
        ("given = elsewhere_not_there:Given", ClipmillError, "cannot be loaded"),
    ],
)
def test_a_wrong_entry_is_an_error(
    provide: Provide, entry: str, error: type[Exception], words: str
) -> None:
    provide("elsewhere", entry, source_of("given", "given"))
    with pytest.raises(error, match=words):
        operators.create(entry.split(" = ")[0])


def test_a_missing_extra_says_how_to_install_it(provide: Provide) -> None:
    provide(
        "elsewhere", "given = elsewhere:Given", source_of("given", "given", "import not_there_9")
    )
    with pytest.raises(MissingExtraError) as caught:
        operators.create("given")
    assert caught.value.hint == "pip install 'clipmill[given]'"


def test_an_unknown_name_shows_the_nearest() -> None:
    with pytest.raises(NotFoundError, match="motion") as caught:
        operators.create("motoin")
    assert "motion" in str(caught.value.hint)


class Wrong(Operator):
    """Returns what it is told to."""

    name = "wrong"
    version = 3
    needs = "row"
    columns = (Column("right", pa.float32(), "the one column", "1"),)

    def __init__(self, *rows: dict[str, Any]):
        self.rows = rows

    def score(self, clips: Any) -> Any:
        return self.rows


def test_rows_carry_the_clip_and_the_version() -> None:
    assert checked_scores(Wrong({"right": 0.5}), [CLIP]) == [
        {"clip_id": "c", "op_version": 3, "right": 0.5}
    ]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), pa.scalar(None).as_py()])
def test_what_is_no_number_is_null(value: float) -> None:
    assert checked_scores(Wrong({"right": value}), [CLIP])[0]["right"] is None


def test_undeclared_columns_are_refused() -> None:
    with pytest.raises(OperatorError, match="'wrong' returned 'left'") as caught:
        checked_scores(Wrong({"left": 1.0}), [CLIP])
    assert caught.value.allowed == "right"


@pytest.mark.parametrize("rows", [[], [{}, {}]])
def test_a_wrong_number_of_rows_is_refused(rows: list[dict[str, Any]]) -> None:
    with pytest.raises(OperatorError, match=f"returned {len(rows)} rows for 1 clips"):
        checked_scores(Wrong(*rows), [CLIP])


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"version": 1, "columns": ()}, "lacks the attribute 'name'"),
        ({"name": "a", "columns": ()}, "lacks the attribute 'version'"),
        ({"name": "a", "version": 1}, "lacks the attribute 'columns'"),
        ({"name": "a", "version": 1, "columns": (), "needs": "pixels"}, "needs 'pixels'"),
        (
            {"name": "a", "version": 1, "columns": (Column("clip_id", pa.string(), "mine"),)},
            "column 'clip_id', which every table of scores has",
        ),
    ],
)
def test_an_incomplete_class_is_refused_when_it_is_written(
    body: dict[str, Any], words: str
) -> None:
    with pytest.raises(SchemaError, match=words):
        type("Incomplete", (Operator,), {**body, "score": lambda self, clips: []})


def test_signals_that_were_not_handed_over_are_an_error() -> None:
    with pytest.raises(UsageError, match="without signals"):
        CLIP.signal("motion")
