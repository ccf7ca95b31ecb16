"""Measure what a generator makes, and train the evaluator that some measures need."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from clipmill.cli.options import AsJson, CatalogPath, parse_pairs
from clipmill.cli.output import note, print_json, print_table

app = typer.Typer()


@app.command()
def evaluate(
    model: Annotated[
        str, typer.Argument(metavar="MODEL", help="local-dir:FOLDER, hf-hub:ORG/NAME, or a name.")
    ],
    catalog: CatalogPath,
    selection: Annotated[
        str | None, typer.Argument(metavar="SELECTION", help="Only its clips; default: all.")
    ] = None,
    where: Annotated[str | None, typer.Option(help="A condition on clips.")] = None,
    split: Annotated[
        str | None, typer.Option(help="One split, best one that was not trained on.")
    ] = None,
    samples: Annotated[int, typer.Option(min=2, help="Real windows, and samples as many.")] = 256,
    replications: Annotated[
        int, typer.Option(min=1, help="How often samples are drawn anew.")
    ] = 20,
    repeats: Annotated[
        int, typer.Option(min=2, help="Samples of a request, for multimodality.")
    ] = 10,
    metrics: Annotated[
        list[str] | None,
        typer.Option(
            help="likelihood, distance, diversity, multimodality, text or quality; default: all "
            "that can be had. Repeatable."
        ),
    ] = None,
    ask: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=COLUMN",
            help="Where a condition comes from; default: as it was trained. Repeatable.",
        ),
    ] = None,
    evaluator: Annotated[
        Path | None, typer.Option(help="A folder of `clipmill evaluator`, for texts and bodies.")
    ] = None,
    features: Annotated[
        str, typer.Option(metavar="filters|lpips:FILE", help="How clips are compared.")
    ] = "",
    temperature: Annotated[float, typer.Option(help="0 takes the likeliest.")] = 1.0,
    top_p: Annotated[float, typer.Option(help="Only codes of this share together.")] = 1.0,
    guidance: Annotated[float, typer.Option(help="Above 1: nearer to what is asked for.")] = 1.0,
    seed: Annotated[int, typer.Option(help="Of windows and samples.")] = 0,
    write_card: Annotated[
        bool, typer.Option("--write-card", help="Put the results on the model's card.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress.")] = False,
    as_json: AsJson = False,
) -> None:
    """Measure a generator beside real windows of a catalog.

    Bits per token of the real windows; distances, diversity and matching of samples that are asked
    for as the windows are described; foot skate and physics of bodies, flicker, smoothness, motion
    and constancy of clips. Every value comes with its protocol. Both sides are decoded from tokens
    by the model's tokenizer.

    \b
    Examples:
      clipmill evaluate local-dir:runs/walks/model corpus walks --split val
      clipmill evaluate local-dir:runs/walks/model corpus --metrics likelihood
      clipmill evaluate local-dir:runs/walks/model corpus --evaluator judge/model --write-card
      clipmill evaluate hf-hub:me/shapes corpus --samples 64 --replications 3 --json
    """
    import zoo
    from tokenize_jobs.training.evaluate import Plan, asked_by, write_on_card
    from tokenize_jobs.training.evaluate import evaluate as measure
    from tokenize_jobs.training.recipe import Data
    from zoo.errors import UsageError
    from zoo.generator import Decoding, Generator
    from zoo.hub import folder_of

    if write_card and not model.startswith("local-dir:"):
        raise typer.BadParameter(
            "only the card of a local-dir: model can be written", param_hint="--write-card"
        )
    plan = Plan(
        samples=samples,
        replications=replications,
        repeats=repeats,
        measures=tuple(metrics or ()),
        features=features,
        evaluator=str(evaluator or ""),
        seed=seed,
        decoding=Decoding(temperature=temperature, top_p=top_p, guidance=guidance),
    )
    generator = zoo.load(model)
    if not isinstance(generator, Generator):
        raise UsageError(f"{model} is a tokenizer", allowed="a generator")
    folder = folder_of(model)
    data = Data(
        catalog=catalog,
        tokenizer="",
        selection=selection or "",
        where=where or "",
        split=split or "",
        conditions={**asked_by(folder), **parse_pairs(ask, "--ask")},
    )
    report = measure(generator, data, plan, (lambda text: None) if quiet else note)
    if write_card:
        write_on_card(folder, report)
    if as_json:
        print_json(report.to_json())
        return
    columns = ("metric", "value", "interval", "unit", "measured on", "protocol")
    rows = [
        (
            m.info.name,
            f"{m.value:.5g}",
            "" if m.interval is None else f"± {m.interval:.2g}",
            m.info.unit,
            f"{m.count} {m.counted}",
            m.info.protocol,
        )
        for m in report.measurements
    ]
    print_table(columns, rows)


@app.command()
def evaluator(
    catalog: CatalogPath,
    to: Annotated[Path, typer.Option("--to", metavar="FOLDER", help="Where the run lives.")],
    selection: Annotated[
        str | None, typer.Argument(metavar="SELECTION", help="Only its clips; default: all.")
    ] = None,
    split: Annotated[str | None, typer.Option(help="One split, the one to train on.")] = None,
    steps: Annotated[int, typer.Option(min=1, help="Batches to learn from.")] = 2000,
    batch: Annotated[int, typer.Option(min=2, help="Takes that are told apart at a time.")] = 64,
    seed: Annotated[int, typer.Option(help="Of weights and order.")] = 0,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress.")] = False,
    as_json: AsJson = False,
) -> None:
    """Train what tells whether a text fits a motion, on the takes and captions of a catalog.

    Two small encoders learn from joints as they are stored, not from tokens, so one evaluator
    serves generators of any tokenizer. Values compare under one evaluator only.

    \b
    Examples:
      clipmill evaluator corpus --to judge --split train
      clipmill evaluate local-dir:runs/walks/model corpus --split val --evaluator judge/model
    """
    from tokenize_jobs.training.evaluator import train_evaluator

    outcome = train_evaluator(
        catalog,
        to,
        selection=selection or "",
        split=split or "",
        steps=steps,
        batch=batch,
        seed=seed,
        progress=not quiet,
    )
    known = {"steps": outcome.steps, "evaluator": str(outcome.folder), **outcome.losses}
    if as_json:
        print_json(known)
    else:
        print_table(("what", "value"), [(name, str(value)) for name, value in known.items()])
