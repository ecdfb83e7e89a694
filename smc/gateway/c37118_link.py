"""One PMU or concentrator dialled by IEEE C37.118.2 over TCP: off, CFG-2, on; then DATA until the connection ends.

Who does not answer to CFG-2 is asked for CFG-3, and the other way round; what was answered comes first next time.
The protocol has no answer for data, so loss shows as counted gaps. What we dial is known by configuration: its PMUs
are enrolled from it. Nothing authenticates the sender: put the connection into TLS or a VPN.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from dataclasses import dataclass

import numpy as np
from sqlalchemy.exc import OperationalError

from model.block import I32, Origin
from model.device import Provenance
from model.errors import DecodeError, SettingsError
from model.time import NS_PER_S
from smc.context import StageContext
from smc.gateway.batcher import Batcher, Refused, in_window
from smc.gateway.registry import Registry
from wire.c37118.data import DataLayout
from wire.c37118.frames import Frame, FrameKind
from wire.c37118.messages import CommandCode, encode_command
from wire.c37118.session import Batch, Configured, Event, Session
from wire.c37118.stream import Reject

LINK = "c37.118"
READ_BYTES = 262_144
CONNECT_TIMEOUT_S = 10.0
SILENCE_S = 10.0  # and at least SILENT_FRAMES of the data rate
SILENT_FRAMES = 5.0
PARTIAL_S = 2.0  # longest wait for the rest of a frame before its size counts as a lie
RETRY_FIRST_S = 0.5
RETRY_LAST_S = 30.0
ASK_AGAIN_S = 5.0  # shortest time between two requests for a configuration
GAP = 1.5  # frame intervals that make a gap


@dataclass(frozen=True, slots=True)
class Address:
    """Where to dial, and which stream to ask for."""

    host: str
    port: int
    idcode: int

    def __str__(self) -> str:
        return f"{self.host}:{self.port}/{self.idcode}"


def parse_address(text: str) -> Address:
    """Address of `host:port/idcode`. Raises SettingsError."""
    place, _, idcode = text.rpartition("/")
    host, _, port = place.rpartition(":")
    if not (host and port.isdecimal() and idcode.isdecimal() and 0 < int(port) < 65536 and 0 < int(idcode) < 65535):
        raise SettingsError("SMC_PMUS", text, "host:port/idcode", "write it like 192.0.2.7:4712/60")
    return Address(host.strip("[]"), int(port), int(idcode))


@dataclass(slots=True)
class _Stream:
    """What we know of one stream of the connection."""

    layout: DataLayout
    devices: I32
    last_ns: int | None = None

    def gaps(self, times_ns: np.typing.NDArray[np.int64]) -> Counter[str]:
        """Frames missing between neighbours, and frames that do not go forward, by the stream's own data rate."""
        if not len(times_ns):
            return Counter()
        rate = self.layout.configuration.frames_per_s
        known = times_ns if self.last_ns is None else np.concatenate([[self.last_ns], times_ns])
        self.last_ns = int(times_ns.max() if self.last_ns is None else max(self.last_ns, int(times_ns.max())))
        steps = np.diff(known) * rate / NS_PER_S
        missing = np.rint(steps[steps > GAP]) - 1
        return Counter(gaps=len(missing), frames_missing=int(missing.sum()), frames_back=int((steps <= 0).sum()))


class PmuLink:
    """Keeps one connection up until cancelled. `counts` are its own."""

    def __init__(self, address: Address, context: StageContext, registry: Registry, batcher: Batcher) -> None:
        self.address = address
        self.counts: Counter[str] = Counter()
        self.connected = False
        self._context = context
        self._registry = registry
        self._batcher = batcher
        provenance = Provenance.SIMULATED if context.settings.simulated else Provenance.MEASURED
        self._origin = Origin(LINK, str(address), provenance)
        self._streams: dict[int, _Stream] = {}
        self._asked_s = float("-inf")
        self._wanted = CommandCode.CFG2
        self._unanswered = False

    async def run(self) -> None:
        """Dial, read, dial again with growing, jittered pauses."""
        pause_s = RETRY_FIRST_S
        while True:
            received = self.counts["frames"]
            try:
                await self._connect()
            except (OSError, TimeoutError, OperationalError) as error:
                self._context.log.warning("c37118.not_connected", peer=str(self.address), error=repr(error)[:200])
            finally:
                self.connected = False
            self.counts["reconnects"] += 1
            pause_s = RETRY_FIRST_S if self.counts["frames"] > received else min(2 * pause_s, RETRY_LAST_S)
            await asyncio.sleep(pause_s * random.uniform(0.5, 1.0))  # noqa: S311 (jitter, no secret)

    async def _connect(self) -> None:
        opening = asyncio.open_connection(self.address.host, self.address.port, limit=READ_BYTES)
        reader, writer = await asyncio.wait_for(opening, CONNECT_TIMEOUT_S)
        try:
            self.connected = True
            self._asked_s = float("-inf")
            self._command(writer, CommandCode.OFF)
            self._ask(writer)
            await self._read(reader, writer)
        finally:
            if not writer.is_closing():
                self._command(writer, CommandCode.OFF)
            writer.close()

    async def _read(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        session = Session()
        clock = self._context.clock
        alive_s = whole_s = clock.monotonic_s()
        while clock.monotonic_s() - alive_s < self._silence_s():
            data = await self._some(reader)
            if data == b"":
                await self._handle(session.close(), writer)
                return
            events = session.feed(data) if data else []
            if events or not session.stream.waiting:
                whole_s = clock.monotonic_s()
            elif clock.monotonic_s() - whole_s > PARTIAL_S:
                events = session.resync()
            if any(not isinstance(event, Reject) for event in events):
                alive_s = clock.monotonic_s()
            await self._handle(events, writer)
            if self._unanswered:
                self._ask(writer)
        self.counts["silences"] += 1
        self._context.log.warning("c37118.silent", peer=str(self.address), silence_s=self._silence_s())

    async def _some(self, reader: asyncio.StreamReader) -> bytes | None:
        """The next bytes, empty at the end, None if none came for a while."""
        try:
            return await asyncio.wait_for(reader.read(READ_BYTES), PARTIAL_S)
        except TimeoutError:
            return None

    def _silence_s(self) -> float:
        rates = [s.layout.configuration.frames_per_s for s in self._streams.values()]
        return max([SILENCE_S, *(SILENT_FRAMES / rate for rate in rates if rate > 0)])

    async def _handle(self, events: list[Event], writer: asyncio.StreamWriter) -> None:
        received_ns = self._context.clock.now_ns()
        for event in events:
            if isinstance(event, Batch):
                await self._data(event, received_ns, writer)
            elif isinstance(event, Configured):
                await self._configured(event, writer)
            elif isinstance(event, Reject):
                await self._reject(event, received_ns, writer)
            else:
                await self._other(event, received_ns)

    async def _data(self, batch: Batch, received_ns: int, writer: asyncio.StreamWriter) -> None:
        stream = self._streams[batch.layout.configuration.idcode]
        self.counts["frames"] += len(batch)
        times_ns = batch.layout.times_ns(batch.frames)
        # A stamp that is refused must not be what the next frames are measured against.
        self.counts.update(stream.gaps(times_ns[in_window(times_ns, received_ns)]))
        for block in batch.layout.decode(batch.frames, stream.devices, received_ns, self._origin):
            await self._batcher.put(block)
        if batch.changing:
            self._ask(writer)

    async def _configured(self, event: Configured, writer: asyncio.StreamWriter) -> None:
        configuration = event.layout.configuration
        self._unanswered = False
        self._wanted = CommandCode.CFG3 if configuration.kind is FrameKind.CFG3 else CommandCode.CFG2
        if configuration.idcode != self.address.idcode:
            self.counts["foreign_streams"] += 1
        known = self._streams.get(configuration.idcode)
        if known is None or event.changed:
            enrolled = await asyncio.to_thread(self._registry.enrol_pmus, configuration, self._origin.provenance)
            indices = np.array([device.index for device in enrolled], np.int32)
            # A gap may span a lost connection, and the life of this process: then the store knows its beginning.
            last_ns = known.last_ns if known else await asyncio.to_thread(self._registry.newest_ns, enrolled)
            self._streams[configuration.idcode] = _Stream(event.layout, indices, last_ns)
            self.counts["configurations"] += 1
            self._context.log.info("c37118.configured", peer=str(self.address), pmus=len(enrolled))
        self._command(writer, CommandCode.ON)

    async def _reject(self, reject: Reject, received_ns: int, writer: asyncio.StreamWriter) -> None:
        self.counts["frames_refused"] += 1
        await self._batcher.put(Refused(LINK, str(self.address), reject.error, reject.data, received_ns))
        if reject.error.reason in ("size", "configuration"):
            self._ask(writer)

    async def _other(self, frame: Frame, received_ns: int) -> None:
        """Nobody but us commands; a header or an older configuration is none of our business."""
        self.counts[f"frames_{frame.kind.name.lower()}"] += 1
        if frame.kind is FrameKind.COMMAND:
            error = DecodeError("direction", "frame from a PMU", "CMD", "DATA, CFG or HDR")
            await self._batcher.put(Refused(LINK, str(self.address), error, frame.data, received_ns))

    def _ask(self, writer: asyncio.StreamWriter) -> None:
        """Request a configuration, not more often than every few seconds; the other kind where nobody answered."""
        now_s = self._context.clock.monotonic_s()
        if now_s - self._asked_s < ASK_AGAIN_S:
            return
        if self._unanswered:
            self._wanted = CommandCode.CFG2 if self._wanted is CommandCode.CFG3 else CommandCode.CFG3
        self._asked_s = now_s
        self._unanswered = True
        self._command(writer, self._wanted)

    def _command(self, writer: asyncio.StreamWriter, code: CommandCode) -> None:
        writer.write(encode_command(self.address.idcode, code, self._context.clock.now_ns()))
