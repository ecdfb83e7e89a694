"""Evidence of an incident, frozen: the raw rows around its findings, the dossier, and a manifest of hashes, in one zip.

The manifest names the query of each file (device and time window), so that the rows can be asked for again, and the
head of the audit chain at the time of writing. `verify` needs the zip only.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import zipfile
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
from sqlalchemy import Connection

from model.device import Device, DeviceKind, Provenance
from model.errors import SetupError
from model.time import iso_utc, to_datetime
from smc.desk.report import Dossier, as_json
from smc.store import telemetry

MANIFEST = "manifest.json"
FORMAT = 1
MARGIN = timedelta(seconds=60)
MAX_ROWS = 100_000
_PROVENANCES = tuple(Provenance)


def freeze(conn: Connection, dossier: Dossier, audit_head: str, file: Path) -> dict[str, Any]:
    """Write the zip and return its manifest. Rows beyond MAX_ROWS per device are left out, and the manifest says so."""
    if file.exists():
        raise SetupError("evidence file", str(file), "a file that does not exist", "choose another name")
    start, end = dossier.incident.first_seen - MARGIN, dossier.incident.last_seen + MARGIN
    entries = []
    with zipfile.ZipFile(file, "x", zipfile.ZIP_DEFLATED) as archive:
        contents: Iterator[tuple[str, bytes, Mapping[str, Any]]] = _contents(conn, dossier, start, end)
        for name, data, query in contents:
            archive.writestr(name, data)
            entries.append({"file": name, "sha256": hashlib.sha256(data).hexdigest(), **query})
        manifest = {
            "format": FORMAT,
            "case": dossier.incident.case,
            "provenance": dossier.incident.provenance,
            "written": iso_utc(dossier.written),
            "audit_head": audit_head,
            "files": entries,
        }
        archive.writestr(MANIFEST, json.dumps(manifest, indent=1))
    return manifest


def verify(file: Path) -> dict[str, Any]:
    """The manifest, if every file is there, none is added, and all hashes hold. SetupError names what does not."""
    try:
        with zipfile.ZipFile(file) as archive:
            manifest: dict[str, Any] = json.loads(archive.read(MANIFEST))
            listed = {entry["file"]: entry["sha256"] for entry in manifest["files"]}
            found = sorted(archive.namelist())
            if found != sorted([*listed, MANIFEST]):
                raise SetupError("files of the evidence", found, sorted([*listed, MANIFEST]), "do not rely on this zip")
            for name, expected in listed.items():
                digest = hashlib.sha256(archive.read(name)).hexdigest()
                if digest != expected:
                    raise SetupError(f"SHA-256 of {name}", digest, expected, "do not rely on this zip")
    except (OSError, zipfile.BadZipFile, KeyError, ValueError) as error:
        raise SetupError("evidence file", str(file), "a zip written by `app.py evidence`", str(error)) from error
    return manifest


def _contents(
    conn: Connection, dossier: Dossier, start: datetime, end: datetime
) -> Iterator[tuple[str, bytes, Mapping[str, Any]]]:
    yield "dossier.json", as_json(dossier), {"what": "the incident with findings, decisions and history"}
    for device in dossier.devices:
        columns = _rows(conn, device, start, end)
        rows = len(columns["time_ns"])
        query = {
            "device": device.name,
            "from": iso_utc(start),
            "to": iso_utc(end),
            "rows": rows,
            "cut": rows == MAX_ROWS,
        }
        yield f"rows/{device.kind}-{device.index}.csv", _csv(columns), query


def _rows(conn: Connection, device: Device, start: datetime, end: datetime) -> dict[str, Any]:
    if device.kind is DeviceKind.METER:
        return telemetry.readings(conn, device.index, start, end, MAX_ROWS)
    found = telemetry.phasors(conn, device.index, start, end, MAX_ROWS)
    magnitude, angle = found.pop("magnitude"), found.pop("angle_rad")
    for i, channel in enumerate(device.channels[: magnitude.shape[1] if magnitude.ndim > 1 else 0]):
        found[f"magnitude_{i} {channel.name.strip()} {channel.unit}".strip()] = magnitude[:, i]
        found[f"angle_{i}_rad {channel.name.strip()}".strip()] = angle[:, i]
    return found


def _csv(columns: Mapping[str, Any]) -> bytes:
    """Columns as CSV: times also readable, provenance by name, a missing value empty."""
    named = dict(columns)
    named["provenance"] = [_PROVENANCES[int(p)] for p in columns["provenance"]]
    named = {"time": [iso_utc(to_datetime(int(t))) for t in columns["time_ns"]], **named}
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(named)
    lists = [values.tolist() if isinstance(values, np.ndarray) else values for values in named.values()]
    writer.writerows(["" if value != value else value for value in row] for row in zip(*lists, strict=True))
    return out.getvalue().encode()
