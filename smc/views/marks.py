"""Small parts that several pages of this centre share. Pure functions of data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dash import html

from model.device import Provenance
from model.finding import Evidence
from model.incident import CLOSED, Status
from smc.store.desk import DeviceName
from smc.views.words import STATUS_WORDS, quantity, signal_words
from web import parts, table

Component = Any
OPEN_ABOVE = 1e9
TONES = {Status.NEW: "accent", Status.INVESTIGATING: "medium", Status.CONTAINED: "low"}


def status_chip(status: Status) -> Component:
    """Where an incident stands: dot, words, colour."""
    tone = TONES.get(status, "ok" if status in CLOSED else "muted")
    return parts.status(STATUS_WORDS[status], tone)


def origin_marks(provenances: Sequence[Provenance]) -> list[Component]:
    """A mark for everything that is not measured, each once."""
    return [parts.provenance(p) for p in Provenance if p in provenances and p is not Provenance.MEASURED]


def device_link(device: DeviceName | None, index: int, query: str = "") -> Component:
    """A device's name, leading to its page; `query` is further parameters, "&finding=…"."""
    name = device.name if device else f"device {index} (not enrolled any more)"
    return parts.link(name, f"/device?index={index}{query}", "mono")


def as_table(head: Sequence[str], rows: Sequence[Sequence[Any]], title: str = "View as table") -> Component:
    """The numbers of a figure, folded away until somebody asks."""
    return html.Details([html.Summary(title), table.plain_table(head, rows)], className="as-table")


def evidence_table(evidence: Sequence[Evidence]) -> Component:
    """Observed against expected, one row per signal: a scale with its band, then the numbers in units."""
    head = ("Signal", "Observed", "Expected", "Band", "Observed in its band", "Share of the score")
    rows = [
        (
            html.Strong(signal_words(e.signal)),
            html.Span(quantity(e.observed, e.unit), className="number"),
            html.Span(quantity(e.expected, e.unit), className="number"),
            html.Span(band_words(e), className="number muted"),
            scale(e),
            html.Span(f"{e.share:.0%}", className="number"),
        )
        for e in evidence
    ]
    return table.plain_table(head, rows)


def open_above(e: Evidence) -> bool:
    """Whether the band has no upper end worth printing: detectors write one far past anything a grid can show."""
    return e.upper >= OPEN_ABOVE


def band_words(e: Evidence) -> str:
    """The band in units: "49.99 Hz … 50.01 Hz", or "from 120 V" where it is open above."""
    if open_above(e):
        return f"from {quantity(e.lower, e.unit)}"
    return f"{quantity(e.lower, e.unit)} … {quantity(e.upper, e.unit)}"


def scale(e: Evidence) -> Component:
    """A small scale: the band as a soft fill, the expected value as a tick, the observed one as a diamond."""
    band, expected, observed = scale_places(e)
    inside = e.lower <= e.observed <= e.upper
    said = (
        f"{signal_words(e.signal)}: observed {quantity(e.observed, e.unit)}, "
        f"{'inside' if inside else 'outside'} the band {band_words(e)}"
    )
    return html.Div(
        [
            html.Span(className="scale-band", style={"left": f"{band[0]:.2f}%", "width": f"{band[1] - band[0]:.2f}%"}),
            html.Span(className="scale-expected", style={"left": f"{expected:.2f}%"}),
            html.Span(
                className=f"scale-observed {'inside' if inside else 'outside'}", style={"left": f"{observed:.2f}%"}
            ),
        ],
        className="scale",
        role="img",
        title=said,
        **{"aria-label": said},
    )


def scale_places(e: Evidence) -> tuple[tuple[float, float], float, float]:
    """Places in percent of the scale's width: (band's ends), expected, observed; 6 % of room at both ends."""
    upper_end = 1.25 * max(e.observed, e.expected, e.lower, 1e-9) if open_above(e) else e.upper
    low, high = min(e.lower, e.observed, e.expected), max(upper_end, e.observed, e.expected)
    width = high - low or 1.0

    def place(value: float) -> float:
        return 6.0 + 88.0 * (value - low) / width

    lower, upper = place(e.lower), place(upper_end)
    return (lower, max(upper, lower + 0.8)), place(e.expected), place(e.observed)


def hatched_share(reporting: int, enrolled: int, seen: int) -> Component:
    """A bar of who reports: solid is reporting, hollow was seen and is silent, hatched was never observed."""
    total = max(enrolled, 1)
    shares = (("reporting", reporting), ("silent", max(seen - reporting, 0)), ("unseen", max(enrolled - seen, 0)))
    said = (
        f"{reporting} of {enrolled} report, {max(seen - reporting, 0)} silent, {max(enrolled - seen, 0)} never observed"
    )
    pieces = [
        html.Span(className=f"coverage-{name}", style={"width": f"{100 * n / total:.2f}%"}) for name, n in shares if n
    ]
    return html.Div(pieces, className="coverage", role="img", title=said, **{"aria-label": said})
