"""Design tokens: the one source of the Mantine theme, the CSS variables (assets/tokens.css), charts and grids.

Values and contrast rules: text 4.5, large text 3, controls 3. `python -m web.theme` writes assets/tokens.css.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import flask

TOKENS_CSS = Path(__file__).parent.parent / "assets" / "tokens.css"
THEME_COOKIE = "grid-theme"
SANS = "'Inter Variable', system-ui, sans-serif"
MONO = "'JetBrains Mono Variable', ui-monospace, monospace"


@dataclass(frozen=True, slots=True)
class Tokens:
    """Colours of one scheme."""

    background: str
    panel: str
    raised: str
    text: str
    muted: str
    line: str
    control: str  # borders of inputs, focus rings
    critical: str
    high: str
    medium: str
    low: str
    ok: str
    accent: str
    on_accent: str  # text on a filled accent
    band: str  # expected band of charts
    hover: str


DARK = Tokens(
    background="#0b1118",
    panel="#121a23",
    raised="#18222d",
    text="#e6edf3",
    muted="#9fb0c0",
    line="#243241",
    control="#5b7083",
    critical="#ff6b6b",
    high="#ff9f43",
    medium="#f7c948",
    low="#5ab0ff",
    ok="#4cc38a",
    accent="#4aa3df",
    on_accent="#0b1118",
    band="rgba(159,176,192,0.20)",
    hover="#1d2935",
)
LIGHT = Tokens(
    background="#f6f8fa",
    panel="#ffffff",
    raised="#ffffff",
    text="#17212b",
    muted="#51606f",
    line="#d9e0e7",
    control="#7a8896",
    critical="#c62828",
    high="#b45309",
    medium="#8a6100",
    low="#1d63b8",
    ok="#18794e",
    accent="#1769aa",
    on_accent="#ffffff",
    band="rgba(81,96,111,0.16)",
    hover="#f1f4f7",
)
SCHEMES = {"dark": DARK, "light": LIGHT}


def scheme() -> str:
    """Colour scheme of this request: "dark" (control rooms) unless the person chose "light"."""
    if flask.has_request_context() and flask.request.cookies.get(THEME_COOKIE) == "light":
        return "light"
    return "dark"


def tokens() -> Tokens:
    """Tokens of this request's scheme."""
    return SCHEMES[scheme()]


def css() -> str:
    """Text of assets/tokens.css."""
    parts = ["/* Written by `python -m web.theme`; change web/theme.py instead. */\n"]
    for name, values in SCHEMES.items():
        selector = ":root" if name == "dark" else ':root[data-mantine-color-scheme="light"]'
        lines = [f"  --{f.name.replace('_', '-')}: {getattr(values, f.name)};" for f in fields(values)]
        parts.append(f"{selector} {{\n  color-scheme: {name};\n" + "\n".join(lines) + "\n}\n")
    parts.append(f":root {{\n  --sans: {SANS};\n  --mono: {MONO};\n}}\n")
    return "\n".join(parts)


def mantine() -> dict[str, Any]:
    """Theme for MantineProvider; scales of ten shades, index 0 lightest."""
    dark, light = DARK, LIGHT
    accent = [
        "#e7f4fc",
        "#cfe6f6",
        "#a3cdec",
        "#74b5e4",
        "#4aa3df",
        "#2f8fd0",
        "#1769aa",
        "#125c96",
        "#0d4d7f",
        "#083b63",
    ]
    return {
        "primaryColor": "accent",
        "primaryShade": {"light": 6, "dark": 4},
        "autoContrast": True,
        "fontFamily": SANS,
        "fontFamilyMonospace": MONO,
        "fontSizes": {"xs": "12px", "sm": "13px", "md": "13px", "lg": "15px", "xl": "20px"},
        "headings": {"fontFamily": SANS, "fontWeight": "600"},
        "defaultRadius": 6,
        "black": light.text,
        "cursorType": "pointer",
        "colors": {
            "accent": accent,
            "dark": [
                dark.text,
                "#c9d5df",
                dark.muted,
                dark.control,
                dark.line,
                dark.hover,
                dark.panel,
                dark.background,
                "#080d13",
                "#05090d",
            ],
        },
    }


def chart_template(values: Tokens) -> dict[str, Any]:
    """Slim plotly layout defaults: thin grid, no junk, tabular figures."""
    axis = {
        "gridcolor": values.line,
        "linecolor": values.line,
        "zeroline": False,
        "tickcolor": values.line,
        "ticks": "outside",
        "ticklen": 4,
        "tickfont": {"color": values.muted, "size": 11},
        "title": {"font": {"color": values.muted, "size": 12}},
        "automargin": True,
    }
    return {
        "layout": {
            "paper_bgcolor": "rgba(0,0,0,0)",
            "plot_bgcolor": "rgba(0,0,0,0)",
            "font": {"family": SANS, "size": 12, "color": values.text},
            "colorway": [
                values.accent,
                values.medium,
                values.ok,
                values.high,
                values.low,
                values.critical,
                values.muted,
            ],
            "xaxis": axis | {"showgrid": False},
            "yaxis": axis,
            "hoverlabel": {
                "bgcolor": values.raised,
                "bordercolor": values.control,
                "font": {"color": values.text, "family": SANS, "size": 12},
            },
            "legend": {"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0, "font": {"size": 12}},
        }
    }


def mix(ground: str, colour: str, share: float) -> str:
    """A colour laid over a ground: `share` 0 is the ground, 1 the colour. Both as #rrggbb.

    >>> mix("#000000", "#ffffff", 0.5)
    '#808080'
    """
    pairs = [(int(ground[i : i + 2], 16), int(colour[i : i + 2], 16)) for i in (1, 3, 5)]
    return "#" + "".join(f"{round(a + (b - a) * share):02x}" for a, b in pairs)


if __name__ == "__main__":
    TOKENS_CSS.write_text(css(), "utf-8")
