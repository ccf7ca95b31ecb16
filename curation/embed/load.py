"""What is stored of clips, as far as an embedder asks for it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pyarrow as pa

from catalogs.query import Session
from curation.embed.base import Item, Need
from curation.jobs.rows import load_measured
from curation.operators.base import Clip

__all__ = ["captions_of", "load_items"]

ALL_CAPTIONS = """
    select t.clip_id, t.text from captions t semi join wanted_clips using (clip_id)
    where t.text is not null and not starts_with(t.kind, 'part:')
    order by t.clip_id, case t.kind when 'brief' then 0 when 'detailed' then 1 else 2 end,
        t.kind, t.start_s, t.model, t.text
"""
"""Captions of parts of a body are left out: the detailed one says the same."""


def load_items(
    session: Session, needs: Need, source_ids: Sequence[str], clip_ids: Sequence[str]
) -> list[Item]:
    """The clips, each with what is needed of it."""
    if needs == "captions":
        texts = captions_of(session, clip_ids)
        empty = {"start_frame": 0, "end_frame": 0, "duration_s": 0.0}
        return [
            Item(Clip({"clip_id": name, **empty}, {}), texts.get(name, ())) for name in clip_ids
        ]
    wanted = set(clip_ids)
    return [item for item in _measured(session, source_ids) if item.clip.clip_id in wanted]


def captions_of(session: Session, clip_ids: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Distinct texts of clips, brief ones first."""
    if "captions" not in session.catalog.tables():
        return {}
    session.keep("wanted_clips", pa.table({"clip_id": pa.array(clip_ids, pa.string())}))
    found: dict[str, dict[str, None]] = {}
    for clip, text in session.sql(ALL_CAPTIONS).rows():
        found.setdefault(clip, {})[text] = None
    return {clip: tuple(texts) for clip, texts in found.items()}


def _measured(session: Session, source_ids: Sequence[str]) -> Iterator[Item]:
    for measured in load_measured(session, source_ids, session.cutting or ""):
        for row in measured.clips or ():
            story = [
                item for item in measured.story if row["start_pts"] <= item.pts < row["end_pts"]
            ]
            clip = Clip(row, measured.source, measured.video, measured.motion, story)
            joints = None if measured.joints is None else measured.joints[clip.span]
            yield Item(clip, joints=joints)
