"""Gates against labels: counts, intervals, limits that labels can tell, and those they cannot."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from catalogs.bounds import bounds_of, with_limits
from catalogs.calibrate import Calibration, GateReport, calibrate
from catalogs.calibration_charts import gate_chart, write_charts
from catalogs.catalog import Catalog
from catalogs.errors import UsageError
from catalogs.intervals import area, f1, share
from catalogs.labels import Labels, read_labels
from catalogs.recipe import Recipe
from catalogs.testing.records import record_clips
from catalogs.thresholds import Labelled, round_between, suggest

CLIPS = 60
GATES = {"motion": "motion_px between 0.5 and 20", "grey": "not is_grey", "text": "text <= 0.5"}


def name(number: int) -> str:
    return f"c{number:03}"


@pytest.fixture(scope="module")
def catalog(tmp_path_factory: pytest.TempPathFactory) -> Catalog:
    """Clip n moves by n / 2 pixels; every third one is grey; its text is a lot of its own."""
    rng = np.random.default_rng(4)
    rows: list[dict[str, Any]] = [
        {
            "clip_id": name(n),
            "duration_s": 4.0,
            "motion_px": n / 2 if n else None,
            "is_grey": n % 3 == 0,
            "text": float(rng.random()),
        }
        for n in range(CLIPS)
    ]
    operators = {"motion": ["motion_px"], "colour": ["is_grey"], "text": ["text"]}
    return record_clips(tmp_path_factory.mktemp("calibrate") / "corpus", rows, operators)


def labelled(keep: Any, gate: str | None = None, numbers: Any = range(1, CLIPS)) -> Labels:
    return Labels({gate: {name(n): bool(keep(n)) for n in numbers}})


def report(found: Calibration, gate: str) -> GateReport:
    return next(item for item in found.gates if item.gate == gate)


# -- bounds ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("gate", "bounds", "moved"),
    [
        ("a between 0.5 and 20", ["a >= 0.5", "a <= 20"], "a between 1.5 and 21"),
        ("0 < a and not b", ["a > 0"], "1 < a and not b"),
        ("greatest(a, b) <= -0.25", ["greatest(a, b) <= -0.25"], "greatest(a, b) <= 0.75"),
        ("ü = 'é' and a >= 1e3", ["a >= 1000"], "ü = 'é' and a >= 1001"),
        ("a < 1 or b > 2", [], "a < 1 or b > 2"),
        ("flash_count = 0", [], "flash_count = 0"),
    ],
)
def test_a_gates_numbers_are_found_and_replaced(gate: str, bounds: list[str], moved: str) -> None:
    found = bounds_of(gate)
    assert [str(bound) for bound in found] == bounds
    assert with_limits(gate, {bound: bound.limit + 1 for bound in found}) == moved


def test_a_bound_knows_what_else_its_gate_asks_for() -> None:
    low, high, other = bounds_of("a between 1 and 2 and (b > 3 and not c)")
    assert low.others == "(a <= 2) and (b > 3) and (NOT c)"
    assert high.others == "(a >= 1) and (b > 3) and (NOT c)"
    assert other.others == "(a >= 1) and (a <= 2) and (NOT c)"


# -- intervals -------------------------------------------------------------------------------


def test_wilsons_interval_is_the_published_one() -> None:
    found = share(15, 148)  # Newcombe 1998, table I: 0.0624 to 0.1605
    assert found is not None
    assert (found.low, found.high) == pytest.approx((0.0624, 0.1605), abs=5e-5)
    assert share(0, 0) is None


def test_no_interval_collapses_when_all_labels_agree() -> None:
    certain = area(1.0, 5, 5)
    assert certain.high == 1.0
    assert 0.5 < certain.low < 0.9
    assert area(1.0, 50, 50).low > certain.low
    perfect = f1(5, 0)
    assert perfect is not None
    assert perfect.value == 1.0
    assert 0.6 < perfect.low < 0.8


def test_the_interval_of_the_area_holds_the_truth() -> None:
    """Two normal populations one deviation apart have an area of 0.760."""
    rng = np.random.default_rng(0)
    inside = 0
    for _ in range(300):
        values = np.concatenate([rng.normal(1, 1, 30), rng.normal(0, 1, 30)])
        found = area(Labelled(values, np.arange(60) < 30, "least").area(), 30, 30)
        inside += found.low <= 0.7602 <= found.high
    assert 0.92 <= inside / 300 <= 0.985


# -- limits ----------------------------------------------------------------------------------


def test_a_limit_between_the_classes_is_round_and_makes_no_mistake() -> None:
    values = np.array([0.11, 0.2, 0.31, 0.38, 0.42, 0.58, 0.6, 0.71, 0.83, 0.9])
    found, remark = suggest(
        Labelled(values, values > 0.5, "least"), 0.05, strict=False, slip_cost=1.0, seed=0
    )
    assert found is not None
    assert (found.limit, found.lost, found.slipped, remark) == (0.5, 0, 0, "")
    assert (found.lost_now, found.slipped_now) == (0, 5)
    assert 0.05 < found.low <= found.limit <= found.high


def test_the_other_side_is_its_mirror_image() -> None:
    values = np.linspace(0, 1, 21)
    least, _ = suggest(
        Labelled(values, values > 0.47, "least"), 0.0, strict=False, slip_cost=1, seed=1
    )
    most, _ = suggest(
        Labelled(-values, values > 0.47, "most"), 0.0, strict=False, slip_cost=1, seed=1
    )
    assert least is not None
    assert most is not None
    assert (most.limit, most.low, most.high) == (-least.limit, -least.high, -least.low)


def test_dear_slips_move_the_limit_up() -> None:
    values = np.arange(20.0)
    keep = (values > 8) & (values != 12) & (values != 14)
    cheap, dear = (
        suggest(Labelled(values, keep, "least"), 0, strict=False, slip_cost=cost, seed=0)[0]
        for cost in (0.5, 5.0)
    )
    assert cheap is not None
    assert dear is not None
    assert cheap.limit < 12 < dear.limit
    assert (cheap.slipped, dear.slipped) == (2, 0)


@pytest.mark.parametrize(
    ("low", "high", "number"), [(0.42, 0.58, 0.5), (1234.0, 1299.0, 1270.0), (-3.0, 1.0, -1.0)]
)
def test_numbers_between_are_short(low: float, high: float, number: float) -> None:
    assert round_between(low, high) == number


def test_close_neighbours_are_told_apart() -> None:
    low, high = 0.1, np.nextafter(0.1, 1)
    assert low <= round_between(low, high) <= high


# -- gates -----------------------------------------------------------------------------------


def test_verdicts_are_counted_against_labels(catalog: Catalog) -> None:
    found = calibrate(catalog, labelled(lambda n: n >= 20), Recipe("r", GATES))
    motion = report(found, "motion").agreement
    assert (motion.kept_right, motion.lost) == (21, 19)  # 20 to 40 of 20 to 59
    assert (motion.slipped, motion.dropped_right) == (19, 0)
    assert motion.precision is not None
    assert motion.precision.value == 21 / 40
    grey = report(found, "grey")
    assert grey.limits == ()
    assert (grey.agreement.keeps, grey.agreement.drops) == (40, 19)
    assert found.whole is not None
    assert found.whole.agreement.keeps == 40
    assert (found.clips, found.labelled) == (CLIPS, CLIPS - 1)


def test_a_windows_limits_are_suggested_apart(catalog: Catalog) -> None:
    """People keep 5 to 15 pixels, the gate 0.5 to 20: both ends move to where people put them."""
    found = calibrate(catalog, labelled(lambda n: 10 <= n <= 30, "motion"), Recipe("r", GATES))
    motion = report(found, "motion")
    low, high = (item.suggestion for item in motion.limits)
    assert low is not None
    assert high is not None
    assert 4.5 < low.limit <= 5 <= 15 <= high.limit < 15.5
    assert (low.lost, low.slipped, high.lost, high.slipped) == (0, 0, 0, 0)
    assert motion.suggested == f"motion_px between {low.limit:g} and {high.limit:g}"
    assert motion.limits[0].yield_now == 40
    assert motion.limits[0].yield_then == 31
    points = {point.limit: point.yield_clips for point in motion.limits[1].curve}
    assert points[20.0] == 40
    assert list(points.values()) == sorted(points.values())
    assert report(found, "text").agreement.keeps == 0


@pytest.mark.parametrize(
    ("keep", "numbers", "words"),
    [
        (lambda n: True, range(1, CLIPS), "too few labels: 59 to keep and 0 to drop"),
        (lambda n: n % 2, range(11, 20), "too few labels"),
        (lambda n: n % 2, range(1, CLIPS), "its interval of AUC holds 0.5"),
        (lambda n: n < 20, range(1, 40), "the labels say the opposite"),
    ],
)
def test_no_limit_is_invented(catalog: Catalog, keep: Any, numbers: Any, words: str) -> None:
    recipe = Recipe("r", {"motion": "motion_px >= 0.5"})
    found = calibrate(catalog, labelled(keep, "motion", numbers), recipe)
    limit = report(found, "motion").limits[0]
    assert limit.suggestion is None
    assert words in limit.reason
    assert report(found, "motion").suggested is None


def test_a_good_limit_stays(catalog: Catalog) -> None:
    recipe = Recipe("r", {"motion": "motion_px >= 7.25"})
    found = report(calibrate(catalog, labelled(lambda n: n >= 15, "motion"), recipe), "motion")
    assert found.limits[0].suggestion is not None
    assert found.limits[0].suggestion.limit == 7.25
    assert found.suggested is None
    assert "no more mistakes" in found.limits[0].reason


def test_what_was_not_measured_counts_as_dropped(catalog: Catalog) -> None:
    labels = Labels({"motion": {name(0): True, name(1): True}})
    motion = report(calibrate(catalog, labels, Recipe("r", GATES)), "motion")
    assert (motion.unmeasured, motion.agreement.lost, motion.agreement.kept_right) == (1, 1, 1)
    assert (motion.limits[0].keeps, motion.limits[0].drops) == (1, 0)


def test_a_gates_own_labels_outweigh_those_of_the_clip() -> None:
    labels = Labels({None: {"a": True, "b": True}, "motion": {"a": False}})
    assert labels.of("motion") == {"a": False, "b": True}
    assert labels.of("text") == {"a": True, "b": True}


def test_the_same_seed_gives_the_same_report(catalog: Catalog) -> None:
    labels = labelled(lambda n: (n * 7) % 11 < n / 6)
    one, same = (calibrate(catalog, labels, Recipe("r", GATES), seed=1).to_dict() for _ in "ab")
    assert one == same


def test_every_gate_gets_a_picture(catalog: Catalog, tmp_path: Path) -> None:
    found = calibrate(catalog, labelled(lambda n: 10 <= n <= 30), Recipe("r", GATES))
    paths = list(write_charts(found, tmp_path / "pictures"))
    assert [path.name for path in paths] == [
        "motion.png", "grey.png", "text.png", "all-gates.png",
    ]  # fmt: skip
    pictures = [path.read_bytes() for path in paths]
    assert all(picture.startswith(b"\x89PNG") for picture in pictures)
    assert len(set(pictures)) == 4
    assert gate_chart(found.gates[0]) == pictures[0]


# -- labels ----------------------------------------------------------------------------------


def test_labels_are_read_with_gates_and_gaps(tmp_path: Path) -> None:
    file = tmp_path / "labels.csv"
    file.write_text("\ufeffclip_id,gate,label\na,motion,Keep\na,,drop \nb,,\n", encoding="utf-8")
    assert read_labels(file) == Labels({"motion": {"a": True}, None: {"a": False}}, empty=1)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("clip,label\n", ["no column 'clip_id'", "clipmill sample"]),
        ("clip_id,label\na,kep\n", ["labels.csv:2", "'kep'", "did you mean 'keep'"]),
        ("clip_id,label\na,keep\na,drop\n", ["labels.csv:3", "otherwise above"]),
        ("clip_id,label\n,keep\n", ["labels.csv:2", "no clip_id"]),
    ],
)
def test_wrong_labels_are_named_with_their_line(
    tmp_path: Path, text: str, words: list[str]
) -> None:
    file = tmp_path / "labels.csv"
    file.write_text(text)
    with pytest.raises(UsageError) as caught:
        read_labels(file)
    for word in words:
        assert word in str(caught.value)


def test_labels_that_fit_nothing_are_refused(catalog: Catalog) -> None:
    recipe = Recipe("r", GATES)
    with pytest.raises(UsageError, match="did you mean 'motion'"):
        calibrate(catalog, Labels({"moton": {name(1): True}}), recipe)
    with pytest.raises(UsageError, match="none of the 1 labelled clips"):
        calibrate(catalog, Labels({None: {"elsewhere": True}}), recipe)
    with pytest.raises(UsageError, match="no clip is labelled yet; 3 rows"):
        calibrate(catalog, Labels({}, empty=3), recipe)
    found = calibrate(catalog, Labels({None: {"elsewhere": True, name(1): True}}), recipe)
    assert found.unknown == ("elsewhere",)
