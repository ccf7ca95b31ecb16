"""Quaternions for motion: wxyz, vectorised over any leading axes.

Every function takes arrays of shape (..., 4), (..., 3) or (..., 3, 3) and broadcasts like numpy.
Rotations act on column vectors, so `multiply(a, b)` turns by b first, then by a.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from catalogs.errors import UsageError

__all__ = [
    "IDENTITY",
    "between",
    "conjugate",
    "continuous",
    "from_axis_angle",
    "from_euler",
    "from_matrix",
    "from_six",
    "multiply",
    "normalised",
    "rotate",
    "slerp",
    "to_axis_angle",
    "to_euler",
    "to_matrix",
    "to_six",
    "yaw",
]

Array = npt.NDArray[np.floating]

IDENTITY = np.array([1.0, 0.0, 0.0, 0.0])
_AXES = {"X": 0, "Y": 1, "Z": 2}
_EPSILON = 1e-12


def multiply(a: Array, b: Array) -> Array:
    """The rotation that turns by `b`, then by `a`."""
    aw, ax, ay, az = np.moveaxis(a, -1, 0)
    bw, bx, by, bz = np.moveaxis(b, -1, 0)
    return np.stack(
        [
            aw * bw - ax * bx - ay * by - az * bz,
            aw * bx + ax * bw + ay * bz - az * by,
            aw * by - ax * bz + ay * bw + az * bx,
            aw * bz + ax * by - ay * bx + az * bw,
        ],
        axis=-1,
    )


def conjugate(q: Array) -> Array:
    """The inverse of a unit quaternion."""
    return q * np.array([1.0, -1.0, -1.0, -1.0])


def rotate(q: Array, v: Array) -> Array:
    """The vectors `v` turned by `q`."""
    axis = q[..., 1:]
    twice = 2.0 * np.cross(axis, v)
    return v + q[..., :1] * twice + np.cross(axis, twice)


def normalised(q: Array) -> Array:
    """Unit quaternions; a zero quaternion becomes the identity."""
    length = np.linalg.norm(q, axis=-1, keepdims=True)
    return np.where(length > _EPSILON, q / np.maximum(length, _EPSILON), IDENTITY)


def between(u: Array, v: Array) -> Array:
    """The shortest rotation from the direction of `u` to that of `v`.

    Opposite directions have no shortest rotation: the half turn is then about a fixed axis
    that is perpendicular to `u`.
    """
    scale = np.linalg.norm(u, axis=-1) * np.linalg.norm(v, axis=-1)
    real = scale + np.sum(u * v, axis=-1)
    q = np.concatenate([real[..., None], np.cross(u, v)], axis=-1)
    opposite = real < 1e-9 * np.maximum(scale, _EPSILON)
    if np.any(opposite):
        q = np.where(opposite[..., None], _half_turn(np.broadcast_to(u, q[..., 1:].shape)), q)
    return normalised(q)


def _half_turn(u: Array) -> Array:
    helper = np.where(np.abs(u[..., :1]) < np.abs(u[..., 1:2]), [1.0, 0.0, 0.0], [0.0, 1.0, 0.0])
    return np.concatenate([np.zeros_like(u[..., :1]), np.cross(u, helper)], axis=-1)


def from_axis_angle(vectors: Array) -> Array:
    """Rotation vectors (axis times angle in radians), as SMPL stores poses."""
    angle = np.linalg.norm(vectors, axis=-1, keepdims=True)
    # np.sinc is sin(pi x) / (pi x): finite at zero angle
    return np.concatenate([np.cos(angle / 2), vectors * np.sinc(angle / (2 * np.pi)) / 2], axis=-1)


def to_axis_angle(q: Array) -> Array:
    """Rotation vectors of at most half a turn."""
    q = np.where(q[..., :1] < 0, -q, q)
    sine = np.linalg.norm(q[..., 1:], axis=-1, keepdims=True)
    angle = 2 * np.arctan2(sine, q[..., :1])
    return q[..., 1:] * np.where(sine > _EPSILON, angle / np.maximum(sine, _EPSILON), 2.0)


def from_euler(degrees: Array, order: str) -> Array:
    """Angles in the order of `order` (such as "ZYX"): the first is applied last.

    That is the convention of BVH channels, read from left to right.
    """
    half = np.radians(np.moveaxis(degrees, -1, 0)) / 2
    cosines, sines = np.cos(half), np.sin(half)
    shape = degrees.shape[:-1]
    real = np.ones(shape)
    vector = [np.zeros(shape) for _ in range(3)]
    for c, s, name in zip(cosines, sines, order.upper(), strict=True):
        # q times a turn about one axis needs half the products of a full multiplication
        k = _axis(name)
        after, last = (k + 1) % 3, (k + 2) % 3
        real, vector[k] = real * c - vector[k] * s, vector[k] * c + real * s
        vector[after], vector[last] = (
            vector[after] * c + vector[last] * s,
            vector[last] * c - vector[after] * s,
        )
    return np.stack([real, *vector], axis=-1)


def to_euler(q: Array, order: str) -> Array:
    """Angles in degrees for three different axes; the inverse of `from_euler`."""
    i, j, k = (_axis(axis) for axis in order.upper())
    sign = 1.0 if (j - i) % 3 == 1 else -1.0
    m = to_matrix(q)
    first = np.arctan2(-sign * m[..., j, k], m[..., k, k])
    second = np.arcsin(np.clip(sign * m[..., i, k], -1, 1))
    third = np.arctan2(-sign * m[..., i, j], m[..., i, i])
    return np.degrees(np.stack([first, second, third], axis=-1))


def _axis(name: str) -> int:
    if name not in _AXES:
        raise UsageError(f"rotation axis {name!r} is unknown", allowed="X, Y or Z")
    return _AXES[name]


def to_matrix(q: Array) -> Array:
    """Rotation matrices of shape (..., 3, 3)."""
    w, x, y, z = np.moveaxis(q, -1, 0)
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ]
    return np.stack([np.stack(row, axis=-1) for row in rows], axis=-2)


def from_matrix(m: Array) -> Array:
    """Quaternions of rotation matrices, stable at every angle, with a non-negative real part."""
    xx, yy, zz = m[..., 0, 0], m[..., 1, 1], m[..., 2, 2]
    yz, zx, xy = m[..., 2, 1], m[..., 0, 2], m[..., 1, 0]
    zy, xz, yx = m[..., 1, 2], m[..., 2, 0], m[..., 0, 1]
    candidates = np.stack(
        [
            np.stack([1 + xx + yy + zz, yz - zy, zx - xz, xy - yx], axis=-1),
            np.stack([yz - zy, 1 + xx - yy - zz, xy + yx, zx + xz], axis=-1),
            np.stack([zx - xz, xy + yx, 1 - xx + yy - zz, yz + zy], axis=-1),
            np.stack([xy - yx, zx + xz, yz + zy, 1 - xx - yy + zz], axis=-1),
        ],
        axis=-2,
    )
    best = np.argmax(np.einsum("...ii->...i", candidates), axis=-1)
    q = normalised(np.take_along_axis(candidates, best[..., None, None], axis=-2)[..., 0, :])
    return np.where(q[..., :1] < 0, -q, q)


def to_six(q: Array, *, rows: bool = False) -> Array:
    """Six numbers: the first two columns of the matrix, or with `rows` its first two rows."""
    m = to_matrix(q)
    pair = m if rows else np.swapaxes(m, -1, -2)
    return pair[..., :2, :].reshape(*q.shape[:-1], 6)


def from_six(six: Array, *, rows: bool = False) -> Array:
    """The rotation nearest to six numbers (Gram-Schmidt); the inverse of `to_six`."""
    first = _unit(six[..., :3])
    second = six[..., 3:] - np.sum(first * six[..., 3:], axis=-1, keepdims=True) * first
    second = _unit(second)
    m = np.stack([first, second, np.cross(first, second)], axis=-2)
    return from_matrix(m if rows else np.swapaxes(m, -1, -2))


def _unit(v: Array) -> Array:
    return v / np.maximum(np.linalg.norm(v, axis=-1, keepdims=True), _EPSILON)


def continuous(q: Array) -> Array:
    """The same rotations with signs chosen so that neighbours along axis 0 are close."""
    dots = np.sum(q[1:] * q[:-1], axis=-1)
    signs = np.cumprod(np.where(dots < 0, -1.0, 1.0), axis=0)
    out = q.copy()
    out[1:] *= signs[..., None]
    return out


def slerp(a: Array, b: Array, t: Array) -> Array:
    """From `a` (t = 0) to `b` (t = 1) at constant angular speed, the short way round."""
    dot = np.sum(a * b, axis=-1, keepdims=True)
    b = np.where(dot < 0, -b, b)
    angle = np.arccos(np.clip(np.abs(dot), 0, 1))
    sine = np.sin(angle)
    t = np.broadcast_to(np.asarray(t)[..., None], dot.shape)
    safe = np.maximum(sine, _EPSILON)
    near = sine < 1e-6
    weight_a = np.where(near, 1 - t, np.sin((1 - t) * angle) / safe)
    weight_b = np.where(near, t, np.sin(t * angle) / safe)
    return normalised(weight_a * a + weight_b * b)


def yaw(angle: Array) -> Array:
    """Turns by `angle` radians about the y axis."""
    zero = np.zeros_like(angle)
    return np.stack([np.cos(angle / 2), zero, np.sin(angle / 2), zero], axis=-1)
