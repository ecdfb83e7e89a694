"""Logs of Zeek as JSON lines, as Zeek writes them and as Malcolm keeps them (nested after the Elastic Common Schema).

Every line stands alone: a bad one is refused with its number, the others count. What all logs share is typed; conn,
dnp3 and modbus have types of their own; all other fields stay in `fields`, flat and bounded, nested names joined by
dots. The encoder writes Zeek's own form.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from ipaddress import ip_address
from typing import Any

import msgspec

from model.errors import DecodeError
from model.time import NS_PER_S, NS_PER_US, to_ns
from wire.framing import without_traceback

MAX_LINE = 65_536
MAX_BYTES = 16 * 1024 * 1024
MAX_LINES = 100_000
MAX_FIELDS = 256
MAX_DEPTH = 5
MAX_NAME = 128
MAX_TEXT = 4_096
MAX_LIST = 256
_MAX_PORT = 65_535
_MAX_TIME_S = 9_000_000_000  # within int64 nanoseconds
_LINE = msgspec.json.Decoder(dict[str, Any])
Scalar = str | int | float | bool
Value = Scalar | tuple[Scalar, ...]
# Where the shared fields stand: in Zeek's own lines, then in Malcolm's.
_TIME = ("ts", "zeek.ts", "@timestamp")
_LOG = ("_path", "event.dataset")
_UID = ("uid", "zeek.uid")
_ENDS = (
    ("id.orig_h", "source.ip"),
    ("id.orig_p", "source.port"),
    ("id.resp_h", "destination.ip"),
    ("id.resp_p", "destination.port"),
)
_SHARED = frozenset({*_TIME, *_LOG, *_UID, *(name for names in _ENDS for name in names)})


@dataclass(frozen=True, slots=True)
class Connection:
    """conn.log: what went over one connection. None where Zeek could not tell."""

    proto: str
    service: str = ""
    duration_s: float | None = None
    orig_bytes: int | None = None
    resp_bytes: int | None = None
    orig_pkts: int | None = None
    resp_pkts: int | None = None
    missed_bytes: int | None = None
    conn_state: str = ""
    history: str = ""


@dataclass(frozen=True, slots=True)
class Control:
    """dnp3.log and modbus.log: a request to a control device and its answer."""

    request: str
    reply: str = ""
    exception: str = ""


@dataclass(frozen=True, slots=True)
class Log:
    """One line of a log. Addresses are normalised, ports 0 where the log has none; `fields` holds what is not typed."""

    log: str
    time_ns: int
    uid: str = ""
    source: str = ""
    source_port: int = 0
    destination: str = ""
    destination_port: int = 0
    typed: Connection | Control | None = None
    fields: Mapping[str, Value] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Refused:
    """A line that was refused: its number from 1, its first bytes, and why."""

    line: int
    data: bytes
    error: DecodeError


@dataclass(frozen=True, slots=True)
class Lines:
    """What a file or push of JSON lines held; `blank` lines are neither accepted nor refused."""

    logs: tuple[Log, ...]
    refused: tuple[Refused, ...]
    blank: int


def decode_lines(data: bytes, log: str = "") -> Lines:
    """Logs of JSON lines; `log` is the kind where the lines do not tell (files named conn.log).

    Raises DecodeError (size, lines) when the whole is too large; everything else refuses its line only.
    """
    if len(data) > MAX_BYTES:
        raise DecodeError("size", "length of JSON lines", len(data), f"<= {MAX_BYTES} bytes")
    if data.count(b"\n") > MAX_LINES:
        raise DecodeError("lines", "number of JSON lines", data.count(b"\n"), f"<= {MAX_LINES}")
    logs, refused, blank = [], [], 0
    for number, line in enumerate(data.removesuffix(b"\n").split(b"\n") if data else [], 1):
        if not line.strip():
            blank += 1
            continue
        try:
            logs.append(decode_line(line, log))
        except DecodeError as error:
            refused.append(Refused(number, line[:MAX_NAME], without_traceback(error)))
    return Lines(tuple(logs), tuple(refused), blank)


def decode_line(line: bytes, log: str = "") -> Log:
    """One line. Raises DecodeError (size, json, fields, time, address, value, log)."""
    if len(line) > MAX_LINE:
        raise DecodeError("size", "length of a log line", len(line), f"<= {MAX_LINE} bytes")
    try:
        sent = _LINE.decode(line)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise DecodeError("json", "log line", str(error)[:120], "a JSON object") from error
    pairs = list(_flat(sent, "", 0))
    fields = dict(pairs)
    if len(fields) > MAX_FIELDS or len(fields) < len(pairs):
        raise DecodeError("fields", "fields of a log line", len(pairs), f"<= {MAX_FIELDS}, each once")
    kind = _text(fields, _LOG) or log
    if not kind or len(kind) > MAX_NAME:
        raise DecodeError("log", "kind of a log line", repr(kind[:40]), "_path, event.dataset or a file name")
    typed, used = _typed(kind, fields)
    return Log(
        log=kind,
        time_ns=_time_ns(fields),
        uid=_text(fields, _UID),
        source=_address(fields, _ENDS[0]),
        source_port=_port(fields, _ENDS[1]),
        destination=_address(fields, _ENDS[2]),
        destination_port=_port(fields, _ENDS[3]),
        typed=typed,
        fields={name: value for name, value in fields.items() if name not in _SHARED and name not in used},
    )


def _flat(sent: Mapping[str, Any], prefix: str, depth: int) -> Iterator[tuple[str, Value]]:
    """Scalars and lists of scalars by dotted name; nulls are left out."""
    if depth > MAX_DEPTH:
        raise DecodeError("fields", "depth of a log line", depth, f"<= {MAX_DEPTH}")
    for name, value in sent.items():
        path = f"{prefix}{name}"
        if len(path) > MAX_NAME:
            raise DecodeError("fields", "name in a log line", repr(path[:40]), f"<= {MAX_NAME} characters")
        if isinstance(value, dict):
            yield from _flat(value, f"{path}.", depth + 1)
        elif isinstance(value, list):
            if len(value) > MAX_LIST:
                raise DecodeError("fields", f"list {path[:40]}", len(value), f"<= {MAX_LIST} values")
            yield path, tuple(_scalar(path, part) for part in value if part is not None)
        elif value is not None:
            yield path, _scalar(path, value)


def _scalar(path: str, value: object) -> Scalar:
    if isinstance(value, str) and len(value) <= MAX_TEXT:
        return value
    if isinstance(value, int) and -(2**63) <= value < 2**64:
        return value
    if isinstance(value, float) and math.isfinite(value):
        return value
    raise DecodeError("fields", f"value of {path[:40]}", type(value).__name__, f"a number or <= {MAX_TEXT} letters")


def _first(fields: Mapping[str, Value], names: tuple[str, ...]) -> Value | None:
    return next((fields[name] for name in names if name in fields), None)


def _text(fields: Mapping[str, Value], names: tuple[str, ...]) -> str:
    """A text; of a list, as Malcolm writes some, its first."""
    value = _first(fields, names)
    value = value[0] if isinstance(value, tuple) and value else value
    if value is None or value == ():
        return ""
    if not isinstance(value, str):
        raise DecodeError("value", names[0], type(value).__name__, "a text")
    return value


def _time_ns(fields: Mapping[str, Value]) -> int:
    """Seconds since 1970 as a number, else ISO 8601 with its zone."""
    value = _first(fields, _TIME)
    if isinstance(value, float | int) and not isinstance(value, bool) and 0 <= value <= _MAX_TIME_S:
        return round(value * 1_000_000) * NS_PER_US  # a double tells no more
    try:
        if not isinstance(value, str):
            raise TypeError("ts")
        found = to_ns(datetime.fromisoformat(value))
        if not 0 <= found <= _MAX_TIME_S * NS_PER_S:
            raise OverflowError(value)
        return found
    except (ValueError, TypeError, OverflowError) as error:
        raise DecodeError("time", "time of a log line", repr(value)[:40], "seconds, or ISO 8601 with zone") from error


def _address(fields: Mapping[str, Value], names: tuple[str, ...]) -> str:
    text = _text(fields, names)
    try:
        return str(ip_address(text)) if text else ""
    except ValueError as error:
        raise DecodeError("address", names[0], repr(text[:40]), "an IP address") from error


def _port(fields: Mapping[str, Value], names: tuple[str, ...]) -> int:
    port = _count(fields, *names)
    if port is not None and port > _MAX_PORT:
        raise DecodeError("value", names[0], port, f"0..{_MAX_PORT}")
    return port or 0


def _count(fields: Mapping[str, Value], *names: str) -> int | None:
    value = _first(fields, names)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**63:
        raise DecodeError("value", names[0], repr(value)[:40], "a whole number >= 0")
    return value


def _seconds(fields: Mapping[str, Value], *names: str) -> float | None:
    value = _first(fields, names)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or value < 0:
        raise DecodeError("value", names[0], repr(value)[:40], "seconds >= 0")
    return float(value)


def _typed(kind: str, fields: Mapping[str, Value]) -> tuple[Connection | Control | None, frozenset[str]]:
    """The typed part of a log we know, and the names of the fields in it."""
    names = _NAMES.get(kind)
    if names is None:
        return None, frozenset()
    used = frozenset(name for both in names.values() for name in both)
    return (_connection(fields, names) if kind == "conn" else _control(fields, names)), used


_NAMES: dict[str, dict[str, tuple[str, str]]] = {
    "conn": {
        "proto": ("proto", "network.transport"),
        "service": ("service", "network.protocol"),
        "duration_s": ("duration", "zeek.conn.duration"),
        **{
            name: (name, f"zeek.conn.{name}")
            for name in (
                *("orig_bytes", "resp_bytes", "orig_pkts", "resp_pkts", "missed_bytes"),
                *("conn_state", "history"),
            )
        },
    },
    "dnp3": {
        "request": ("fc_request", "zeek.dnp3.function_request"),
        "reply": ("fc_reply", "zeek.dnp3.function_reply"),
    },
    "modbus": {"request": ("func", "zeek.modbus.func"), "exception": ("exception", "zeek.modbus.exception")},
}
_COUNTS = ("orig_bytes", "resp_bytes", "orig_pkts", "resp_pkts", "missed_bytes")


def _connection(fields: Mapping[str, Value], names: Mapping[str, tuple[str, str]]) -> Connection:
    return Connection(
        proto=_text(fields, names["proto"]),
        service=_text(fields, names["service"]),
        duration_s=_seconds(fields, *names["duration_s"]),
        conn_state=_text(fields, names["conn_state"]),
        history=_text(fields, names["history"]),
        **{name: _count(fields, *names[name]) for name in _COUNTS},
    )


def _control(fields: Mapping[str, Value], names: Mapping[str, tuple[str, str]]) -> Control:
    return Control(**{part: _text(fields, both) for part, both in names.items()})


def encode_line(log: Log) -> bytes:
    """One JSON line in Zeek's own form, without its line end."""
    sent: dict[str, object] = {"_path": log.log, "ts": log.time_ns // NS_PER_US / (NS_PER_S // NS_PER_US)}
    shared: dict[str, object] = {"uid": log.uid, "id.orig_h": log.source, "id.resp_h": log.destination}
    if log.source or log.destination:
        shared |= {"id.orig_p": log.source_port, "id.resp_p": log.destination_port}
    sent |= {name: value for name, value in shared.items() if value != ""}
    if log.typed is not None:
        for part, (name, _) in _NAMES[log.log].items():
            value = getattr(log.typed, part)
            if value not in (None, ""):
                sent[name] = value
    return msgspec.json.encode(sent | dict(log.fields))
