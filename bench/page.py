"""docs/benchmarks.md, written from the rows of bench/results.json, so that no figure is ever copied by hand."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path

from bench.limits import section
from bench.table import Row, figure

PAGE = Path(__file__).resolve().parent.parent / "docs" / "benchmarks.md"
_HEAD = """# Benchmarks

`make bench` writes this page from what it has measured; nothing here is edited by hand. Every row is a figure of ours
against a limit or a peer of the same run, so that a busy or a slow machine changes both. Machine: {cores} cores,
{machine}, Python {python}; database, bus and load share them. Its load average in the last five minutes of the run was
{busy:.1f}: what is beyond {cores} waited, which lengthens times by the wall clock (s, ms, rows/s), and CPU times less.
A goal that is missed says **no**.
"""
_TITLES = {
    "intake": "Decoding phasors",
    "meters": "Decoding meters, stations, logs",
    "bus": "Bus",
    "storage": "Storing",
    "queries": "Queries",
    "load": "The design load, at its pace",
    "growth": "More workers",
    "detection": "Detectors",
    "desk": "Desk",
    "federation": "Federation",
}


def text(rows: Sequence[Row]) -> str:
    """The whole page of rows sorted by area."""
    return "\n".join((_head(), *_tables(rows), *section(rows))) + "\n"


def _head() -> str:
    return _HEAD.format(
        cores=os.cpu_count(), machine=platform.machine(), python=platform.python_version(), busy=os.getloadavg()[1]
    )


def _tables(rows: Sequence[Row]) -> Iterator[str]:
    for area, of_area in groupby(rows, key=lambda r: r["area"]):
        yield f"## {_TITLES[area]}\n"
        yield "| what | figure | against | figure | ratio | goal | holds |"
        yield "|---|---:|---|---:|---:|---|---|"
        yield from map(_line, of_area)
        yield ""


def _line(r: Row) -> str:
    ours, other = (f"{figure(value)} {r['unit']}" for value in (r["value"], r["against_value"]))
    verdict = "yes" if r["holds"] else "**no**"
    return f"| {r['name']} | {ours} | {r['against']} | {other} | {figure(r['ratio'])} | {r['goal']} | {verdict} |"
