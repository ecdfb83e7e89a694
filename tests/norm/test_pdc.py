"""The concentrator over a real loopback connection, read with the centre's own codecs."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import numpy as np
import pytest

from model.block import Origin
from model.device import Provenance
from model.errors import SetupError
from model.time import NS_PER_S
from norm.fleet import Fleet
from norm.pdc import MAX_CLIENTS, Concentrator, frame_times_ns
from wire.c37118.configuration import Configuration, decode_configuration
from wire.c37118.configuration3 import decode_cfg3
from wire.c37118.data import DataLayout
from wire.c37118.frames import Frame, FrameKind
from wire.c37118.messages import CommandCode, decode_header, encode_command
from wire.c37118.stream import Stream

IDCODE = 7
RATE = 10


class Caller:
    """A client of the concentrator."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer, self.stream = reader, writer, Stream()
        self.frames: list[Frame] = []

    def command(self, code: int, idcode: int = IDCODE) -> None:
        self.writer.write(encode_command(idcode, code))

    async def take(self, kind: FrameKind) -> Frame:
        while True:
            for i, frame in enumerate(self.frames):
                if frame.kind is kind:
                    return self.frames.pop(i)
            data = await asyncio.wait_for(self.reader.read(65_536), 5.0)
            assert data, "the concentrator hung up"
            self.frames += self.stream.feed(data)
            assert not self.stream.rejects

    async def silent_for(self, wait_s: float) -> bool:
        try:
            data = await asyncio.wait_for(self.reader.read(65_536), wait_s)
        except TimeoutError:
            return True
        return not data


def talk(dialogue: Callable[[Concentrator, Callable[[], Awaitable[Caller]]], Awaitable[None]], units: int = 6) -> None:
    """Run a dialogue with a fresh concentrator; `dial` connects a caller."""

    async def main() -> None:
        concentrator = Concentrator(Fleet(1, "DSO-0001", units), IDCODE, RATE)
        port = await concentrator.listen("127.0.0.1", 0)
        sender = asyncio.ensure_future(concentrator.send_forever())
        callers: list[Caller] = []

        async def dial() -> Caller:
            callers.append(Caller(*await asyncio.open_connection("127.0.0.1", port)))
            return callers[-1]

        try:
            await dialogue(concentrator, dial)
            assert not sender.done()
        finally:
            sender.cancel()
            for caller in callers:
                caller.writer.close()
            await concentrator.close()

    asyncio.run(main())


def test_usual_order_off_configuration_on() -> None:
    async def dialogue(concentrator: Concentrator, dial: Callable[[], Awaitable[Caller]]) -> None:
        caller = await dial()
        for code in (CommandCode.OFF, CommandCode.CFG2, CommandCode.ON):
            caller.command(code)
        configuration = decode_configuration(await caller.take(FrameKind.CFG2))
        check_configuration(configuration)
        data = b"".join([(await caller.take(FrameKind.DATA)).data for _ in range(RATE + 3)])
        layout = DataLayout(configuration)
        origin = Origin("c37.118", "test", Provenance.SIMULATED)
        (block,) = layout.decode(data, np.arange(6, dtype=np.int32), 0, origin)
        times = block.time_ns[::6]
        assert np.all(times % (NS_PER_S // RATE) == 0)  # exactly on the grid
        assert np.all(np.diff(times) == NS_PER_S // RATE)
        truth = concentrator.fleet.pmu_frames(times)
        np.testing.assert_allclose(block.column("frequency_hz"), truth.frequency_hz.ravel(), rtol=1e-6)
        np.testing.assert_allclose(block.column("rocof_hz_per_s"), truth.rocof_hz_per_s.ravel(), rtol=1e-5, atol=1e-8)
        for channel in range(6):
            expected = truth.phasors[:, :, channel].ravel()
            found = block.column(f"magnitude_{channel}") * np.exp(1j * block.column(f"angle_{channel}_rad"))
            np.testing.assert_allclose(found, expected, rtol=1e-5)
        assert np.all(block.time_error_ns == 1_000)
        assert concentrator.frames_sent >= RATE + 3

    talk(dialogue)


def check_configuration(configuration: Configuration) -> None:
    assert configuration.idcode == IDCODE
    assert configuration.data_rate == RATE
    assert [pmu.station for pmu in configuration.pmus] == [f"norm-{i:04d}" for i in range(1, 7)]
    assert [pmu.idcode for pmu in configuration.pmus] == list(range(101, 107))
    first = configuration.pmus[0]
    assert [p.name for p in first.phasors] == ["VA", "VB", "VC", "IA", "IB", "IC"]
    assert [p.current for p in first.phasors] == [False] * 3 + [True] * 3
    assert first.nominal_hz == 50


def test_frames_come_when_their_moment_has_come_and_stop_at_off() -> None:
    async def dialogue(concentrator: Concentrator, dial: Callable[[], Awaitable[Caller]]) -> None:
        caller = await dial()
        assert await caller.silent_for(0.3)  # nothing before it is asked for
        caller.command(CommandCode.ON)
        layout = DataLayout(concentrator.configuration)
        delays = []
        for _ in range(5):
            frame = await caller.take(FrameKind.DATA)
            delays.append(concentrator._now_ns() - int(layout.times_ns(frame.data)[0]))
        assert min(delays) >= 0
        assert min(delays) < 0.1 * NS_PER_S
        caller.command(CommandCode.OFF)
        await asyncio.sleep(0.2)
        await caller.silent_for(0.05)  # what was under way
        assert await caller.silent_for(0.4)

    talk(dialogue)


def test_header_other_streams_rubbish_and_unknown_commands() -> None:
    async def dialogue(_: Concentrator, dial: Callable[[], Awaitable[Caller]]) -> None:
        caller = await dial()
        caller.writer.write(b"\xaa\x41 no command at all" * 20)
        caller.command(CommandCode.CFG2, idcode=IDCODE + 1)
        caller.command(0x0123)
        assert await caller.silent_for(0.3)
        caller.command(CommandCode.HEADER)
        assert "simulated" in decode_header(await caller.take(FrameKind.HEADER))
        caller.command(CommandCode.CFG1)
        check_configuration(decode_configuration(await caller.take(FrameKind.CFG1)))
        caller.command(CommandCode.CFG3)
        check_configuration(decode_cfg3([await caller.take(FrameKind.CFG3)]))

    talk(dialogue)


def test_clients_are_independent_and_bounded() -> None:
    async def dialogue(_: Concentrator, dial: Callable[[], Awaitable[Caller]]) -> None:
        callers = [await dial() for _ in range(MAX_CLIENTS)]
        await asyncio.sleep(0.05)
        refused = await dial()
        assert await refused.reader.read(1) == b""
        callers[0].command(CommandCode.ON)
        callers[1].command(CommandCode.ON)
        await callers[0].take(FrameKind.DATA)
        callers[0].writer.close()
        for _ in range(3):
            await callers[1].take(FrameKind.DATA)
        assert await callers[2].silent_for(0.05)

    talk(dialogue)


def test_a_client_that_does_not_read_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("norm.pdc.MAX_BUFFER_BYTES", 20_000)

    async def dialogue(concentrator: Concentrator, dial: Callable[[], Awaitable[Caller]]) -> None:
        deaf, keen = await dial(), await dial()
        deaf.writer.transport.pause_reading()  # its socket fills up, then our buffer for it
        for caller in (deaf, keen):
            caller.command(CommandCode.ON)
        await keen.take(FrameKind.DATA)
        frame = bytes(1_000_000)
        for _ in range(20):
            concentrator._broadcast(frame)
            if len(concentrator._clients) == 0:
                break
        assert len(concentrator._clients) == 0

    talk(dialogue)


def test_an_occupied_port_is_said_in_one_line() -> None:
    async def dialogue(concentrator: Concentrator, _: Callable[[], Awaitable[Caller]]) -> None:
        assert concentrator._server is not None
        port = concentrator._server.sockets[0].getsockname()[1]
        with pytest.raises(SetupError, match=f"127.0.0.1:{port}"):
            await Concentrator(concentrator.fleet, IDCODE, RATE).listen("127.0.0.1", port)

    talk(dialogue)


@pytest.mark.parametrize("rate", [1, 10, 30, 50, 60])
def test_frame_times_are_the_exact_grid(rate: int) -> None:
    times = frame_times_ns(1_795_430_700, rate)
    assert len(times) == rate
    assert times[0] == 1_795_430_700 * NS_PER_S
    assert np.all(np.abs(np.diff(times) - NS_PER_S / rate) < 1)
