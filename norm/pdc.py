"""A simulated concentrator: all PMUs of a site in one IEEE C37.118.2 stream over TCP.

Clients command it as the standard says: off, CFG-2, on. Frames are stamped on the exact grid of the frame rate and
leave when their moment has come. Nothing authenticates a client, the protocol has no means: bind it to loopback or to
a VPN.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import numpy as np
import structlog

from model.errors import DecodeError, SetupError
from model.time import NS_PER_S
from norm.fleet import Fleet
from norm.inventory import pmu_channels, pmu_idcode
from wire.c37118.configuration import Configuration, Format, Phasor, Pmu, encode_cfg2
from wire.c37118.configuration3 import encode_cfg3
from wire.c37118.data import DataLayout
from wire.c37118.frames import Frame, FrameKind
from wire.c37118.messages import CommandCode, decode_command, encode_header
from wire.c37118.stream import Stream

TIME_BASE = 1_000_000
MAX_COMMAND_BYTES = 1_024
MAX_CLIENTS = 8
MAX_BUFFER_BYTES = 4 << 20  # of one client that does not read; then it is cut off
_READ_BYTES = 4_096

log = structlog.get_logger()


def configuration_of(fleet: Fleet, idcode: int, frames_per_s: int) -> Configuration:
    """The stream's configuration: float polar phasors, float frequency."""
    form = Format.POLAR | Format.FLOAT_PHASORS | Format.FLOAT_ANALOGS | Format.FLOAT_FREQUENCY
    phasors = tuple(Phasor(channel.name, channel.unit == "A") for channel in pmu_channels())
    pmus = tuple(
        Pmu(name, pmu_idcode(int(number)), form, phasors)
        for number, name in zip(fleet.numbers, fleet.names, strict=True)
    )
    return Configuration(idcode, TIME_BASE, pmus, frames_per_s)


def frame_times_ns(second: int, frames_per_s: int) -> np.typing.NDArray[np.int64]:
    """Stamps of one second's frames, on the exact grid, (frames_per_s,)."""
    return second * NS_PER_S + np.arange(frames_per_s, dtype=np.int64) * NS_PER_S // frames_per_s


class Client:
    """One connection: whether it wants data, and the bytes it sent so far."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self.writer = writer
        self.stream = Stream(max_size=MAX_COMMAND_BYTES)
        self.wants_data = False
        self.peer = str(writer.get_extra_info("peername"))

    def send(self, data: bytes) -> bool:
        """Queue bytes; False when the client has not read for so long that it must go."""
        self.writer.write(data)
        return self.writer.transport.get_write_buffer_size() <= MAX_BUFFER_BYTES


class Concentrator:
    """TCP server of one stream. `frames_sent` counts frames over all clients."""

    def __init__(self, fleet: Fleet, idcode: int, frames_per_s: int, now_ns: Callable[[], int] = time.time_ns) -> None:
        self.fleet = fleet
        self.configuration = configuration_of(fleet, idcode, frames_per_s)
        self.layout = DataLayout(self.configuration)
        self.frames_per_s = frames_per_s
        self.frames_sent = 0
        self._now_ns = now_ns
        self._clients: set[Client] = set()
        self._serving: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    async def listen(self, host: str, port: int) -> int:
        """Start to accept clients; the port (chosen by the system if 0). Raises SetupError when it is occupied."""
        try:
            self._server = await asyncio.start_server(self._accept, host, port)
        except OSError as error:
            address = f"{host}:{port}"
            raise SetupError("PMU address", address, "a free port of this host", f"choose another ({error})") from error
        return int(self._server.sockets[0].getsockname()[1])

    async def close(self) -> None:
        """Stop accepting and hang up."""
        if self._server is not None:
            self._server.close()
        for client in list(self._clients):
            client.writer.transport.abort()
        await asyncio.gather(*self._serving)

    async def send_forever(self) -> None:
        """Send every frame at its moment, one second prepared at a time. Frames of the past are not made up for."""
        second = self._now_ns() // NS_PER_S + 1
        while True:
            await self._sleep_until(second * NS_PER_S)
            if any(client.wants_data for client in self._clients):
                await self._send_second(second)
            second = max(second + 1, self._now_ns() // NS_PER_S)

    async def _send_second(self, second: int) -> None:
        times = frame_times_ns(second, self.frames_per_s)
        for time_ns, frame in zip(times, self._encode(times), strict=True):
            await self._sleep_until(int(time_ns))
            self._broadcast(frame)

    def _encode(self, times_ns: np.typing.NDArray[np.int64]) -> list[bytes]:
        frames = self.fleet.pmu_frames(times_ns)
        return self.layout.encode(
            frames.time_ns, frames.stat, frames.phasors, frames.frequency_hz, frames.rocof_hz_per_s
        )

    def _broadcast(self, frame: bytes) -> None:
        for client in [c for c in self._clients if c.wants_data]:
            if client.send(frame):
                self.frames_sent += 1
            else:
                log.warning("pdc.client_too_slow", peer=client.peer, buffer_bytes=MAX_BUFFER_BYTES)
                self._clients.discard(client)
                client.writer.transport.abort()

    async def _sleep_until(self, time_ns: int) -> None:
        await asyncio.sleep(max(time_ns - self._now_ns(), 0) / NS_PER_S)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(self._serve(reader, writer))
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        client = Client(writer)
        if len(self._clients) >= MAX_CLIENTS:
            log.warning("pdc.client_refused", peer=client.peer, clients=MAX_CLIENTS)
            writer.close()
            return
        self._clients.add(client)
        try:
            while data := await reader.read(_READ_BYTES):
                self._take(client, data)
        except ConnectionError as error:
            log.info("pdc.client_lost", peer=client.peer, error=str(error))
        finally:
            self._clients.discard(client)
            writer.close()

    def _take(self, client: Client, data: bytes) -> None:
        for frame in client.stream.feed(data):
            self._answer(client, frame)
        for reject in client.stream.rejects:
            log.warning("pdc.command_rejected", peer=client.peer, reason=reject.error.reason, bytes=len(reject.data))
        client.stream.rejects.clear()

    def _answer(self, client: Client, frame: Frame) -> None:
        try:
            command = decode_command(frame)
        except DecodeError as error:
            log.warning("pdc.command_rejected", peer=client.peer, reason=error.reason, kind=frame.kind.name)
            return
        if command.idcode != self.configuration.idcode:
            log.warning("pdc.command_for_another", peer=client.peer, idcode=command.idcode)
            return
        if command.code in (CommandCode.ON, CommandCode.OFF):
            client.wants_data = command.code == CommandCode.ON
            return
        told = self._tell(command.code)
        if not told:
            log.info("pdc.command_unknown", peer=client.peer, code=command.code)
        for part in told:
            client.send(part)

    def _tell(self, code: int) -> list[bytes]:
        """The frames that a command asks for; none if it is unknown."""
        now_ns = self._now_ns()
        if code == CommandCode.CFG1:
            return [encode_cfg2(self.configuration, now_ns, FrameKind.CFG1)]
        if code == CommandCode.CFG2:
            return [encode_cfg2(self.configuration, now_ns)]
        if code == CommandCode.CFG3:
            return encode_cfg3(self.configuration, now_ns)
        if code == CommandCode.HEADER:
            return [encode_header(self.configuration.idcode, f"simulated concentrator of {self.fleet.site}", now_ns)]
        return []
