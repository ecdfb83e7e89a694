"""What a recording holds, in its order: frames and messages of the protocols we speak."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from model.errors import DecodeError
from wire.c37118.data import DataLayout
from wire.c37118.session import Event, Session
from wire.c37118.stream import Reject
from wire.mqtt import MqttStream, Publish
from wire.pcap import Flow, Piece, pieces, read_packets, segments

C37118_PORTS = (4712, 4713)
MQTT_PORT = 1883
OTHER_PORTS = {2404: "iec104", 102: "mms", 4059: "dlms", 5683: "coap"}


@dataclass(frozen=True, slots=True)
class Heard:
    """One thing heard in a recording, at the time of its packet. `what` is a name where we do not decode it."""

    time_ns: int
    flow: Flow
    what: Event | Publish | str


class _Listener:
    """Decoders of all conversations of one recording."""

    def __init__(self) -> None:
        self._sessions: dict[Flow, Session] = {}
        self._layouts: dict[str, dict[int, DataLayout]] = {}  # of one sending host: TCP configures, UDP may carry data
        self._mqtt: dict[Flow, MqttStream] = {}

    def hear(self, piece: Piece) -> Iterator[Heard]:
        """What the next bytes of a flow say."""
        flow = piece.flow
        if any(flow.speaks(port) for port in C37118_PORTS):
            yield from self._c37118(piece)
        elif flow.destination_port == MQTT_PORT:
            yield from self._publications(piece)
        elif not flow.speaks(MQTT_PORT):
            name = next((name for port, name in OTHER_PORTS.items() if flow.speaks(port)), "other")
            yield Heard(piece.time_ns, flow, name)

    def close(self, time_ns: int) -> Iterator[Heard]:
        """What only the end of the recording decides."""
        for flow, session in self._sessions.items():
            yield from (Heard(time_ns, flow, event) for event in session.close())

    def _c37118(self, piece: Piece) -> Iterator[Heard]:
        flow = piece.flow
        session = self._sessions.get(flow)
        if session is not None and (piece.start or piece.lost):  # another connection, or a hole: no frame spans it
            yield from (Heard(piece.time_ns, flow, event) for event in session.close())
            session = None
        if session is None:
            session = self._sessions[flow] = Session(self._layouts.setdefault(flow.source, {}))
        yield from (Heard(piece.time_ns, flow, event) for event in session.feed(piece.payload))

    def _publications(self, piece: Piece) -> Iterator[Heard]:
        if piece.start or piece.lost or piece.flow not in self._mqtt:
            self._mqtt[piece.flow] = MqttStream()
        try:
            found = self._mqtt[piece.flow].feed(piece.payload)
        except DecodeError as error:
            del self._mqtt[piece.flow]
            yield Heard(piece.time_ns, piece.flow, Reject(error, piece.payload))
            return
        yield from (Heard(piece.time_ns, piece.flow, publish) for publish in found)


def listen(data: bytes) -> Iterator[Heard]:
    """Everything a pcap recording holds. Raises DecodeError at the place where the file itself is broken."""
    listener = _Listener()
    time_ns = 0
    broken: DecodeError | None = None
    packets = read_packets(data)
    try:
        for piece in pieces(segments(packets)):
            time_ns = piece.time_ns
            yield from listener.hear(piece)
    except DecodeError as error:
        broken = error
    yield from listener.close(time_ns)
    if broken is not None:
        raise broken
