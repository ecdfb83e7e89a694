"""The only maker of graphs: plain dicts in the theme's template, epoch milliseconds, units on axes.

Series are plain dicts made by `line`, `band`, `marks`, `bars`; `figure` puts them into a layout; `chart` shows the
figure with title, unit and one sentence. Arrays travel as base64 of float64 (time) and float32 (values).
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from dash import dcc, html

from web.theme import Tokens, chart_template, mix, tokens

Numbers = Sequence[float] | npt.NDArray[Any]
Trace = dict[str, Any]
MOST_POINTS = 4_000  # of one series; more is thinned by the caller (tsdownsample)
EUROPE = "/assets/europe.geojson"
EUROPE_FILE = Path(__file__).parent.parent / "assets" / "europe.geojson"
MARK_SHAPES = {"critical": "diamond", "high": "triangle-up", "medium": "circle", "low": "square"}
CONFIG = {
    "displaylogo": False,
    "showSendToCloud": False,
    "responsive": True,
    "scrollZoom": False,
    "modeBarButtonsToRemove": ["select2d", "lasso2d", "autoScale2d", "toImage"],
}


def epoch_ms(time_ns: npt.NDArray[np.int64] | Sequence[int]) -> npt.NDArray[np.float64]:
    """Milliseconds since 1970 of nanoseconds: the x of every time axis."""
    return np.asarray(time_ns, dtype=np.int64) / 1e6


def line(
    name: str, x: Numbers, y: Numbers, *, colour: str = "accent", dash: str = "solid", shape: str = "linear"
) -> Trace:
    """A line; x in epoch ms or any number, y in the unit of the axis, NaN leaves a gap. `colour` is a token name."""
    return {
        "type": "scatter",
        "mode": "lines",
        "name": name,
        "x": _packed(x, "f8"),
        "y": _packed(y, "f4"),
        "line": {"color": _colour(colour), "width": 1.5, "dash": dash, "shape": shape},
        "connectgaps": False,
    }


def band(x: Numbers, lower: Numbers, upper: Numbers, *, name: str = "expected") -> list[Trace]:
    """The band in which a signal was expected, as a soft fill: two traces, put them before the line."""
    common = {"type": "scatter", "mode": "lines", "x": _packed(x, "f8"), "line": {"width": 0}, "hoverinfo": "skip"}
    low = common | {"y": _packed(lower, "f4"), "showlegend": False, "name": f"{name} (lower)"}
    high = common | {"y": _packed(upper, "f4"), "name": name, "fill": "tonexty", "fillcolor": tokens().band}
    return [low, high]


def marks(name: str, x: Numbers, y: Numbers, *, severity: str = "high", text: Sequence[str] = ()) -> Trace:
    """Anomalies, told by shape and colour: the severity's own (diamond, triangle, circle, square)."""
    made: Trace = {
        "type": "scatter",
        "mode": "markers",
        "name": name,
        "x": _packed(x, "f8"),
        "y": _packed(y, "f4"),
        "marker": {
            "symbol": MARK_SHAPES[severity],
            "size": 9,
            "color": _colour(severity),
            "line": {"width": 1.5, "color": tokens().panel},
        },
    }
    return made | ({"text": list(text), "hovertemplate": "%{text}<extra></extra>"} if len(text) else {})


def bars(name: str, x: Sequence[Any] | npt.NDArray[Any], y: Numbers, *, colour: str = "accent") -> Trace:
    """Bars; x are words or epoch ms."""
    words = len(x) > 0 and isinstance(x[0], str)
    return {
        "type": "bar",
        "name": name,
        "x": list(x) if words else _packed(x, "f8"),
        "y": _packed(y, "f4"),
        "marker": {"color": _colour(colour), "line": {"width": 0}},
    }


def figure(
    traces: Sequence[Trace],
    *,
    unit: str,
    x: str = "time",
    y_range: tuple[float, float] | None = None,
    x_range: tuple[float, float] | None = None,
    spans: Sequence[tuple[float, float, str]] = (),
    height: int = 240,
    stacked: bool = False,
) -> dict[str, Any]:
    """Figure dict. `unit` is the title of the one y axis; `x`: "time" (UTC) or the title of a plain axis.

    `spans`: (start, end, token name) shaded on the x axis, e.g. the time of a finding.
    """
    look = tokens()
    x_axis: dict[str, Any] = {"type": "date", "title": {"text": "UTC"}} if x == "time" else {"title": {"text": x}}
    if x_range:
        x_axis["range"] = list(x_range)
    y_axis: dict[str, Any] = {"title": {"text": unit}}
    if y_range:
        y_axis["range"] = list(y_range)
    layout = {
        "template": chart_template(look),
        "height": height,
        "margin": {"l": 8, "r": 8, "t": 28 if len(traces) > 1 else 8, "b": 8},
        "xaxis": x_axis,
        "yaxis": y_axis,
        "showlegend": len(traces) > 1,
        "hovermode": "x unified" if x == "time" else "closest",
        "shapes": [_span(start, end, colour) for start, end, colour in spans],
        "barmode": "stack" if stacked else "group",
        "bargap": 0.25,
        "uirevision": "keep",
        "dragmode": "zoom",
    }
    return {"data": list(traces), "layout": layout}


def chart(
    id: Any,  # noqa: A002  Dash's own name
    made: Mapping[str, Any],
    *,
    title: str,
    summary: str = "",
    height: int = 240,
) -> html.Figure:
    """A figure with its title and one sentence for those who cannot or need not read the lines."""
    graph = dcc.Graph(id=id, figure=dict(made), config=CONFIG, style={"height": f"{height}px"}, className="graph")
    caption = html.Figcaption([html.Strong(title), html.Span(summary, className="summary") if summary else None])
    return html.Figure([caption, graph], className="chart")


def choropleth(
    values: Mapping[str, float],
    *,
    unit: str,
    suppressed: Sequence[str] = (),
    members: Sequence[str] = (),
    text: Mapping[str, str] | None = None,
    top: float | None = None,
    height: int = 460,
) -> dict[str, Any]:
    """Map of Europe. `values` by ISO 3166 alpha-2; `suppressed` countries have too few members to show a number and
    are drawn neutral with a hatch sign; countries without value are not observed, never green. `members`: all with a
    member, drawn with an outline."""
    look = tokens()
    said = text or {}
    neutral = sorted((set(_countries()) | set(suppressed) | set(members)) - set(values))
    words = {c: f"{c}: suppressed, fewer than 3 members" if c in suppressed else f"{c}: not observed" for c in neutral}
    most = float(top if top is not None else max(list(values.values()) or [1.0]) or 1.0)
    scale = [mix(look.panel, look.critical, 0.25), look.critical]
    ground = _countries_filled(dict.fromkeys(neutral, 0.0), {**words, **said}, [look.line, look.line], look)
    shown = _countries_filled(values, said, scale, look) | {
        "zmin": 0.0,
        "zmax": most,
        "showscale": True,
        "hovertemplate": "%{text}<br>%{z:.3g} " + unit + "<extra></extra>",
        "colorbar": _colour_bar(unit, look),
    }
    return {"data": [ground, shown, _hatched(suppressed, look)], "layout": _map_layout(look, height)}


def _countries_filled(
    values: Mapping[str, float], words: Mapping[str, str], scale: Sequence[str], look: Tokens
) -> Trace:
    """Countries in the colour of their value between the two ends of `scale`, told by their words or their code."""
    return {
        "type": "choropleth",
        "geojson": EUROPE,
        "featureidkey": "id",
        "locations": list(values),
        "z": [float(value) for value in values.values()],
        "colorscale": [[place, colour] for place, colour in enumerate(scale)],
        "showscale": False,
        "marker": {"line": {"color": look.panel, "width": 0.8}},
        "text": [words.get(code, code) for code in values],
        "hovertemplate": "%{text}<extra></extra>",
    }


def _hatched(codes: Sequence[str], look: Tokens) -> Trace:
    """The sign of what is suppressed, in the middle of each country."""
    return {
        "type": "scattergeo",
        "geojson": EUROPE,
        "featureidkey": "id",
        "locations": list(codes),
        "locationmode": "geojson-id",
        "mode": "text",
        "text": ["▨"] * len(codes),
        "textfont": {"color": look.muted, "size": 16},
        "hoverinfo": "skip",
        "showlegend": False,
    }


def _map_layout(look: Tokens, height: int) -> dict[str, Any]:
    geo = {
        "scope": "world",  # the scope "europe" would not be cut to the ranges below
        "resolution": 50,
        "visible": False,
        "bgcolor": "rgba(0,0,0,0)",
        "projection": {"type": "conic conformal", "parallels": [43, 62], "rotation": {"lon": 12, "lat": 0}},
        "lonaxis": {"range": [-10, 34]},
        "lataxis": {"range": [35, 69]},
    }
    return {
        "template": chart_template(look),
        "geo": geo,
        "height": height,
        "margin": {"l": 0, "r": 0, "t": 0, "b": 0},
        "uirevision": "keep",
        "dragmode": "pan",
    }


def _colour_bar(unit: str, look: Tokens) -> dict[str, Any]:
    return {
        "title": {"text": unit, "side": "right", "font": {"color": look.muted, "size": 12}},
        "thickness": 10,
        "len": 0.6,
        "outlinewidth": 0,
        "tickfont": {"color": look.muted, "size": 11},
    }


def _span(start: float, end: float, colour: str) -> dict[str, Any]:
    return {
        "type": "rect",
        "xref": "x",
        "yref": "paper",
        "x0": start,
        "x1": end,
        "y0": 0,
        "y1": 1,
        "line": {"width": 0},
        "fillcolor": _colour(colour),
        "opacity": 0.12,
        "layer": "below",
    }


def _colour(name: str) -> str:
    return str(getattr(tokens(), name))


def _packed(values: Numbers, dtype: str) -> dict[str, str]:
    array = np.ascontiguousarray(values, dtype=f"<{dtype}")
    if array.size > MOST_POINTS:
        raise ValueError(f"series has {array.size} points, expected at most {MOST_POINTS}: thin it first")
    return {"dtype": dtype, "bdata": base64.b64encode(array.tobytes()).decode()}


@cache
def _countries() -> tuple[str, ...]:
    """ISO codes of all shapes of the map."""
    return tuple(shape["id"] for shape in json.loads(EUROPE_FILE.read_bytes())["features"])
