"""Splits depend on the group alone: nobody moves, no group is divided, shares come out right."""

from __future__ import annotations

from collections.abc import Iterator

import duckdb
import pytest
from hypothesis import given
from hypothesis import strategies as st

from catalogs.recipe import Splits
from catalogs.splits import group_position, position_sql, split_of, split_sql

GROUPS = st.lists(st.text(max_size=40), unique=True, max_size=50)
SHARES = st.tuples(*[st.integers(0, 100)] * 3).filter(any)


def shares(parts: tuple[int, int, int]) -> Splits:
    train, val, test = (part / sum(parts) for part in parts)
    return Splits(train, val, test)


@pytest.fixture(scope="module")
def database() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as connection:
        yield connection


def in_sql(
    database: duckdb.DuckDBPyConnection, expression: str, groups: list[str]
) -> list[tuple[object]]:
    query = f"select {expression} from (select unnest(?::varchar[]) as g)"
    return database.execute(query, [groups]).fetchall()


@given(GROUPS, SHARES)
def test_sql_says_what_python_says(
    database: duckdb.DuckDBPyConnection, groups: list[str], parts: tuple[int, int, int]
) -> None:
    splits = shares(parts)
    positions = [(group_position(group),) for group in groups]
    names = [(split_of(group, splits),) for group in groups]
    assert in_sql(database, position_sql("g"), groups) == positions
    assert in_sql(database, split_sql("g", splits), groups) == names


@given(st.text(), SHARES)
def test_a_split_without_a_share_gets_nothing(group: str, parts: tuple[int, int, int]) -> None:
    splits = shares(parts)
    assert getattr(splits, split_of(group, splits)) > 0


@given(st.text(), st.floats(0, 0.5), st.floats(0, 0.5), st.floats(0.05, 0.4))
def test_test_stays_test_when_other_shares_change(
    group: str, val: float, other: float, test: float
) -> None:
    before = Splits(1 - test - val, val, test)
    after = Splits(1 - test - other, other, test)
    assert (split_of(group, before) == "test") == (split_of(group, after) == "test")


def test_positions_are_pinned() -> None:
    # A stored test split must mean the same in every later version.
    assert group_position("") == pytest.approx(int("e3b0c44298fc1", 16) / 16**13, abs=0)
    assert split_of("source-1", Splits(0.5, 0.25, 0.25)) == "train"


def test_shares_come_out() -> None:
    splits = Splits(0.8, 0.1, 0.1)
    found = [split_of(f"source {number}", splits) for number in range(20_000)]
    assert found.count("train") / 20_000 == pytest.approx(0.8, abs=0.01)
    assert found.count("val") / 20_000 == pytest.approx(0.1, abs=0.01)


def test_without_splits_there_is_no_split(database: duckdb.DuckDBPyConnection) -> None:
    assert in_sql(database, split_sql("g", None), ["a"]) == [(None,)]
