"""Datasets from a catalog: the rows of chosen clips in plain files, with what licences permit.

    export_dataset(catalog, "out", selection="web", format="hf")

Each split becomes a few large files, sorted by source and time, each row with everything that the
view `clips` knows and the clip's captions. `hf` adds a card with charts, so that
`datasets.load_dataset("out")` and the Hub's viewer work; `parquet` and `csv` are the rows alone.

Clips whose source may not be passed on are not in these files. They are listed in
`rebuild/clips-*.parquet` with the source's hash, the spans and where the source came from, so that
whoever has the source can cut them again.

Media exporters build on `staged_folder`, `write_rows`, `write_rebuild` and `write_manifest`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

import pyarrow as pa

from catalogs.catalog import Catalog
from catalogs.chosen import ORDER, Chosen, choose, public_uri
from catalogs.errors import NotFoundError, SchemaError, UsageError, nearest
from catalogs.leaks import Leaks, OnLeaks, find_leaks
from catalogs.licence import Policy, Use, Verdict
from catalogs.query import sql_text
from catalogs.schema import Column
from catalogs.shards import (
    SHARD_BYTES,
    check_absent,
    staged_folder,
    write_csv,
    write_manifest,
    write_parquet,
)

__all__ = ["Export", "Format", "Refused", "export_dataset", "write_rebuild", "write_rows"]

Format: TypeAlias = Literal["parquet", "hf", "csv"]
Refused: TypeAlias = Literal["recipe", "error", "drop"]

FORMATS = ("parquet", "hf", "csv")
REFUSED = ("recipe", "error", "drop")
ON_LEAKS = ("error", "allow")
BATCH_ROWS = 65_536
PASSED_ON: tuple[Use, ...] = ("redistribute",)
_NESTED = ("STRUCT", "MAP", "UNION")
_CAPTION = ("kind", "text", "language", "start_s", "end_s", "origin", "model", "revision")


@dataclass(frozen=True)
class Export:
    """What was written: clips per split, and what the licences kept out."""

    path: Path
    splits: Mapping[str, int]
    verdict: Verdict
    manifest: Mapping[str, Any]
    leaks: Leaks

    @property
    def clips(self) -> int:
        return sum(self.splits.values())


def export_dataset(
    catalog: Catalog,
    to: str | Path,
    *,
    selection: str | None = None,
    where: str | None = None,
    format: Format = "hf",  # noqa: A002
    columns: Sequence[str] | None = None,
    uses: Collection[Use] = PASSED_ON,
    acknowledge: Collection[str] = (),
    refused: Refused = "recipe",
    leaks: OnLeaks = "error",
    about: Mapping[str, str] | None = None,
    shard_bytes: int = SHARD_BYTES,
    overwrite: bool = False,
    memory: str | None = None,
) -> Export:
    """Write the chosen clips to the folder `to`, which appears complete or not at all.

    Args:
        selection: name or id of a selection; alternatively `where`, a condition on `clips`.
        columns: columns to keep; everything by default. `clip_id` and `split` always stay.
        uses: what the dataset is for. Sources that do not permit it are refused. `()` is for
            yourself: nothing is refused, and the folder may not be published.
        acknowledge: licences, collections or source ids whose unknown terms you answer for.
        refused: list refused clips in a rebuild recipe, raise `LicenceError`, or drop them.
        leaks: what to do when clips in different splits show the same: raise `LeakError`, or
            write them and name them in the manifest.
        about: title, description, maintainer and more for the card; see `catalogs.card`.
        memory: DuckDB's memory limit, such as "2GB".
    """
    _one_of("format", format, FORMATS)
    _one_of("refused", refused, REFUSED)
    _one_of("leaks", leaks, ON_LEAKS)
    target = Path(to).expanduser().absolute()
    check_absent(target, overwrite)
    policy = Policy.of(*uses, acknowledged=acknowledge)
    with (
        choose(catalog, selection=selection, where=where, policy=policy, memory=memory) as chosen,
        staged_folder(target, overwrite=overwrite) as folder,
    ):
        if refused == "error":
            chosen.verdict.raise_if_refused(f"cannot export to {target}")
        found = find_leaks(chosen)
        if leaks == "error":
            found.raise_if_any(f"cannot export to {target}")
        splits = write_rows(folder, chosen, format, columns, shard_bytes)
        if refused == "recipe" and chosen.verdict.reasons:
            write_rebuild(folder, chosen, shard_bytes)
        if format == "hf":
            from catalogs.card import write_card

            kept = kept_columns(chosen, columns)
            write_card(folder, chosen, title=target.name, about=about, columns=kept)
        manifest = write_manifest(folder, describe(chosen, splits, found))
    return Export(target, splits, chosen.verdict, manifest, found)


def _one_of(what: str, value: str, allowed: Sequence[str]) -> None:
    if value not in allowed:
        raise UsageError(
            f"{value!r} is not a {what}", allowed=", ".join(allowed), hint=nearest(value, allowed)
        )


def describe(
    chosen: Chosen, splits: Mapping[str, int], leaks: Leaks | None = None
) -> dict[str, Any]:
    """The head of a dataset's manifest. It holds no time, so the same data give the same bytes."""
    selection = chosen.selection
    policy = chosen.verdict.policy
    return {
        "kind": "dataset",
        "catalog_id": chosen.catalog.about["id"],
        "catalog_version": chosen.catalog.version,
        "selection": selection.name if selection else None,
        "selection_id": selection.selection_id if selection else None,
        "where": chosen.where,
        "cutting": chosen.session.cutting,
        "uses": sorted(policy.uses),
        "acknowledged": sorted(policy.acknowledged),
        "splits": dict(splits),
        **({"leaks": leaks.to_dict()} if leaks else {}),
        "refused": [
            {"license": r.licence, "reason": r.reason, "sources": r.sources, "clips": r.clips}
            for r in chosen.verdict.refusals
        ],
    }


def write_rows(
    folder: Path,
    chosen: Chosen,
    format: Format = "parquet",  # noqa: A002
    columns: Sequence[str] | None = None,
    shard_bytes: int = SHARD_BYTES,
) -> dict[str, int]:
    """Write permitted clips as `data/<split>-*`; returns the clips of each split."""
    kept = kept_columns(chosen, columns)
    splits: dict[str, int] = {}
    for split in chosen.splits():
        query = _rows_query(chosen, kept, split, as_json=format == "csv")
        batches = chosen.sql(query).batches(BATCH_ROWS)
        stem = f"data/{split}"
        splits[split] = (
            write_csv(folder, stem, batches)
            if format == "csv"
            else write_parquet(folder, stem, batches, columns=kept, shard_bytes=shard_bytes)
        )
    if (written := sum(splits.values())) != chosen.verdict.allowed_clips:
        raise SchemaError(
            f"{chosen.verdict.allowed_clips - written} of the selected clips are not in the clips "
            f"of catalog version {chosen.catalog.version}",
            hint="read the catalog at the version of the selection, or select again",
        )
    return splits


def kept_columns(chosen: Chosen, names: Sequence[str] | None) -> list[Column]:
    """The columns that a dataset will have, in the order of the view `clips`."""
    known = chosen.columns()
    if names is None:
        return known
    unknown = [name for name in names if name not in {column.name for column in known}]
    if unknown:
        candidates = [column.name for column in known]
        raise NotFoundError(
            f"there is no column {unknown[0]!r} in `clips`",
            allowed=", ".join(candidates),
            hint=nearest(unknown[0], candidates),
        )
    return [column for column in known if column.name in {"clip_id", *names}]


def _rows_query(chosen: Chosen, columns: Sequence[Column], split: str, *, as_json: bool) -> str:
    exprs = [_expression(column, as_json) for column in columns]
    exprs.insert(1, "k.split as split")
    joins = "join permitted k on k.clip_id = clips.clip_id"
    if chosen.catalog.rows("captions"):
        texts = "to_json(t.texts)::varchar" if as_json else "t.texts"
        exprs.append(f"{texts} as captions")
        joins += f" left join ({_captions()}) t on t.clip_id = clips.clip_id"
    order = ", ".join(f"clips.{name}" for name in ORDER.split(", "))
    return (
        f"select {', '.join(exprs)} from clips {joins} "
        f"where k.split = {sql_text(split)} order by {order}"
    )


def _expression(column: Column, as_json: bool) -> str:
    if column.name == "uri":
        return f"{public_uri('clips.uri')} as uri"
    quoted = f'"{column.name}"'
    if as_json and pa.types.is_nested(column.type):
        return f"to_json(clips.{quoted})::varchar as {quoted}"
    return f"clips.{quoted}"


def _captions() -> str:
    fields = ", ".join(f"'{name}': {name}" for name in _CAPTION)
    return (
        f"select clip_id, list({{{fields}}} order by start_s, kind, caption_id) as texts "
        "from captions semi join permitted using (clip_id) group by clip_id"
    )


def write_rebuild(folder: Path, chosen: Chosen, shard_bytes: int = SHARD_BYTES) -> int:
    """List refused clips with nothing of their sources but hash, spans and origin."""
    session = chosen.session
    session.keep(
        "refused_reasons",
        pa.table(
            {
                "source_id": pa.array(chosen.verdict.reasons.keys(), pa.string()),
                "reason": pa.array(chosen.verdict.reasons.values(), pa.string()),
            }
        ),
    )
    result = chosen.sql(
        "select c.clip_id, k.split, c.source_id, s.sha256, s.bytes, "
        f"{public_uri('s.uri')} as uri, s.collection, s.license, r.reason, "
        "c.start_pts, c.end_pts, c.time_base_num, c.time_base_den, c.start_s, c.end_s "
        "from chosen k join refused_reasons r on r.source_id = k.source_id "
        "join clips c on c.clip_id = k.clip_id left join sources s on s.source_id = k.source_id "
        "order by c.source_id, c.start_pts, c.clip_id"
    )
    return write_parquet(
        folder, "rebuild/clips", result.batches(BATCH_ROWS), shard_bytes=shard_bytes
    )
