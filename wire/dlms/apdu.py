"""APDUs of DLMS/COSEM that a meter pushes: DataNotification, and which others there are."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from model.errors import DecodeError
from wire.dlms import axdr

LLC_FROM_METER = b"\xe6\xe7\x00"
LLC_TO_METER = b"\xe6\xe6\x00"
MAX_APDU = 65_535
DATE_TIME_BYTES = 12
_INVOKE_BYTES = 4


class ApduTag(IntEnum):
    """First byte of an APDU."""

    DATA_NOTIFICATION = 0x0F
    ASSOCIATION_REQUEST = 0x60
    ASSOCIATION_RESPONSE = 0x61
    RELEASE_REQUEST = 0x62
    RELEASE_RESPONSE = 0x63
    GET_REQUEST = 0xC0
    SET_REQUEST = 0xC1
    GET_RESPONSE = 0xC4
    SET_RESPONSE = 0xC5
    GENERAL_GLO_CIPHERING = 0xDB
    GENERAL_DED_CIPHERING = 0xDC


_KNOWN = frozenset(int(tag) for tag in ApduTag)


@dataclass(frozen=True, slots=True)
class Notification:
    """One push: long invoke id and priority, date-time as sent (12 bytes or none), and the node of its body."""

    invoke: int
    date_time: bytes
    body: axdr.Node


def strip_llc(data: bytes) -> bytes:
    """The APDU behind a logical link header, which HDLC has and the wrapper has not."""
    return data[3:] if data[:3] in (LLC_FROM_METER, LLC_TO_METER) else data


def kind_of(apdu: bytes) -> ApduTag:
    """What an APDU is, without decoding it. Raises DecodeError (apdu)."""
    if not apdu or apdu[0] not in _KNOWN or len(apdu) > MAX_APDU:
        raise DecodeError("apdu", "first byte and length of an APDU", f"{apdu[:1].hex()}, {len(apdu)}", "a known tag")
    return ApduTag(apdu[0])


def body_at(apdu: bytes) -> int:
    """Where the body of a DataNotification starts. Raises DecodeError (apdu, truncated, length)."""
    if kind_of(apdu) is not ApduTag.DATA_NOTIFICATION:
        raise DecodeError("apdu", "kind of a push", ApduTag(apdu[0]).name, "DATA_NOTIFICATION")
    at = 1 + _INVOKE_BYTES
    if len(apdu) <= at:
        raise DecodeError("truncated", "length of a DataNotification", len(apdu), f"> {at} bytes")
    if apdu[at] not in (0, DATE_TIME_BYTES):
        raise DecodeError("length", "date-time of a DataNotification", apdu[at], f"0 or {DATE_TIME_BYTES} bytes")
    return at + 1 + apdu[at]


def decode_notification(apdu: bytes) -> Notification:
    """Push of an APDU; consumes exactly its bytes. Raises DecodeError."""
    at = body_at(apdu)
    body, end = axdr.decode(apdu, at)
    if end != len(apdu):
        raise DecodeError("size", "length of a DataNotification", len(apdu), f"{end} bytes")
    return Notification(int.from_bytes(apdu[1 : 1 + _INVOKE_BYTES]), apdu[2 + _INVOKE_BYTES : at], body)


def encode_notification(notification: Notification) -> bytes:
    """Bytes of a push."""
    head = bytes([ApduTag.DATA_NOTIFICATION]) + notification.invoke.to_bytes(_INVOKE_BYTES)
    head += bytes([len(notification.date_time)]) + notification.date_time
    return head + axdr.encode(notification.body)
