"""What is made of measured figures: rows, the page, and the calculation of limits."""

from __future__ import annotations

import pytest

from bench.limits import FRAMES_PER_S, METER_ROWS_PER_S, Part, most, parts_of
from bench.page import text
from bench.table import Row, figure, row

MEASURED = [
    row("meters", "SenML JSON to a meter's readings", 50_000.0, "packs/s", "peak", 16_700.0, ">= 1"),
    row("bus", "meter rows as blocks, client and bus", 0.4, "CPU us/row", "single", 400.0, "<= 0.02"),
    row("storage", "meter rows, client, plain", 0.2, "CPU us/row", "goal", 0.15, "<= 1"),
    row("storage", "meter rows, one per meter and block, plain", 100_000.0, "rows/CPU-s", "20", 2e5, ">= 0.35"),
    *(
        row("load", f"design load from C37.118 bytes: {part}", cores, "cores", "all", 0.5, "<= 1")
        for part, cores in {"decoding": 0.2, "intake": 0.1, "PostgreSQL": 0.2, "bus": 0.05}.items()
    ),
    row("detection", "all detectors, meter reading, fleet of 400", 5.0, "CPU us", "one core", 900.0, "<= 0.5"),
    row("detection", "all detectors, PMU frame, fleet of 400", 8.0, "CPU us", "one core", 20.0, "<= 0.5"),
]


@pytest.mark.parametrize(
    ("number", "shown"),
    [(0.0, "0"), (1234567.0, "1,230,000"), (99.96, "100"), (12.345, "12.3"), (0.01234, "0.0123"), (-3.0, "-3.00")],
)
def test_figures_have_three_digits(number: float, shown: str) -> None:
    assert figure(number) == shown


def test_costs_of_parts_are_those_of_the_rows() -> None:
    parts = {part.name: part for part in parts_of(MEASURED)}
    assert parts["PostgreSQL"].meter_us == pytest.approx(10.0 - 0.2)
    assert parts["PostgreSQL"].frame_us == pytest.approx(0.2 / 50_000 * 1e6)
    assert parts["detectors"].cores == pytest.approx((5.0 * METER_ROWS_PER_S + 8.0 * FRAMES_PER_S) / 1e6)


def test_the_limit_is_the_machine_until_one_process_has_its_core_full() -> None:
    parts = [Part("wide", 0.0, 10.0, True), Part("single", 0.0, 2.0, False)]  # 0.5 and 0.1 cores
    assert most(parts, 2) == (pytest.approx(2 / 0.6), "the machine, of which wide takes 83 %")
    assert most(parts, 8) == (pytest.approx(10.0), "single, one process")


def test_the_page_has_every_row_and_says_what_is_missing() -> None:
    ordered: list[Row] = sorted(MEASURED, key=lambda r: r["area"])
    page = text(ordered)
    assert all(f"| {r['name']} |" in page for r in ordered)
    assert "| **no** |" in page, "a missed goal is shown"
    assert "Fills a core" in page
    assert "Not calculated: bus" in text([r for r in ordered if r["area"] != "bus"])
