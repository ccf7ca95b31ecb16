"""Captions with what was found wrong with them, and tokens."""

from __future__ import annotations

from collections.abc import Sequence

from catalogs.amounts import human_bytes, number
from catalogs.query import sql_name
from catalogs.report.book import CAPTION_VERDICTS, Book
from catalogs.report.markup import Html, Part, Section, section, table, tag, together

__all__ = ["captions", "tokens"]

_EXAMPLES = 8
_TEXTS = 3
_COUNTS = frozenset({"caption_count", "caption_good", "caption_faults"})


def captions(book: Book) -> Section | None:
    """Who wrote how many, what the checks found, and examples beside their clips."""
    if not book.facts.captions:
        return None
    rows: list[Sequence[Part]] = [list(row) for row in book.facts.captions]
    return section(
        "captions",
        "Captions",
        tag(
            "div",
            tag("div", table(["kind", "written by", "captions"], rows)),
            tag("div", *_checks(book)),
            class_="pair",
        ),
        tag("h3", "Examples"),
        book.strips(_examples(book), count=2),
        lead=_spent(book),
    )


def _spent(book: Book) -> str:
    count, clips, tokens, seconds = book.chosen.sql(
        "select count(), count(distinct clip_id), coalesce(sum(tokens), 0), "
        "coalesce(sum(seconds), 0) from captions semi join chosen using (clip_id)"
    ).one()
    words = f"{count:,} captions of {clips:,} clips."
    if tokens or seconds:
        words += f" They took {tokens:,} tokens and {seconds:,.1f} s of a model's time."
    return words


def _checks(book: Book) -> list[Html]:
    """How many clips have a caption with each fault."""
    if not book.has(CAPTION_VERDICTS):
        return [
            tag("p", "Nobody has checked them: ", tag("code", "clipmill captions CATALOG --qa"))
        ]
    names = _check_names(book)
    counts = ", ".join(f"count(*) filter ({sql_name(name)} <> '')" for name in names)
    good, faults, *found = book.chosen.sql(
        f"select coalesce(sum(caption_good), 0), coalesce(sum(caption_faults), 0), {counts} "
        "from clips semi join chosen using (clip_id)"
    ).one()
    rows: list[Sequence[Part]] = [
        [name.removeprefix("caption_"), clips]
        for name, clips in zip(names, found, strict=True)
        if clips
    ]
    words = f"{int(good):,} captions passed every check, {int(faults):,} have a fault."
    return [tag("p", words), *([table(["fault", "clips"], rows)] if rows else [])]


def _check_names(book: Book) -> list[str]:
    return [
        name
        for name, (owner, _) in book.chosen.session.operators.items()
        if owner == CAPTION_VERDICTS and name not in _COUNTS
    ]


def _examples(book: Book) -> list[tuple[str, Part]]:
    """Clips drawn by lot, one of each source first, with some of their captions."""
    flags = "''"
    if book.has(CAPTION_VERDICTS):
        names = ", ".join(f"nullif({sql_name(name)}, '')" for name in _check_names(book))
        flags = f"coalesce(concat_ws('; ', {names}), '')"
    rows = book.rows(
        f"""
        with described as (
            select clip_id, list(struct_pack(kind, text, origin) order by
                kind <> 'brief', contains(kind, ':'), length(text), text)[1:{_TEXTS}] as texts
            from captions semi join chosen using (clip_id) group by clip_id
        )
        select clip_id, texts, {flags} from described join clips using (clip_id)
        order by row_number() over (partition by source_id order by md5(clip_id)), md5(clip_id)
        limit {_EXAMPLES}
        """
    )
    return [(clip_id, _texts(texts, flaws)) for clip_id, texts, flaws in rows]


def _texts(texts: Sequence[dict[str, str]], flaws: str) -> Html:
    lines = [
        tag(
            "p", tag("span", f"{item['kind']}, {item['origin']}", class_="quiet"), " ", item["text"]
        )
        for item in texts
    ]
    return together(lines, tag("p", flaws, class_="mark out") if flaws else None)


def tokens(book: Book) -> Section | None:
    """What was encoded by which tokenizer, and how much of its codes is used."""
    if not book.has("token_shards"):
        return None
    found = book.rows(
        "select tokens, stream, max(windows_of), sum(positions), sum(bytes), "
        "list_max(list(list_max(codes_used))), max(list_max(levels)), max(channels) from "
        "(select *, sum(windows) over (partition by tokens, stream) as windows_of "
        "from token_shards) group by 1, 2 order by 1, 2"
    )
    rows: list[Sequence[Part]] = [
        [
            name.removeprefix("tokens/"),
            stream,
            int(windows),
            int(positions),
            human_bytes(size),
            "latents" if channels else f"{used:,} of {codes:,}" if used and codes else "–",
        ]
        for name, stream, windows, positions, size, used, codes, channels in found
    ]
    share = book.chosen.sql(
        "select sum(bytes) / nullif((select sum(bytes) from sources), 0) from token_shards"
    ).value()
    return section(
        "tokens",
        "Tokens",
        table(["tokenizer@spec", "stream", "windows", "positions", "size", "codes used"], rows),
        lead=f"Packed tokens take {number(100 * float(share or 0))}% of the bytes of the sources. "
        "Codes used are the most that one shard uses of one level.",
    )
