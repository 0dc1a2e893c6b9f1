"""The drawings of a comparison: the front, places of names, predictions, colours, the headline."""

import itertools
import math
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from comparisons import METHODS, tuned, whole, with_problems
from hypothesis import given, settings
from hypothesis import strategies as st

import copydesk.app.report
from copydesk.app.report import headline, measures
from copydesk.app.report._axes import LogScale, Unit, log_ticks, padded_ratio
from copydesk.app.report._forgetting import forgetting_bars, forgetting_table
from copydesk.app.report._labels import HEIGHT, Box, around, place_labels
from copydesk.app.report._predicted import predictions, predictions_met, predictions_table
from copydesk.app.report._sweep import sweep_summary, sweep_table
from copydesk.app.report._symbols import symbol
from copydesk.app.report._tradeoff import pareto_front, price_unit, tradeoff_table

Floats = np.ndarray
prices = st.tuples(st.integers(0, 6).map(float), st.integers(-3, 6).map(float))


@given(st.lists(prices, max_size=9))
def test_the_front_is_what_a_sweep_by_rising_price_keeps(points: list[tuple[float, float]]) -> None:
    kept: list[tuple[float, float]] = []
    for price, equals in itertools.groupby(sorted(points), key=lambda point: point[0]):
        group = list(equals)
        best = max(gain for _, gain in group)
        if not kept or best > kept[-1][1]:
            kept += [(price, gain) for _, gain in group if gain == best]
    assert [points[n] for n in pareto_front(points)] == kept


def test_what_a_free_baseline_beats_is_on_no_front() -> None:
    comparison = whole(7)
    prompted = replace(comparison.rows[1], relative_performance=90.0)
    better = replace(comparison, rows=(comparison.rows[0], prompted, *comparison.rows[2:]))
    on_front = {line.name for line in tradeoff_table(better).lines if line.cells[-1].value == "yes"}
    assert on_front == {"LoRA", "DoRA", "Full fine-tuning"}


def test_the_price_is_dollars_only_where_all_have_them() -> None:
    comparison = whole(3)
    assert price_unit(comparison) == "money"
    assert tradeoff_table(comparison).columns[0] == "Cost"
    rows = (*comparison.rows[:-1], replace(comparison.rows[-1], cost_usd=None))
    assert price_unit(replace(comparison, rows=rows)) == "time"
    assert price_unit(replace(comparison, rows=comparison.rows[:2])) == "time"


AREA = Box(left=46, top=18, right=358, bottom=292)


@settings(deadline=None, max_examples=40)
@given(
    st.lists(st.tuples(st.floats(46, 358), st.floats(18, 292)), max_size=9),
    st.lists(st.floats(30, 80), min_size=9, max_size=9),
)
def test_names_never_cover_one_another(
    points: list[tuple[float, float]], widths: list[float]
) -> None:
    taken = [around(x, y, 7) for x, y in points]
    boxes = place_labels(points, widths[: len(points)], area=AREA, taken=taken)
    for box, width in zip(boxes, widths, strict=False):
        assert box.right - box.left == pytest.approx(width)
        assert box.bottom - box.top == pytest.approx(HEIGHT)
        assert AREA.holds(box)
    for one, other in itertools.combinations(boxes, 2):
        assert not one.meets(other)
    assert not any(box.meets(mark) for box in boxes for mark in taken)


@settings(deadline=None)
@given(
    st.floats(1e-4, 1e6), st.floats(1.5, 1e7), st.floats(200, 700),
    st.sampled_from(["time", "money", "data"]),
)  # fmt: skip
def test_log_ticks_are_round_and_stand_apart(
    low: float, ratio: float, pixels: float, unit: Unit
) -> None:
    scale = LogScale(low=low, high=low * ratio, start=0.0, end=pixels)
    made = log_ticks(scale, unit, 60.0)
    assert all(low <= value <= low * ratio for value, _ in made)
    places = [scale(value) for value, _ in made]
    assert all(after - before >= 60 for before, after in itertools.pairwise(places))
    if unit != "time":
        figures = [float(f"{value:e}".split("e")[0]) for value, _ in made]
        assert set(figures) <= {1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0}


@given(st.lists(st.floats(1e-3, 1e9), max_size=6), st.floats(1.1, 3), st.floats(1.5, 20))
def test_a_ratio_range_holds_its_values_and_is_wide_enough(
    values: list[float], room: float, least: float
) -> None:
    low, high = padded_ratio(values, room=room, least=least)
    assert high / low >= least * 0.999
    assert all(low < value < high for value in values)


def test_a_bar_is_as_long_as_its_figure() -> None:
    comparison = whole(7)
    panels = dict(forgetting_bars(comparison, key="k"))
    assert len(panels) == 3
    widths = [
        float(width)
        for width in re.findall(r'<rect [^>]*width="([\d.]+)"', panels["Loss on general text"])
    ]
    figures = [abs(row.forgetting or 0.0) for row in comparison.rows[2:]]
    scale = widths[0] / figures[0]
    assert widths == pytest.approx([max(1.0, scale * figure) for figure in figures], abs=0.15)
    table = forgetting_table(comparison)
    assert [cell.value for cell in table.lines[0].cells] == [
        "+0.051", "\u22120.120", "\u221221 points",
    ]  # fmt: skip
    alone = replace(comparison, rows=comparison.rows[:2])
    assert forgetting_bars(alone, key="k") == []


def test_predictions_are_counted_by_hand() -> None:
    comparison = whole(7)
    assert [name for name, _ in predictions(comparison, key="k")] == [
        "Peak memory", "Time an epoch",
    ]  # fmt: skip
    memory = [0.97, 1.04, 0.85, 1.0, 1.02, 1.01, 0.95]
    seconds = [1.08, 0.93, 1.2, 0.99, 1.31, 1.04, 1.0]
    met = [sum(abs(1 / share - 1) <= 0.10 for share in shares) for shares in (memory, seconds)]
    assert predictions_met(comparison) == (
        f"Within 10% of the prediction: {met[0]} of 7 memory figures and {met[1]} of 7 times."
    )
    said = [line.cells[2].value for line in predictions_table(comparison).lines]
    assert said[:3] == ["+3%", "\u22124%", "+18%"]
    # A run that was cut is not what was predicted.
    assert "of 2 memory figures" in predictions_met(with_problems())


def test_the_rate_that_was_taken_is_marked_and_its_cost_summed() -> None:
    comparison = whole(3)
    table = sweep_table(comparison)
    assert table is not None
    assert [line.tag for line in table.lines] == ["", "Chosen", ""] * 3
    assert [line.cells[1].value for line in table.lines[:3]] == ["3.020", "2.980", "diverged"]
    assert sweep_summary(comparison).startswith("9 short runs, 3 min 6 s in all")
    unknown = replace(comparison.rows[2], sweep_seconds=None)
    assert sweep_summary(replace(comparison, rows=(unknown,), spent_seconds=None)) == (
        "3 short runs, 1 min 1 s in all"
    )
    assert sweep_table(replace(comparison, rows=comparison.rows[:2])) is None


def test_columns_without_a_figure_are_left_out() -> None:
    bare = replace(whole(0), recommended=None)
    table = measures(bare)
    assert table.columns == ("Relative performance (full = 100%)", "Held-out loss")
    assert table.groups == (("Quality", 2),)
    everything = measures(whole(7))
    assert sum(span for _, span in everything.groups) == len(everything.columns) == 12
    assert all(len(line.cells) == 12 for line in everything.lines)


def test_the_headline_says_what_to_use_and_why() -> None:
    comparison = whole(3)
    full = replace(comparison, recommended="full")
    assert headline(full) == (
        "Use full fine-tuning: the nearest other method, LoRA, reached 96% of its gain"
        " (95% interval 91 to 101)."
    )
    assert headline(replace(comparison, recommended=None)) == ""
    strong = replace(comparison.rows[1], heldout_loss=2.9)
    rows = (comparison.rows[0], strong, *comparison.rows[2:])
    assert headline(replace(comparison, rows=rows)) == (
        "Use the untuned base with style guide and examples in its prompt: no tuning method did"
        " better on pages that none of them had seen."
    )
    lora = replace(
        comparison.rows[3], relative_performance=None, relative_performance_ci=None, tied_with=()
    )
    assert headline(replace(comparison, rows=(comparison.rows[0], lora))) == (
        "Use LoRA: its loss on held-out pages is 2.943."
    )


STYLE = (Path(copydesk.app.report.__file__).parent / "report.css").read_text(encoding="utf-8")
DEFICIENCIES = {
    "none": np.eye(3),
    "deuteranopia": np.array(
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413],
         [-0.011820, 0.042940, 0.968881]]
    ),
    "protanopia": np.array(
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216],
         [-0.003882, -0.048116, 1.051998]]
    ),
}  # fmt: skip
"""Of linear sRGB, severity 1 (Machado, Oliveira and Fernandes 2009)."""


def colours(scheme: str) -> dict[str, Floats]:
    """Names of the style's colours, as linear sRGB; dark is the second block of the sheet."""
    block = STYLE.split(":root {")[1 if scheme == "light" else 2].split("}")[0]
    found = dict(re.findall(r"--([a-z-]+): (#[0-9a-f]{3,6})", block))
    raw = {
        name: np.array([int(value[at : at + 2], 16) for at in (1, 3, 5)]) / 255
        for name, value in found.items()
        if len(value) == 7
    }
    return {
        name: np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)
        for name, value in raw.items()
    }


def oklab(colour: Floats) -> Floats:
    """Ottosson 2020."""
    cones = np.array(
        [[0.4122214708, 0.5363325363, 0.0514459929], [0.2119034982, 0.6806995451, 0.1073969566],
         [0.0883024619, 0.2817188376, 0.6299787005]]
    )  # fmt: skip
    axes = np.array(
        [[0.2104542553, 0.7936177850, -0.0040720468], [1.9779984951, -2.4285922050, 0.4505937099],
         [0.0259040371, 0.7827717662, -0.8086757660]]
    )  # fmt: skip
    return axes @ np.cbrt(cones @ np.clip(colour, 0, 1))


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("sight", DEFICIENCIES)
def test_methods_can_be_told_apart(scheme: str, sight: str) -> None:
    found = colours(scheme)
    names = ["base", "prompted", *METHODS]
    seen = {name: oklab(DEFICIENCIES[sight] @ found[name]) for name in names}
    for one, other in itertools.combinations(names, 2):
        # Three times what is just noticed (0.02 in OKLab); each has a shape of its own besides.
        assert math.dist(seen[one], seen[other]) > 0.06, (one, other)
    light = np.array([0.2126, 0.7152, 0.0722])
    for name in names:
        for behind in ("card", "soft"):
            a, b = sorted((light @ found[name], light @ found[behind]))
            assert (b + 0.05) / (a + 0.05) >= 3.0, (name, behind)


def test_each_method_has_a_shape_of_its_own() -> None:
    shapes = {
        re.sub(r' class="[^"]*"', "", symbol(name, 6, 6, 4.4))
        for name in ("base", "prompted", *METHODS, "something new")
    }
    assert len(shapes) == 10


def test_a_long_strange_name_is_cut_in_drawings() -> None:
    row = replace(tuned(1, "m" * 40), tied_with=())
    comparison = replace(whole(1), rows=(*whole(1).rows, row))
    drawn = dict(forgetting_bars(comparison, key="k"))["Loss on general text"]
    assert ">" + "m" * 15 + "\u2026<" in drawn
    assert ">" + "m" * 17 not in re.sub(r"<desc.*?</desc>", "", drawn)
