"""Train a generator from a recipe; draw samples, of a generator or of a catalog for labelling."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from clipmill.cli.label import CuttingOption, RecipeOption, Seed, draw_clips
from clipmill.cli.options import AsJson, AtVersion, open_catalog, parse_pairs
from clipmill.cli.output import note, print_json, print_table

if TYPE_CHECKING:
    from zoo.generator import Known

app = typer.Typer()


@app.command()
def train(
    recipe: Annotated[Path, typer.Argument(metavar="RECIPE", help="A YAML file.")],
    to: Annotated[Path, typer.Option("--to", metavar="FOLDER", help="Where the run lives.")],
    change: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="Change a line of `run`. Repeatable."),
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Processes of Ray Train; else the recipe's.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Open the data and build the model, then stop.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress.")] = False,
    as_json: AsJson = False,
) -> None:
    """Train a generator on the tokens of a catalog, or go on with a run that was stopped.

    \b
    Examples:
      clipmill train walks.yaml --to runs/walks --dry-run
      clipmill train walks.yaml --to runs/walks
      clipmill train walks.yaml --to runs/walks --set steps=4000 --set learning_rate=3e-4
      clipmill train walks.yaml --to runs/walks --workers 4
    """
    import yaml

    from tokenize_jobs.training.recipe import Recipe

    values = {name: yaml.safe_load(text) for name, text in parse_pairs(change, "--set").items()}
    asked = Recipe.read(recipe, values, workers=workers)
    if dry_run:
        _print_plan(asked, as_json)
        return
    from tokenize_jobs.training.train import train as fit

    outcome = fit(asked, to, progress=not quiet)
    known = {"steps": outcome.steps, "model": str(outcome.folder), **outcome.losses}
    if as_json:
        print_json(known)
        return
    for name, value in known.items():
        print(f"{name:24} {value:.4g}" if isinstance(value, float) else f"{name:24} {value}")
    note(f"clipmill sample local-dir:{outcome.folder} --to samples")


def _print_plan(recipe: Any, as_json: bool) -> None:
    from tokenize_jobs.training.prepare import prepare

    ready = prepare(recipe)
    model, windows = ready.model, len(ready.batches.feed.index)
    known = {
        "parameters": sum(p.numel() for p in model.parameters()),
        "grid": list(model.space.grid),
        "codes": list(model.space.levels),
        "channels": model.space.channels,
        "windows": windows,
        "epochs": round(recipe.run.steps * recipe.run.batch / windows, 2),
        "validation_batches": len(ready.validation),
        "licences_forbid": list(ready.facts.forbids),
    }
    if as_json:
        print_json(known)
    else:
        print_table(("what", "value"), [(name, str(value)) for name, value in known.items()])


@app.command()
def sample(
    what: Annotated[
        str,
        typer.Argument(
            metavar="CATALOG|MODEL",
            help="A catalog; or local-dir:FOLDER, hf-hub:ORG/NAME, diffusers:ORG/NAME, a name.",
        ),
    ],
    to: Annotated[
        Path | None,
        typer.Option(help="Folder for labels.csv; or a film, .bvh, .npy or folder for samples."),
    ] = None,
    seed: Seed = 0,
    gate: Annotated[str | None, typer.Option(help="The gate that labels shall judge.")] = None,
    near: Annotated[
        int, typer.Option(min=0, help="Clips to draw around the gate's limits, on both sides.")
    ] = 0,
    anywhere: Annotated[int, typer.Option(min=0, help="Clips to draw among all.")] = 0,
    recipe: RecipeOption = None,
    sheets: Annotated[
        bool, typer.Option("--sheets", help="Draw each clip there from its stored pictures.")
    ] = False,
    cutting: CuttingOption = None,
    at: AtVersion = None,
    text: Annotated[
        list[str] | None, typer.Option(help="What a generator is asked for. Repeatable.")
    ] = None,
    negative: Annotated[
        str | None, typer.Option(help="A text to keep away from, where the model takes one.")
    ] = None,
    label: Annotated[
        list[str] | None, typer.Option(help="A class by name or number. Repeatable.")
    ] = None,
    image: Annotated[
        Path | None, typer.Option(help="A picture to begin with, where the model takes one.")
    ] = None,
    count: Annotated[int, typer.Option(min=1, help="Samples of each text and label.")] = 1,
    frames: Annotated[int, typer.Option(min=0, help="Positions in time; 0 for the most.")] = 0,
    size: Annotated[
        str | None,
        typer.Option(metavar="ROWSxCOLUMNS", help="Of frames, where the model makes any."),
    ] = None,
    temperature: Annotated[float, typer.Option(help="0 takes the likeliest.")] = 1.0,
    top_k: Annotated[int, typer.Option(help="Only the likeliest so many codes.")] = 0,
    top_p: Annotated[float, typer.Option(help="Only codes of this share together.")] = 1.0,
    guidance: Annotated[
        float | None, typer.Option(help="Above 1: nearer to what is asked for; else the model's.")
    ] = None,
    steps: Annotated[int, typer.Option(help="Of the sampler; 0 for its own number.")] = 0,
    clip: Annotated[
        str | None,
        typer.Option("--clip", metavar="CATALOG:ID", help="Keep a part of a clip's tokens."),
    ] = None,
    keep: Annotated[
        str, typer.Option(metavar="first:N|ends:N", help="Which part, in positions in time.")
    ] = "first:1",
    load: Annotated[
        list[str] | None,
        typer.Option(
            "--load", metavar="NAME=VALUE", help="How diffusers loads it: dtype=, offload=, tiling="
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Draw clips of a catalog for a person to label, or samples of a generator.

    Of a catalog: write `keep` or `drop` into the column `label` of TO/labels.csv and give the file
    to `clipmill calibrate`. Clips near a limit decide where it belongs; clips from anywhere say how
    often the gate is right. No media file is opened.

    Of a model: what is asked for by `--text` and `--label` is drawn, decoded by the tokenizer that
    the model learned, and written as films, bodies or arrays.

    \b
    Examples:
      clipmill sample corpus --gate motion --near 40 --to motion --sheets
      clipmill sample corpus --recipe web-video --anywhere 100 --to all     for the whole recipe
      clipmill sample local-dir:runs/walks/model --text "a person walks" --to walk.bvh
      clipmill sample local-dir:runs/shapes/model --label circle --guidance 2 --to circle.gif
      clipmill sample local-dir:runs/shapes/model --clip corpus:0123abcd --keep ends:1 --to new.gif
      clipmill sample diffusers:Lightricks/LTX-Video --text "a cat" --size 512x704 --to cat.mp4
    """
    from catalogs.errors import UsageError

    if (gate or recipe) and not (near or anywhere):
        raise UsageError("how many clips?", hint="--near 40, --anywhere 100, or both")
    if near or anywhere:
        draw_clips(
            what,
            gate=gate,
            near=near,
            anywhere=anywhere,
            recipe=recipe,
            to=to,
            sheets=sheets,
            seed=seed,
            cutting=cutting,
            at=at,
            as_json=as_json,
        )
        return
    if to is None:
        raise typer.BadParameter(
            "where to? Samples of a model go to a file or folder; clips of a catalog need "
            "--near 40 or --anywhere 100",
            param_hint="--to",
        )
    wish = _Wish(text, negative, label, count, frames, _parsed_size(size), seed, clip, keep, image)
    draws = {"temperature": temperature, "top_k": top_k, "top_p": top_p, "steps": steps}
    if guidance is not None:
        draws["guidance"] = guidance
    _generate(what, to, wish, draws, parse_pairs(load, "--load"), as_json)


@dataclass(frozen=True)
class _Wish:
    """What is asked of a generator."""

    text: list[str] | None
    negative: str | None
    label: list[str] | None
    count: int
    frames: int
    size: tuple[int, int] | None
    seed: int
    clip: str | None
    keep: str
    image: Path | None


def _generate(
    name: str,
    to: Path,
    wish: _Wish,
    draws: dict[str, Any],
    options: dict[str, str],
    as_json: bool,
) -> None:
    """Draw, decode and write samples of a generator."""
    import yaml

    import zoo
    from tokenize_jobs.training.media import decoded
    from zoo.errors import UsageError
    from zoo.generator import Decoding, Generator

    Decoding(**draws)  # refuses wrong values before anything is loaded
    model = zoo.load(name, **{key: yaml.safe_load(value) for key, value in options.items()})
    if not isinstance(model, Generator):
        raise UsageError(f"{name} is a tokenizer", allowed="a generator")
    asked = _asked(model, wish)
    total = max([wish.count, *(len(values) for values in asked.values())])
    drawn = model.sample(
        total,
        model.given(**asked),
        Decoding(**{"guidance": model.default_guidance, **draws}),
        seed=wish.seed,
        frames=wish.frames,
        known=_known(model, wish, total),
        **_sized(model, wish.size),
    )
    media = decoded(model, drawn)
    paths = _paths(to, total, body=media[0].is_body)
    for item, path in zip(media, paths, strict=True):
        item.write(path)
    rows = [
        {"path": str(path), **{what: values[number] for what, values in asked.items()}}
        for number, path in enumerate(paths)
    ]
    if as_json:
        print_json(rows)
    else:
        for row in rows:
            print("\t".join(str(value) for value in row.values()))


def _parsed_size(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    rows, _, columns = text.partition("x")
    if not (rows.isdecimal() and columns.isdecimal()):
        raise typer.BadParameter(f"{text!r} is not ROWSxCOLUMNS", param_hint="--size")
    return int(rows), int(columns)


def _sized(model: Any, size: tuple[int, int] | None) -> dict[str, Any]:
    from zoo.adapters.pipelines import Pipeline
    from zoo.errors import UsageError

    if size is None:
        return {}
    if not isinstance(model, Pipeline):
        raise UsageError(f"{model.name} makes one size", allowed="no --size")
    return {"size": size}


def _asked(model: Any, wish: _Wish) -> dict[str, list[Any]]:
    """Each text and label, `count` times, under the model's names for them."""
    conditions = model.config.conditions
    texts = [c.name for c in conditions if c.kind in ("words", "text") and c.name != "negative"]
    classes = [c.name for c in conditions if c.kind == "class"]
    given = {
        texts[0] if texts else "text": wish.text,
        classes[0] if classes else "label": wish.label,
        "negative": [wish.negative] if wish.negative else None,
    }
    asked = {
        name: [value for value in values for _ in range(wish.count)]
        for name, values in given.items()
        if values
    }
    longest = max((len(values) for values in asked.values()), default=0)
    return {n: v * (longest // len(v)) if longest % len(v) == 0 else v for n, v in asked.items()}


def _paths(to: Path, count: int, *, body: bool) -> list[Path]:
    """The file asked for, or numbered ones beside it or in the folder."""
    if to.suffix and count == 1:
        return [to]
    if to.suffix:
        return [to.with_stem(f"{to.stem}-{number:03}") for number in range(count)]
    return [to / f"sample-{number:03}{'.bvh' if body else '.mp4'}" for number in range(count)]


def _known(model: Any, wish: _Wish, count: int) -> Known | None:
    """Stored tokens of a clip, of which a part is kept; or a picture to begin with."""
    from tokenize_jobs.training.known import known_of_clip, known_of_picture

    if wish.image is not None:
        return known_of_picture(model, wish.image, count, wish.frames, wish.size)
    if wish.clip is None:
        return None
    catalog, _, clip_id = wish.clip.rpartition(":")
    if not catalog:
        raise typer.BadParameter(f"{wish.clip!r} is not CATALOG:ID", param_hint="--clip")
    return known_of_clip(model, open_catalog(catalog), clip_id, wish.keep, count, wish.frames)
