"""general-glo-ciphering and general-ded-ciphering with AES-GCM (security suites 0 to 2), and the check against replay.

Tag 0xDB or 0xDC, system title (length and 8 bytes), length, security byte, invocation counter u32, ciphertext, tag of
12 bytes. The IV is title and counter; authenticated with it are the security byte and the authentication key.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from model.errors import DecodeError, NotTrusted
from wire.dlms.apdu import MAX_APDU, ApduTag
from wire.dlms.axdr import encode_length

ENCRYPTED = 0x20
AUTHENTICATED = 0x10
TITLE_BYTES = 8
TAG_BYTES = 12
_COMPRESSED = 0x80
_SUITE = 0x0F
_COUNTER_BYTES = 4
_KEY_BYTES = {0: 16, 1: 16, 2: 32}  # by security suite
_CIPHERING = (ApduTag.GENERAL_GLO_CIPHERING, ApduTag.GENERAL_DED_CIPHERING)


@dataclass(frozen=True, slots=True, repr=False)
class Keys:
    """Keys of one meter: encryption and authentication key, both of 16 bytes (suites 0 and 1) or 32 (suite 2).

    `need_tag`: refuse what is encrypted only, since such bytes can be changed on the way without a trace.
    """

    encryption: bytes
    authentication: bytes
    need_tag: bool = True


@dataclass(frozen=True, slots=True)
class Sealed:
    """A ciphered APDU, not opened yet."""

    tag: ApduTag
    title: bytes
    security: int
    counter: int
    payload: bytes  # ciphertext, with its tag at the end if authenticated


def decode_sealed(apdu: bytes) -> Sealed:
    """Header of a ciphered APDU. Raises DecodeError (apdu, title, length, security, truncated)."""
    if not apdu or apdu[0] not in _CIPHERING or len(apdu) > MAX_APDU:
        raise DecodeError("apdu", "first byte of a ciphered APDU", apdu[:1].hex(), "db or dc")
    if apdu[1:2] != bytes([TITLE_BYTES]):
        raise DecodeError("title", "length of a system title", apdu[1:2].hex(), f"{TITLE_BYTES} bytes")
    at = 2 + TITLE_BYTES
    size, at = _length(apdu, at)
    if size != len(apdu) - at or size < 1 + _COUNTER_BYTES:
        raise DecodeError("length", "length in a ciphered APDU", size, f"{len(apdu) - at}, >= {1 + _COUNTER_BYTES}")
    security = apdu[at]
    if not security & (ENCRYPTED | AUTHENTICATED) or security & _COMPRESSED or security & _SUITE not in _KEY_BYTES:
        raise DecodeError("security", "security byte", f"{security:#04x}", "suite 0..2, encrypted or authenticated")
    payload = apdu[at + 1 + _COUNTER_BYTES :]
    if security & AUTHENTICATED and len(payload) < TAG_BYTES:
        raise DecodeError("truncated", "tag of a ciphered APDU", len(payload), f"{TAG_BYTES} bytes")
    counter = int.from_bytes(apdu[at + 1 : at + 1 + _COUNTER_BYTES])
    return Sealed(ApduTag(apdu[0]), apdu[2 : 2 + TITLE_BYTES], security, counter, payload)


def _length(apdu: bytes, at: int) -> tuple[int, int]:
    size = {0x81: 1, 0x82: 2}.get(apdu[at] if at < len(apdu) else 0, 0)
    if size == 0:
        return (apdu[at], at + 1) if at < len(apdu) and apdu[at] < 0x80 else (-1, at + 1)
    return int.from_bytes(apdu[at + 1 : at + 1 + size]), at + 1 + size


def decipher(sealed: Sealed, keys: Keys) -> bytes:
    """Plaintext APDU. Raises DecodeError (tag, security): wrong keys, changed bytes, or no tag where one is needed.

    The counter is not judged here: call `check_counter` afterwards, when it is known who has spoken.
    """
    _check_keys(sealed, keys)
    if not sealed.security & AUTHENTICATED:
        if keys.need_tag:
            raise DecodeError("security", "security byte", f"{sealed.security:#04x}", "authenticated")
        # GCM without its tag is counter mode that starts at 2: block 1 is kept for the tag.
        iv = sealed.title + sealed.counter.to_bytes(_COUNTER_BYTES)
        return (
            Cipher(algorithms.AES(keys.encryption), modes.CTR(iv + (2).to_bytes(4))).encryptor().update(sealed.payload)
        )
    body, tag = sealed.payload[:-TAG_BYTES], sealed.payload[-TAG_BYTES:]
    opener = Cipher(algorithms.AES(keys.encryption), _mode(sealed, tag)).decryptor()
    encrypted = bool(sealed.security & ENCRYPTED)
    opener.authenticate_additional_data(_associated(sealed.security, keys, b"" if encrypted else body))
    try:
        plain = opener.update(body if encrypted else b"") + opener.finalize()
    except InvalidTag as error:
        raise DecodeError("tag", "tag of a ciphered APDU", tag.hex(), "the one of these keys and bytes") from error
    return plain if encrypted else body


def _check_keys(sealed: Sealed, keys: Keys) -> None:
    needed = _KEY_BYTES[sealed.security & _SUITE]
    if len(keys.encryption) != needed or len(keys.authentication) != needed:
        raise DecodeError("security", "bytes of the keys of its suite", len(keys.encryption), needed)


def _mode(sealed: Sealed, tag: bytes | None) -> modes.GCM:
    return modes.GCM(sealed.title + sealed.counter.to_bytes(_COUNTER_BYTES), tag, min_tag_length=TAG_BYTES)


def _associated(security: int, keys: Keys, plain: bytes) -> bytes:
    return bytes([security]) + keys.authentication + plain


def encipher(
    apdu: bytes,
    title: bytes,
    counter: int,
    keys: Keys,
    security: int = ENCRYPTED | AUTHENTICATED,
    tag: ApduTag = ApduTag.GENERAL_GLO_CIPHERING,
) -> bytes:
    """A ciphered APDU around a plain one. A counter must never be used twice with one key."""
    sealed = Sealed(tag, title, security, counter, b"")
    encrypted = bool(security & ENCRYPTED)
    if security & AUTHENTICATED:
        sealer = Cipher(algorithms.AES(keys.encryption), _mode(sealed, None)).encryptor()
        sealer.authenticate_additional_data(_associated(security, keys, b"" if encrypted else apdu))
        body = sealer.update(apdu if encrypted else b"") + sealer.finalize()
        payload = (body if encrypted else apdu) + sealer.tag[:TAG_BYTES]
    else:
        iv = title + counter.to_bytes(_COUNTER_BYTES) + (2).to_bytes(4)
        payload = Cipher(algorithms.AES(keys.encryption), modes.CTR(iv)).encryptor().update(apdu)
    head = bytes([tag, TITLE_BYTES]) + title
    return head + encode_length(5 + len(payload)) + bytes([security]) + counter.to_bytes(_COUNTER_BYTES) + payload


def check_counter(seen: Mapping[bytes, int], sealed: Sealed) -> int:
    """The counter to remember for its title from now on. Raises NotTrusted (replay) where it does not rise.

    `seen` holds the last counter of each system title, as it was kept with the readings of that message.
    """
    last = seen.get(sealed.title, -1)
    if sealed.counter <= last:
        raise NotTrusted("replay", f"invocation counter of {sealed.title.hex()}", sealed.counter, f"> {last}")
    return sealed.counter
