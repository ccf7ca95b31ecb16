"""Acclaim motion: a skeleton (.asf) and its motion (.amc).

In an ASF file every bone turns about its own start, in axes that its `axis` line gives, and the
next bone begins at its end. Here a joint is the start of a bone and carries the bone's name, so
that `lfemur` is the left hip and `ltibia` the left knee; bones without children end in an end
site. Angles are listed in the order in which they are applied.

AMC files hold no frame rate: `DEFAULT_FPS` is that of the CMU collection.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction

import numpy as np
import numpy.typing as npt

from curation.mocap import rotations as rot
from curation.mocap.problems import LARGEST, MocapFileError, check_plausible
from curation.mocap.skeleton import Motion, Skeleton

__all__ = ["DEFAULT_FPS", "AcclaimSkeleton", "parse_amc", "parse_asf"]

Array = npt.NDArray[np.floating]
DEFAULT_FPS = Fraction(120)
_INCH_M = 0.0254
_CHANNELS = ("tx", "ty", "tz", "rx", "ry", "rz", "l")


@dataclass
class _Bone:
    name: str
    line: int
    direction: Array = field(default_factory=lambda: np.zeros(3))
    length: float = 0.0
    axis: Array = field(default_factory=lambda: np.zeros(3))
    axis_order: str = "XYZ"
    dof: tuple[str, ...] = ()


@dataclass(frozen=True)
class AcclaimSkeleton:
    """What an ASF file says: the tree, the axes of every bone and its free channels."""

    skeleton: Skeleton
    axes: Array
    """(J, 4): the frame in which each joint's angles are given."""
    channels: dict[str, tuple[str, ...]]
    """Free channels by bone, in the order of the motion file."""
    degrees: bool
    metres_per_unit: float


def parse_asf(text: str) -> AcclaimSkeleton:
    """The skeleton of an ASF file, in its own length unit."""
    sections = _sections(text)
    length, degrees = _units(sections)
    bones = [_root(sections), *_bones(sections, degrees)]
    order, parents = _tree(sections, {bone.name: bone for bone in bones})
    by_name = {bone.name: bone for bone in bones}
    ordered = [by_name[name] for name in order]
    tips = np.array([bone.direction * bone.length for bone in ordered])
    offsets = np.array([tips[p] if p >= 0 else np.zeros(3) for p in parents])
    leaves = [i for i in range(1, len(order)) if i not in parents]
    skeleton = Skeleton(
        names=tuple(order),
        parents=np.array(parents, np.intp),
        offsets=offsets,
        end_parents=np.array(leaves, np.intp),
        end_offsets=tips[leaves],
    )
    return AcclaimSkeleton(
        skeleton=skeleton,
        axes=np.array([_turn(bone.axis, bone.axis_order) for bone in ordered]),
        channels={bone.name: bone.dof for bone in ordered if bone.dof},
        degrees=degrees,
        metres_per_unit=_INCH_M / length,
    )


Lines = list[tuple[int, list[str]]]


def _sections(text: str) -> dict[str, Lines]:
    sections: dict[str, Lines] = {}
    current: Lines = []
    for number, line in enumerate(text.splitlines(), start=1):
        words = line.split("#", 1)[0].replace("(", " ").replace(")", " ").split()
        if not words:
            continue
        if words[0].startswith(":"):
            current = sections.setdefault(words[0][1:].lower(), [])
            words = words[1:]
        if words:
            current.append((number, words))
    for needed in ("root", "bonedata", "hierarchy"):
        if needed not in sections:
            raise MocapFileError.at(
                len(text.splitlines()) or 1,
                f"no :{needed} section",
                allowed=":root, :bonedata and :hierarchy",
                hint="this is not an ASF skeleton, or it is cut short",
            )
    return sections


def _units(sections: dict[str, Lines]) -> tuple[float, bool]:
    length, degrees = 1.0, True
    for number, words in sections.get("units", []):
        if words[0].lower() == "length":
            length = _numbers(number, words[1:2])[0]
        elif words[0].lower() == "angle":
            degrees = words[1:2] != ["rad"]
    if length <= 0:
        raise MocapFileError("the :units section has a length of 0", allowed="above 0")
    return length, degrees


def _root(sections: dict[str, Lines]) -> _Bone:
    bone = _Bone("root", sections["root"][0][0] if sections["root"] else 1)
    for number, words in sections["root"]:
        match words[0].lower():
            case "order":
                bone.dof = _dof(number, words[1:])
            case "axis":
                bone.axis_order = _order(number, words[1])
            case "orientation":
                bone.axis = np.array(_numbers(number, words[1:4]))
    return bone


def _bones(sections: dict[str, Lines], degrees: bool) -> list[_Bone]:
    bones: list[_Bone] = []
    bone: _Bone | None = None
    for number, words in sections["bonedata"]:
        key = words[0].lower()
        if key == "begin":
            bone = _Bone("", number)
        elif bone is None:
            raise MocapFileError.at(number, f"{words[0]!r} stands outside begin and end")
        elif key == "end":
            bones.append(bone)
            bone = None
        elif key == "name":
            bone.name = words[1]
        elif key == "direction":
            bone.direction = np.array(_numbers(number, words[1:4]))
        elif key == "length":
            bone.length = _numbers(number, words[1:2])[0]
        elif key == "axis":
            angles = np.array(_numbers(number, words[1:4]))
            bone.axis = angles if degrees else np.degrees(angles)
            bone.axis_order = _order(number, words[4]) if len(words) > 4 else "XYZ"
        elif key == "dof":
            bone.dof = _dof(number, words[1:])
    return bones


def _tree(sections: dict[str, Lines], bones: dict[str, _Bone]) -> tuple[list[str], list[int]]:
    order, parents = ["root"], [-1]
    for number, words in sections["hierarchy"]:
        if words[0].lower() in {"begin", "end"}:
            continue
        if words[0] not in order:
            raise MocapFileError.at(number, f"bone {words[0]!r} has children but no parent")
        for child in words[1:]:
            if child not in bones or child in order:
                raise MocapFileError.at(
                    number, f"bone {child!r} is not in :bonedata or has two parents"
                )
            order.append(child)
            parents.append(order.index(words[0]))
    return order, parents


def _numbers(line: int, words: list[str]) -> list[float]:
    try:
        numbers = [float(word) for word in words]
    except ValueError:
        numbers = []
    if not numbers or not all(abs(number) < LARGEST for number in numbers):
        raise MocapFileError.at(line, f"{' '.join(words)!r} are not numbers")
    return numbers


def _dof(line: int, words: list[str]) -> tuple[str, ...]:
    channels = tuple(word.lower() for word in words)
    unknown = [channel for channel in channels if channel not in _CHANNELS]
    if unknown:
        raise MocapFileError.at(line, f"channel {unknown[0]!r}", allowed=", ".join(_CHANNELS))
    return channels


def _order(line: int, word: str) -> str:
    if sorted(word.upper()) != ["X", "Y", "Z"]:
        raise MocapFileError.at(line, f"axis order {word!r}", allowed="XYZ in any order")
    return word.upper()


def _turn(angles: Array, applied: str) -> Array:
    """Angles in the order in which they are applied; `from_euler` wants the last one first."""
    return rot.from_euler(angles[..., ::-1], applied[::-1])


def parse_amc(data: bytes, acclaim: AcclaimSkeleton, fps: Fraction = DEFAULT_FPS) -> Motion:
    """The motion of an AMC file's bytes on its skeleton, in the skeleton's unit."""
    header, rows = _frames(data, acclaim)
    skeleton = acclaim.skeleton
    turns = np.broadcast_to(rot.IDENTITY, (len(rows), len(skeleton), 4)).copy()
    path = np.zeros((len(rows), 3))
    for name, (start, channels) in header.items():
        own = rows[:, start : start + len(channels)]
        turning = [i for i, channel in enumerate(channels) if channel.startswith("r")]
        angles = own[:, turning] if acclaim.degrees else np.degrees(own[:, turning])
        applied = "".join(channels[i][1].upper() for i in turning)
        frame = acclaim.axes[skeleton.index(name)]
        turn = rot.multiply(rot.multiply(frame, _turn(angles, applied)), rot.conjugate(frame))
        turns[:, skeleton.index(name)] = turn
        if name == "root":
            for i, channel in enumerate(channels):
                if channel.startswith("t"):
                    path[:, "xyz".index(channel[1])] = own[:, i]
    return Motion(skeleton, fps, root_positions=path, rotations=turns)


def _frames(
    data: bytes, acclaim: AcclaimSkeleton
) -> tuple[dict[str, tuple[int, tuple[str, ...]]], Array]:
    """Where each bone's values stand in a frame, and the frames as one array."""
    lines = [
        (number, words)
        for number, line in enumerate(data.decode("utf-8", "replace").splitlines(), start=1)
        if (words := line.split("#", 1)[0].split()) and not words[0].startswith(":")
    ]
    starts = [i for i, (_, words) in enumerate(lines) if len(words) == 1 and words[0].isdecimal()]
    if not starts or starts[0] != 0:
        raise MocapFileError.at(
            lines[0][0] if lines else 1, "no frame number before the first values"
        )
    per_frame = (starts[1] if len(starts) > 1 else len(lines)) - starts[0]
    layout = [words[0] for _, words in lines[1:per_frame]]
    header: dict[str, tuple[int, tuple[str, ...]]] = {}
    column = 0
    for (number, words), name in zip(lines[1:per_frame], layout, strict=True):
        channels = acclaim.channels.get(name)
        if channels is None:
            raise MocapFileError.at(number, f"bone {name!r} has no channels in the skeleton")
        if len(words) - 1 != len(channels):
            raise MocapFileError.at(
                number,
                f"{len(words) - 1} values for {name!r}",
                allowed=f"{len(channels)}: {' '.join(channels)}",
            )
        header[name] = (column, channels)
        column += len(channels)
    values: list[list[str]] = []
    for frame, start in enumerate(starts):
        end = starts[frame + 1] if frame + 1 < len(starts) else len(lines)
        values.append(_frame(lines[start:end], layout, column))
    try:
        rows = np.array(values, dtype=np.float64)
    except ValueError:
        raise _bad_number(lines) from None
    check_plausible(rows)
    return header, rows


def _frame(lines: Lines, layout: list[str], expected: int) -> list[str]:
    names = [words[0] for _, words in lines[1:]]
    values = [value for _, words in lines[1:] for value in words[1:]]
    if names != layout or len(values) != expected:
        number, words = lines[-1]
        raise MocapFileError.at(
            number,
            f"frame {lines[0][1][0]} has {len(names)} bones and {len(values)} values, "
            f"the first frame {len(layout)} and {expected} (last: {words[0]!r})",
            hint="the file is cut short or damaged: fetch it again",
        )
    return values


def _bad_number(lines: Lines) -> MocapFileError:
    for number, words in lines:
        for word in words[1:]:
            try:
                float(word)
            except ValueError:
                return MocapFileError.at(number, f"{word!r} is not a number")
    return MocapFileError("a frame holds something that is not a number")
