"""Verbs about captions: write them, bring them in, check them, compare captioners."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from clipmill.cli.options import AsJson, CatalogPath, open_catalog
from clipmill.cli.output import note, print_json, print_table

if TYPE_CHECKING:
    from curation.captions.imports import ImportReport
    from curation.captions.qa import Finding, QaReport

app = typer.Typer()

_MOST_LISTED = 20
_TEXT_SHOWN = 120


@app.command()
def caption(
    catalog: CatalogPath,
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[SELECTION] | FILE...",
            help="The clips to describe, else all; with --import the files.",
        ),
    ] = None,
    captioner: Annotated[
        str | None,
        typer.Option(
            "--with", metavar="CAPTIONER", help="rules, openai:MODEL, hf:PATH or asr:ENGINE."
        ),
    ] = None,
    prompt: Annotated[
        str | None,
        typer.Option(metavar="NAME|FILE", help="A prompt that ships, or a text file; else dense."),
    ] = None,
    kind: Annotated[str | None, typer.Option(help="What the texts are called.")] = None,
    where: Annotated[str | None, typer.Option(metavar="SQL", help="A condition instead.")] = None,
    source: Annotated[
        str | None, typer.Option("--from", metavar="MODEL", help="Whose captions to rewrite.")
    ] = None,
    language: Annotated[str | None, typer.Option(help="Of the texts, such as en or de.")] = None,
    frames: Annotated[int | None, typer.Option(min=1, help="Pictures of each window.")] = None,
    choose: Annotated[
        str | None, typer.Option(metavar="HOW", help="uniform, per-second or changes.")
    ] = None,
    size: Annotated[
        int | None, typer.Option(min=32, help="Shorter side of a picture, in pixels.")
    ] = None,
    decode: Annotated[
        bool | None,
        typer.Option(
            "--decode/--stored", help="Decode the frames, or take the stored pictures of a second."
        ),
    ] = None,
    window: Annotated[
        float | None, typer.Option(min=0.5, help="Longest window in seconds; else whole clips.")
    ] = None,
    endpoint: Annotated[
        str | None, typer.Option(metavar="URL", help="Else from OPENAI_BASE_URL.")
    ] = None,
    key_env: Annotated[
        str, typer.Option(metavar="VARIABLE", help="The variable that holds the key.")
    ] = "OPENAI_API_KEY",
    concurrency: Annotated[int, typer.Option(min=1, help="Requests at once.")] = 8,
    per_minute: Annotated[
        float | None, typer.Option("--requests-per-minute", min=0.1, help="Most requests.")
    ] = None,
    max_cost: Annotated[
        float | None, typer.Option(min=0, help="Stop before this is spent; needs the prices.")
    ] = None,
    price_in: Annotated[
        float | None, typer.Option(min=0, help="Of a million tokens that are read.")
    ] = None,
    price_out: Annotated[
        float | None, typer.Option(min=0, help="Of a million tokens that are written.")
    ] = None,
    revision: Annotated[str | None, typer.Option(help="Version of the model.")] = None,
    batch: Annotated[int, typer.Option(min=1, help="Windows at once of a local model.")] = 8,
    device: Annotated[str | None, typer.Option(help="Of a local model: cpu, cuda.")] = None,
    workers: Annotated[
        int | None, typer.Option(min=0, help="Processes; 0 works without Ray.")
    ] = None,
    address: Annotated[str | None, typer.Option(help="Join this Ray cluster.")] = None,
    gpus: Annotated[float, typer.Option(min=0, help="Of each worker, 0.5 for two on one.")] = 0.0,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only count what is missing.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")] = False,
    imported: Annotated[
        bool, typer.Option("--import", help="Bring in captions that others wrote.")
    ] = False,
    strict: Annotated[
        bool, typer.Option("--strict", help="Exit with 3 if a window or label was left over.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Describe clips in words, as far as they lack it; or bring in words that others wrote.

    A window of a clip is described once by each captioner, revision and prompt. rules needs no
    model. openai: is any endpoint of that protocol (vLLM, SGLang, Ollama, hosted); hf: loads a
    model of transformers. Prompts: brief, dense, structured, camera, apart, differences, sheet,
    brief-dense-frames; from captions: brief-from-detailed, detailed-from-parts, user-prompt,
    merge-windows, everything, translate.

    --import reads HumanML3D and KIT text, BABEL and KIT-ML JSON, JSON lists, CSV and Parquet with
    a column text, subtitles (.vtt, .srt) and .txt files beside their video. A label belongs to the
    source that it names, else to the one whose file is called like the label's.

    \b
    Examples:
      clipmill caption corpus --with rules
      clipmill caption corpus web --with openai:qwen2.5-vl-7b --endpoint http://127.0.0.1:8000/v1
      clipmill caption corpus --with openai:gpt-4o-mini --max-cost 5 --price-in 0.15 --price-out 0.6
      clipmill caption corpus --with hf:HuggingFaceTB/SmolVLM2-500M-Video-Instruct --prompt brief
      clipmill caption corpus --with openai:qwen2.5-7b --prompt brief-from-detailed
      clipmill caption corpus --import HumanML3D/texts
      clipmill caption corpus --import subtitles/ --where "collection = 'talks'"
    """
    from catalogs.errors import UsageError

    if imported:
        _import(catalog, names or [], where, as_json, strict)
        return
    if captioner is None:
        raise UsageError(
            "nothing was said about who shall write the captions",
            hint="clipmill caption CATALOG --with rules, or --import FILE...",
        )
    if names is not None and len(names) > 1:
        raise UsageError(
            f"{len(names)} selections: {', '.join(names)}", allowed="one, or --where SQL"
        )
    from curation.captions.registry import CaptionOptions, Maker
    from curation.jobs.captioning import caption as write

    options = CaptionOptions(
        prompt=prompt,
        kind=kind,
        frames=frames,
        frame_choice=choose,
        short_side=size,
        decoded=decode,
        window_s=window,
        language=language,
        source=source,
        revision=revision,
        endpoint=endpoint,
        key_env=key_env,
        concurrency=concurrency,
        requests_per_minute=per_minute,
        max_cost=max_cost,
        price_in=price_in,
        price_out=price_out,
        batch=batch,
        device=device,
    )
    report = write(
        open_catalog(catalog),
        Maker(captioner, options),
        selection=names[0] if names else None,
        where=where,
        workers=workers,
        address=address,
        gpus=gpus,
        dry_run=dry_run,
        progress=None if quiet else sys.stderr,
    )
    if as_json:
        print_json(report.to_dict())
    else:
        for line in report.lines():
            print(line)
    if report.status == "interrupted":
        raise typer.Exit(130)
    if strict and (report.failed or report.status == "stopped"):
        raise typer.Exit(3)


def _import(catalog: str, names: list[str], where: str | None, as_json: bool, strict: bool) -> None:
    from catalogs.errors import UsageError
    from curation.captions.imports import import_labels

    if not names:
        raise UsageError("no files to import", hint="clipmill caption CATALOG --import FILE...")
    report = import_labels(open_catalog(catalog), [Path(name) for name in names], where=where)
    if as_json:
        print_json(report.to_dict())
    else:
        _print_import(report)
    if strict and report.unmatched:
        raise typer.Exit(3)


def _print_import(report: ImportReport) -> None:
    print(
        f"{report.labels} labels in {report.files} files: {report.captions} captions of "
        f"{report.clips} clips, {report.new} of them new"
    )
    for file, reason in report.skipped[:_MOST_LISTED]:
        note(f"{file} holds no labels: {reason}")
    for missed in report.unmatched[:_MOST_LISTED]:
        note(f"no clip for {missed.text!r} ({missed.source}): {missed.reason}")
    if len(report.unmatched) > _MOST_LISTED:
        note(f"and {len(report.unmatched) - _MOST_LISTED} more; --json lists all")


@app.command()
def captions(
    catalog: CatalogPath,
    check: Annotated[
        bool, typer.Option("--qa", help="Check them, and keep the verdicts as scores of the clips.")
    ] = False,
    where: Annotated[
        str | None, typer.Option(metavar="SQL", help="Only these rows of captions; not kept.")
    ] = None,
    findings: Annotated[
        str | None, typer.Option("--list", metavar="CHECK", help="All findings of a check, or all.")
    ] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Exit with 3 if any is faulty.")] = False,
    as_json: AsJson = False,
) -> None:
    """Who described how many clips, and with --qa what is wrong with it.

    Checks: empty, refusal, truncated, repetition, boilerplate, language, length, alike (the same
    words for many clips), contradiction (a claim that a measurement refutes). Each is a column of
    clips with the reason: caption_refusal, caption_alike and so on; caption_faults counts them.

    \b
    Examples:
      clipmill captions corpus
      clipmill captions corpus --qa
      clipmill captions corpus --qa --list contradiction
      clipmill select corpus --recipe web-video --set captions="caption_faults = 0" --name clean
    """
    from catalogs.errors import UsageError, nearest
    from curation.captions.qa import CHECKS, check_captions

    if findings is not None and findings not in (*CHECKS, "all"):
        raise UsageError(
            f"there is no check {findings!r}",
            allowed=", ".join((*CHECKS, "all")),
            hint=nearest(findings, CHECKS),
        )
    checks = check or findings is not None or strict
    report = check_captions(open_catalog(catalog), where=where, write=check)
    if as_json:
        print_json(report.to_dict())
    else:
        _print_captioners(report, checks)
        if checks:
            listed = [f for f in report.findings if findings in (f.check, "all")]
            _print_findings(listed if findings else report.examples())
    if strict and report.findings:
        raise typer.Exit(3)


def _print_captioners(report: QaReport, checked: bool) -> None:
    from curation.captions.qa import CHECKS

    columns = ["captioner", "captions", "clips", "words", "tokens", "seconds"]
    found = [name for name in CHECKS if any(name in r.checks for r in report.captioners)]
    rows = []
    for item in report.captioners:
        row = [
            *(item.captioner, item.captions, item.clips, item.words_mean),
            *(item.tokens, round(item.seconds, 2)),
        ]
        if checked:
            row += [f"{item.faulty_share:.1%}", *(item.checks.get(name, 0) for name in found)]
        rows.append(row)
    print_table([*columns, "faulty", *found] if checked else columns, rows)
    if checked:
        note(f"{report.clips} clips, {report.written} verdicts are new")


def _print_findings(findings: Sequence[Finding]) -> None:
    if findings:
        print_table(
            ["check", "clip", "captioner", "kind", "reason", "text"],
            [
                (f.check, f.clip_id[:8], f.captioner, f.kind, f.reason, f.text[:_TEXT_SHOWN])
                for f in findings
            ],
        )


@app.command("caption-diff")
def caption_diff(
    catalog: CatalogPath,
    a: Annotated[str, typer.Argument(metavar="A", help="A model, MODEL/PROMPT or MODEL@REVISION.")],
    b: Annotated[str, typer.Argument(metavar="B", help="Another.")],
    kind: Annotated[str | None, typer.Option(help="Only captions of this kind.")] = None,
    limit: Annotated[int, typer.Option(min=0, help="Clips to show.")] = 10,
    strict: Annotated[
        bool, typer.Option("--strict", help="Exit with 3 if B has faults where A has none.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Compare two captioners, or two prompts of one, on the clips that both described.

    Regressions are clips for which B has a fault that A has not. Events are clauses: precision is
    the share of A's that B tells too, recall the share of B's that A tells.

    \b
    Examples:
      clipmill caption-diff corpus openai:qwen/dense openai:qwen/structured
      clipmill caption-diff corpus openai:old openai:new --kind detailed --strict
    """
    from curation.captions.compare import compare

    diff = compare(open_catalog(catalog), a, b, kind=kind)
    if as_json:
        print_json(diff.to_dict())
    else:
        rows = [
            ("clips compared", len(diff.clips), len(diff.clips)),
            ("clips of its own", diff.only_a, diff.only_b),
            ("words", diff.words_a, diff.words_b),
            ("faulty", f"{diff.faulty_share('a'):.1%}", f"{diff.faulty_share('b'):.1%}"),
            ("events that the other has", f"{diff.precision:.1%}", f"{diff.recall:.1%}"),
        ]
        print_table(["", a, b], rows)
        print(f"{len(diff.regressions)} clips got worse, {len(diff.repairs)} better")
        for clip in diff.regressions[:limit]:
            print(f"{clip.clip_id[:8]} {', '.join(clip.faults_b)}: {clip.text_b[:_TEXT_SHOWN]}")
    if strict and diff.regressions:
        raise typer.Exit(3)
