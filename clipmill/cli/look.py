"""Verbs that show clips."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from clipmill.cli.options import AsJson, AtVersion, CatalogPath, open_catalog
from clipmill.cli.output import note, print_json, print_table

if TYPE_CHECKING:
    from curation.look import ClipView

app = typer.Typer()

_SPAN = ("kind", "start_s", "end_s", "duration_s", "frames", "fps", "starts_with", "ends_with")
_SOURCE = ("uri", "collection", "license", "width", "height", "skeleton", "subject_height_m")
_MAIN_SCORES = (
    "luma_mean_255", "sharpness_median", "motion_px", "camera_px", "shake_px", "static_share",
    "text_area", "flash_count", "loudness_db",
    "speed_mean_m_s", "path_m", "turn_deg", "energy_j_kg", "contact_share", "stature_m",
    "foot_skate_h_s", "foot_slide_h_s", "penetration_p95_m", "bone_drift", "jump_max_m",
    "take_frozen_s", "missing_share", "body_gap_share", "mirrored_share",
)  # fmt: skip


@app.command()
def show(
    catalog: CatalogPath,
    clip: Annotated[
        str, typer.Argument(metavar="CLIP", help="A clip's id, or a unique beginning of it.")
    ],
    to: Annotated[
        Path | None, typer.Option(help="Draw it: .png is a sheet, .gif and .mp4 are films.")
    ] = None,
    size: Annotated[
        int, typer.Option(min=32, max=2048, help="Longer side of one picture, in pixels.")
    ] = 320,
    at: AtVersion = None,
    as_json: AsJson = False,
) -> None:
    """Show one clip: its span, source, captions and main scores, and its picture.

    A take is drawn as a stick figure (left orange, right blue) from its stored joints, a video from
    its storyboard. No media file is opened. --json has every score.

    \b
    Examples:
      clipmill show corpus 9f3a2c
      clipmill show corpus 9f3a2c --to kick.gif --size 480
      clipmill show corpus 9f3a2c --to sheet.png --json
    """
    from curation.look import draw_clip, view_clip

    source = open_catalog(catalog, at)
    view = view_clip(source, clip)
    if to is not None:
        note(f"drawn in {draw_clip(source, view.row, to, size=size)}")
    if as_json:
        print_json(view.to_dict())
    else:
        print_table(["what", "value"], _lines(view))


def _lines(view: ClipView) -> list[tuple[str, Any]]:
    """The clip in pairs of name and value, without what is unknown."""
    lines: list[tuple[str, Any]] = [("clip_id", view.row["clip_id"])]
    lines += [(name, view.row[name]) for name in (*_SPAN, *_SOURCE) if view.row[name] is not None]
    lines += [(name, view.scores[name]) for name in _MAIN_SCORES if name in view.scores]
    lines += [(f"{item['origin']} {item['kind']}", item["text"]) for item in view.captions]
    return [(name, round(value, 4) if isinstance(value, float) else value) for name, value in lines]
