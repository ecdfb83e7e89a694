"""A PMU server on loopback, dialled by the intake: frames into the store, faults into quarantine, gaps counted."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace

import numpy as np
import pytest
from sqlalchemy import text

from model.device import Provenance
from model.errors import SettingsError
from smc.context import StageContext
from smc.gateway.c37118_link import Address, parse_address
from smc.store import devices, quarantine
from tests.smc.gateway.conftest import eventually, running, with_settings
from tests.smc.gateway.test_mqtt import counters
from wire.c37118.configuration import Configuration, Format, Phasor, Pmu, encode_cfg2
from wire.c37118.configuration3 import encode_cfg3
from wire.c37118.data import DataLayout
from wire.c37118.messages import CommandCode, decode_command
from wire.c37118.stream import Stream

RATE = 50


def configuration(changes: int = 1, phasors: int = 3) -> Configuration:
    form = Format.POLAR | Format.FLOAT_PHASORS | Format.FLOAT_FREQUENCY
    channels = tuple(Phasor(f"V{k}") for k in range(phasors))
    return Configuration(
        60, 1_000_000, tuple(Pmu(f"P{i}", 61 + i, form, channels, changes=changes) for i in range(2)), RATE
    )


def frames(layout: DataLayout, start_ns: int, count: int, stat: int = 0) -> list[bytes]:
    shape = (count, len(layout.configuration.pmus))
    phasors = np.full((*shape, 3), 230.0 + 0j)
    times_ns = start_ns + np.arange(count) * (1_000_000_000 // RATE)
    return layout.encode(times_ns, np.full(shape, stat, np.uint16), phasors, np.full(shape, 50.01), np.zeros(shape))


@dataclass
class PmuServer:
    """Answers CFG-2 with its present configuration; sends what a test hands it once it is switched on.

    `long`: it knows nothing but CFG-3, which it tells in several frames.
    """

    port: int
    configuration: Configuration
    long: bool = False
    commands: list[str] = field(default_factory=list)
    socket: socket.socket | None = None
    on: threading.Event = field(default_factory=threading.Event)

    def send(self, data: bytes) -> None:
        assert self.on.wait(20)
        assert self.socket is not None
        self.socket.sendall(data)

    def serve(self, listener: socket.socket) -> None:
        while True:
            try:
                self.socket, _ = listener.accept()
            except OSError:
                return
            with suppress(OSError):  # a caller may hang up in the middle of a word
                self._listen(self.socket)

    def _listen(self, connection: socket.socket) -> None:
        stream = Stream()
        while data := connection.recv(4096):
            for frame in stream.feed(data):
                command = decode_command(frame)
                self.commands.append(command.name)
                if command.code == CommandCode.CFG3 and self.long:
                    connection.sendall(b"".join(encode_cfg3(self.configuration, time.time_ns(), max_size=100)))
                if command.code == CommandCode.CFG2 and not self.long:
                    connection.sendall(encode_cfg2(self.configuration, time.time_ns()))
                if command.code == CommandCode.ON:
                    self.on.set()


@contextmanager
def pmu_server() -> Iterator[PmuServer]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = PmuServer(listener.getsockname()[1], configuration())
        thread = threading.Thread(target=server.serve, args=(listener,), daemon=True)
        thread.start()
        yield server
        listener.shutdown(socket.SHUT_RDWR)
        if server.socket is not None:
            server.socket.close()


def stored_frames(context: StageContext) -> int:
    with context.engine.connect() as conn:
        return int(conn.execute(text("SELECT coalesce(sum(frames), 0) FROM phasor_seconds")).scalar_one())


def test_frames_are_stored_under_their_pmus(context: StageContext) -> None:
    with pmu_server() as server:
        context = with_settings(context, pmus=(f"127.0.0.1:{server.port}/60",))
        layout = DataLayout(server.configuration)
        with running(context):
            data = b"".join(frames(layout, time.time_ns(), 100))
            for at in range(0, len(data), 333):  # TCP cuts where it likes
                server.send(data[at : at + 333])
            eventually(lambda: stored_frames(context) == 200, "100 frames of 2 PMUs")
    assert server.commands[:3] == ["OFF", "CFG2", "ON"]
    with context.engine.connect() as conn:
        enrolled = devices.all_devices(conn)
    assert [(d.name, d.provenance) for d in enrolled] == [(f"pmu:{61 + i}:P{i}", Provenance.SIMULATED) for i in (0, 1)]
    assert [channel.unit for channel in enrolled[0].channels] == ["V", "V", "V"]
    found = counters(context)
    assert (found["frames"], found["pmu_rows"], found["quarantined"], found["gaps"]) == (100, 200, 0, 0)


def test_who_knows_only_cfg3_is_asked_for_it(context: StageContext, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("smc.gateway.c37118_link.ASK_AGAIN_S", 0.2)
    monkeypatch.setattr("smc.gateway.c37118_link.PARTIAL_S", 0.1)
    with pmu_server() as server:
        server.long = True
        context = with_settings(context, pmus=(f"127.0.0.1:{server.port}/60",))
        layout = DataLayout(server.configuration)
        with running(context):
            server.send(b"".join(frames(layout, time.time_ns(), 10)))
            eventually(lambda: stored_frames(context) == 20, "10 frames of 2 PMUs")
            server.on.clear()
            assert server.socket is not None
            server.socket.shutdown(socket.SHUT_RDWR)
            assert server.on.wait(20)
    assert server.commands[:2] == ["OFF", "CFG2"]
    again = server.commands.index("OFF", 1)
    assert "CFG3" in server.commands[2:again]
    assert server.commands[again : again + 3] == ["OFF", "CFG3", "ON"]  # it is remembered what was answered
    with context.engine.connect() as conn:
        assert quarantine.recent(conn, 10) == []


def test_inventory_survives_the_configuration(context: StageContext) -> None:
    with pmu_server() as server:
        context = with_settings(context, pmus=(f"127.0.0.1:{server.port}/60",))
        with running(context):
            assert server.on.wait(20)
        with context.engine.begin() as conn:
            known = devices.all_devices(conn)[0]
            devices.enrol(conn, [replace(known, unit="norm-0001", feeder="F1", channels=())])
        server.on.clear()
        with running(context):
            assert server.on.wait(20)
        with context.engine.connect() as conn:
            again = devices.all_devices(conn)[0]
    assert (again.unit, again.feeder, len(again.channels)) == ("norm-0001", "F1", 3)


def test_broken_frames_are_quarantined_and_gaps_counted(context: StageContext) -> None:
    with pmu_server() as server:
        context = with_settings(context, pmus=(f"127.0.0.1:{server.port}/60",))
        layout = DataLayout(server.configuration)
        with running(context):
            good = frames(layout, time.time_ns(), 20)
            broken = bytearray(good[5])
            broken[30] ^= 0x10
            server.send(b"".join([*good[:5], bytes(broken), *good[6:10], b"\x00\x01\x02", *good[10:12], *good[15:]]))
            eventually(lambda: stored_frames(context) == 32, "16 frames of 2 PMUs")
            eventually(lambda: counters(context).get("quarantined") == 2, "both refusals")
    with context.engine.connect() as conn:
        kept = {item.reason: item for item in quarantine.recent(conn, 10)}
    assert kept["crc"].data == bytes(broken)
    assert kept["sync"].data == b"\x00\x01\x02"
    assert kept["crc"].peer == f"127.0.0.1:{server.port}/60"
    found = counters(context)
    assert (found["gaps"], found["frames_missing"]) == (2, 4)


@pytest.mark.parametrize("announced", [True, False])
def test_a_changed_configuration_is_asked_for_and_used(
    context: StageContext, announced: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("smc.gateway.c37118_link.ASK_AGAIN_S", 0.0)
    with pmu_server() as server:
        context = with_settings(context, pmus=(f"127.0.0.1:{server.port}/60",))
        old = DataLayout(server.configuration)
        with running(context):
            server.send(frames(old, time.time_ns(), 1)[0])
            eventually(lambda: stored_frames(context) == 2, "the old layout")
            server.configuration = configuration(changes=2, phasors=2)
            asked = server.commands.count("CFG2")
            new = DataLayout(server.configuration)
            now_ns = time.time_ns()
            server.send(frames(old, now_ns, 1, stat=0x0400)[0] if announced else frames(new, now_ns, 1)[0])
            eventually(lambda: server.commands.count("CFG2") > asked, "the request")
            eventually(lambda: server.commands.count("ON") >= 2, "the answer")
            server.send(b"".join(frames(new, time.time_ns() + 10**9, 5)))
            eventually(lambda: stored_frames(context) >= 12, "the new layout")
    with context.engine.connect() as conn:
        reasons = [item.reason for item in quarantine.recent(conn, 10)]
        assert len(devices.all_devices(conn)[0].channels) == 2
    assert reasons == ([] if announced else ["size"])


def test_a_lost_connection_is_dialled_again(context: StageContext) -> None:
    with pmu_server() as server:
        context = with_settings(context, pmus=(f"127.0.0.1:{server.port}/60",))
        layout = DataLayout(server.configuration)
        with running(context):
            server.send(frames(layout, time.time_ns(), 1)[0])
            eventually(lambda: stored_frames(context) == 2, "before")
            server.on.clear()
            assert server.socket is not None
            server.socket.shutdown(socket.SHUT_RDWR)
            server.send(frames(layout, time.time_ns(), 1)[0])
            eventually(lambda: stored_frames(context) == 4, "after")
    assert server.commands.count("CFG2") == 2
    assert counters(context)["gaps"] == 1


def test_frames_that_a_restart_misses_are_counted(context: StageContext) -> None:
    start_ns = time.time_ns() // 10**9 * 10**9 - 10**10
    for run in range(2):  # each with a server of its own, for nobody listens in between
        with pmu_server() as server, running(with_settings(context, pmus=(f"127.0.0.1:{server.port}/60",))):
            server.send(b"".join(frames(DataLayout(server.configuration), start_ns + 3 * run * 10**9, 10)))
            eventually(lambda stored=20 * (run + 1): stored_frames(context) == stored, "ten frames of two PMUs")
    found = counters(context)
    assert (found["gaps"], found["frames_missing"]) == (1, 3 * RATE - 10)


def test_stamps_far_from_now_are_quarantined_by_name(context: StageContext) -> None:
    with pmu_server() as server:
        context = with_settings(context, pmus=(f"127.0.0.1:{server.port}/60",))
        layout = DataLayout(server.configuration)
        with running(context):
            now_ns = time.time_ns()
            server.send(frames(layout, now_ns, 1)[0] + frames(layout, now_ns + 10 * 86_400 * 10**9, 1)[0])
            eventually(lambda: counters(context).get("quarantined") == 2, "one refusal per PMU")
    assert stored_frames(context) == 2
    with context.engine.connect() as conn:
        kept = quarantine.recent(conn, 10)
    assert {item.what for item in kept} == {"stamp of pmu:61:P0", "stamp of pmu:62:P1"}
    assert {item.reason for item in kept} == {"window"}


def test_a_stamp_from_the_future_hides_no_gap(context: StageContext) -> None:
    with pmu_server() as server:
        layout = DataLayout(server.configuration)
        now_ns = time.time_ns() - 10**10
        sent = [*frames(layout, now_ns, 10), *frames(layout, now_ns + 10 * 86_400 * 10**9, 1)]
        sent += frames(layout, now_ns + 10**9, 10)
        with running(with_settings(context, pmus=(f"127.0.0.1:{server.port}/60",))):
            server.send(b"".join(sent))
            eventually(lambda: stored_frames(context) == 40, "all but one of two PMUs")
    found = counters(context)
    assert (found["gaps"], found["frames_missing"], found["frames_back"]) == (1, RATE - 10, 0)


@pytest.mark.parametrize("address", ["", "host", "host:4712", "host:x/60", "host:4712/0", "host:99999/60", ":4712/60"])
def test_wrong_addresses_are_refused(address: str) -> None:
    with pytest.raises(SettingsError, match="host:port/idcode"):
        parse_address(address)
    assert parse_address("[::1]:4712/60") == Address("::1", 4712, 60)
