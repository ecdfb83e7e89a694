"""Refused bytes on their way to quarantine, and their form on the bus: as durable as the readings beside them."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from model.errors import DecodeError, PeerError

TOPIC = "refused"


@dataclass(frozen=True, slots=True)
class Refused:
    """Bytes for quarantine: the link and peer they came by, and the peer's fault."""

    link: str
    peer: str
    error: PeerError
    data: bytes
    received_ns: int


class _Message(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    link: str
    peer: str
    reason: str
    what: str
    value: str
    expected: str
    data: bytes
    received_ns: int


def encode(refused: Refused) -> bytes:
    """Message on the topic `refused`. Lone surrogates in a peer's words become question marks."""
    error = refused.error
    message = _Message(
        link=_clean(refused.link),
        peer=_clean(refused.peer),
        reason=error.reason,
        what=_clean(error.what),
        value=_clean(str(error.value)),
        expected=_clean(str(error.expected)),
        data=refused.data,
        received_ns=refused.received_ns,
    )
    return msgspec.msgpack.encode(message)


def decode(body: bytes) -> Refused:
    """The refusal of a message. Raises DecodeError."""
    try:
        m = msgspec.msgpack.decode(body, type=_Message)
    except (msgspec.DecodeError, ValueError) as error:
        raise DecodeError("refusal", "message on the topic refused", str(error)[:200], "a refusal") from error
    return Refused(m.link, m.peer, PeerError(m.reason, m.what, m.value, m.expected), m.data, m.received_ns)


def _clean(words: str) -> str:
    return words.encode(errors="replace").decode()
