"""Verbs about models: find, show, fetch, publish and compare them, and whom they make work."""

from __future__ import annotations

from dataclasses import asdict, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from clipmill.cli.options import AsJson, CatalogPath, open_catalog
from clipmill.cli.output import note, print_json, print_table

if TYPE_CHECKING:
    from tokenize_jobs.bakeoff import Bakeoff
    from zoo.registry import Preset

app = typer.Typer()
zoo_app = typer.Typer(
    help="""Tokenizers and their weights: list, show, pull, push, bakeoff.

    \b
    Examples:
      clipmill zoo list --weights
      clipmill zoo show video/starter
      clipmill zoo bakeoff corpus --models video/starter --to bakeoff
    """
)
app.add_typer(zoo_app, name="zoo")

Name = Annotated[str, typer.Argument(metavar="NAME", help="As `clipmill zoo list` prints it.")]
Repo = Annotated[str, typer.Argument(metavar="ORG/NAME[@REVISION]", help="A repository.")]


@zoo_app.command("list")
def list_(
    pattern: Annotated[str, typer.Argument(help="Names with wildcards.")] = "*",
    modality: Annotated[
        str | None, typer.Option(help="video, image, motion, joints or action.")
    ] = None,
    discrete: Annotated[
        bool | None, typer.Option("--discrete/--continuous", help="Ids, or latents.")
    ] = None,
    streaming: Annotated[
        bool | None, typer.Option("--streaming/--whole", help="Encodes a stream exactly.")
    ] = None,
    ordered: Annotated[
        bool | None, typer.Option("--ordered/--unordered", help="A prefix of tokens decodes.")
    ] = None,
    weights: Annotated[
        bool, typer.Option("--weights", help="Only those that come trained.")
    ] = False,
    generators: Annotated[
        bool, typer.Option("--generators", help="Generators instead of tokenizers.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """List tokenizers, or generators, by name and capability.

    \b
    Examples:
      clipmill zoo list "video/*" --discrete --streaming
      clipmill zoo list --weights
      clipmill zoo list "motion/*" --generators
    """
    if generators:
        _list_generators(pattern, modality, discrete, as_json)
        return
    from zoo.table import Listed, listed

    found = listed(
        pattern,
        modality=modality,
        discrete=discrete,
        streaming=streaming,
        ordered=ordered,
        weights=weights or None,
    )
    rows = [asdict(row) for row in found]
    if as_json:
        print_json(rows)
        return
    print_table([field.name for field in fields(Listed)], [list(row.values()) for row in rows])


def _list_generators(
    pattern: str, modality: str | None, discrete: bool | None, as_json: bool
) -> None:
    from zoo.registry import list_models, preset

    names = list_models(pattern, kind="generator", modality=modality, discrete=discrete)
    rows = [{"name": n, **_space(preset(n)), "from": preset(n).paper} for n in names]
    if as_json:
        print_json(rows)
    else:
        columns = list(rows[0]) if rows else ["name"]
        print_table(columns, [[_text(value) for value in row.values()] for row in rows])


def _space(entry: Preset) -> dict[str, Any]:
    """What a generator makes, and what it can be asked for."""
    space = entry.config.space
    return {
        "grid": "x".join(map(str, space.grid)),
        "makes": " x ".join(map(str, space.levels)) + " codes"
        if space.levels
        else f"{space.channels} channels",
        "asked for": [condition.name for condition in entry.config.conditions],
    }


@zoo_app.command()
def show(name: Name, as_json: AsJson = False) -> None:
    """Show what a model takes and gives, where it comes from and what was measured.

    \b
    Example:
      clipmill zoo show video/causal_cnn_fsq_488.k32768
    """
    from zoo.generator import Generator
    from zoo.hub import shipped
    from zoo.registry import preset
    from zoo.table import row_of

    entry = preset(name)
    folder = shipped().get(name)
    if issubclass(entry.family, Generator):
        rows = {"name": name, **_space(entry), **_origin(entry)}
    else:
        rows = asdict(row_of(entry, folder is not None)) | _contract(entry) | _origin(entry)
    if as_json:
        print_json(rows)
        return
    print_table(["what", "value"], [[key, _text(value)] for key, value in rows.items()])
    if folder is not None:
        note(f"its card: {folder / 'README.md'}")


def _origin(entry: Preset) -> dict[str, Any]:
    return {
        "paper": entry.paper,
        "published": dict(entry.published),
        "serves": list(entry.serves),
        "tested as": entry.tiny or entry.name,
    }


def _contract(entry: Preset) -> dict[str, Any]:
    spec = entry.spec
    return {
        "layout": spec.layout,
        "values": list(spec.value_range) if spec.value_range else None,
        "fps": spec.fps,
        "multiple": spec.multiple,
        "size": list(spec.size) if spec.size else None,
        "causal": spec.causal,
    }


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key}: {item}" for key, item in value.items())
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return "" if value is None else str(value)


@zoo_app.command()
def pull(
    repo: Repo,
    to: Annotated[
        Path | None, typer.Option("--to", metavar="FOLDER", help="Else the cache.")
    ] = None,
) -> None:
    """Fetch a model from the Hub and check it.

    \b
    Example:
      clipmill zoo pull org/tokenizer --to models/tokenizer
    """
    from zoo.artefact import load
    from zoo.hub import pull as fetch
    from zoo.tokenizer import Tokenizer

    folder = fetch(repo, to)
    model = load(folder)
    print(folder)
    is_tokenizer = isinstance(model, Tokenizer)
    note(f"{model.name}, spec {model.spec.hash[:12]}" if is_tokenizer else model.name)


@zoo_app.command()
def push(
    model: Annotated[str, typer.Argument(metavar="FOLDER|NAME", help="A trained model.")],
    repo: Annotated[str, typer.Argument(metavar="ORG/NAME", help="The repository.")],
    public: Annotated[bool, typer.Option("--public", help="Let everyone see it.")] = False,
) -> None:
    """Publish a model with its card as one commit.

    \b
    Example:
      clipmill zoo push runs/mine/model org/tokenizer
    """
    from zoo.artefact import read_config
    from zoo.card import Facts
    from zoo.hub import load, shipped
    from zoo.hub import push as upload

    folder = shipped().get(model, Path(model))
    facts = Facts.from_json(read_config(folder)["facts"])
    print(upload(load(f"local-dir:{folder}"), repo, facts=facts, private=not public))


@zoo_app.command()
def bakeoff(
    catalog: CatalogPath,
    selection: Annotated[
        str | None, typer.Argument(metavar="SELECTION", help="A selection; else all clips.")
    ] = None,
    models: Annotated[
        str, typer.Option(metavar="A,B,...", help="Names, local-dir: or hf-hub: addresses.")
    ] = "video/starter",
    where: Annotated[str | None, typer.Option(metavar="SQL", help="A condition instead.")] = None,
    clips: Annotated[int, typer.Option(min=1, help="At most so many, spread over all.")] = 16,
    frames: Annotated[int, typer.Option(min=1, help="Frames of each clip.")] = 17,
    size: Annotated[int, typer.Option(min=16, help="Side of the square that is compared.")] = 128,
    fps: Annotated[float | None, typer.Option(help="Frame rate; else each clip's own.")] = None,
    to: Annotated[
        Path | None, typer.Option("--to", metavar="FOLDER", help="Also chart, sheet and JSON here.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Compare tokenizers on the same clips, and with H.264 and AV1 in the same bits.

    \b
    Examples:
      clipmill zoo bakeoff corpus web --models video/starter,local-dir:runs/mine/model
      clipmill zoo bakeoff corpus --models motion/starter --frames 64 --to bakeoff
    """
    from fractions import Fraction

    from tokenize_jobs.bakeoff import bakeoff as compare
    from zoo.hub import load

    rate = None if fps is None else Fraction(fps).limit_denominator(1001)
    result = compare(
        open_catalog(catalog),
        [load(name) for name in models.split(",")],
        selection=selection,
        where=where,
        clips=clips,
        frames=frames,
        size=(size, size),
        fps=rate,
    )
    told = result.to_json()
    if to is not None:
        _keep_bakeoff(result, to)
    if as_json:
        print_json(told)
        return
    rows = [{k: v for k, v in row.items() if k != "protocols"} for row in told["models"]]
    print_table(list(rows[0]), [[_rounded(value) for value in row.values()] for row in rows])
    note(f"{result.clips} clips of {result.frames} frames; --json tells each measure's protocol")


def _keep_bakeoff(result: Bakeoff, folder: Path) -> None:
    import json

    from clipmill.cli.output import plain
    from tokenize_jobs.bakeoff.picture import draw_chart, draw_sheet

    folder.mkdir(parents=True, exist_ok=True)
    (folder / "bakeoff.json").write_text(json.dumps(plain(result.to_json()), indent=2) + "\n")
    note(f"{draw_chart(result, folder / 'bakeoff.png')}")
    if result.originals:
        note(f"{draw_sheet(result, folder / 'sheet.png')}")


def _rounded(value: Any) -> Any:
    return float(f"{value:.4g}") if isinstance(value, float) else value


@app.command()
def systems(
    name: Annotated[str | None, typer.Argument(metavar="ID", help="One system.")] = None,
    lane: Annotated[
        str | None, typer.Option(help="corpus, op, adapter, tokenizer or generator.")
    ] = None,
    served: Annotated[
        bool | None, typer.Option("--served/--missing", help="Only those that work, or do not.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List published systems and what makes each of them work here.

    \b
    Examples:
      clipmill systems --lane tokenizer
      clipmill systems magvit-v2
    """
    from clipmill.systems import serving, system
    from clipmill.systems import systems as known

    entries = serving()
    chosen = [system(name)] if name else list(known().values())
    if lane is not None:
        _check_lane(lane)
        chosen = [item for item in chosen if lane in item.lanes]
    if served is not None:
        chosen = [item for item in chosen if (item.id in entries) == served]
    rows = [
        {
            "id": item.id,
            "system": item.short,
            "lane": ", ".join(item.lanes),
            "served by": [entry.name for entry in entries.get(item.id, ())],
            "run": next((entry.run for entry in entries.get(item.id, ())), ""),
        }
        for item in chosen
    ]
    if as_json:
        print_json(rows)
        return
    print_table(
        ["id", "system", "lane", "served by", "run"],
        [[_text(value) for value in row.values()] for row in rows],
    )
    note(f"{sum(bool(row['served by']) for row in rows)} of {len(rows)} work")


def _check_lane(lane: str) -> None:
    from catalogs.errors import UsageError
    from clipmill.systems import systems as known

    lanes = sorted({lane for item in known().values() for lane in item.lanes})
    if lane not in lanes:
        raise UsageError(f"no lane is called {lane!r}", allowed=", ".join(lanes))
