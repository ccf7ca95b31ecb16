"""Recipes: what to cut, what to measure and what to keep, in one YAML file.

    name: web-video
    segment: {detector: adaptive, threshold: 3.0, min_s: 2, max_s: 60, long_shot: split}
    score: [exposure, sharpness, motion]
    gates:
      length: duration_s between 3 and 15
      motion: motion_px between 0.5 and 20
    dedup:   {exact: true, near: {max_distance: 31}, keep: sharpness_median desc}
    exclude: [held-out, {catalog: ../benchmark}]
    balance: {by: collection, cap: 2000}        # or a list of caps
    splits:  {train: 0.98, val: 0.01, test: 0.01, group_by: source_id}

A recipe is strict: an unknown key, a key given twice or a value of the wrong type is an error that
names the line and the nearest valid key. Whether its SQL is sound is checked against a catalog's
columns, see `catalogs.gates`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from catalogs.errors import RecipeError, nearest
from catalogs.ids import settings_hash
from catalogs.strict_yaml import MAX_BYTES, Section, read_yaml

__all__ = [
    "Balance",
    "Dedup",
    "Exclude",
    "Mocap",
    "NearDuplicates",
    "Recipe",
    "Score",
    "Segment",
    "SemanticDuplicates",
    "Splits",
    "load_recipe",
    "parse_recipe",
    "shipped_recipes",
]

RECIPES = Path(__file__).resolve().parents[1] / "recipes"
LONG_SHOT = ("split", "keep", "drop")
NAME_SHAPE = re.compile(r"[a-z0-9][a-z0-9_.-]{0,63}")
"""Names of recipes, gates and selections: safe in paths, SQL text and shells."""
_SHARES_SLACK = 1e-9
_FRACTION = re.compile(r"[1-9]\d*/[1-9]\d*")


@dataclass(frozen=True, slots=True)
class Segment:
    """How sources are cut into clips. What is None is the detector's own default."""

    detector: str
    threshold: float | None = None
    min_s: float | None = None
    max_s: float | None = None
    long_shot: str = "split"
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Further settings of the detector, by its own names."""

    def to_dict(self) -> dict[str, Any]:
        values = {
            "detector": self.detector,
            "threshold": self.threshold,
            "min_s": self.min_s,
            "max_s": self.max_s,
            "long_shot": self.long_shot,
            "settings": dict(self.settings) or None,
        }
        return _given(values)

    @property
    def cutting(self) -> str:
        """The name of the cutting that these settings make."""
        return settings_hash(self.to_dict())


@dataclass(frozen=True, slots=True)
class Score:
    """An operator that the recipe wants to have run, with its parameters."""

    operator: str
    params: Mapping[str, Any] = field(default_factory=dict)


SEARCH_VERSION = 2
"""Raised when a search for duplicates finds something else on the same hashes."""


@dataclass(frozen=True, slots=True)
class NearDuplicates:
    """When two clips count as the same: perceptual hashes of enough good pictures are near."""

    max_distance: int = 31
    """Bits of 256 in which two pictures may differ."""
    min_quality: int = 50
    """Pictures with less in them, 0 to 100, are held back: black is like any other black."""
    min_overlap: float = 0.8
    """Share of the shorter clip that the other shows, from which the two are duplicates."""
    mirrored: bool = True
    """Whether a mirrored picture is the same picture."""

    @property
    def search(self) -> str:
        """The name of the search that these settings need; `min_overlap` is no part of it."""
        settings = {name: getattr(self, name) for name in ("max_distance", "min_quality")}
        return settings_hash({**settings, "mirrored": self.mirrored, "version": SEARCH_VERSION})


@dataclass(frozen=True, slots=True)
class SemanticDuplicates:
    """Clips whose embeddings by `model` are alike; thresholds differ from model to model."""

    model: str
    min_cosine: float


@dataclass(frozen=True, slots=True)
class Dedup:
    """Which duplicates go. `keep` orders the clips of a group: the first one stays.

    Files of equal bytes are one source and equal spans of it one clip. What is equal in another
    container goes as soon as a search has found it; `exact: true` in a recipe says what is so.
    """

    near: NearDuplicates | None = None
    semantic: SemanticDuplicates | None = None
    keep: str | None = None


@dataclass(frozen=True, slots=True)
class Exclude:
    """Clips that nothing selected may show: a selection, of this catalog or another one."""

    selection: str | None = None
    catalog: str | None = None
    """Folder or prefix of another catalog; None is this one."""

    def __str__(self) -> str:
        return " of ".join(part for part in (self.selection, self.catalog) if part)


@dataclass(frozen=True, slots=True)
class Balance:
    """At most `cap` clips for each value of `by`. Several caps work one after the other."""

    by: str
    cap: int


@dataclass(frozen=True, slots=True)
class Splits:
    """Shares of the splits; clips with the same `group_by` are never separated."""

    train: float
    val: float = 0.0
    test: float = 0.0
    group_by: str = "source_id"


@dataclass(frozen=True, slots=True)
class Mocap:
    """What mocap files do not say about themselves; what is None is detected."""

    fps: float | str | None = None
    """Frames per second, or a fraction such as 30000/1001."""
    unit: str | None = None
    up_axis: str | None = None
    handedness: str | None = None
    skeleton: str | None = None
    """The .asf of .amc files."""
    body_model: str | None = None
    """The npz of an SMPL-family model, for AMASS archives."""
    person: int | None = None
    """Which of several people, the one seen longest is 0."""


@dataclass(frozen=True)
class Recipe:
    """A recipe, checked for form. Gates are SQL by name, in the order of the funnel."""

    name: str
    gates: Mapping[str, str] = field(default_factory=dict)
    segment: Segment | None = None
    score: tuple[Score, ...] = ()
    dedup: Dedup | None = None
    balance: tuple[Balance, ...] = ()
    splits: Splits | None = None
    mocap: Mocap | None = None
    exclude: tuple[Exclude, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """The content in the shape of the YAML file, defaults filled in."""
        values = {
            "name": self.name,
            "segment": self.segment.to_dict() if self.segment else None,
            "score": [
                {item.operator: dict(item.params)} if item.params else item.operator
                for item in self.score
            ]
            or None,
            "gates": dict(self.gates) or None,
            "dedup": _plain(self.dedup),
            "exclude": [_given(asdict(item)) for item in self.exclude] or None,
            "balance": _one_or_more([asdict(item) for item in self.balance]),
            "splits": _plain(self.splits),
            "mocap": _plain(self.mocap),
        }
        return _given(values)

    def to_yaml(self) -> str:
        """A YAML text that `parse_recipe` reads back to an equal recipe."""
        return yaml.safe_dump(self.to_dict(), sort_keys=False, allow_unicode=True, width=100)

    @cached_property
    def hash(self) -> str:
        """Hash of the content; comments and layout of the file do not count, gate order does."""
        return settings_hash(self.to_dict() | {"gates": list(self.gates.items())})

    def with_gates(self, changes: Mapping[str, str] | None) -> Recipe:
        """This recipe with some gates changed or added; an empty predicate removes its gate."""
        gates = dict(self.gates)
        for name, predicate in (changes or {}).items():
            if predicate.strip():
                gates[_checked_name(name, "gate")] = predicate
            elif gates.pop(name, None) is None:
                raise RecipeError(
                    f"recipe {self.name!r} has no gate {name!r} to remove",
                    allowed=", ".join(self.gates),
                    hint=nearest(name, self.gates),
                )
        return replace(self, gates=gates)

    def check_scores(self, operators: Iterable[str]) -> None:
        """Raise unless every operator that the recipe names is among `operators`."""
        known = list(operators)
        for item in self.score:
            if item.operator not in known:
                raise RecipeError(
                    f"recipe {self.name!r} wants the operator {item.operator!r}",
                    allowed=", ".join(known),
                    hint=nearest(item.operator, known),
                )


def shipped_recipes() -> list[str]:
    """Names of the recipes that come with clipmill."""
    return sorted(path.stem for path in RECIPES.glob("*.yaml"))


def load_recipe(name_or_path: str | Path) -> Recipe:
    """A recipe from a file, or one that ships by its name."""
    path = Path(name_or_path)
    if isinstance(name_or_path, str) and name_or_path in shipped_recipes():
        path = RECIPES / f"{name_or_path}.yaml"
    elif not path.is_file():
        known = shipped_recipes()
        raise RecipeError(
            f"there is no recipe {str(name_or_path)!r}",
            allowed="a YAML file, or one of " + ", ".join(known),
            hint=nearest(str(name_or_path), known),
        )
    with path.open("rb") as file:
        data = file.read(MAX_BYTES + 1)
    try:
        return parse_recipe(data.decode(), path.name)
    except UnicodeDecodeError as error:
        raise RecipeError(f"{path} is not UTF-8 text") from error


def parse_recipe(text: str, origin: str = "recipe") -> Recipe:
    """A recipe from YAML text. `origin` is what errors call the file."""
    top = read_yaml(text, origin)
    _only(
        top, "name", "segment", "score", "gates", "dedup", "exclude", "balance", "splits", "mocap"
    )
    return Recipe(
        name=_checked_name(_text(top, "name"), "recipe", top.place("name")),
        segment=_parsed(top, "segment", _segment),
        score=_scores(top),
        gates=_parsed(top, "gates", _gates) or {},
        dedup=_parsed(top, "dedup", _dedup),
        balance=_balances(top),
        splits=_parsed(top, "splits", _splits),
        mocap=_parsed(top, "mocap", _mocap),
        exclude=_excludes(top),
    )


# -- sections ------------------------------------------------------------------------------


def _segment(part: Section) -> Segment:
    _only(part, "detector", "threshold", "min_s", "max_s", "long_shot", "settings")
    shortest, longest = _number(part, "min_s", None), _number(part, "max_s", None)
    if shortest is not None and longest is not None and shortest > longest:
        raise _wrong(part, "min_s", f"{shortest:g} is more than max_s, {longest:g}")
    return Segment(
        detector=_text(part, "detector"),
        threshold=_number(part, "threshold", None),
        min_s=shortest,
        max_s=longest,
        long_shot=_choice(part, "long_shot", LONG_SHOT, "split") or "split",
        settings=_plain_section(part, "settings"),
    )


def _scores(top: Section) -> tuple[Score, ...]:
    items = top.get("score") or []
    if not isinstance(items, list):
        raise _wrong(top, "score", "is not a list", "[exposure, sharpness, {motion: {...}}]")
    scores: list[Score] = []
    for item in items:
        if isinstance(item, str):
            scores.append(Score(item))
        elif isinstance(item, Section) and len(item) == 1:
            (operator,) = item
            scores.append(Score(operator, _plain_section(item, operator)))
        else:
            raise _wrong(top, "score", f"holds {item!r}", "names or {name: {parameter: value}}")
    names = [item.operator for item in scores]
    for name in names:
        if names.count(name) > 1:
            raise _wrong(top, "score", f"names {name!r} twice")
    return tuple(scores)


def _gates(part: Section) -> dict[str, str]:
    gates = {}
    for name in part:
        _checked_name(name, "gate", part.place(name))
        gates[name] = _text(part, name)
    return gates


def _dedup(part: Section) -> Dedup:
    _only(part, "exact", "near", "semantic", "keep")
    exact = part.get("exact", True)
    if exact is not True:
        allowed = "true: clips with the same content have the same id and cannot both be kept"
        raise _wrong(part, "exact", f"is {exact!r}", allowed)
    return Dedup(
        near=None if part.get("near") is False else _parsed(part, "near", _near),
        semantic=_parsed(part, "semantic", _semantic),
        keep=_text(part, "keep") if "keep" in part else None,
    )


def _near(part: Section) -> NearDuplicates:
    _only(part, "max_distance", "min_quality", "min_overlap", "mirrored")
    usual = NearDuplicates()
    return NearDuplicates(
        _integer(part, "max_distance", usual.max_distance, 0, 256),
        _integer(part, "min_quality", usual.min_quality, 0, 100),
        _share(part, "min_overlap", usual.min_overlap),
        _flag(part, "mirrored", usual.mirrored),
    )


def _semantic(part: Section) -> SemanticDuplicates:
    _only(part, "model", "min_cosine")
    if "min_cosine" not in part:
        raise _missing(part, "min_cosine")
    return SemanticDuplicates(_text(part, "model"), _share(part, "min_cosine", 1.0))


def _excludes(top: Section) -> tuple[Exclude, ...]:
    items = top.get("exclude") or []
    allowed = "[SELECTION, {catalog: FOLDER}, {catalog: FOLDER, selection: NAME}]"
    if not isinstance(items, list):
        raise _wrong(top, "exclude", "is not a list", allowed)
    found = []
    for item in items:
        if isinstance(item, str):
            found.append(Exclude(item))
        elif isinstance(item, Section) and item:
            _only(item, "selection", "catalog")
            found.append(Exclude(**{key: _text(item, key) for key in item}))
        else:
            raise _wrong(top, "exclude", f"holds {item!r}", allowed)
    return tuple(found)


def _balances(top: Section) -> tuple[Balance, ...]:
    """One cap, or a list of them."""
    items = top.get("balance") or []
    if not isinstance(items, list):
        return (_parsed(top, "balance", _balance),)
    if not all(isinstance(item, Section) for item in items):
        raise _wrong(top, "balance", f"holds {items!r}", "[{by: COLUMN, cap: NUMBER}, ...]")
    caps = tuple(_balance(item) for item in items)
    names = [item.by for item in caps]
    for name in names:
        if names.count(name) > 1:
            raise _wrong(top, "balance", f"caps {name!r} twice")
    return caps


def _balance(part: Section) -> Balance:
    _only(part, "by", "cap")
    if "cap" not in part:
        raise _missing(part, "cap")
    return Balance(_text(part, "by"), _integer(part, "cap", 1, 1, 2**62))


def _splits(part: Section) -> Splits:
    _only(part, "train", "val", "test", "group_by")
    train, val, test = (_share(part, name, 0.0) for name in ("train", "val", "test"))
    if abs(train + val + test - 1) > _SHARES_SLACK:
        raise RecipeError(
            f"{part.place()}: the splits add up to {train + val + test:g}",
            allowed="shares of train, val and test that add up to 1",
        )
    group_by = _text(part, "group_by") if "group_by" in part else "source_id"
    return Splits(train, val, test, group_by)


def _mocap(part: Section) -> Mocap:
    _only(part, "fps", "unit", "up_axis", "handedness", "skeleton", "body_model", "person")
    return Mocap(
        fps=_rate(part, "fps"),
        unit=_choice(part, "unit", ("m", "cm", "mm", "inch", "cmu"), None),
        up_axis=_choice(part, "up_axis", ("x", "y", "z", "-x", "-y", "-z"), None),
        handedness=_choice(part, "handedness", ("right", "left"), None),
        skeleton=_text(part, "skeleton") if "skeleton" in part else None,
        body_model=_text(part, "body_model") if "body_model" in part else None,
        person=_integer(part, "person", 0, 0, 1000) if "person" in part else None,
    )


def _rate(part: Section, key: str) -> float | str | None:
    """A frame rate as it was written: a number, or a fraction in text."""
    value = part.get(key)
    is_fraction = isinstance(value, str) and _FRACTION.fullmatch(value)
    is_number = isinstance(value, int | float) and not isinstance(value, bool) and value > 0
    if value is not None and not is_fraction and not is_number:
        raise _wrong(part, key, f"is {value!r}", "a rate such as 30, 23.976 or 30000/1001")
    return value


# -- values --------------------------------------------------------------------------------


def _only(part: Section, *keys: str) -> None:
    for key in part:
        if key not in keys:
            raise RecipeError(
                f"{part.place(key)}: unknown key {key!r}",
                allowed=", ".join(keys),
                hint=nearest(key, keys),
            )


def _wrong(part: Section, key: str, problem: str, allowed: str | None = None) -> RecipeError:
    return RecipeError(f"{part.place(key)}: {key!r} {problem}", allowed=allowed)


def _missing(part: Section, key: str) -> RecipeError:
    return RecipeError(f"{part.place()}: the key {key!r} is missing")


def _parsed(part: Section, key: str, parse: Any) -> Any:
    value = part.get(key)
    if value is None:
        return None
    if not isinstance(value, Section):
        raise _wrong(part, key, f"is {value!r}", "a mapping such as {key: value}")
    return parse(value)


def _plain_section(part: Section, key: str) -> dict[str, Any]:
    """A free mapping, whose keys belong to somebody else."""
    return _parsed(part, key, _unwrapped) or {}


def _unwrapped(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _unwrapped(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_unwrapped(item) for item in value]
    return value


def _text(part: Section, key: str) -> str:
    if key not in part:
        raise _missing(part, key)
    value = part[key]
    if not isinstance(value, str) or not value.strip():
        raise _wrong(part, key, f"is {value!r}", "text")
    return value.strip()


def _number(part: Section, key: str, default: float | None) -> float | None:
    value = part.get(key)
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1e12:
        raise _wrong(part, key, f"is {value!r}", "a number that is not negative")
    return float(value)


def _integer(part: Section, key: str, default: int, low: int, high: int) -> int:
    value = part.get(key, default)
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise _wrong(part, key, f"is {value!r}", f"a whole number from {low} to {high}")
    return value


def _flag(part: Section, key: str, default: bool) -> bool:
    value = part.get(key, default)
    if not isinstance(value, bool):
        raise _wrong(part, key, f"is {value!r}", "true or false")
    return value


def _share(part: Section, key: str, default: float) -> float:
    value = _number(part, key, default)
    if value is None or value > 1:
        raise _wrong(part, key, f"is {value!r}", "a share from 0 to 1")
    return value


def _choice(part: Section, key: str, allowed: tuple[str, ...], default: str | None) -> str | None:
    value = part.get(key, default)
    if value is not None and value not in allowed:
        raise RecipeError(
            f"{part.place(key)}: {key!r} is {value!r}",
            allowed=", ".join(allowed),
            hint=nearest(str(value), allowed),
        )
    return value


def _checked_name(name: str, what: str, place: str | None = None) -> str:
    if not NAME_SHAPE.fullmatch(name):
        where = f"{place}: " if place else ""
        raise RecipeError(
            f"{where}{name!r} is not a name for a {what}",
            allowed="up to 64 small letters, digits, '_', '.' and '-'",
        )
    return name


def _given(values: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value is not None}


def _one_or_more(items: list[dict[str, Any]]) -> Any:
    """A single item as itself, several as a list, none as nothing."""
    return items[0] if len(items) == 1 else items or None


def _plain(part: Dedup | Splits | Mocap | None) -> dict[str, Any] | None:
    """A section as YAML writes it."""
    return None if part is None else _given(asdict(part))
