"""Rows of a benchmark: a figure of ours against another figure of the same run, and whether the goal holds."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import TextIO, TypedDict


class Row(TypedDict):
    """One line of bench/results.json. `ratio` is value / against_value, `goal` a text like ">= 0.2"."""

    area: str
    name: str
    value: float
    unit: str
    against: str
    against_value: float
    ratio: float
    goal: str
    holds: bool


_COMPARE: dict[str, Callable[[float, float], bool]] = {
    ">=": lambda ratio, bound: ratio >= bound,
    "<=": lambda ratio, bound: ratio <= bound,
}


def row(area: str, name: str, value: float, unit: str, against: str, against_value: float, goal: str) -> Row:
    """A row with its ratio and verdict; `goal` is ">= x" or "<= x" and is about the ratio.

    >>> row("bus", "block", 300.0, "rows/s", "row per message", 2.0, ">= 100")["holds"]
    True
    """
    sign, bound = goal.split()
    ratio = value / against_value
    holds = _COMPARE[sign](ratio, float(bound))
    return Row(
        area=area,
        name=name,
        value=value,
        unit=unit,
        against=against,
        against_value=against_value,
        ratio=ratio,
        goal=goal,
        holds=holds,
    )


def figure(number: float) -> str:
    """Three significant digits, thousands apart, no exponent where people would not write one.

    >>> figure(1234567.0), figure(0.01234), figure(12.345)
    ('1,230,000', '0.0123', '12.3')
    """
    if number == 0 or not 1e-4 <= abs(number) < 1e12:
        return f"{number:.3g}"
    digits = 2 - int(f"{number:.2e}".partition("e")[2])
    return f"{round(number, digits):,.{max(0, digits)}f}"


def show(rows: Sequence[Row], out: TextIO = sys.stdout) -> None:
    """Print a table, one line per row."""
    head = ("area", "name", "value", "unit", "against", "value", "ratio", "goal", "holds")
    lines = [head, *(_line(r) for r in rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(head))]
    for line in lines:
        out.write("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() + "\n")


def _line(r: Row) -> tuple[str, ...]:
    value, other = figure(r["value"]), figure(r["against_value"])
    verdict = "yes" if r["holds"] else "NO"
    return (r["area"], r["name"], value, r["unit"], r["against"], other, figure(r["ratio"]), r["goal"], verdict)
