"""MQTT as recordings hold it: the PUBLISH packets of a client's byte stream (versions 3.1.1 and 5.0)."""

from __future__ import annotations

from dataclasses import dataclass

from model.errors import DecodeError

CONNECT, PUBLISH = 1, 3
MAX_PACKET = 1_048_576
_MAX_LENGTH_BYTES = 4
_VERSION_5 = 5


@dataclass(frozen=True, slots=True)
class Publish:
    """One message as it was sent."""

    topic: str
    qos: int
    payload: bytes


class MqttStream:
    """Splits what a client sends. After an error the stream cannot be followed any more: nothing marks a packet."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._version = 4

    def feed(self, data: bytes) -> list[Publish]:
        """Messages that are complete now. Raises DecodeError where the bytes are no MQTT."""
        self._buffer += data
        found: list[Publish] = []
        while (packet := self._next()) is not None:
            first, body = packet
            if first >> 4 == CONNECT:
                self._version = _version_of(body)
            elif first >> 4 == PUBLISH:
                found.append(_publish(first, body, self._version))
        return found

    def _next(self) -> tuple[int, bytes] | None:
        head = _remaining_length(self._buffer, 1)
        if head is None:
            return None
        size, at = head
        if not self._buffer[0] >> 4 or size > MAX_PACKET:
            raise DecodeError("mqtt", "first bytes of an MQTT packet", self._buffer[:5].hex(), "a type and <= 1 MiB")
        if len(self._buffer) < at + size:
            return None
        first, body = self._buffer[0], bytes(self._buffer[at : at + size])
        del self._buffer[: at + size]
        return first, body


def _remaining_length(data: bytes | bytearray, at: int) -> tuple[int, int] | None:
    """A variable byte integer and where it ends; None if it is not all there."""
    size = 0
    for i, byte in enumerate(data[at : at + _MAX_LENGTH_BYTES]):
        size |= (byte & 0x7F) << 7 * i
        if byte < 0x80:
            return size, at + i + 1
    if len(data) >= at + _MAX_LENGTH_BYTES:
        raise DecodeError("mqtt", "length of an MQTT packet", data[at : at + 4].hex(), "<= 4 bytes")
    return None


def _version_of(body: bytes) -> int:
    """Protocol level of a CONNECT, behind the protocol's name."""
    at = 2 + int.from_bytes(body[:2])
    if len(body) <= at:
        raise DecodeError("mqtt", "length of CONNECT", len(body), f"> {at} bytes")
    return body[at]


def _publish(first: int, body: bytes, version: int) -> Publish:
    qos = first >> 1 & 3
    end = 2 + int.from_bytes(body[:2])
    at = end + (2 if qos else 0)
    if version >= _VERSION_5:
        properties = _remaining_length(body, at) or (len(body), at)
        at = properties[0] + properties[1]
    if at > len(body) or len(body) < 2:
        raise DecodeError("mqtt", "length of PUBLISH", len(body), f">= {at} bytes")
    try:
        return Publish(body[2:end].decode(), qos, body[at:])
    except UnicodeDecodeError as error:
        raise DecodeError("mqtt", "topic of PUBLISH", body[2:end][:40].hex(), "UTF-8") from error
