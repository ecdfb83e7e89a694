"""Zeek's and Malcolm's JSON logs: typed where known, flat and bounded otherwise, each line on its own."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.errors import DecodeError
from wire import zeek
from wire.zeek import Connection, Control, Log, decode_line, decode_lines, encode_line

CONN: dict[str, Any] = {
    "_path": "conn",
    "ts": 1521911721.255387,
    "uid": "C8Tful1TvM3Zf5x8fl",
    "id.orig_h": "10.164.94.120",
    "id.orig_p": 39681,
    "id.resp_h": "10.47.3.155",
    "id.resp_p": 3389,
    "proto": "tcp",
    "duration": 0.004266,
    "orig_bytes": 97,
    "resp_bytes": 19,
    "conn_state": "RSTR",
    "missed_bytes": 0,
    "history": "ShADTdtr",
    "orig_pkts": 10,
    "resp_pkts": 6,
    "orig_ip_bytes": 730,
    "tunnel_parents": ["CAbc", "CDef"],
    "service": None,
}
MALCOLM: dict[str, Any] = {
    "@timestamp": "2022-01-24T20:31:01.846Z",
    "event": {"dataset": "modbus", "provider": "zeek"},
    "source": {"ip": ["2001:DB8::1"], "port": 50_000},
    "destination": {"ip": "192.0.2.7", "port": 502},
    "zeek": {"uid": "CYeji2z7CKmPRGyga", "modbus": {"func": "WRITE_SINGLE_COIL", "exception": None, "unit": 3}},
}


def line(fields: dict[str, Any]) -> bytes:
    return json.dumps(fields).encode()


def test_connections_are_typed() -> None:
    found = decode_line(line(CONN))
    assert found == Log(
        "conn",
        1_521_911_721_255_387_000,
        "C8Tful1TvM3Zf5x8fl",
        "10.164.94.120",
        39_681,
        "10.47.3.155",
        3_389,
        Connection("tcp", "", 0.004266, 97, 19, 10, 6, 0, "RSTR", "ShADTdtr"),
        {"orig_ip_bytes": 730, "tunnel_parents": ("CAbc", "CDef")},
    )


def test_malcolm_nests_the_same_facts() -> None:
    found = decode_line(line(MALCOLM))
    assert (found.log, found.time_ns, found.uid) == ("modbus", 1_643_056_261_846_000_000, "CYeji2z7CKmPRGyga")
    assert (found.source, found.source_port) == ("2001:db8::1", 50_000)
    assert (found.destination, found.destination_port) == ("192.0.2.7", 502)
    assert found.typed == Control("WRITE_SINGLE_COIL")
    assert found.fields == {"event.provider": "zeek", "zeek.modbus.unit": 3}


def test_dnp3_and_unknown_logs() -> None:
    head = {"ts": "2026-01-02T03:04:05.5+01:00", "uid": "C1", "fc_request": "DIRECT_OPERATE", "fc_reply": "RESPONSE"}
    found = decode_line(line(head | {"iin": 4096}), "dnp3")
    assert found.typed == Control("DIRECT_OPERATE", "RESPONSE")
    assert (found.time_ns % 86_400_000_000_000, found.fields) == (7_445_500_000_000, {"iin": 4096})
    nested = {"function_request": "READ", "function_reply": "RESPONSE"}
    malcolm = decode_line(line(MALCOLM | {"event": {"dataset": "dnp3"}, "zeek": {"dnp3": nested}}))
    assert (malcolm.typed, malcolm.uid, malcolm.fields) == (Control("READ", "RESPONSE"), "", {})
    other = decode_line(line({"_path": "synchrophasor_cmd", "ts": 1, "command": "Data on"}))
    assert (other.typed, other.fields, other.source_port) == (None, {"command": "Data on"}, 0)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"_path": None}, "log"),
        ({"_path": 7}, "value"),
        ({"_path": "x" * 200}, "log"),
        ({"ts": None}, "time"),
        ({"ts": -1}, "time"),
        ({"ts": True}, "time"),
        ({"ts": 1e12}, "time"),
        ({"ts": "2026-01-01T00:00:00"}, "time"),
        ({"ts": "9999-01-01T00:00:00Z"}, "time"),
        ({"ts": "0001-01-01T00:00:00+14:00"}, "time"),
        ({"id.orig_h": "10.0.0.256"}, "address"),
        ({"id.orig_h": 10}, "value"),
        ({"id.orig_p": 65_536}, "value"),
        ({"id.orig_p": -1}, "value"),
        ({"id.orig_p": "80"}, "value"),
        ({"orig_bytes": 1.5}, "value"),
        ({"orig_bytes": 2**63}, "value"),
        ({"duration": -1}, "value"),
        ({"duration": False}, "value"),
        ({"proto": ["tcp", 7], "history": [7]}, "value"),
        ({"x": "y" * 5_000}, "fields"),
        ({"x" * 200: 1}, "fields"),
        ({"x": [[1]]}, "fields"),
        ({"x": [{}]}, "fields"),
        ({"x": [1] * 300}, "fields"),
        ({"x": {"a": {"b": {"c": {"d": {"e": {"f": 1}}}}}}}, "fields"),
        ({f"x{i}": i for i in range(300)}, "fields"),
        ({"x": "y" * 70_000}, "size"),
        ({"x": 10**30}, "fields"),
        ({"ts": 10**30}, "fields"),
        ({"a.b": 1, "a": {"b": 2}}, "fields"),
    ],
)
def test_wrong_lines_are_refused(change: dict[str, Any], reason: str) -> None:
    with pytest.raises(DecodeError) as caught:
        decode_line(line(CONN | change))
    assert caught.value.reason == reason


@pytest.mark.parametrize("data", [b"", b"[]", b"{", b"\xff", b"[" * 60_000, b'{"a":' * 10_000, b'{"ts":NaN}'])
def test_what_is_no_object_is_refused(data: bytes) -> None:
    with pytest.raises(DecodeError) as caught:
        decode_line(data)
    assert caught.value.reason == "json"


def test_bad_lines_are_refused_alone_with_their_numbers() -> None:
    data = b"\n".join([line(CONN), b"", b"nonsense", line(MALCOLM) + b"\r", line(CONN | {"ts": None}), b"  "]) + b"\n"
    found = decode_lines(data)
    assert [log.log for log in found.logs] == ["conn", "modbus"]
    assert [(refused.line, refused.error.reason) for refused in found.refused] == [(3, "json"), (5, "time")]
    assert found.blank == 2
    assert decode_lines(b"") == zeek.Lines((), (), 0)


@given(st.lists(st.sampled_from([line(CONN), b"x", b"", b" ", line(MALCOLM)]), max_size=20), st.booleans())
def test_every_line_is_accounted_for(lines: list[bytes], ended: bool) -> None:
    data = b"\n".join(lines) + (b"\n" if ended and lines else b"")
    found = decode_lines(data)
    count = data.count(b"\n") + (not data.endswith(b"\n") and bool(data))
    assert len(found.logs) + len(found.refused) + found.blank == count


def test_the_whole_is_bounded() -> None:
    with pytest.raises(DecodeError, match="length of JSON lines"):
        decode_lines(b" " * (zeek.MAX_BYTES + 1))
    with pytest.raises(DecodeError, match="number of JSON lines"):
        decode_lines(b"\n" * (zeek.MAX_LINES + 1))


@pytest.mark.parametrize("fields", [CONN, MALCOLM, {"_path": "x", "ts": 5.000001, "a": [1, "b"], "c": 2.5}])
def test_what_we_write_is_what_we_read(fields: dict[str, Any]) -> None:
    log = decode_line(line(fields))
    assert decode_line(encode_line(log)) == log
