"""One door to every mocap format.

    >>> take = read_motion(Path("walk.bvh"))
    >>> take.format, take.motion.fps, take.conventions.unit.value
    ('bvh', Fraction(120, 1), 'cmu')

The format is told by content, never by the name. Whatever cannot be read raises
`MocapFileError` with the line or the array and the reason; nothing else escapes for a bad file.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from catalogs.errors import NotFoundError
from curation.mocap.amass import is_amass, load_arrays, motion_from_amass
from curation.mocap.amc import DEFAULT_FPS, parse_amc, parse_asf
from curation.mocap.arrays import load_npy, motion_from_array, pick_array
from curation.mocap.bvh import parse_bvh
from curation.mocap.c3d import read_c3d
from curation.mocap.deepmimic import parse_deepmimic
from curation.mocap.detect import Conventions, detect, normalised
from curation.mocap.mapping import find_mapping
from curation.mocap.problems import MocapFileError
from curation.mocap.skeleton import Motion
from curation.mocap.take import Overrides, Take

__all__ = ["MOCAP_SUFFIXES", "is_mocap", "read_motion", "sniff"]

MOCAP_SUFFIXES = frozenset({".bvh", ".amc", ".c3d", ".npz", ".npy", ".txt", ".json"})
"""Names that are worth sniffing when a folder is walked; .asf belongs to its .amc."""
_HEAD_BYTES = 4096
_POINTERS = (b"version https://git-lfs.github.com", b"/annex/objects")


@dataclass
class _Reading:
    """What a reader found, before unit and axes are settled."""

    format: str
    motion: Motion
    declared: dict[str, str] = field(default_factory=dict)
    people: int = 1
    notes: list[str] = field(default_factory=list)


def sniff(head: bytes) -> str:
    """The format of a file from its first bytes, or an error that says what it is instead."""
    if not head:
        raise MocapFileError("the file is empty", hint="fetch it again")
    if any(mark in head[:300] for mark in _POINTERS):
        raise MocapFileError.at(
            1, "a pointer of Git LFS or git-annex, not the file itself", hint="run: git lfs pull"
        )
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n")
    lowered = text.lower()
    if head.startswith(b"\x93NUMPY"):
        return "npy"
    if head.startswith(b"PK\x03\x04"):
        return "npz"
    if lowered.startswith(b"hierarchy"):
        return "bvh"
    if len(head) > 1 and head[1] == 0x50 and head[0] < 32:
        return "c3d"
    if text.startswith(b"{"):
        return "deepmimic"
    if b":bonedata" in lowered or b":version" in lowered or b":root" in lowered:
        return "asf"
    if b":fully-specified" in lowered or b":degrees" in lowered or b":radians" in lowered:
        return "amc"
    first = text.split(b"\n", 1)[0][:40].decode("utf-8", "replace").strip()
    raise MocapFileError.at(
        1,
        f"no known mocap format begins with {first!r}",
        allowed="BVH, ASF/AMC, C3D, npz (AMASS or joints), npy, DeepMimic JSON",
    )


def is_mocap(path: Path) -> bool:
    """Whether a file in a walked folder should be read as mocap.

    Text and JSON files are often labels that lie beside motions: those count only when they are
    motions. A file whose name promises mocap counts even when it is damaged, so that it is
    quarantined and not overlooked.
    """
    suffix = path.suffix.lower()
    if suffix not in MOCAP_SUFFIXES:
        return False
    if suffix not in {".txt", ".json"}:
        return True
    with path.open("rb") as file:
        head = file.read(_HEAD_BYTES)
    return head.lstrip().startswith(b"{") and b'"Frames"' in head


def read_motion(path: Path | str, overrides: Overrides | None = None) -> Take:
    """The take in a mocap file, in metres, y up and right-handed."""
    path = Path(path)
    chosen = overrides or Overrides()
    try:
        with path.open("rb") as file:
            kind = sniff(file.read(_HEAD_BYTES))
        reading = _READERS[kind](path, chosen)
    except OSError as error:
        raise MocapFileError(f"cannot read {path}: {error.strerror or error}") from error
    motion = reading.motion if chosen.fps is None else replace(reading.motion, fps=chosen.fps)
    _check_length(motion, reading.format)
    found = detect(motion, reading.declared, chosen.conventions())
    return Take(
        path=path,
        format=reading.format,
        motion=normalised(motion, found),
        conventions=found,
        rig=_rig(motion),
        people=reading.people,
        notes=(*reading.notes, *_oddities(found)),
    )


def _bvh(path: Path, chosen: Overrides) -> _Reading:
    data = path.read_bytes()
    motion = parse_bvh(data)
    if len(motion) < 2:
        line = data[: data.rindex(b"Frames")].count(b"\n") + 1
        raise MocapFileError.at(
            line, "a skeleton and one frame, no motion", allowed="two frames or more"
        )
    return _Reading("bvh", motion)


def _amc(path: Path, chosen: Overrides) -> _Reading:
    asf = chosen.skeleton or _find_asf(path)
    acclaim = parse_asf(asf.read_text(encoding="utf-8", errors="replace"))
    motion = parse_amc(path.read_bytes(), acclaim, chosen.fps or DEFAULT_FPS)
    scaled = _scaled(motion, acclaim.metres_per_unit)
    notes = [f"skeleton from {asf.name}"]
    if chosen.fps is None:
        notes.append(f"rate assumed: AMC files hold none, CMU recorded at {DEFAULT_FPS}")
    return _Reading("amc", scaled, {"unit": "m"}, notes=notes)


def _scaled(motion: Motion, scale: float) -> Motion:
    """In metres: an ASF states its own length of a unit."""
    assert motion.root_positions is not None
    skeleton = replace(
        motion.skeleton,
        offsets=motion.skeleton.offsets * scale,
        end_offsets=motion.skeleton.end_offsets * scale,
    )
    return replace(motion, skeleton=skeleton, root_positions=motion.root_positions * scale)


def _find_asf(path: Path) -> Path:
    """The skeleton beside a motion: `11.asf` for `11_01.amc`, or the only one there is."""
    candidates = sorted(path.parent.glob("*.[aA][sS][fF]"))
    fitting = [one for one in candidates if path.stem.startswith(one.stem)]
    if fitting:
        return max(fitting, key=lambda one: len(one.stem))
    if len(candidates) == 1:
        return candidates[0]
    raise MocapFileError(
        f"no skeleton for {path.name}: {len(candidates)} .asf files beside it, none named like it",
        hint="put its .asf beside it, or override skeleton",
    )


def _asf(path: Path, chosen: Overrides) -> _Reading:
    parse_asf(path.read_text(encoding="utf-8", errors="replace"))
    raise MocapFileError(
        "an Acclaim skeleton (.asf) without motion", hint="read the .amc files that belong to it"
    )


def _c3d(path: Path, chosen: Overrides) -> _Reading:
    markers = read_c3d(path)
    declared = {
        key: value
        for key, value in (("unit", markers.unit), ("up_axis", markers.up_axis))
        if value is not None
    }
    return _Reading("c3d", markers.motion, declared)


def _deepmimic(path: Path, chosen: Overrides) -> _Reading:
    declared = {"unit": "m", "up_axis": "y"}
    return _Reading("deepmimic", parse_deepmimic(path.read_bytes()), declared)


def _npy(path: Path, chosen: Overrides) -> _Reading:
    return _from_array(load_npy(path), chosen)


def _npz(path: Path, chosen: Overrides) -> _Reading:
    arrays = load_arrays(path)
    if not is_amass(arrays):
        return _from_array(pick_array(arrays), chosen)
    motion = motion_from_amass(arrays, chosen.body_model, chosen.fps)
    notes = [] if chosen.body_model else ["no body model: joints of the documented neutral body"]
    return _Reading("amass", motion, {"unit": "m"}, notes=notes)


def _from_array(array: np.ndarray, chosen: Overrides) -> _Reading:
    found = motion_from_array(array, fps=chosen.fps, person=chosen.person)
    declared = {} if found.unit is None else {"unit": found.unit}
    notes = [found.meaning]
    if chosen.fps is None:
        notes.append(f"rate assumed: arrays hold none, the data set has {float(found.motion.fps)}")
    if found.people > 1:
        notes.append(f"person {chosen.person} of {found.people}")
    return _Reading("array", found.motion, declared, found.people, notes)


_READERS: dict[str, Callable[[Path, Overrides], _Reading]] = {
    "amc": _amc,
    "asf": _asf,
    "bvh": _bvh,
    "c3d": _c3d,
    "deepmimic": _deepmimic,
    "npy": _npy,
    "npz": _npz,
}


def _check_length(motion: Motion, kind: str) -> None:
    if len(motion) < 2:
        raise MocapFileError(
            f"the {kind} file holds a skeleton and {len(motion)} frame, no motion",
            allowed="two frames or more",
        )


def _rig(motion: Motion) -> str:
    try:
        return find_mapping(motion.skeleton).rig
    except NotFoundError:
        return motion.skeleton.rig


def _oddities(found: Conventions) -> list[str]:
    notes = []
    if found.unit.source == "assumed" and found.stature_m is not None:
        notes.append(f"no known unit makes the subject an adult: scaled to {found.stature_m:.2f} m")
    if found.handedness.value == "left" and found.handedness.source == "detected":
        notes.append("left and right look swapped, or the file is left-handed: override handedness")
    return notes
