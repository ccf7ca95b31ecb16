"""Verbs that share: datasets in plain files, the Hub, and back. Licences decide what leaves."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from clipmill.cli import media
from clipmill.cli.options import AsJson, AtVersion, CatalogPath, open_catalog, parse_pairs
from clipmill.cli.output import human_bytes, note, print_json, print_table

if TYPE_CHECKING:
    from catalogs import Catalog
    from catalogs.licence import Use, Verdict

app = typer.Typer()


class DatasetFormat(StrEnum):
    """The layouts of an exported dataset."""

    hf = "hf"
    parquet = "parquet"
    csv = "csv"
    mp4 = "mp4"
    webdataset = "webdataset"
    frames = "frames"
    lerobot = "lerobot"


ROWS_ALONE = ("hf", "parquet", "csv")
"""Formats that hold no media."""


class Refused(StrEnum):
    """What becomes of clips that a licence keeps in."""

    recipe = "recipe"
    error = "error"
    drop = "drop"


Selection = Annotated[str | None, typer.Option(help="Name or id of a selection.")]
Where = Annotated[str | None, typer.Option(metavar="SQL", help="A condition on clips instead.")]
Columns = Annotated[str | None, typer.Option(metavar="A,B,...", help="Columns to keep; all else.")]
Commercial = Annotated[
    bool, typer.Option("--commercial", help="Offer it for commercial use: refuses other sources.")
]
Acknowledge = Annotated[
    list[str] | None,
    typer.Option(
        metavar="LICENCE",
        help="A licence, collection or source id whose unknown terms you have read. Repeatable.",
    ),
]
About = Annotated[
    list[str] | None,
    typer.Option(metavar="KEY=TEXT", help="title, description, ... for the card. Repeatable."),
]
AllowLeaks = Annotated[
    bool,
    typer.Option("--allow-leaks", help="Write splits that share footage; they are named in it."),
]
REFUSED_HELP = "List refused clips in a rebuild recipe, stop, or leave them out."


@app.command()
def export(
    catalog: CatalogPath,
    to: Annotated[Path, typer.Argument(metavar="FOLDER", help="A folder that is not there yet.")],
    selection: Selection = None,
    where: Where = None,
    layout: Annotated[
        DatasetFormat,
        typer.Option("--format", help="Rows alone (hf, parquet, csv), or the clips' media too."),
    ] = DatasetFormat.hf,
    columns: Columns = None,
    for_myself: Annotated[
        bool, typer.Option("--for-myself", help="Refuse nothing; the folder must stay with you.")
    ] = False,
    commercial: Commercial = False,
    acknowledge: Acknowledge = None,
    refused: Annotated[Refused, typer.Option(help=REFUSED_HELP)] = Refused.recipe,
    allow_leaks: AllowLeaks = False,
    about: About = None,
    size: media.Size = None,
    fps: media.Fps = None,
    pictures: media.PictureKind = None,
    crf: media.Crf = None,
    preset: media.Preset = None,
    encode: media.Encode = False,
    no_audio: media.Audio = False,
    shard_samples: media.ShardSamples = None,
    shard_mb: media.ShardMb = None,
    workers: media.Workers = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the folder.")] = False,
    at: AtVersion = None,
    as_json: AsJson = False,
) -> None:
    """Write clips as a dataset: rows, or rows and media, with a card made from the catalog.

    Clips whose source may not be passed on are left out and listed, with hash and spans, so that
    whoever has the source can cut them again. Media (mp4, webdataset, frames, lerobot) are read
    back and compared; the same command again makes only what is missing.

    \b
    Examples:
      clipmill export corpus out --selection train-1
      clipmill export corpus out --where "motion_px > 2" --format csv --columns motion_px,uri
      clipmill export corpus out --selection train-1 --commercial --refused error
      clipmill export corpus out --selection train-1 --format mp4
      clipmill export corpus out --selection train-1 --format webdataset --size 256 --fps 16
    """
    from catalogs.errors import UsageError

    if for_myself and commercial:
        raise UsageError("--for-myself and --commercial exclude each other", allowed="one of them")
    asked = media.MediaOptions(
        size, fps, pictures, crf, preset, encode, no_audio, shard_samples, shard_mb, workers
    )
    common: dict[str, Any] = {
        "selection": selection,
        "where": where,
        "format": layout.value,
        "columns": _listed(columns),
        "acknowledge": acknowledge or (),
        "refused": refused.value,
        "leaks": "allow" if allow_leaks else "error",
        "about": parse_pairs(about, "--about"),
        "overwrite": overwrite,
    }
    uses = () if for_myself else _uses(commercial)
    found = open_catalog(catalog, at)
    if layout.value in ROWS_ALONE:
        _export_rows(found, to, asked.given(), {**common, "uses": uses}, as_json)
    else:
        uses = (*uses, "derive") if uses else ()
        _export_media(found, to, asked, {**common, "uses": uses}, as_json)


def _export_rows(
    catalog: Catalog, to: Path, given: list[str], options: dict[str, Any], as_json: bool
) -> None:
    from catalogs.errors import UsageError
    from catalogs.export import export_dataset

    if given:
        raise UsageError(
            f"{given[0]} is about media, which format {options['format']} does not hold",
            allowed="--format mp4, webdataset, frames or lerobot",
        )
    done = export_dataset(catalog, to, **options)
    if as_json:
        print_json({"path": str(done.path), "clips": done.clips, **done.manifest})
        return
    print_table(["split", "clips"], list(done.splits.items()))
    _note_refusals(done.verdict)
    note(f"{done.clips:,} clips in {done.path}")


def _export_media(
    catalog: Catalog,
    to: Path,
    asked: media.MediaOptions,
    options: dict[str, Any],
    as_json: bool,
) -> None:
    from curation.export.run import export_clips

    if asked.workers:
        options["workers"] = asked.workers
    done = export_clips(catalog, to, media=asked.settings(), progress=media.count_clips, **options)
    if as_json:
        failures = [failure.to_dict() for failure in done.failures]
        told = {"path": str(done.path), "clips": done.clips, "made": done.how}
        print_json({**told, "failures": failures, **done.manifest})
    else:
        print_table(["split", "clips"], list(done.splits.items()))
        _note_refusals(done.verdict)
        made = ", ".join(f"{count:,} {how}" for how, count in done.how.items())
        note(f"{done.clips:,} clips in {done.path} ({made})")
    media.note_failures(done)


@app.command()
def publish(
    catalog: CatalogPath,
    repo: Annotated[str, typer.Argument(metavar="USER/NAME", help="A repository on the Hub.")],
    selection: Selection = None,
    where: Where = None,
    columns: Columns = None,
    public: Annotated[bool, typer.Option("--public", help="Let everybody see it.")] = False,
    commercial: Commercial = False,
    acknowledge: Acknowledge = None,
    refused: Annotated[Refused, typer.Option(help=REFUSED_HELP)] = Refused.error,
    allow_leaks: AllowLeaks = False,
    about: About = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="Overwrite a repository that holds something else.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Publish clips as a dataset on the Hugging Face Hub, or the whole catalog.

    An interrupted publication goes on where it stopped when the command is given again. Log in
    with `hf auth login` or HF_TOKEN; HF_ENDPOINT names another Hub.

    \b
    Examples:
      clipmill publish corpus me/web-clips --selection train-1
      clipmill publish corpus me/web-clips --selection train-1 --public --refused recipe
      clipmill publish corpus me/corpus          the catalog itself, with its history of decisions
    """
    from catalogs.publish import publish as upload

    done = upload(
        open_catalog(catalog),
        repo,
        selection=selection,
        where=where,
        private=not public,
        commercial=commercial,
        acknowledge=acknowledge or (),
        refused=refused.value,
        leaks="allow" if allow_leaks else "error",
        columns=_listed(columns),
        about=parse_pairs(about, "--about"),
        replace=replace,
    )
    if as_json:
        about_it = {"repo": done.repo_id, "url": done.url, "revision": done.revision}
        refusals = [str(refusal) for refusal in done.verdict.refusals]
        print_json({**about_it, "private": done.private, "refused": refusals})
        return
    print(done.url)
    _note_refusals(done.verdict)
    note(f"published {'for you alone' if done.private else 'openly'}, revision {done.revision}")


@app.command()
def pull(
    repo: Annotated[str, typer.Argument(metavar="USER/NAME", help="A repository on the Hub.")],
    to: Annotated[Path, typer.Argument(metavar="FOLDER", help="A folder that is not there yet.")],
    revision: Annotated[str | None, typer.Option(help="A commit, branch or tag.")] = None,
    as_json: AsJson = False,
) -> None:
    """Fetch a published dataset or catalog and verify every file.

    \b
    Examples:
      clipmill pull me/corpus corpus
      clipmill pull me/web-clips clips --revision 1f0c2d9
    """
    from catalogs.fetch import pull as download

    done = download(repo, to, revision=revision)
    if as_json:
        found = {"path": str(done.path), "kind": done.kind, "revision": done.revision}
        print_json({**found, "files": done.files, "bytes": done.bytes})
    else:
        print(done.path)
        note(f"a {done.kind}: {done.files:,} files, {human_bytes(done.bytes)}, all verified")


def _uses(commercial: bool) -> tuple[Use, ...]:
    return ("redistribute", "commercial") if commercial else ("redistribute",)


def _listed(columns: str | None) -> list[str] | None:
    return [name.strip() for name in columns.split(",")] if columns else None


def _note_refusals(verdict: Verdict) -> None:
    for refusal in verdict.refusals:
        note(f"left out: {refusal}")
