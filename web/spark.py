"""Sparklines as SVG masks: no chart library, a few hundred bytes, and the theme's colour."""

from __future__ import annotations

import math
from collections.abc import Sequence
from urllib.parse import quote

WIDTH, HEIGHT, STROKE = 96.0, 24.0, 1.5
MOST_POINTS = 96


def spark_uri(values: Sequence[float]) -> str:
    """A data URI of the line through `values` (any unit; non-finite values leave a gap), for use as a CSS mask."""
    path = spark_path(values[-MOST_POINTS:])
    svg = (
        f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {WIDTH:g} {HEIGHT:g}' preserveAspectRatio='none'>"
        f"<path d='{path}' fill='none' stroke='#000' stroke-width='{STROKE:g}' stroke-linejoin='round' "
        "vector-effect='non-scaling-stroke'/></svg>"
    )
    return f'"data:image/svg+xml,{quote(svg, safe="")}"'


def spark_path(values: Sequence[float]) -> str:
    """Path data scaled to the box; a constant series is a line in the middle.

    >>> spark_path([0.0, 1.0])
    'M0,22.5L96,1.5'
    """
    finite = [v for v in values if math.isfinite(v)]
    if not finite:
        return ""
    low, span = min(finite), max(finite) - min(finite)
    step = WIDTH / max(len(values) - 1, 1)
    parts: list[str] = []
    pen_up = True
    for i, value in enumerate(values):
        if not math.isfinite(value):
            pen_up = True
            continue
        share = (value - low) / span if span > 0 else 0.5
        y = HEIGHT - STROKE - share * (HEIGHT - 2 * STROKE)
        parts.append(f"{'M' if pen_up else 'L'}{i * step:.5g},{y:.5g}")
        pen_up = False
    return "".join(parts)
