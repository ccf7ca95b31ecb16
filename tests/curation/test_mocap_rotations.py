"""Quaternion maths against matrices and against itself."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from curation.mocap import rotations as rot


@pytest.fixture
def some() -> np.ndarray:
    return rot.normalised(np.random.default_rng(0).normal(size=(200, 4)))


def test_products_and_turns_agree_with_matrices(some: np.ndarray) -> None:
    a, b = some[:100], some[100:]
    vectors = np.random.default_rng(1).normal(size=(100, 3))
    product = rot.to_matrix(a) @ rot.to_matrix(b)
    np.testing.assert_allclose(rot.to_matrix(rot.multiply(a, b)), product, atol=1e-12)
    turned = np.einsum("tij,tj->ti", rot.to_matrix(a), vectors)
    np.testing.assert_allclose(rot.rotate(a, vectors), turned, atol=1e-12)


@pytest.mark.parametrize("order", ["".join(order) for order in itertools.permutations("XYZ")])
def test_euler_angles_are_products_of_turns_about_one_axis(order: str) -> None:
    angles = np.random.default_rng(2).uniform(-179, 179, (50, 3))
    whole = np.eye(3)
    for column, axis in enumerate(order):
        one = np.zeros((50, 3))
        one[:, "XYZ".index(axis)] = np.radians(angles[:, column])
        whole = whole @ rot.to_matrix(rot.from_axis_angle(one))
    q = rot.from_euler(angles, order)
    np.testing.assert_allclose(rot.to_matrix(q), whole, atol=1e-12)
    again = rot.from_euler(rot.to_euler(q, order), order)
    np.testing.assert_allclose(rot.to_matrix(again), whole, atol=1e-9)


@pytest.mark.parametrize("rows", [False, True])
def test_every_form_gives_the_rotation_back(some: np.ndarray, rows: bool) -> None:
    for back in (
        rot.from_matrix(rot.to_matrix(some)),
        rot.from_axis_angle(rot.to_axis_angle(some)),
        rot.from_six(rot.to_six(some, rows=rows), rows=rows),
    ):
        np.testing.assert_allclose(np.abs(np.sum(back * some, axis=-1)), 1, atol=1e-12)


def test_tiny_and_half_turns_are_exact() -> None:
    small = np.array([[1e-9, 0, 0], [0, 0, 0], [0, np.pi, 0]])
    np.testing.assert_allclose(rot.to_axis_angle(rot.from_axis_angle(small)), small, atol=1e-15)


def test_between_brings_one_direction_to_the_other() -> None:
    rng = np.random.default_rng(3)
    u, v = rng.normal(size=(2, 50, 3))
    v[:3] = -u[:3]
    turned = rot.rotate(rot.between(u, v), u)
    unit = v / np.linalg.norm(v, axis=-1, keepdims=True)
    length = np.linalg.norm(u, axis=-1, keepdims=True)
    np.testing.assert_allclose(turned, unit * length, atol=1e-7)


def test_slerp_turns_at_constant_speed_the_short_way(some: np.ndarray) -> None:
    start, end = some[:50], -some[50:100]
    third = rot.slerp(start, end, np.full(50, 1 / 3))

    def angle(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return 2 * np.arccos(np.clip(np.abs(np.sum(a * b, axis=-1)), 0, 1))

    np.testing.assert_allclose(angle(start, third), angle(start, end) / 3, atol=1e-6)


def test_continuous_signs_never_jump(some: np.ndarray) -> None:
    path = rot.from_axis_angle(np.linspace(0, 12, 100)[:, None] * [[0.3, 0.5, 0.1]])
    flipped = path * np.where(np.random.default_rng(4).random(100) < 0.5, -1, 1)[:, None]
    steps = np.sum(rot.continuous(flipped)[1:] * rot.continuous(flipped)[:-1], axis=-1)
    assert steps.min() > 0.9
