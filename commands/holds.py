"""`app.py hold`: data that retention must not touch, opened and released with a reason. Every step is audited."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from datetime import UTC, datetime

from sqlalchemy import Connection

from commands.operate import database_url
from commands.people import LOCAL
from host.database import engine
from model.errors import OperatorError
from model.time import SystemClock, iso_utc, to_datetime
from smc.store import devices, holds, kept
from smc.store.partitions import Span
from smc.store.series import DataClass
from trust.store import append_audit


def hold(arguments: argparse.Namespace, environment: Mapping[str, str]) -> int:
    """Open, list or release a legal hold."""
    made = engine(database_url(environment), "hold", pool_size=1)
    with made.begin() as conn:
        if arguments.action == "list":
            _list(conn)
        elif arguments.action == "add":
            _add(conn, arguments)
        else:
            _release(conn, arguments)
    made.dispose()
    return 0


def _add(conn: Connection, arguments: argparse.Namespace) -> None:
    span = Span(_moment("--from", arguments.start), _moment("--to", arguments.end))
    if span.start >= span.end:
        raise OperatorError("--to", arguments.end, f"a time after --from {arguments.start}", "name a later end")
    classes = [_data_class(word) for word in _words(arguments.data)]
    names = _words(arguments.devices)
    indices = [_device(conn, name) for name in names]
    reason = _reason(arguments.reason)
    number = holds.open_hold(conn, LOCAL, _now(), reason, span, classes, indices)
    detail = {"from": iso_utc(span.start), "to": iso_utc(span.end), "data": classes, "devices": names, "reason": reason}
    append_audit(conn, LOCAL, "hold-opened", f"hold:{number}", detail)
    gone = kept.dropped_between(conn, span)
    print(f"hold: {number} is in force" + (f"; {gone} days of series in it had been dropped before" if gone else ""))


def _release(conn: Connection, arguments: argparse.Namespace) -> None:
    number, reason = arguments.number, _reason(arguments.reason)
    if number not in {each.hold_id for each in holds.in_force(conn)}:
        raise OperatorError("hold", number, "the number of a hold in force", "see `app.py hold list`")
    holds.release(conn, number, LOCAL, _now(), reason)
    append_audit(conn, LOCAL, "hold-released", f"hold:{number}", {"reason": reason})
    print(f"hold: {number} released; what is over its days goes with the next round of `app.py smc keep`")


def _list(conn: Connection) -> None:
    for each in holds.all_holds(conn):
        what = ",".join(each.data_classes) or "all data"
        whose = f"{len(each.devices)} devices" if each.devices else "all devices"
        state = f"released {iso_utc(each.released)}: {each.release_reason}" if each.released else "in force"
        span = f"{iso_utc(each.span.start)} to {iso_utc(each.span.end)}"
        print(f"{each.hold_id}\t{state}\t{span}\t{what}\t{whose}\t{each.opened_by}\t{each.reason}")


def _moment(name: str, text: str) -> datetime:
    """A date or time of ISO 8601; without a zone it is UTC."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise OperatorError(name, text, "a date or time, e.g. 2026-11-01 or 2026-11-01T08:00Z", "correct it") from error
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def _data_class(text: str) -> DataClass:
    if text not in set(DataClass):
        raise OperatorError("--data", text, f"some of {', '.join(DataClass)}", "correct it, or leave --data out")
    return DataClass(text)


def _device(conn: Connection, name: str) -> int:
    found = devices.by_name(conn, name)
    if found is None:
        raise OperatorError("--devices", name, "the name of an enrolled device", "see the page Devices")
    return found.index


def _reason(text: str) -> str:
    if not text.strip():
        raise OperatorError("--reason", text, "why, in a few words", "give a reason")
    return text.strip()


def _words(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]


def _now() -> datetime:
    return to_datetime(SystemClock().now_ns())
