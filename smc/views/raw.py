"""Raw rows under the charts: what was stored, value by value with its unit, time, time error and quality word."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from model.block import METER_COLUMNS, Quality
from model.device import Device, DeviceKind, Provenance
from model.time import to_datetime
from smc.views.signals import Signals
from smc.views.words import count, moment_ms, signal_words, unit_of
from web import parts
from web.table import Column, table

MOST = 300
PROVENANCES = tuple(Provenance)
STAT_WORDS = ((0x8000, "data error"), (0x4000, "test or absent"), (0x2000, "not in sync"), (0x1000, "not by time"))


def panel(found: Signals) -> Any:
    """The newest rows of the window as a grid."""
    arrays, device = found.arrays, found.device
    total = len(arrays["time_ns"])
    if not total:
        return parts.panel("Raw rows", parts.not_observed("no row is stored for this time"))
    shown = slice(max(0, total - MOST), total)
    rows = pmu_rows(arrays, shown) if device.kind is DeviceKind.PMU else meter_rows(arrays, shown)
    columns = pmu_columns(device, arrays) if device.kind is DeviceKind.PMU else meter_columns()
    noun = "frame" if device.kind is DeviceKind.PMU else "reading"
    summary = f"{count(total, noun)} in this time, the newest {min(total, MOST)} are listed; values as stored."
    grid = table("raw-rows", columns, rows, height=420, nothing="No row in this time")
    return parts.panel("Raw rows", grid, summary=summary)


def meter_columns() -> list[Column]:
    """Columns of a meter's rows, units in the head."""
    values = [Column(name, signal_words(name).capitalize(), "number", 150, unit_of(name)) for name in METER_COLUMNS]
    return [*_before(), *values, *_after()]


def pmu_columns(device: Device, arrays: Mapping[str, Any]) -> list[Column]:
    """Columns of a PMU's frames: frequency, ROCOF, then magnitude and angle of every channel."""
    made = [
        *_before(),
        Column("frequency", "Frequency", "number", 130, "Hz"),
        Column("rocof", "ROCOF", "number", 150, "Hz/s"),
    ]
    for i in range(arrays["magnitude"].shape[1]):
        channel = device.channels[i] if i < len(device.channels) else None
        name = (channel.name.strip() if channel else "") or f"channel {i}"
        made.append(Column(f"magnitude_{i}", name, "number", 150, channel.unit if channel else ""))
        made.append(Column(f"angle_{i}", f"{name} angle", "number", 200, "rad"))
    return [*made, *_after()]


def _before() -> list[Column]:
    return [
        Column("time", "Time of the device", width=200, unit="UTC"),
        Column("received", "Received", width=200, unit="UTC"),
    ]


def _after() -> list[Column]:
    return [
        Column("time_error", "Time error", "number", 120, "µs"),
        Column("quality", "Quality", "mono", 110),
        Column("quality_words", "Quality says", width=170),
        Column("origin", "Data", width=100),
    ]


def meter_rows(arrays: Mapping[str, Any], shown: slice) -> list[dict[str, Any]]:
    """Rows of a meter, the newest first."""
    made = []
    for n in range(shown.stop - 1, shown.start - 1, -1):
        values = {name: _plain(arrays[name][n]) for name in METER_COLUMNS}
        made.append(_common(arrays, n) | values)
    return made


def pmu_rows(arrays: Mapping[str, Any], shown: slice) -> list[dict[str, Any]]:
    """Frames of a PMU, the newest first."""
    made = []
    for n in range(shown.stop - 1, shown.start - 1, -1):
        row = _common(arrays, n) | {
            "frequency": _plain(arrays["frequency_hz"][n]),
            "rocof": _plain(arrays["rocof_hz_per_s"][n]),
        }
        for i in range(arrays["magnitude"].shape[1]):
            row[f"magnitude_{i}"] = _plain(arrays["magnitude"][n, i])
            row[f"angle_{i}"] = _plain(arrays["angle_rad"][n, i])
        made.append(row)
    return made


def _common(arrays: Mapping[str, Any], n: int) -> dict[str, Any]:
    quality = int(arrays["quality"][n])
    error_ns = int(arrays["time_error_ns"][n])
    provenance = PROVENANCES[int(arrays["provenance"][n])] if len(arrays.get("provenance", ())) else None
    return {
        "id": f"{int(arrays['time_ns'][n])}",
        "time": moment_ms(to_datetime(int(arrays["time_ns"][n]))).removesuffix(" UTC"),
        "received": moment_ms(to_datetime(int(arrays["received_ns"][n]))).removesuffix(" UTC"),
        "time_error": round(error_ns / 1e3, 3) if error_ns >= 0 else None,
        "quality": f"{quality:#010x}",
        "quality_words": quality_words(quality),
        "origin": str(provenance or ""),
    }


def quality_words(quality: int) -> str:
    """What the flags of a quality word say (STAT word of C37.118.2 and our own flags)."""
    said = [words for bit, words in STAT_WORDS if quality & bit]
    said += ["outside the time window"] if quality & Quality.OUT_OF_WINDOW else []
    said += ["shifted by the replay"] if quality & Quality.SHIFTED_TIME else []
    return ", ".join(said) or "good"


def _plain(value: Any) -> float | None:
    """A number as JSON holds it: 7 significant digits (single precision), None for a missing one."""
    number = float(value)
    return float(f"{number:.9g}") if np.isfinite(number) else None
