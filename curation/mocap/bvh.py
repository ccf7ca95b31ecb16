"""BVH: the hierarchy as a token stream, the motion block as one array.

Read here: channels in any order and number per joint (positions on any joint), End Sites, several
roots, tabs, CRLF, exponents, a `Frame Time` of any precision, numbers wrapped over lines. Errors
name the line and the token. What is not accepted: numbers that are missing or left over, because
then every later value would belong to another joint.

Channels apply from left to right: `Zrotation Yrotation Xrotation` is Rz * Ry * Rx.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from fractions import Fraction

import numpy as np
import numpy.typing as npt

from catalogs.errors import UsageError
from curation.mocap import rotations as rot
from curation.mocap.numerals import parse_numbers
from curation.mocap.problems import LARGEST, MocapFileError, check_plausible
from curation.mocap.rates import fps_from_frame_time
from curation.mocap.skeleton import Motion, Skeleton

__all__ = ["parse_bvh"]

Array = npt.NDArray[np.floating]
_CHANNELS = {
    f"{axis}{kind}": (kind, "xyz".index(axis))
    for axis in "xyz"
    for kind in ("position", "rotation")
}
_MOTION = re.compile(rb"^[ \t]*MOTION[ \t\r]*$", re.MULTILINE | re.IGNORECASE)
_HEADER = re.compile(
    rb"\s*Frames\s*:\s*(?P<frames>\S*)\s*Frame\s+Time\s*:[ \t]*(?P<time>[^\s]*)[^\S\n]*\n?",
    re.IGNORECASE,
)
_MAX_DEPTH = 256
_BLOCK_FRAMES = 512
"""Frames whose angles and quaternions stay in the cache together."""


@dataclass
class _Joint:
    name: str
    parent: int
    offset: tuple[float, float, float] = (0.0, 0.0, 0.0)
    channels: list[tuple[str, int]] = field(default_factory=list)


class _Tokens:
    """The words of the hierarchy with their line numbers."""

    def __init__(self, text: str):
        self._items = [
            (word, number)
            for number, line in enumerate(text.splitlines(), start=1)
            for word in line.replace("{", " { ").replace("}", " } ").split()
        ]
        self._at = 0

    @property
    def line(self) -> int:
        last = min(self._at, len(self._items) - 1)
        return self._items[last][1] if self._items else 1

    def peek(self) -> str:
        return self._items[self._at][0] if self._at < len(self._items) else ""

    def next(self, expected: str) -> str:
        if self._at >= len(self._items):
            raise MocapFileError.at(
                self.line,
                f"the hierarchy ends where {expected} should come",
                hint="the file is cut short: fetch it again",
            )
        word, _ = self._items[self._at]
        self._at += 1
        return word

    def word(self, wanted: str) -> None:
        line, got = self.line, self.next(repr(wanted))
        if got.upper() != wanted.upper():
            raise MocapFileError.at(line, f"{got!r} stands where {wanted!r} should")

    def number(self, expected: str) -> float:
        line, got = self.line, self.next(expected)
        try:
            value = float(got)
        except ValueError:
            raise MocapFileError.at(line, f"{got!r} is not a number", allowed=expected) from None
        if not abs(value) < LARGEST:
            raise MocapFileError.at(line, f"{got!r} is no length", allowed=expected)
        return value

    def name(self) -> str:
        """A joint's name: the words up to the brace on the same line as the keyword."""
        line = self.line
        words = [self.next("a joint's name")]
        while self.peek() != "{" and self.line == line:
            words.append(self.next("{"))
        return " ".join(words)


def parse_bvh(data: bytes) -> Motion:
    """The motion of a BVH file's bytes, in the file's own unit and axes."""
    mark = _MOTION.search(data)
    if mark is None:
        raise MocapFileError.at(
            data.count(b"\n") + 1,
            "no MOTION block",
            allowed="HIERARCHY followed by MOTION",
            hint="a skeleton alone is not a take",
        )
    head = data[: mark.start()].decode("utf-8-sig", "replace")
    joints, ends = _hierarchy(_Tokens(head))
    frames, fps, start = _motion_header(data, mark.end())
    channels = sum(len(joint.channels) for joint in joints)
    first_line = data.count(b"\n", 0, start) + 1
    values = parse_numbers(data[start:], first_line=first_line)
    _check_count(data, start, first_line, len(values), frames, channels)
    rows = values.reshape(frames, channels)
    check_plausible(rows)
    return _motion(joints, ends, rows, fps)


def _hierarchy(tokens: _Tokens) -> tuple[list[_Joint], list[tuple[int, tuple[float, ...]]]]:
    tokens.word("HIERARCHY")
    joints: list[_Joint] = []
    ends: list[tuple[int, tuple[float, ...]]] = []
    while tokens.peek():
        tokens.word("ROOT")
        _joint(tokens, -1, joints, ends, 0)
    if not joints:
        raise MocapFileError.at(tokens.line, "the hierarchy has no ROOT")
    return joints, ends


def _joint(
    tokens: _Tokens,
    parent: int,
    joints: list[_Joint],
    ends: list[tuple[int, tuple[float, ...]]],
    depth: int,
) -> None:
    if depth > _MAX_DEPTH:
        raise MocapFileError.at(tokens.line, f"joints nest deeper than {_MAX_DEPTH}")
    joint = _Joint(tokens.name(), parent)
    index = len(joints)
    joints.append(joint)
    tokens.word("{")
    while (line := tokens.line) and (word := tokens.next("'}'")) != "}":
        match word.upper():
            case "OFFSET":
                joint.offset = _offset(tokens)
            case "CHANNELS":
                joint.channels = _channels(tokens)
            case "JOINT":
                _joint(tokens, index, joints, ends, depth + 1)
            case "END":
                tokens.word("Site")
                ends.append((index, _end_site(tokens)))
            case _:
                raise MocapFileError.at(
                    line,
                    f"{word!r} is not part of a joint",
                    allowed="OFFSET, CHANNELS, JOINT, End Site or '}'",
                )


def _offset(tokens: _Tokens) -> tuple[float, float, float]:
    x, y, z = (tokens.number("three offsets") for _ in range(3))
    return x, y, z


def _end_site(tokens: _Tokens) -> tuple[float, float, float]:
    if tokens.peek() != "{":
        tokens.name()
    tokens.word("{")
    tokens.word("OFFSET")
    offset = _offset(tokens)
    tokens.word("}")
    return offset


def _channels(tokens: _Tokens) -> list[tuple[str, int]]:
    line = tokens.line
    count = tokens.number("the number of channels")
    if not (count.is_integer() and 0 <= count <= 6):
        raise MocapFileError.at(line, f"{count:g} channels", allowed="0 to 6")
    channels = []
    for _ in range(int(count)):
        line, word = tokens.line, tokens.next("a channel")
        if word.lower() not in _CHANNELS:
            raise MocapFileError.at(
                line, f"channel {word!r} is unknown", allowed="Xposition ... Zrotation"
            )
        channels.append(_CHANNELS[word.lower()])
    if len(set(channels)) < len(channels):
        raise MocapFileError.at(line, "a joint names the same channel twice")
    return channels


def _motion_header(data: bytes, start: int) -> tuple[int, Fraction, int]:
    line = data.count(b"\n", 0, start) + 2
    header = _HEADER.match(data, start)
    if header is None:
        raise MocapFileError.at(
            line, "MOTION is not followed by its header", allowed="'Frames: N' and 'Frame Time: S'"
        )
    frames = header["frames"].decode("ascii", "replace")
    if not frames.isdecimal() or int(frames) == 0:
        raise MocapFileError.at(line, f"Frames: {frames!r}", allowed="a whole number above 0")
    try:
        fps = fps_from_frame_time(header["time"].decode("ascii", "replace"))
    except UsageError as error:
        raise MocapFileError.at(
            data.count(b"\n", 0, header.start("time")) + 1,
            f"Frame Time: {error.problem}",
            allowed=error.allowed,
        ) from error
    return int(frames), fps, header.end()


def _check_count(
    data: bytes, start: int, first_line: int, got: int, frames: int, channels: int
) -> None:
    if got == frames * channels:
        return
    for number, text in enumerate(data[start:].split(b"\n"), start=first_line):
        values = len(text.split())
        if values and values != channels:
            raise MocapFileError.at(
                number,
                f"{values} values in a frame",
                allowed=f"{channels}, one per channel of the hierarchy",
            )
    rows = got // channels if channels else 0
    raise MocapFileError.at(
        data.rstrip().count(b"\n") + 1,
        f"the file ends after {rows} frames, 'Frames:' says {frames}",
        hint="the file is cut short or its header is wrong: fetch it again",
    )


def _motion(
    joints: list[_Joint],
    ends: list[tuple[int, tuple[float, ...]]],
    values: Array,
    fps: Fraction,
) -> Motion:
    offsets = np.array([joint.offset for joint in joints])
    skeleton = Skeleton(
        names=tuple(joint.name for joint in joints),
        parents=np.array([joint.parent for joint in joints], np.intp),
        offsets=offsets,
        end_parents=np.array([parent for parent, _ in ends], np.intp),
        end_offsets=np.array([offset for _, offset in ends]).reshape(-1, 3),
    )
    first = np.cumsum([0] + [len(joint.channels) for joint in joints])
    turns = np.empty((len(values), len(joints), 4))
    local = np.repeat(offsets[None], len(values), axis=0)
    for order, turning in _by_rotation_order(joints).items():
        columns = [[first[joint] + channel for channel in own] for joint, own in turning]
        places = np.array(columns, np.intp).reshape(len(turning), len(order))
        for start in range(0, len(values), _BLOCK_FRAMES):
            block = slice(start, start + _BLOCK_FRAMES)
            angles = values[block][:, places]
            turns[block, [joint for joint, _ in turning]] = rot.from_euler(angles, order)
    for index, joint in enumerate(joints):
        for channel, (kind, axis) in enumerate(joint.channels):
            if kind == "position":
                local[:, index, axis] = values[:, first[index] + channel]
    moving = [joint for joint in joints[1:] if any(kind[0] == "p" for kind, _ in joint.channels)]
    many_roots = sum(joint.parent < 0 for joint in joints) > 1
    return Motion(
        skeleton,
        fps,
        root_positions=local[:, 0].copy(),
        rotations=turns,
        local_positions=local if moving or many_roots else None,
    )


def _by_rotation_order(joints: list[_Joint]) -> dict[str, list[tuple[int, list[int]]]]:
    """Joints (with the places of their rotation channels) that turn in the same order."""
    groups: dict[str, list[tuple[int, list[int]]]] = {}
    for index, joint in enumerate(joints):
        own = [i for i, (kind, _) in enumerate(joint.channels) if kind == "rotation"]
        order = "".join("XYZ"[joint.channels[i][1]] for i in own)
        groups.setdefault(order, []).append((index, own))
    return groups
