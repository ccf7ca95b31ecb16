"""Verbs about tokens: make them of clips and captions, and write them for other trainers."""

from __future__ import annotations

import sys
from enum import StrEnum
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from clipmill.cli.options import AsJson, CatalogPath, open_catalog
from clipmill.cli.output import human_bytes, note, print_json, print_table

if TYPE_CHECKING:
    from tokenize_jobs.transform import Transform

app = typer.Typer()


@app.command()
def tokenize(
    catalog: CatalogPath,
    selection: Annotated[
        str | None, typer.Argument(metavar="SELECTION", help="A selection; else all clips.")
    ] = None,
    tokenizer: Annotated[
        str, typer.Option(metavar="NAME", help="A name, local-dir: or hf-hub: address.")
    ] = "video/starter",
    where: Annotated[str | None, typer.Option(metavar="SQL", help="A condition instead.")] = None,
    fps: Annotated[
        str | None, typer.Option(help="Frames a second, 24 or 30000/1001; else as they are.")
    ] = None,
    size: Annotated[
        str | None, typer.Option(metavar="S|HxW", help="Frames as the tokenizer is to see them.")
    ] = None,
    bucket: Annotated[
        bool, typer.Option("--bucket", help="Keep the aspect: SIZE is the shorter side.")
    ] = False,
    window: Annotated[int | None, typer.Option(min=1, help="Frames; else the whole clip.")] = None,
    stride: Annotated[int | None, typer.Option(min=1, help="From window to window.")] = None,
    drop_tail: Annotated[
        bool, typer.Option("--drop-tail", help="Leave out a shorter last window.")
    ] = False,
    workers: Annotated[
        int | None, typer.Option(min=0, help="Processes; 0 works without Ray.")
    ] = None,
    address: Annotated[str | None, typer.Option(help="Join this Ray cluster.")] = None,
    gpus: Annotated[float, typer.Option(min=0, help="Of each worker, 0.5 for two on one.")] = 0.0,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only count what is missing.")] = False,
    verify: Annotated[
        int, typer.Option(metavar="N", min=0, help="Check N stored clips instead of encoding.")
    ] = 0,
    to: Annotated[
        Path | None, typer.Option("--to", metavar="FOLDER", help="Films of the checked clips.")
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress.")] = False,
    as_json: AsJson = False,
) -> None:
    """Encode clips with a tokenizer into token shards, as far as they are missing.

    \b
    Examples:
      clipmill tokenize corpus web --size 128 --window 17 --dry-run
      clipmill tokenize corpus web --size 128 --window 17
      clipmill tokenize corpus --tokenizer motion/starter --window 64
      clipmill tokenize corpus web --size 128 --window 17 --verify 8 --to check
    """
    asked = _transform(fps, size, bucket, window, stride, drop_tail)
    if verify:
        _verify(catalog, tokenizer, asked, verify, to, as_json)
        return
    from tokenize_jobs.job import tokenize as encode

    report = encode(
        open_catalog(catalog),
        tokenizer,
        selection=selection,
        where=where,
        transform=asked,
        workers=workers,
        address=address,
        gpus=gpus,
        dry_run=dry_run,
        progress=None if quiet else sys.stderr,
    )
    if as_json:
        print_json(report.to_dict())
    elif dry_run:
        _print_plan(report.planned)
    else:
        for line in report.lines():
            print(line)
    if report.status == "interrupted":
        raise typer.Exit(130)


@app.command("tokenize-captions")
def tokenize_captions(
    catalog: CatalogPath,
    selection: Annotated[
        str | None, typer.Argument(metavar="SELECTION", help="A selection; else all clips.")
    ] = None,
    encoder: Annotated[
        str,
        typer.Option(
            "--with",
            metavar="NAME",
            help="bytes, words, hf:REPOSITORY for embeddings, hf-ids:REPOSITORY for ids.",
        ),
    ] = "bytes",
    kind: Annotated[
        str | None, typer.Option(help="Only captions of this kind, such as brief.")
    ] = None,
    where: Annotated[str | None, typer.Option(metavar="SQL", help="A condition instead.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only count what is missing.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress.")] = False,
    as_json: AsJson = False,
) -> None:
    """Encode captions as ids or embeddings, as far as they are missing.

    \b
    Examples:
      clipmill tokenize-captions corpus --kind brief
      clipmill tokenize-captions corpus web --with hf:google/t5-v1_1-base
    """
    from tokenize_jobs.captions import tokenize_captions as encode

    report = encode(
        open_catalog(catalog),
        encoder,
        selection=selection,
        where=where,
        kind=kind,
        dry_run=dry_run,
        progress=None if quiet else sys.stderr,
    )
    if as_json:
        print_json(report.to_dict())
    elif dry_run:
        counts = [["texts to encode", report.missing], ["texts there already", report.present]]
        print_table(["what", "count"], counts)
    else:
        for line in report.lines():
            print(line)
    if report.status == "interrupted":
        raise typer.Exit(130)


class TokenFormat(StrEnum):
    """Forms that other trainers read."""

    webdataset = "webdataset"
    mds = "mds"
    npy = "npy"


@app.command("export-tokens")
def export_tokens(
    catalog: CatalogPath,
    tokens: Annotated[str, typer.Argument(help="A table of tokens, or how its name begins.")],
    to: Annotated[Path, typer.Argument(metavar="FOLDER", help="A folder that is not there yet.")],
    form: Annotated[
        TokenFormat, typer.Option("--format", help="What the other trainer reads.")
    ] = TokenFormat.webdataset,
    selection: Annotated[str | None, typer.Option(help="Only clips of this selection.")] = None,
    split: Annotated[str | None, typer.Option(help="Only this split of the selection.")] = None,
    where: Annotated[
        str | None, typer.Option(metavar="SQL", help="Only clips that meet a condition.")
    ] = None,
    windows: Annotated[
        str | None, typer.Option(metavar="SQL", help="A condition on the table's own columns.")
    ] = None,
    columns: Annotated[
        str | None, typer.Option(metavar="A,B", help="Columns of clips to write along; captions.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Write tokens in a form that other trainers read: WebDataset, MDS or npy.

    \b
    Examples:
      clipmill export-tokens corpus video/starter out
      clipmill export-tokens corpus video/starter out --format npy --selection web --split train
      clipmill export-tokens corpus video/starter out --format mds --columns captions,duration_s
    """
    from tokenize_jobs.export import export_tokens as write

    done = write(
        open_catalog(catalog),
        tokens,
        to,
        form=form.value,
        selection=selection,
        where=where,
        split=split,
        windows=windows,
        columns=columns.split(",") if columns else (),
    )
    if as_json:
        print_json({"folder": str(done.folder), "windows": done.windows, "files": done.files,
                    "bytes": done.bytes})  # fmt: skip
    else:
        size = human_bytes(done.bytes)
        print(f"{done.windows} windows in {done.files} files, {size}, in {done.folder}")


def _print_plan(planned: dict[str, Any]) -> None:
    print_table(
        ["what", "count"],
        [
            ["windows to encode", planned["windows"]],
            ["windows there already", planned["present"]],
            ["frames", planned["frames"]],
            ["hours of media", round(planned["hours"], 4)],
            ["tokens", planned["tokens"]],
            ["size", human_bytes(planned["bytes"])],
        ],
    )


def _verify(
    catalog: str, tokenizer: str, asked: Transform, clips: int, to: Path | None, as_json: bool
) -> None:
    from tokenize_jobs.plan import transform_for
    from tokenize_jobs.verify import draw_verified
    from tokenize_jobs.verify import verify as check
    from zoo.hub import load

    model = load(tokenizer)
    transform = transform_for(model.spec, asked)
    found = list(check(open_catalog(catalog), model, transform, clips=clips))
    unit = "mpjpe_mm" if transform.features else "psnr_db"
    rows = [
        {"clip_id": item.clip_id, "ids_equal": item.equal, unit: round(item.error, 2)}
        for item in found
    ]
    if as_json:
        print_json(rows)
    else:
        print_table(["clip_id", "ids_equal", unit], [list(row.values()) for row in rows])
    if to is not None:
        for path in draw_verified(found, to, transform.fps or Fraction(12)):
            note(str(path))
    if not all(item.equal for item in found):
        note("stored tokens differ from what the tokenizer gives now: tokenize these clips again")
        raise typer.Exit(1)


def _transform(
    fps: str | None,
    size: str | None,
    bucket: bool,
    window: int | None,
    stride: int | None,
    drop_tail: bool,
) -> Transform:
    from tokenize_jobs.transform import Transform

    return Transform(
        fps=_rate(fps) if fps else None,
        size=_size(size) if size else None,
        fit="bucket" if bucket else "crop",
        window=window,
        stride=stride,
        tail="drop" if drop_tail else "keep",
    )


def _rate(text: str) -> Fraction:
    from catalogs.errors import UsageError

    try:
        return Fraction(text)
    except (ValueError, ZeroDivisionError):
        raise UsageError(
            f"--fps {text}", allowed="a number or a fraction: 24, 30000/1001"
        ) from None


def _size(text: str) -> tuple[int, int]:
    from catalogs.errors import UsageError

    height, _, width = text.partition("x")
    try:
        return int(height), int(width or height)
    except ValueError:
        raise UsageError(f"--size {text}", allowed="128 or 128x256 (height x width)") from None
