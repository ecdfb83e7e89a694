"""Equivocation: a device said two things about one moment. Kept with both values, and raised as a finding.

`ingest` writes each contradiction into `reading_conflicts`, once; here those that the present transaction has written
become one finding per device. So a redelivery, whose contradictions are known already, raises nothing again.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
from sqlalchemy import Connection, text

from analytics.budget import MOST
from analytics.explain import quantity
from model.block import Block
from model.device import Device
from model.finding import Evidence, Finding, FindingKind, Severity
from model.ids import stable_id
from model.time import iso_utc, to_datetime
from smc.store import devices, findings

DETECTOR, VERSION = "ledger", "1"
TECHNIQUE = "T0856"  # Spoof Reporting Message
MAX_EVIDENCE = 6
CAUSES = (
    "somebody else speaks with this device's key",
    "readings replaced on their way, after the first ones had arrived",
    "two devices commissioned under one identity",
    "the device's clock was set back, so that it counts the same seconds again",
    "a gateway or concentrator that sends estimates first and measurements later",
)
_UNITS = (
    *(("_hz_per_s", "Hz/s"), ("_hz", "Hz"), ("_wh", "Wh"), ("_w", "W"), ("_var", "var"), ("_rad", "rad"), ("_v", "V")),
    ("_a", "A"),
)
_MAGNITUDE = "magnitude_"

# Not older than this transaction: written by it or by one of its savepoints, which have later numbers. Nobody else
# writes rows of these devices meanwhile.
_NEW = text("""
SELECT DISTINCT ON (device_id) device_id, time, columns, stored, offered, stored_quality, offered_quality, digest,
       count(*) OVER device AS rows, max(time) OVER device AS last
FROM reading_conflicts
WHERE device_id = ANY(:devices) AND time BETWEEN :first AND :last AND age(xmin) <= age(pg_current_xact_id()::xid)
WINDOW device AS (PARTITION BY device_id)
ORDER BY device_id, time, conflict_id
""")


@dataclass(frozen=True, slots=True)
class Contradiction:
    """The first of a device's contradictions in one batch, and how many there were up to when."""

    device_id: int
    time: datetime
    columns: Sequence[str]
    stored: Sequence[float]
    offered: Sequence[float]
    stored_quality: int
    offered_quality: int
    digest: bytes
    rows: int
    last: datetime


def judge(conn: Connection, site: str, block: Block) -> list[Finding]:
    """One finding for each device of a block that contradicted itself anew; call it after `store_block`, in the same
    transaction. However many rows contradict, there is one finding per device."""
    bounds = {"first": to_datetime(int(block.time_ns.min())), "last": to_datetime(int(block.time_ns.max()))}
    rows = conn.execute(_NEW, {"devices": np.unique(block.device).tolist(), **bounds})
    return [_finding(conn, site, Contradiction(*row), block) for row in rows.all()]


def untold(conn: Connection) -> list[Finding]:
    """Findings of ours that no incident has yet."""
    return [finding for finding in findings.without_incident(conn) if finding.detector == DETECTOR]


def _finding(conn: Connection, site: str, c: Contradiction, block: Block) -> Finding:
    device = devices.by_index(conn, c.device_id)
    name = device.name if device is not None else f"#{c.device_id}"
    evidence = _evidence(c, device)
    return Finding(
        finding_id=stable_id("finding", site, DETECTOR, c.device_id, iso_utc(c.time), c.digest.hex()),
        site=site,
        kind=FindingKind.EQUIVOCATION,
        detector=DETECTOR,
        detector_version=VERSION,
        devices=(c.device_id,),
        start=c.time,
        end=c.last,
        severity=Severity.HIGH,
        score=float(c.rows),
        probability=MOST,
        title=f"{name} contradicts itself: {'two readings' if c.rows == 1 else f'{c.rows:,} times two readings'} "
        "of one moment",
        explanation=_explanation(c, name, evidence),
        evidence=evidence,
        missing=("which of the two is true: the later one was not stored in the series",),
        causes=CAUSES,
        technique=TECHNIQUE,
        provenance=block.origin.provenance,
    )


def _explanation(c: Contradiction, name: str, evidence: Sequence[Evidence]) -> str:
    told = [
        f"{e.signal} first {quantity(e.expected, e.unit, 6)}, then {quantity(e.observed, e.unit, 6)}"
        for e in evidence[:MAX_EVIDENCE]
    ]
    if c.stored_quality != c.offered_quality:
        told.append(f"quality bits first {c.stored_quality:#x}, then {c.offered_quality:#x}")
    more = f" It happened {c.rows:,} times up to {iso_utc(c.last)}." if c.rows > 1 else ""
    return (
        f"{name} sent two different rows for {iso_utc(c.time)}: {'; '.join(told) or 'one had values missing'}."
        f"{more} The first is kept in the series; both are kept as evidence. A message that is only sent again "
        "is equal and raises nothing."
    )


def _evidence(c: Contradiction, device: Device | None) -> tuple[Evidence, ...]:
    """The columns that differ and have a number on both sides, those that differ most first."""
    pairs = zip(c.columns, c.stored, c.offered, strict=False)
    differing = [(n, s, o) for n, s, o in pairs if s != o and math.isfinite(s) and math.isfinite(o)]
    differing.sort(key=lambda pair: abs(pair[2] - pair[1]) / max(abs(pair[1]), abs(pair[2])), reverse=True)
    chosen = differing[:MAX_EVIDENCE]
    return tuple(Evidence(n, o, s, s, s, _unit(n, device), 1.0 / len(chosen)) for n, s, o in chosen)


def _unit(column: str, device: Device | None) -> str:
    if column.startswith(_MAGNITUDE) and device is not None:
        channel = int(column.removeprefix(_MAGNITUDE))
        return device.channels[channel].unit if channel < len(device.channels) else ""
    return next((unit for ending, unit in _UNITS if column.endswith(ending)), "")
