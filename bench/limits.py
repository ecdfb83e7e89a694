"""Which part of a centre is the limit, and from which load on: calculated from the measured CPU per row of each part.

A load is a multiple of the design load (1,000,000 meters at 15 min, 1,000 PMUs at 50 frames/s). Parts that are one
process can fill one core and no more; the others spread over several. All parts together cannot use more than the
machine has. Costs are taken as proportional to the rows, which is so for blocks of thousands of rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from bench.table import Row, figure

METER_ROWS_PER_S = 1_000_000 / 900
FRAMES_PER_S = 50_000.0
MACHINES = (2, 8)


@dataclass(frozen=True)
class Part:
    """CPU of one part in us per meter row and per frame. `spreads`: over several processes or connections."""

    name: str
    meter_us: float
    frame_us: float
    spreads: bool

    @property
    def cores(self) -> float:
        """Cores that the design load needs of this part."""
        return (self.meter_us * METER_ROWS_PER_S + self.frame_us * FRAMES_PER_S) / 1e6


def section(rows: Sequence[Row]) -> Iterator[str]:
    """Lines of the page; none where an area that it needs was never measured."""
    try:
        parts = parts_of(rows)
    except LookupError as missing:
        yield f"## Which part is the limit\n\nNot calculated: {missing.args[0]} was not measured yet."
        return
    yield from _costs(parts)
    yield ""
    yield from _verdicts(parts)


def parts_of(rows: Sequence[Row]) -> list[Part]:
    """Costs out of the measured rows. Raises LookupError naming the row that is missing."""

    def value(area: str, start: str) -> float:
        for r in rows:
            if r["area"] == area and r["name"].startswith(start):
                return r["value"]
        raise LookupError(f"{area}, {start}")

    def per_frame_us(start: str) -> float:
        """Of cores used by the frames of the design load; the few meter rows beside them are counted in."""
        return value("load", f"design load from C37.118 bytes: {start}") / FRAMES_PER_S * 1e6

    once = 1e6 / value("storage", "meter rows, one per meter and block, plain")
    client = value("storage", "meter rows, client, plain")
    bus = value("bus", "meter rows as blocks, client and bus")
    return [
        Part("decoding", 1e6 / value("meters", "SenML JSON to a meter's readings"), per_frame_us("decoding"), True),
        Part("intake: sort, encode, send", client + bus / 2, per_frame_us("intake"), True),
        Part("PostgreSQL", once - client, per_frame_us("PostgreSQL"), True),
        Part("bus", bus / 2, per_frame_us("bus"), False),
        Part("detectors", value("detection", "all detectors, meter"), value("detection", "all detectors, PMU"), False),
    ]


def _costs(parts: Sequence[Part]) -> Iterator[str]:
    yield "## Which part is the limit\n"
    yield (
        "CPU per row of each part, from the rows above; a meter sends one reading every 15 min, a PMU 50 frames/s. The "
        'design load is 1,000,000 meters and 1,000 PMUs. "Fills a core" counts one kind of device alone.\n'
    )
    yield "| part | us per reading | us per frame | design load, cores | meters that fill a core | PMUs that do |"
    yield "|---|---:|---:|---:|---:|---:|"
    for part in parts:
        meters, pmus = 900e6 / part.meter_us, 1e6 / 50 / part.frame_us
        numbers = (part.meter_us, part.frame_us, part.cores, meters, pmus)
        yield f"| {part.name} | {' | '.join(map(figure, numbers))} |"


def _verdicts(parts: Sequence[Part]) -> Iterator[str]:
    yield "| cores | carries, times the design load | meters and PMUs | the limit is |"
    yield "|---:|---:|---|---|"
    for cores in MACHINES:
        times, limit = most(parts, cores)
        load = f"{figure(times * 1e6)} and {figure(times * 1e3)}"
        yield f"| {cores} | {figure(times)} | {load} | {limit} |"


def most(parts: Sequence[Part], cores: int) -> tuple[float, str]:
    """The largest multiple of the design load, and what stops it there: a part that is one process and has its core
    full, or the machine, whose largest part is named.

    >>> most([Part("a", 0, 10, True), Part("b", 0, 2, False)], 2)
    (3.3333333333333335, 'the machine, of which a takes 83 %')
    >>> most([Part("a", 0, 10, True), Part("b", 0, 2, False)], 8)
    (10.0, 'b, one process')
    """
    total = sum(part.cores for part in parts)
    single = max((part for part in parts if not part.spreads), key=lambda part: part.cores)
    if 1.0 / single.cores < cores / total:
        return 1.0 / single.cores, f"{single.name}, one process"
    largest = max(parts, key=lambda part: part.cores)
    return cores / total, f"the machine, of which {largest.name} takes {largest.cores / total:.0%}".replace("%", " %")
