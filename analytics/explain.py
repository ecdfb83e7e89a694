"""Numbers as an operator reads them: few digits, a fitting prefix, always the unit."""

from __future__ import annotations

import math

_PREFIXES = ((1e9, "G"), (1e6, "M"), (1e3, "k"), (1.0, ""))
_PREFIXED = frozenset({"W", "var", "VA", "Wh", "V", "A"})


def quantity(value: float, unit: str, digits: int = 4) -> str:
    """A value with its unit.

    >>> quantity(12345.6, "W"), quantity(-0.04, "A"), quantity(65.536, "Hz", 5), quantity(float("nan"), "V")
    ('12.35 kW', '-0.04 A', '65.536 Hz', 'no value in V')
    """
    if not math.isfinite(value):
        return f"no value in {unit}" if unit else "no value"
    if unit in _PREFIXED and abs(value) >= 1e3:
        scale, prefix = next((s, p) for s, p in _PREFIXES if abs(value) >= s)
        return f"{value / scale:.{digits}g} {prefix}{unit}"
    return f"{_plain(value, digits)} {unit}".rstrip()


def percent(ratio: float) -> str:
    """A change as signed percent.

    >>> percent(-0.4), percent(0.0123)
    ('-40 %', '+1.2 %')
    """
    value = ratio * 100.0
    return f"{value:+.0f} %" if abs(value) >= 10 else f"{value:+.1f} %"


def duration(seconds: float) -> str:
    """Seconds in the unit a person would use.

    >>> duration(4.2), duration(600), duration(90000)
    ('4.2 s', '10 min', '25 h')
    """
    if seconds < 120:
        return f"{_plain(seconds, 3)} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.0f} h"


def _plain(value: float, digits: int) -> str:
    """Significant digits without an exponent for what people meet in a grid."""
    if value == 0:
        return "0"
    places = max(0, digits - 1 - math.floor(math.log10(abs(value))))
    text = f"{value:.{min(places, 9)}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
