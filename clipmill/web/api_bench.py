"""The recipe bench: what a changed gate keeps, gains and loses.

A recipe is asked for by where it comes from: `shipped:NAME`, `selection:NAME` or `given` (the file
that the viewer was started with). No path comes from the page. What the page changes travels in
the address: `set=GATE=SQL` for a gate's text (empty removes it), `limit=GATE:NUMBER:VALUE` for one
of its limits, so that a view of the bench can be shared.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query
from fastapi.responses import Response

from catalogs.bounds import bounds_of, with_limits
from catalogs.edges import Edge, Near
from catalogs.errors import NotFoundError, UsageError
from catalogs.ledger import find_selection, selections
from catalogs.recipe import Recipe, load_recipe, parse_recipe, shipped_recipes
from catalogs.workbench import Slider, Swing, Workbench
from clipmill.cli.options import known_operators
from clipmill.pictures import middle_picture
from clipmill.web.answers import ClipId, answer
from clipmill.web.memo import Memo
from clipmill.web.sources import find_clip
from clipmill.web.state import Edition, Viewer, ViewerState

__all__ = ["load_asked", "router"]

router = APIRouter(prefix="/api")

BENCHES = 3
"""Recipes whose columns are held in memory at a time."""
AT_A_LIMIT = 6
MOST_CHANGES = 64
PICTURE = {"Cache-Control": "private, max-age=3600"}


class Asked:
    """A recipe with what the page changed of it."""

    def __init__(
        self,
        viewer: ViewerState,
        recipe: Annotated[str, Query(max_length=200)],
        changed: Annotated[list[str], Query(alias="set", max_length=MOST_CHANGES)] = [],  # noqa: B006
        limits: Annotated[list[str], Query(alias="limit", max_length=MOST_CHANGES)] = [],  # noqa: B006
    ):
        self.edition = viewer.edition
        self.loaded = load_asked(viewer, self.edition, recipe)
        self.gates = _changed(self.loaded, changed, limits)

    @property
    def recipe(self) -> Recipe:
        return self.loaded.with_gates(self.gates)

    def bench(self) -> Workbench:
        """The recipe's columns in memory; read when it is first asked for."""
        benches: Memo = self.edition.kept("benches", lambda: Memo(BENCHES))
        return benches.get(self.loaded.hash, lambda: self._made())

    def _made(self) -> Workbench:
        edition = self.edition
        catalog = edition.catalog.at(edition.version)
        return Workbench(catalog, self.loaded, operators=known_operators())


Bench = Annotated[Asked, Depends(Asked)]


@router.get("/bench")
def recipes(viewer: ViewerState) -> Response:
    """Recipes that can be put on the bench; the first is the one to begin with."""
    edition = viewer.edition
    made = selections(edition.catalog.at(edition.version))
    names = list(dict.fromkeys(item.name for item in made))
    found = [{"id": f"selection:{name}", "name": f"of selection {name}"} for name in names]
    found += [{"id": f"shipped:{name}", "name": name} for name in shipped_recipes()]
    if viewer.recipe:
        found.insert(0, {"id": "given", "name": f"{viewer.recipe.name} (given)"})
    return answer({"recipes": found})


@router.get("/bench/recipe")
def recipe(asked: Bench) -> Response:
    """The recipe with its changes: gates with their limits and how the values are spread."""
    bench, recipe = asked.bench(), asked.recipe
    return answer(
        {
            "name": recipe.name,
            "cutting": bench.cutting,
            "stages": [name for name in ("exclude", "dedup", "balance") if getattr(recipe, name)],
            "gates": [
                {
                    "gate": gate,
                    "predicate": predicate,
                    "loaded": asked.loaded.gates.get(gate),
                    "limits": [_slider(slider) for slider in bench.sliders(predicate)],
                }
                for gate, predicate in recipe.gates.items()
            ],
        }
    )


@router.get("/bench/judge")
def judge(asked: Bench, moved: Annotated[str, Query(max_length=64)] = "") -> Response:
    """The funnel with the changes, clips gained and lost, and those at the limits of `moved`."""
    bench, recipe = asked.bench(), asked.recipe
    change = bench.judge(asked.gates)
    edges = bench.edges(recipe.gates[moved], AT_A_LIMIT) if moved in recipe.gates else []
    nearest = [near for edge in edges for near in (*edge.inside, *edge.outside)]
    ids = [*change.gained.examples, *change.lost.examples, *(near.clip_id for near in nearest)]
    clips = bench.clips(ids)
    return answer(
        {
            "gates": dict(recipe.gates),
            "funnel": change.funnel.to_dict(),
            "gained": _swing(change.gained, clips),
            "lost": _swing(change.lost, clips),
            "edges": [_edge(edge, clips) for edge in edges],
        }
    )


@router.get("/bench/recipe.yaml")
def recipe_file(asked: Bench, name: Annotated[str, Query(max_length=64)] = "") -> Response:
    """The recipe with its changes as a file, which is certain to load."""
    changed = replace(asked.recipe, name=name or asked.recipe.name)
    text = changed.to_yaml()
    parsed = parse_recipe(text, "the recipe of the bench")
    asked.bench().judge(asked.gates)
    headers = {"Content-Disposition": f'attachment; filename="{parsed.name}.yaml"'}
    return Response(text, media_type="application/yaml", headers=headers)


@router.get("/bench/picture/{clip_id}")
def picture(clip_id: ClipId, viewer: ViewerState) -> Response:
    """The picture in the middle of a clip of any cutting; no content where none is stored."""
    with viewer.session() as session:
        found = middle_picture(session, find_clip(session, clip_id).clip)
    if found is None:
        return Response(status_code=204)
    return Response(found[0], media_type=found[1], headers=PICTURE)


def load_asked(viewer: Viewer, edition: Edition, source: str) -> Recipe:
    """A recipe by where it comes from."""
    kind, _, name = source.partition(":")
    if kind == "shipped" and name in shipped_recipes():
        return load_recipe(name)
    if kind == "selection" and name:
        return find_selection(edition.catalog.at(edition.version), name).recipe
    if source == "given" and viewer.recipe:
        return viewer.recipe
    raise NotFoundError(
        f"there is no recipe {source!r}", allowed="shipped:NAME, selection:NAME or given"
    )


def _changed(loaded: Recipe, changed: list[str], limits: list[str]) -> dict[str, str]:
    """The gates that differ, by name."""
    gates = {}
    for text in changed:
        name, equals, predicate = text.partition("=")
        if not equals:
            raise UsageError(f"{text!r} changes no gate", allowed="GATE=SQL")
        gates[name] = predicate
    moved: dict[str, dict[int, float]] = {}
    for text in limits:
        gate, number, value = _limit(text)
        moved.setdefault(gate, {})[number] = value
    known = loaded.with_gates(gates).gates
    for gate, values in moved.items():
        if gate not in known:
            raise UsageError(f"the recipe has no gate {gate!r}", allowed=", ".join(known))
        bounds = bounds_of(known[gate])
        if any(number >= len(bounds) for number in values):
            raise UsageError(f"gate {gate!r} has {len(bounds)} limits", allowed="GATE:NUMBER:VALUE")
        gates[gate] = with_limits(
            known[gate], {bounds[number]: value for number, value in values.items()}
        )
    return gates


def _limit(text: str) -> tuple[str, int, float]:
    try:
        gate, number, value = text.rsplit(":", 2)
        found = gate, int(number), float(value)
    except ValueError as error:
        raise UsageError(f"{text!r} moves no limit", allowed="GATE:NUMBER:VALUE") from error
    if found[1] < 0 or not -1e300 < found[2] < 1e300:
        raise UsageError(f"{text!r} moves no limit", allowed="a finite value")
    return found


def _slider(slider: Slider) -> dict[str, Any]:
    bound = slider.bound
    return {
        "value": bound.value,
        "sign": bound.sign,
        "limit": bound.limit,
        "median": slider.median,
        "chart": asdict(slider.chart),
    }


Clips = Mapping[str, Mapping[str, Any]]


def _swing(swing: Swing, clips: Clips) -> dict[str, Any]:
    shown = [_clip(clips[clip_id]) for clip_id in swing.examples]
    return {"clips": swing.clips, "hours": swing.hours, "examples": shown}


def _edge(edge: Edge, clips: Clips) -> dict[str, Any]:
    def side(nearest: tuple[Near, ...]) -> list[dict[str, Any]]:
        return [{**_clip(clips[near.clip_id]), "at": near.value} for near in nearest]

    bound = edge.bound
    return {
        "value": bound.value,
        "sign": bound.sign,
        "limit": bound.limit,
        "inside": side(edge.inside),
        "outside": side(edge.outside),
    }


def _clip(row: Mapping[str, Any]) -> dict[str, Any]:
    shown = {name: row[name] for name in ("clip_id", "kind", "start_s", "end_s", "duration_s")}
    return {**shown, "name": Path(row["uri"] or "").name}
