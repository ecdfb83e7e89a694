"""Recordings into the store: every frame, once, marked; shifted times go forward only."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import text

from model.block import Quality, decode_block
from model.device import Device, DeviceKind, Protocol, Provenance
from model.errors import SetupError
from smc.context import StageContext
from smc.gateway.replay import replay_files
from smc.store import devices, quarantine
from tests.smc.gateway.conftest import SITE, enrol
from tests.wire.material import capture, made, udp_pcap
from wire.c37118.configuration import encode_cfg2

ONE, FOUR = "c37.118/C37.118_1PMU_TCP.pcap", "c37.118/C37.118_4in1PMU_TCP.pcap"


def replay(context: StageContext, *paths: Path, speed: float = 0.0, shift: bool = False) -> dict[str, int]:
    return replay_files(paths, context, speed, shift, loop=False, stop=threading.Event())


def stored(context: StageContext) -> tuple[int, int, int]:
    """Frames, and the lowest and highest of their stamps in ns."""
    with context.engine.connect() as conn:
        row = conn.execute(
            text(
                "SELECT sum(frames), extract(epoch FROM min(time)) * 1000000000, "
                "extract(epoch FROM max(time)) * 1000000000 FROM phasor_seconds"
            )
        ).one()
    return int(row[0] or 0), int(row[1] or 0), int(row[2] or 0)


def made_recording(folder: Path, count: int = 5) -> Path:
    material = made(15, count)
    path = folder / "made.pcap"
    path.write_bytes(udp_pcap([encode_cfg2(material.layout.configuration), *material.frames]))
    return path


def test_both_recordings_are_stored_whole_and_once(context: StageContext) -> None:
    paths = capture(ONE), capture(FOUR)
    first = replay(context, *paths)
    frames = 252 + 1342
    rows = 252 + 4 * 1342
    assert (first["frames"], first["rows_phasor"], first["rows_new"]) == (frames, rows, rows)
    assert (first["quarantined"], first["rows_conflicting"]) == (0, 0)
    assert stored(context)[0] == rows
    again = replay(context, *paths)
    assert (again["rows_new"], again["rows_duplicate"], again["rows_conflicting"]) == (0, rows, 0)
    assert stored(context)[0] == rows
    with context.engine.connect() as conn:
        found = devices.all_devices(conn)
    names = {"pmu:241:Blue PMU", "pmu:61:PMU1", "pmu:62:PMU2", "pmu:63:PMU3", "pmu:64:PMU4"}
    assert {d.name for d in found} == names
    assert {d.provenance for d in found} == {Provenance.REPLAYED}


def test_recorded_times_are_kept_and_marked(context: StageContext, tmp_path: Path) -> None:
    replay(context, made_recording(tmp_path))
    _, first_ns, _ = stored(context)
    assert first_ns == made(15).times_ns[0]
    (delivery,) = context.bus.receive("blocks", "detect", "test", 10, 0.0)
    block = decode_block(delivery.body)
    assert (block.quality & Quality.OUT_OF_WINDOW != 0).all()
    assert block.origin.provenance is Provenance.REPLAYED


def test_shifted_times_start_now_keep_their_grid_and_never_go_back(context: StageContext, tmp_path: Path) -> None:
    path = made_recording(tmp_path)
    before_ns = time.time_ns()
    counts = replay(context, path, path, path, shift=True)
    assert counts["rows_new"] == 3 * 15
    assert before_ns - 10**9 <= stored(context)[1] <= time.time_ns()
    last_ns = 0
    for delivery in context.bus.receive("blocks", "detect", "test", 10, 0.0):
        block = decode_block(delivery.body)
        assert (block.quality & Quality.SHIFTED_TIME != 0).all()
        assert block.time_ns.min() > last_ns
        assert set(np.unique(block.time_ns % 20_000_000)) == {0}
        last_ns = int(block.time_ns.max())


def test_real_speed_takes_the_recorded_time(context: StageContext, tmp_path: Path) -> None:
    path = made_recording(tmp_path, 3)
    data = bytearray(path.read_bytes())
    size = 16 + 28 + made(15).layout.size
    data[-size + 4 : -size + 8] = (600_000).to_bytes(4, "little")  # the last packet comes after 0.6 s
    path.write_bytes(data)
    started = time.monotonic()
    assert replay(context, path, speed=2.0)["frames"] == 3
    assert 0.3 <= time.monotonic() - started < 5


def test_a_loop_ends_when_told(context: StageContext, tmp_path: Path) -> None:
    stop = threading.Event()
    threading.Timer(1.0, stop.set).start()
    counts = replay_files([made_recording(tmp_path)], context, 0.0, True, loop=True, stop=stop)
    assert counts["rounds"] > 1
    assert counts["rows_conflicting"] == 0


def test_live_devices_are_not_mixed_with_replayed_ones(context: StageContext, tmp_path: Path) -> None:
    name = "pmu:61:Station 0"
    live = Device(0, name, DeviceKind.PMU, Protocol.C37_118, SITE, Provenance.MEASURED, unit="norm-0001")
    enrol(context, live)
    replay(context, made_recording(tmp_path))
    with context.engine.connect() as conn:
        kept = devices.by_name(conn, name)
        other = devices.by_name(conn, f"replayed:{name}")
    assert kept is not None
    assert (kept.provenance, kept.channels) == (Provenance.MEASURED, ())
    assert other is not None
    assert other.provenance is Provenance.REPLAYED


def test_a_cut_recording_is_fed_up_to_there(context: StageContext, tmp_path: Path) -> None:
    path = made_recording(tmp_path)
    path.write_bytes(path.read_bytes()[:-7])
    counts = replay(context, path)
    assert (counts["frames"], counts["quarantined"]) == (4, 1)
    with context.engine.connect() as conn:
        (kept,) = quarantine.recent(conn, 10)
    assert (kept.reason, kept.peer) == ("truncated", "made.pcap")


@pytest.mark.parametrize("content", [b"", b"no recording", b"\x0a\x0d\x0d\x0a"])
def test_what_is_no_recording_is_the_operators_error(context: StageContext, tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.pcap"
    path.write_bytes(content)
    with pytest.raises(SetupError):
        replay(context, path)
