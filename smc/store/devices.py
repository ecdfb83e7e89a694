"""Who is enrolled: sites and devices."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from sqlalchemy import Connection, Row, text

from model.device import Channel, Device, DeviceKind, Enrolment, Protocol, Provenance, Site

_FIELDS = (
    *("name", "kind", "protocol", "site", "provenance", "enrolment", "unit", "zone", "feeder", "gateway", "vendor"),
    *("firmware", "nominal_hz", "nominal_voltage_v", "channels"),
)
_UPSERT = text(
    f"INSERT INTO devices ({', '.join(_FIELDS)}) VALUES ({', '.join(f':{name}' for name in _FIELDS)}) "  # noqa: S608 (own names)
    f"ON CONFLICT (name) DO UPDATE SET changed = now(), {', '.join(f'{n} = excluded.{n}' for n in _FIELDS[1:])} "
    f"WHERE ({', '.join(f'devices.{n}' for n in _FIELDS)}) "
    f"IS DISTINCT FROM ({', '.join(f'excluded.{n}' for n in _FIELDS)})"
)
_SELECT = f"SELECT index, {', '.join(_FIELDS)} FROM devices"  # noqa: S608 (own names)


def enrol(conn: Connection, devices: Sequence[Device]) -> list[Device]:
    """Add devices or bring them up to date, by name; returned in the order given, with the index the store gave.

    The index of a name never changes; the given `index` is ignored.
    """
    if not devices:
        return []
    conn.execute(_UPSERT, [_record(device) for device in sorted(devices, key=lambda d: d.name)])
    rows = conn.execute(text(f"{_SELECT} WHERE name = ANY(:names)"), {"names": [d.name for d in devices]})
    found = {device.name: device for device in map(_device, rows)}
    return [found[device.name] for device in devices]


def all_devices(conn: Connection) -> list[Device]:
    """Every device, in the order of the index."""
    return [_device(row) for row in conn.execute(text(f"{_SELECT} ORDER BY index"))]


def by_name(conn: Connection, name: str) -> Device | None:
    """The device of that external name."""
    row = conn.execute(text(f"{_SELECT} WHERE name = :name"), {"name": name}).one_or_none()
    return None if row is None else _device(row)


def by_index(conn: Connection, index: int) -> Device | None:
    """The device of that index."""
    row = conn.execute(text(f"{_SELECT} WHERE index = :index"), {"index": index}).one_or_none()
    return None if row is None else _device(row)


def put_site(conn: Connection, site: Site) -> None:
    """Add a site or bring it up to date, by code."""
    query = text(
        "INSERT INTO sites (code, name, country, area, simulated) VALUES (:code, :name, :country, :area, :simulated) "
        "ON CONFLICT (code) DO UPDATE SET name = excluded.name, country = excluded.country, area = excluded.area, "
        "simulated = excluded.simulated"
    )
    conn.execute(query, msgspec.to_builtins(site))


def all_sites(conn: Connection) -> list[Site]:
    """Every site, by code."""
    rows = conn.execute(text("SELECT code, name, country, area, simulated FROM sites ORDER BY code"))
    return [Site(*row) for row in rows]


def _record(device: Device) -> dict[str, Any]:
    record = {name: getattr(device, name) for name in _FIELDS}
    return record | {"channels": msgspec.json.encode(device.channels).decode()}


def _device(row: Row[Any]) -> Device:
    fields = dict(row._mapping)
    fields["kind"] = DeviceKind(fields["kind"])
    fields["protocol"] = Protocol(fields["protocol"])
    fields["provenance"] = Provenance(fields["provenance"])
    fields["enrolment"] = Enrolment(fields["enrolment"])
    fields["channels"] = msgspec.convert(fields["channels"], tuple[Channel, ...])
    return Device(**fields)
