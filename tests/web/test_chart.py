"""Charts are plain dicts: in units, in the theme, small, with gaps where nothing was observed."""

from __future__ import annotations

import base64
import json
import math

import numpy as np
import pytest

from web import chart
from web.spark import spark_path, spark_uri
from web.theme import DARK


def unpacked(packed: dict[str, str]) -> list[float]:
    return np.frombuffer(base64.b64decode(packed["bdata"]), f"<{packed['dtype']}").tolist()  # type: ignore[no-any-return]


def test_time_is_in_epoch_milliseconds() -> None:
    assert chart.epoch_ms([1_700_000_000_123_456_789]).tolist() == [1_700_000_000_123.456789]


def test_a_line_keeps_values_and_gaps() -> None:
    made = chart.line("meter", [1.0, 2.0, 3.0], [230.5, float("nan"), 231.25])
    assert unpacked(made["x"]) == [1.0, 2.0, 3.0]
    y = unpacked(made["y"])
    assert (y[0], y[2]) == (230.5, 231.25)
    assert math.isnan(y[1])
    assert not made["connectgaps"]


def test_a_figure_names_its_unit_and_zone_and_stays_small() -> None:
    x, y = np.arange(2000.0), np.sin(np.arange(2000.0))
    traces = [*chart.band(x, y - 1, y + 1), chart.line("voltage", x, y)]
    made = chart.figure(traces, unit="voltage (V)", spans=[(10.0, 20.0, "critical")])
    assert made["layout"]["yaxis"]["title"]["text"] == "voltage (V)"
    assert made["layout"]["xaxis"]["title"]["text"] == "UTC"
    assert made["layout"]["shapes"][0]["fillcolor"] == DARK.critical
    assert "template" in made["layout"]
    assert len(json.dumps(chart.figure(traces[-1:], unit="V"))) < 60_000


def test_the_band_lies_between_its_limits_and_before_the_line() -> None:
    low, high = chart.band([1.0], [2.0], [3.0])
    assert (unpacked(low["y"]), unpacked(high["y"])) == ([2.0], [3.0])
    assert high["fill"] == "tonexty"
    assert not low["showlegend"]


def test_too_many_points_are_refused() -> None:
    with pytest.raises(ValueError, match="thin it first"):
        chart.line("x", np.zeros(5000), np.zeros(5000))


def test_anomalies_differ_by_shape_not_only_by_colour() -> None:
    shapes = {chart.marks("f", [1], [1], severity=s)["marker"]["symbol"] for s in chart.MARK_SHAPES}
    assert len(shapes) == 4


def test_the_map_never_shows_a_suppressed_number() -> None:
    made = chart.choropleth({"DE": 4.0}, unit="incidents", suppressed=["LU"], members=["FR"])
    ground, shown, hatched = made["data"]
    assert shown["locations"] == ["DE"]
    assert "LU" in ground["locations"]
    assert hatched["locations"] == ["LU"]
    assert "suppressed" in ground["text"][ground["locations"].index("LU")]
    assert "not observed" in ground["text"][ground["locations"].index("PL")]
    assert made["data"][0]["geojson"].startswith("/assets/")


@pytest.mark.parametrize(
    ("values", "path"),
    [
        ([], ""),
        ([float("nan")], ""),
        ([0.0, 1.0], "M0,22.5L96,1.5"),
        ([5.0, 5.0, 5.0], "M0,12L48,12L96,12"),
        ([0.0, float("nan"), 1.0], "M0,22.5M96,1.5"),
        ([float("inf"), 0.0, 1.0], "M48,22.5L96,1.5"),
    ],
)
def test_sparklines_leave_gaps(values: list[float], path: str) -> None:
    assert spark_path(values) == path
    assert "'" not in spark_uri(values)
    assert ";" not in spark_uri(values).replace("image/svg+xml,", "")
