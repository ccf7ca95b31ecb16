"""Verbs that find clips: embed them, search them, group them, tag them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from clipmill.cli.options import AsJson, AtVersion, CatalogPath, open_catalog
from clipmill.cli.output import note, print_json, print_rows, print_table

if TYPE_CHECKING:
    from curation.search import Hit

app = typer.Typer()

_ID_SHOWN = 12

Model = Annotated[
    str | None, typer.Option("--model", help="Embedding to use; default: the only one there is.")
]


@app.command()
def embed(
    catalog: CatalogPath,
    selection: Annotated[
        str | None, typer.Argument(metavar="SELECTION", help="A selection; else all clips.")
    ] = None,
    address: Annotated[
        str, typer.Option("--with", metavar="NAME", help="words, visual, or hf:REPOSITORY|FOLDER.")
    ] = "words",
    where: Annotated[str | None, typer.Option(metavar="SQL", help="A condition instead.")] = None,
    workers: Annotated[
        int | None, typer.Option(min=0, help="Processes; 0 works without Ray.")
    ] = None,
    cluster: Annotated[str | None, typer.Option("--address", help="Join this Ray cluster.")] = None,
    gpus: Annotated[float, typer.Option(min=0, help="Of each worker, 0.5 for two on one.")] = 0.0,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress.")] = False,
    as_json: AsJson = False,
) -> None:
    """Turn clips into vectors, as far as they are missing: for search, groups and duplicates.

    words reads captions and visual looks at stored pictures and motion; both need no download.
    hf: takes a model of transformers: a text encoder reads captions, CLIP, SigLIP, X-CLIP or
    VideoPrism know pictures and texts, V-JEPA 2, VideoMAE or DINOv2 pictures. No video is decoded.

    \b
    Examples:
      clipmill embed corpus
      clipmill embed corpus --with visual --workers 0
      clipmill embed corpus web --with hf:openai/clip-vit-base-patch32 --gpus 1
      clipmill embed corpus --with hf:sentence-transformers/all-MiniLM-L6-v2
    """
    from curation.embed import embed as embed_clips

    report = embed_clips(
        open_catalog(catalog),
        address,
        selection=selection,
        where=where,
        workers=workers,
        cluster=cluster,
        gpus=gpus,
        progress=None if quiet else sys.stderr,
    )
    if as_json:
        print_json(report.to_dict())
    else:
        for line in report.lines():
            print(line)
    if report.status == "interrupted":
        raise typer.Exit(130)


@app.command()
def search(
    catalog: CatalogPath,
    text: Annotated[
        str | None, typer.Argument(metavar="TEXT", help="What the clips should be about.")
    ] = None,
    like: Annotated[
        str | None, typer.Option(metavar="CLIP", help="A clip they should be like, by its id.")
    ] = None,
    where: Annotated[
        str | None, typer.Option(metavar="SQL", help="A condition over clips that they must meet.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="Clips at most.")] = 10,
    model: Annotated[
        list[str] | None,
        typer.Option("--model", help="Only these embeddings; default: all. Repeatable."),
    ] = None,
    words_only: Annotated[
        bool, typer.Option("--words-only", help="Only the words of captions, no embedding.")
    ] = False,
    at: AtVersion = None,
    as_json: AsJson = False,
) -> None:
    """Find clips by what they are about, by a clip they should be like, and by SQL.

    Captions are ranked by their words, embeddings by their cosine, and the rankings are fused; the
    column by tells the place of a clip in each. Indexes are kept beside the catalog and are never
    stale.

    \b
    Examples:
      clipmill search corpus "a person walks in a circle"
      clipmill search corpus "the camera pans" --where "duration_s > 3 and kind = 'video'"
      clipmill search corpus --like 9f3a2c --limit 5
      clipmill search corpus "rain" --json
    """
    from curation.search import search as find

    models = [] if words_only else model
    hits = find(open_catalog(catalog, at), text, like=like, where=where, limit=limit, models=models)
    if as_json:
        print_json([hit.to_dict() for hit in hits])
    elif hits:
        print_table(["clip", "of", "span", "score", "by", "caption"], map(_line, hits))
    else:
        note("nothing was found")


def _line(hit: Hit) -> list[Any]:
    span = "" if hit.start_s is None else f"{hit.start_s:.2f}-{hit.end_s:.2f}"
    by = " ".join(f"{name}:{place}" for name, (place, _) in hit.found_by.items())
    name = Path(hit.uri or "").name
    return [hit.clip_id[:_ID_SHOWN], name, span, round(hit.score, 4), by, hit.caption]


@app.command()
def clusters(
    catalog: CatalogPath,
    model: Model = None,
    count: Annotated[int | None, typer.Option(min=1, help="Groups; default: by the clips.")] = None,
    cap: Annotated[
        int | None, typer.Option(min=1, help="Say what a cap of so many for each would keep.")
    ] = None,
    outliers: Annotated[
        int, typer.Option(min=0, help="Clips without near neighbours to name.")
    ] = 0,
    as_json: AsJson = False,
) -> None:
    """Group clips that are alike, name the groups by their captions, and show how even they are.

    The groups become columns of clips (cluster, cluster_cosine, outlier, ...), so gates can ask for
    them and a recipe can cap them: balance: {by: cluster, cap: 2000}. Grouping again replaces them.

    \b
    Examples:
      clipmill clusters corpus --model words
      clipmill clusters corpus --model visual --count 50 --cap 2000 --outliers 10
      clipmill sql corpus "select cluster, count(*), avg(motion_px) from clips group by 1"
    """
    from curation.search.clusters import cluster

    report = cluster(open_catalog(catalog), model, count=count, outliers=outliers)
    if as_json:
        kept = {} if cap is None else {"kept_by_cap": report.capped(cap)}
        print_json(report.to_dict() | kept)
        return
    rows = [
        {
            "cluster": group.name,
            "clips": group.clips,
            "hours": round(group.hours, 3),
            "share": round(group.share, 4),
            "example": group.example[:_ID_SHOWN],
        }
        for group in report.clusters
    ]
    print_rows(rows, ["cluster", "clips", "hours", "share", "example"])
    if report.outliers:
        print_table(
            ["outlier", "distance"], [[c[:_ID_SHOWN], round(d, 4)] for c, d in report.outliers]
        )
    note(
        f"{report.clips:,} clips in {len(report.clusters)} groups by {report.model}, "
        f"as even as {report.even_as:.1f} groups of one size"
    )
    if cap is not None:
        note(f"a cap of {cap:,} for each group keeps {report.capped(cap):,} clips")


@app.command()
def tag(
    catalog: CatalogPath,
    vocabulary: Annotated[Path, typer.Argument(metavar="FILE", help="A tag on each line.")],
    model: Model = None,
    most: Annotated[int, typer.Option(min=1, help="Tags of one clip at most.")] = 3,
    least: Annotated[float | None, typer.Option(help="Cosine below which no tag is given.")] = None,
    as_json: AsJson = False,
) -> None:
    """Tag clips from a vocabulary, by the likeness of texts and clips.

    A line of FILE is a tag, or a tag, a colon and the text that stands for it. Tags become the
    columns tags, tag and tag_cosine of clips; tagging again replaces them.

    \b
    Examples:
      clipmill tag corpus tags.txt --model words
      clipmill tag corpus tags.txt --model clip-vit-base-patch32 --most 5 --least 0.2
      clipmill sql corpus "select tag, count(*) from clips group by 1 order by 2 desc"
    """
    from curation.search.tags import read_vocabulary
    from curation.search.tags import tag as tag_clips

    words = read_vocabulary(vocabulary)
    counts = tag_clips(open_catalog(catalog), words, model, most=most, least=least)
    if as_json:
        print_json(counts)
    else:
        print_table(["tag", "clips"], sorted(counts.items(), key=lambda item: (-item[1], item[0])))
