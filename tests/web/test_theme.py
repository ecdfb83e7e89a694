"""Contrast of every pair of the design, in both schemes; the written CSS is the one of the tokens."""

from __future__ import annotations

import pytest

from web.theme import DARK, LIGHT, SCHEMES, TOKENS_CSS, Tokens, chart_template, css, mantine, mix

TEXT = ("text", "muted", "critical", "high", "medium", "low", "ok", "accent")
GROUNDS = ("background", "panel", "raised", "hover")


def luminance(colour: str) -> float:
    """Relative luminance by WCAG 2.2."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def test_the_measure_itself() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast(DARK.text, DARK.panel) == pytest.approx(14.8, abs=0.1)
    assert contrast(LIGHT.muted, LIGHT.panel) == pytest.approx(6.5, abs=0.1)


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("ground", GROUNDS)
@pytest.mark.parametrize("name", TEXT)
def test_text_reads_on_every_ground(scheme: str, ground: str, name: str) -> None:
    values = SCHEMES[scheme]
    assert contrast(getattr(values, name), getattr(values, ground)) >= 4.5


@pytest.mark.parametrize("values", SCHEMES.values(), ids=SCHEMES)
def test_controls_and_filled_buttons_are_seen(values: Tokens) -> None:
    for ground in ("background", "panel"):
        assert contrast(values.control, getattr(values, ground)) >= 3
        assert contrast(values.accent, getattr(values, ground)) >= 3  # focus ring
    assert contrast(values.on_accent, values.accent) >= 4.5


def test_the_map_is_seen_from_its_lightest_colour_on() -> None:
    for values in SCHEMES.values():
        assert mix(values.panel, values.critical, 0.25) not in {values.panel, values.line}


def test_the_written_css_is_that_of_the_tokens() -> None:
    assert TOKENS_CSS.read_text("utf-8") == css(), "run: python -m web.theme"


def test_one_source_feeds_all() -> None:
    assert mantine()["colors"]["dark"][7] == DARK.background
    assert chart_template(LIGHT)["layout"]["font"]["color"] == LIGHT.text
