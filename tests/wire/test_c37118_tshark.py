"""What we decode is what the tshark dissector prints: every DATA frame of both recordings, and every FORMAT."""

from __future__ import annotations

import io
import json
import math
from pathlib import Path
from typing import Any

import pytest

from smc.gateway.decode import decode_file
from tests.wire.material import Seen, capture, made, tshark_data, tshark_text, udp_pcap
from wire.c37118.configuration import encode_cfg2

RECORDINGS = {
    "C37.118_1PMU_TCP.pcap": ({"cfg2": 1, "command": 3, "data": 252}, ["Blue PMU"]),
    "C37.118_4in1PMU_TCP.pcap": ({"cfg2": 3, "command": 8, "data": 1342}, ["PMU1", "PMU2", "PMU3", "PMU4"]),
}
HALF_DIGIT = 0.000_51  # tshark prints three digits behind the point


def decoded(path: Path) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    out = io.StringIO()
    assert decode_file(path, out) == 0
    lines = [json.loads(line) for line in out.getvalue().splitlines()]
    return [line for line in lines[:-1] if line["kind"] == "data"], lines[-1]


def assert_same(ours: dict[str, Any], seen: Seen) -> None:
    assert ours["device"].split(":", 2)[2] == seen.station
    assert len(ours["phasors"]) == len(seen.polar)
    for phasor, (name, magnitude, degrees) in zip(ours["phasors"], seen.polar, strict=True):
        assert phasor["name"] == name
        assert abs(phasor["magnitude"] - magnitude) <= HALF_DIGIT
        turn = math.degrees(phasor["angle_rad"]) - degrees
        assert abs((turn + 180) % 360 - 180) <= HALF_DIGIT
    assert ours["frequency_hz"] == pytest.approx(seen.frequency_hz, abs=HALF_DIGIT)
    assert ours["rocof_hz_per_s"] == pytest.approx(seen.rocof_hz_per_s, abs=HALF_DIGIT)
    assert ours["digitals"] == seen.digitals


@pytest.mark.parametrize("name", RECORDINGS)
def test_recordings_decode_as_tshark_prints_them(name: str) -> None:
    path = capture(f"c37.118/{name}")
    counts, stations = RECORDINGS[name]
    ours, totals = decoded(path)
    assert totals["counts"] == counts
    assert totals["rejected"] == {}
    theirs = tshark_data(tshark_text(path))
    assert len(theirs) == len(ours) == counts["data"]
    for frame, seen in zip(ours, theirs, strict=True):
        assert [pmu.station for pmu in seen] == stations
        for pmu, printed in zip(frame["pmus"], seen, strict=True):
            assert_same(pmu, printed)


def test_first_frames_hold_the_known_values() -> None:
    frames, _ = decoded(capture("c37.118/C37.118_1PMU_TCP.pcap"))
    first = frames[0]
    assert first["time"] == "2008-08-01T16:05:30.120000012Z"
    phase_a = first["pmus"][0]["phasors"][1]
    assert phase_a["magnitude"] == pytest.approx(100_038.474, abs=0.01)
    assert math.degrees(phase_a["angle_rad"]) == pytest.approx(-89.926, abs=0.001)
    frames, _ = decoded(capture("c37.118/C37.118_4in1PMU_TCP.pcap"))
    assert frames[0]["time"] == "2008-08-01T16:10:02.140000000Z"
    # Idle inputs wrap -50 Hz and still call themselves good: a decoder reports it as it is.
    assert [pmu["frequency_hz"] for pmu in frames[0]["pmus"]] == [50.0, 65.536, 65.536, 65.536]
    assert [pmu["stat"] for pmu in frames[0]["pmus"]] == ["0x0000"] * 4


@pytest.mark.parametrize("form", range(16))
def test_every_format_that_we_encode_reads_the_same_in_tshark(form: int, tmp_path: Path) -> None:
    material = made(form)
    path = tmp_path / "made.pcap"
    configuration = encode_cfg2(material.layout.configuration, int(material.times_ns[0]))
    path.write_bytes(udp_pcap([configuration, *material.frames]))
    ours, totals = decoded(path)
    assert totals["counts"] == {"cfg2": 1, "data": 5}
    theirs = tshark_data(tshark_text(path))
    assert len(theirs) == len(ours) == 5
    for frame, seen in zip(ours, theirs, strict=True):
        for pmu, printed in zip(frame["pmus"], seen, strict=True):
            assert_same(pmu, printed)


def test_recording_of_another_protocol_is_counted_not_rejected() -> None:
    _, totals = decoded(capture("iec104/090813_diverse.pcap"))
    assert totals["counts"]["not decoded: iec104"] == 86
    assert totals["rejected"] == {}


def test_truncated_recording_names_the_offset(tmp_path: Path) -> None:
    whole = udp_pcap([encode_cfg2(made(15).layout.configuration), *made(15).frames])
    path = tmp_path / "cut.pcap"
    path.write_bytes(whole[:-7])
    out = io.StringIO()
    assert decode_file(path, out) == 1
    lines = [json.loads(line) for line in out.getvalue().splitlines()]
    assert lines[-1]["counts"] == {"cfg2": 1, "data": 4}
    assert lines[-1]["rejected"] == {"truncated": 1}
    last_packet = len(whole) - (16 + 28 + made(15).layout.size)
    assert f"at offset {last_packet}" in lines[-2]["what"]
