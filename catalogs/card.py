"""The dataset card and the datasheet, generated from the catalog's own records.

The card (`README.md`) opens with the YAML that the Hub reads: licence, task and size categories,
and where each split's files are. Its charts are PNG files in `charts/`. The datasheet
(`DATASHEET.md`) answers the usual questions about a dataset, and says which answers only its
maker can give: those come from `about`.

The text holds no time of writing: the same catalog version gives the same card.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from catalogs.amounts import hours, time_text
from catalogs.charts import Bar, bar_chart, histogram_chart, short_number
from catalogs.chosen import Chosen
from catalogs.datasheet import datasheet
from catalogs.facts import Facts, Measure, Share, gather
from catalogs.licence import NO_LICENCE
from catalogs.schema import Column
from catalogs.shards import MANIFEST

__all__ = ["card_text", "draw_charts", "front_matter", "write_card"]

_HUB_LICENCE = re.compile(
    r"""apache-2\.0|mit|bsd(-[23]-clause)?|bsl-1\.0|isc|zlib|unlicense|wtfpl|mpl-2\.0|gfdl
        |gpl-[23]\.0|lgpl-(2\.1|3\.0)|agpl-3\.0|odc-by|odbl|pddl
        |cdla-sharing-1\.0|cdla-permissive-[12]\.0|cc0-1\.0|cc-by-(2\.0|2\.5|3\.0|4\.0)
        |cc-by-sa-[34]\.0|cc-by-nc-[234]\.0|cc-by-nd-4\.0|cc-by-nc-nd-[34]\.0
        |cc-by-nc-sa-[234]\.0""",
    re.VERBOSE,
)
"""Licence names that the Hub accepts in a card."""

_SIZES = ((10**3, "n<1K"), (10**4, "1K<n<10K"), (10**5, "10K<n<100K"), (10**6, "100K<n<1M"))
_LARGE_SIZES = ((10**7, "1M<n<10M"), (10**8, "10M<n<100M"), (10**9, "100M<n<1B"))


def write_card(
    folder: Path,
    chosen: Chosen,
    *,
    title: str,
    columns: Sequence[Column],
    about: Mapping[str, str] | None = None,
    tables: Sequence[str] = (),
) -> Facts:
    """Write `README.md`, `DATASHEET.md` and `charts/` into a dataset's folder.

    With `tables`, the folder is a catalog: its tables are offered instead of `data/`.
    """
    facts = gather(chosen, title=title, about=about, columns=columns)
    charts = draw_charts(facts)
    if charts:
        (folder / "charts").mkdir()
    for name, png in charts.items():
        (folder / "charts" / name).write_bytes(png)
    (folder / "README.md").write_text(card_text(facts, list(charts), tables), encoding="utf-8")
    (folder / "DATASHEET.md").write_text(datasheet(facts), encoding="utf-8")
    return facts


def draw_charts(facts: Facts) -> dict[str, bytes]:
    """The card's pictures: file name to PNG."""
    charts: dict[str, bytes] = {}
    if facts.funnel and facts.funnel.clips:
        funnel = facts.funnel
        steps = [("all clips", funnel.clips), *((s.gate, s.clips_out) for s in funnel.steps)]
        bars = [Bar(name, n, f"{short_number(n)}  {n / funnel.clips:.1%}") for name, n in steps]
        charts["funnel.png"] = bar_chart(
            "From all clips to the selection", bars, subtitle="clips left after each step"
        )
    charts |= {f"{m.column.name}.png": _histogram(m) for m in facts.measures}
    if len(facts.resolutions) > 1:
        charts["resolutions.png"] = _time_chart("Time by resolution", facts.resolutions)
    if len(facts.licences) > 1:
        shares = [licence.share for licence in facts.licences]
        charts["licences.png"] = _time_chart("Time by licence", shares)
    return charts


def _histogram(measure: Measure) -> bytes:
    return histogram_chart(
        measure.column.name,
        measure.histogram,
        unit=measure.column.unit,
        subtitle=f"{measure.column.meaning}; median {measure.median:.4g}",
    )


def _time_chart(title: str, shares: Sequence[Share]) -> bytes:
    bars = [Bar(s.name, s.hours, f"{time_text(s.hours)}, {s.clips:,} clips") for s in shares]
    return bar_chart(title, bars)


def front_matter(facts: Facts, tables: Sequence[str] = ()) -> dict[str, Any]:
    """The YAML head of the card, as the Hub defines it."""
    head: dict[str, Any] = {"pretty_name": facts.title, **_licence_fields(facts)}
    kinds = {share.name for share in facts.kinds}
    if facts.languages or "language" in facts.about:
        head["language"] = sorted(
            {*facts.languages, *facts.about.get("language", "").split()} - {"und"}
        )
    head["task_categories"] = _tasks(kinds, bool(facts.captions))
    head["size_categories"] = [_size(facts.clips)]
    head["tags"] = ["clipmill", *sorted(kinds), *(["motion-capture"] if "mocap" in kinds else [])]
    head["configs"] = [
        {"config_name": table.replace("/", "_"), "data_files": f"{table}/*.parquet"}
        for table in tables
    ] or [
        {
            "config_name": "default",
            "data_files": [
                {"split": share.name, "path": f"data/{share.name}-*.parquet"}
                for share in facts.splits
            ],
        }
    ]
    if not tables and not facts.splits:
        del head["configs"]
    return head


def _licence_fields(facts: Facts) -> dict[str, Any]:
    names = list(dict.fromkeys(part.share.name for part in facts.licences))
    known = sorted({name for name in map(_hub_licence, names) if name})
    if names and all(map(_hub_licence, names)):
        return {"license": known[0] if len(known) == 1 else known}
    if not names:
        return {"license": "other", "license_name": "rebuild-recipe-only"}
    name = names[0] if len(names) == 1 and names[0] != NO_LICENCE else "mixed"
    return {"license": "other", "license_name": name, "license_link": "README.md"}


def _hub_licence(licence: str) -> str | None:
    """The Hub's name of a licence, or None when it has none."""
    name = re.sub(r"-(only|or-later)$", "", licence.lower().replace(" ", "-"))
    name = re.sub(r"^(odc-by|odbl|pddl)-1\.0$", r"\1", name)
    return name if _HUB_LICENCE.fullmatch(name) else None


def _tasks(kinds: set[str], captioned: bool) -> list[str]:
    tasks = []
    if "video" in kinds:
        tasks += ["text-to-video", "video-text-to-text"] if captioned else ["video-classification"]
    if "image" in kinds:
        tasks.append("text-to-image" if captioned else "image-classification")
    return tasks or ["other"]


def _size(clips: int) -> str:
    for limit, name in (*_SIZES, *_LARGE_SIZES):
        if clips < limit:
            return name
    return "n>1B"


def card_text(facts: Facts, charts: Sequence[str], tables: Sequence[str] = ()) -> str:
    """The whole card."""
    head = yaml.safe_dump(
        front_matter(facts, tables), sort_keys=False, allow_unicode=True, width=100
    )
    sections = [
        f"# {facts.title}",
        facts.about.get("description", ""),
        f"**{facts.clips:,} clips, {time_text(facts.hours)}, {facts.sources:,} sources.**",
        _use(facts, tables),
        "## Contents\n\n" + _share_table("split", facts.splits),
        _caption_section(facts),
        _licence_section(facts),
        _funnel_section(facts, charts),
        _chart_section(facts, charts),
        "" if tables else _column_section(facts),
        _provenance(facts),
        _known_issues(facts),
        _rebuild(facts),
        _citation(facts),
    ]
    return f"---\n{head}---\n\n" + "\n\n".join(filter(None, sections)) + "\n"


def markdown_table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A table; the first column is text, numbers are set right."""
    body = [[_cell(value) for value in row] for row in rows]
    numeric = [
        bool(body) and all(row[k].replace(",", "").replace(".", "").isdigit() for row in body)
        for k in range(len(head))
    ]
    lines = ["| " + " | ".join(head) + " |"]
    lines.append("|" + "|".join("---:" if right else "---" for right in numeric) + "|")
    lines += ["| " + " | ".join(row) + " |" for row in body]
    return "\n".join(lines)


def _cell(value: Any) -> str:
    if isinstance(value, int):
        return f"{value:,}"
    text = hours(value) if isinstance(value, float) else str(value)
    if not text.startswith("`"):
        text = text.replace("<", "&lt;")
    return " ".join(text.replace("|", "\\|").split())


def _use(facts: Facts, tables: Sequence[str]) -> str:
    if tables:
        return (
            "This is a clipmill catalog: Parquet tables that were committed together. Fetch it "
            "whole with `clipmill pull`, or read single tables, each of which is a configuration "
            "of this dataset:\n\n"
            "```python\nfrom datasets import load_dataset\n\n"
            'clips = load_dataset(REPOSITORY, "clips")\n```'
        )
    if not facts.splits:
        return "No clip may be passed on; `rebuild/` tells how to make the dataset yourself."
    return (
        "Each row is one clip: a span of a source, what was measured on it, and its captions.\n\n"
        "```python\nfrom datasets import load_dataset\n\n"
        f'clips = load_dataset(REPOSITORY, split="{facts.splits[0].name}")\n```'
    )


def _share_table(name: str, shares: Sequence[Share]) -> str:
    rows = [(s.name, s.clips, s.hours, s.sources) for s in shares]
    return markdown_table([name, "clips", "hours", "sources"], rows)


def _caption_section(facts: Facts) -> str:
    if not facts.captions:
        return ""
    table = markdown_table(["captions", "written by", "count"], facts.captions)
    return f"Languages: {', '.join(facts.languages) or 'not recorded'}.\n\n{table}"


def _licence_section(facts: Facts) -> str:
    rows = [
        (
            *(part.share.name, part.share.clips, part.share.hours, part.share.sources),
            *(part.terms.redistribute, part.terms.commercial, part.terms.derive),
        )
        for part in facts.licences
    ]
    head = ["licence", "clips", "hours", "sources", "redistribute", "commercial use", "derive"]
    text = (
        "## Licences\n\nEvery row carries the licence of its source (`license`, `license_terms`); "
        "respect it when you use the clip.\n\n" + markdown_table(head, rows)
    )
    if facts.refusals:
        kept_out = [(r.licence, r.reason, r.sources, r.clips) for r in facts.refusals]
        text += "\n\nKept out, because the licence does not permit to pass them on:\n\n"
        text += markdown_table(["licence", "reason", "sources", "clips"], kept_out)
    return text


def _funnel_section(facts: Facts, charts: Sequence[str]) -> str:
    funnel = facts.funnel
    if funnel is None:
        return ""
    rows = [
        (step.gate, f"`{step.predicate}`", step.clips_in, step.clips_out, float(step.hours_out))
        for step in funnel.steps
    ]
    table = markdown_table(["step", "condition", "clips in", "clips out", "hours out"], rows)
    picture = "![](charts/funnel.png)\n\n" if "funnel.png" in charts else ""
    text = (
        f"## How clips were selected\n\n{picture}{table}\n\n"
        f"{funnel.kept_clips:,} of {funnel.clips:,} clips were kept."
    )
    if facts.refusals:
        text += f" {facts.clips:,} of them may be passed on."
    return text


def _chart_section(facts: Facts, charts: Sequence[str]) -> str:
    pictures = [name for name in charts if name != "funnel.png"]
    images = [
        f'<img src="charts/{name}" width="49%" alt="{name.removesuffix(".png")}">'
        for name in pictures
    ]
    return "## Distributions\n\n" + "\n".join(images) if images else ""


def _column_section(facts: Facts) -> str:
    rows = [(f"`{c.name}`", c.type, c.unit, c.meaning) for c in facts.columns]
    if facts.captions:
        rows.append(("`captions`", "list", "", "texts that describe the clip or a window of it"))
    return "## Columns\n\n" + markdown_table(["column", "type", "unit", "meaning"], rows)


def _provenance(facts: Facts) -> str:
    made = facts.as_of.strftime("%Y-%m-%d")
    lines = [f"- catalog `{facts.catalog_id}`, version {facts.version}, committed {made}"]
    if facts.selection:
        lines.append(f"- selection `{facts.selection}` (`{facts.selection_id}`)")
    if facts.where:
        lines.append(f"- condition `{facts.where}`")
    if facts.collections:
        lines.append(f"- collections: {', '.join(facts.collections)}")
    if facts.versions:
        pairs = ", ".join(f"{name} {version}" for name, version in sorted(facts.versions.items()))
        lines.append(f"- made with {pairs}")
    lines.append(f"- every file is listed with its sha256 in `{MANIFEST}`")
    text = "## Provenance\n\n" + "\n".join(lines)
    if facts.recipe:
        text += f"\n\nThe recipe:\n\n```yaml\n{facts.recipe.strip()}\n```"
    return text


def _known_issues(facts: Facts) -> str:
    lines = []
    if facts.damaged_sources:
        lines.append(f"- sources with damaged frames (`damaged_frames`): {facts.damaged_sources:,}")
    if facts.uneven_sources:
        lines.append(f"- sources with uneven frame times (`is_vfr`): {facts.uneven_sources:,}")
    text = "## Known issues\n\n" + ("\n".join(lines) or "No damage is known in the sources.")
    if facts.quarantine:
        count = sum(row[2] for row in facts.quarantine)
        text += f"\n\nFiles of the corpus that could not be used at all: {count:,}.\n\n"
        text += markdown_table(["stage", "failure", "files"], facts.quarantine)
    return text


def _rebuild(facts: Facts) -> str:
    lines = ["clipmill pull REPOSITORY dataset"]
    if facts.selection:
        lines = [
            "# recipe.yaml is the recipe above; CORPUS a catalog of the same sources",
            f"clipmill select CORPUS --recipe recipe.yaml --name {facts.selection}",
            f"clipmill export CORPUS --selection {facts.selection} --to dataset",
        ]
    text = "## How to rebuild it\n\n```bash\n" + "\n".join(lines) + "\n```"
    if facts.refusals:
        text += (
            "\n\n`rebuild/` lists the clips that could not be passed on: the sha256 of each "
            "source, where it came from, and the exact spans (`start_pts` to `end_pts`, in ticks "
            "of `time_base_num / time_base_den` seconds). Get the source from its owner, check "
            "the hash, and cut it there."
        )
    return text


def _citation(facts: Facts) -> str:
    citation = facts.about.get("citation")
    return f"## Citation\n\n```bibtex\n{citation.strip()}\n```" if citation else ""
