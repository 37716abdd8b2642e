"""Charts put points where they belong and choose axes that a person can read."""

import re

import pytest
from pages import Page

from polaris_jax.report.charts import ChartFrame, Series, line_chart, nice_ticks, tick_label
from polaris_jax.report.curves import change, median, moving_average, points

FRAME = ChartFrame(200, 100, left=0, right=0, top=0, bottom=0)


def drawn(curve, css="plain mean", **options):
    page = Page(line_chart([Series("a", "plain", curve)], "a curve", frame=FRAME, **options))
    tags = [value for tag, name, value in page.attributes if tag == "path" and name in ("class", "d")]
    path = tags[tags.index(css) + 1]
    return [tuple(map(float, pair)) for pair in re.findall(r"([-\d.]+) ([-\d.]+)", path)]


def test_points_land_on_their_coordinates():
    assert drawn([(0, 0), (5, 5), (10, 10)], smooth=False) == [(0, 100), (100, 50), (200, 0)]


def test_limits_widen_the_axis():
    assert drawn([(0, 5), (10, 10)], smooth=False, limits=(0, 20)) == [(0, 75), (200, 50)]


def test_raw_values_lie_under_their_average():
    curve = [(step, step % 2) for step in range(9)]
    assert [y for _, y in drawn(curve, css="plain raw")] == [100 if y == 0 else 0 for _, y in curve]
    assert max(y for _, y in drawn(curve)[1:-1]) < 100


def test_one_point_and_a_flat_curve_can_be_drawn():
    assert "<circle" in line_chart([Series("a", "plain", [(3, 2.5)])], "one step")
    assert drawn([(0, 2.0), (1, 2.0)], smooth=False)[0][1] == drawn([(0, 2.0), (1, 2.0)], smooth=False)[1][1]


def test_labels_are_escaped():
    assert "<b>" not in line_chart([Series("a", '"><b>', [(0, 1), (1, 2)])], '"><b>')


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [
        (0, 10, [0, 2, 4, 6, 8, 10]),
        (0.1, 0.9, [0, 0.2, 0.4, 0.6, 0.8, 1.0]),
        (-3, 4, [-4, -2, 0, 2, 4]),
        (1.2e-5, 9e-5, [0, 2e-5, 4e-5, 6e-5, 8e-5, 1e-4]),
    ],
)
def test_ticks_are_round_numbers_around_the_data(low, high, ticks):
    assert nice_ticks(low, high) == ticks


@pytest.mark.parametrize(
    ("value", "label"),
    [
        (0, "0"),
        (2.5, "2.5"),
        (-1, "−1"),
        (4000, "4000"),
        (20_000, "20k"),
        (2e-5, "2e−5"),
        (1.5e-4, "1.5e−4"),
    ],
)
def test_tick_labels_are_short(value, label):
    assert tick_label(float(value)) == label


def test_a_moving_average_keeps_lines_straight_and_ends_in_place():
    line = [(step, 2.0 * step) for step in range(20)]
    assert moving_average(line, 5) == line
    assert moving_average([(0, 0), (1, 3), (2, 0)], 3) == [(0, 0), (1, 1), (2, 0)]


def test_quarters_are_of_the_steps_that_report_the_metric():
    records = [{"step": step, "loss": float(step)} for step in range(16)]
    for record in records[1::2]:
        record["loss/prose"] = 10.0 * record["step"]
    assert (change(records, "loss").first, change(records, "loss").last) == (1.5, 13.5)
    assert (change(records, "loss/prose").first, change(records, "loss/prose").last) == (20, 140)
    assert change(records, "loss/copy") is None
    assert points([{"step": 1, "loss": float("nan")}, {"step": 2, "loss": None}, {"loss": 1.0}], "loss") == []


def test_median_of_even_and_odd_and_nothing():
    assert (median([3, 1, 2]), median([4, 1, 2, 3]), median([])) == (2, 2.5, None)
