"""What is printed: units with their prefixes, ages, bytes; exact, and never an invented number."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta

import pytest

from model.block import Quality
from smc.views.raw import quality_words
from smc.views.sharing import reading
from smc.views.words import (
    age,
    counted,
    hex_dump,
    moment,
    probability_of,
    quantity,
    signal_words,
    since,
    unit_of,
)

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (1234.5, "W", "1.234 kW"),
        (231.44, "V", "231.4 V"),
        (11_000, "V", "11.00 kV"),
        (-0.0123, "rad", "-12.30 mrad"),
        (3.1e-6, "s", "3.100 µs"),
        (0.0, "W", "0 W"),
        (49.998, "Hz", "50.00 Hz"),
        (0.00005, "Hz/s", "0.05000 mHz/s"),
        (math.nan, "V", "no value"),
        (None, "V", "no value"),
        (12.0, "", "12.00"),
    ],
)
def test_quantities_carry_their_unit(value: float | None, unit: str, text: str) -> None:
    assert quantity(value, unit) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (59.9, "59 s"), (61, "1 min"), (3_900, "1 h 05 min"), (90_000, "1 d 1 h"), (-300, "in 5 min")],
)
def test_ages(seconds: float, text: str) -> None:
    assert age(seconds) == text


def test_times_name_their_zone_and_absence_its_name() -> None:
    assert moment(NOW) == "2026-11-23 12:00:00 UTC"
    assert moment(None) == "never"
    assert since(NOW - timedelta(seconds=5), NOW) == "5 s"
    assert since(None, NOW) == "never"


def test_certainty_is_never_rounded_up() -> None:
    assert probability_of(0.99999) == "> 99.9 % that this is no chance"
    assert probability_of(0.934) == "93.4 % that this is no chance"


def test_signals_are_named_for_people() -> None:
    assert (signal_words("voltage_l1_v"), unit_of("voltage_l1_v")) == ("voltage L1", "V")
    assert (signal_words("rocof_hz_per_s"), unit_of("rocof_hz_per_s")) == ("ROCOF", "Hz/s")
    assert (signal_words("energy_import_wh"), unit_of("energy_import_wh")) == ("energy import", "Wh")
    assert unit_of("count") == ""


def test_counters() -> None:
    assert counted(18_004.0) == "18,004"
    assert counted(0.25) == "0.2500"


def test_bytes_are_shown_one_by_one() -> None:
    shown = hex_dump(bytes(range(0x41, 0x41 + 18)), limit=17)
    lines = shown.splitlines()
    assert lines[0] == "000000  41 42 43 44 45 46 47 48 49 4a 4b 4c 4d 4e 4f 50  ABCDEFGHIJKLMNOP"
    assert lines[1].startswith("000010  51 52 ")
    assert lines[2] == "… 1 more bytes kept"


def test_quality_words_name_the_flags() -> None:
    assert quality_words(0) == "good"
    assert quality_words(0x2000 | Quality.SHIFTED_TIME) == "not in sync, shifted by the replay"


def test_a_signed_message_is_read_for_people() -> None:
    payload = "eyJhIjoxfQ"  # {"a":1}
    assert reading(f"eyJhbGciOiJFZERTQSJ9.{payload}.c2ln".encode()) == '{\n  "a": 1\n}'
    assert '"a": 1' in reading(b'{"payload":"eyJhIjoxfQ","signature":"x"}')
    assert reading(b"\xff no json") == "\\xff no json"
