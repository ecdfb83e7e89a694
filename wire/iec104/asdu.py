"""ASDUs: type, number of objects, cause, originator, address, then information objects with addresses of 3 bytes.

Types that are not in the table are no fault of the sender: they come out with their bytes and without objects.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum

from model.errors import DecodeError
from wire.iec104 import elements
from wire.iec104.elements import CP56_BYTES, Kind, Stamp

HEAD_BYTES = 6
ADDRESS_BYTES = 3
MAX_OBJECTS = 127
_MAX_ADDRESS = 0xFF_FFFF
_SEQUENCE = 0x80
_TEST = 0x80
_NEGATIVE = 0x40
_CAUSE = 0x3F


@dataclass(frozen=True, slots=True)
class Type:
    """One type of ASDU: name in the standard, element, whether a CP56Time2a follows, whether it commands."""

    name: str
    kind: Kind
    stamped: bool = False
    command: bool = False

    @property
    def size(self) -> int:
        """Bytes of an object without its address."""
        return self.kind.size + self.stamped * CP56_BYTES


TYPES = {
    1: Type("M_SP_NA_1", elements.SINGLE),
    3: Type("M_DP_NA_1", elements.DOUBLE),
    5: Type("M_ST_NA_1", elements.STEP),
    7: Type("M_BO_NA_1", elements.BITS32),
    9: Type("M_ME_NA_1", elements.NORMAL),
    11: Type("M_ME_NB_1", elements.SCALED),
    13: Type("M_ME_NC_1", elements.FLOAT),
    15: Type("M_IT_NA_1", elements.COUNTER),
    21: Type("M_ME_ND_1", elements.BARE_NORMAL),
    30: Type("M_SP_TB_1", elements.SINGLE, stamped=True),
    31: Type("M_DP_TB_1", elements.DOUBLE, stamped=True),
    32: Type("M_ST_TB_1", elements.STEP, stamped=True),
    33: Type("M_BO_TB_1", elements.BITS32, stamped=True),
    34: Type("M_ME_TD_1", elements.NORMAL, stamped=True),
    35: Type("M_ME_TE_1", elements.SCALED, stamped=True),
    36: Type("M_ME_TF_1", elements.FLOAT, stamped=True),
    37: Type("M_IT_TB_1", elements.COUNTER, stamped=True),
    45: Type("C_SC_NA_1", elements.SINGLE_COMMAND, command=True),
    46: Type("C_DC_NA_1", elements.DOUBLE_COMMAND, command=True),
    47: Type("C_RC_NA_1", elements.DOUBLE_COMMAND, command=True),
    48: Type("C_SE_NA_1", elements.NORMAL, command=True),
    49: Type("C_SE_NB_1", elements.SCALED, command=True),
    50: Type("C_SE_NC_1", elements.FLOAT, command=True),
    51: Type("C_BO_NA_1", elements.BITS32_COMMAND, command=True),
    58: Type("C_SC_TA_1", elements.SINGLE_COMMAND, stamped=True, command=True),
    59: Type("C_DC_TA_1", elements.DOUBLE_COMMAND, stamped=True, command=True),
    60: Type("C_RC_TA_1", elements.DOUBLE_COMMAND, stamped=True, command=True),
    61: Type("C_SE_TA_1", elements.NORMAL, stamped=True, command=True),
    62: Type("C_SE_TB_1", elements.SCALED, stamped=True, command=True),
    63: Type("C_SE_TC_1", elements.FLOAT, stamped=True, command=True),
    64: Type("C_BO_TA_1", elements.BITS32_COMMAND, stamped=True, command=True),
    70: Type("M_EI_NA_1", elements.BYTE),
    100: Type("C_IC_NA_1", elements.BYTE, command=True),
    101: Type("C_CI_NA_1", elements.BYTE, command=True),
    102: Type("C_RD_NA_1", elements.NOTHING, command=True),
    103: Type("C_CS_NA_1", elements.NOTHING, stamped=True, command=True),
    105: Type("C_RP_NA_1", elements.BYTE, command=True),
    107: Type("C_TS_TA_1", elements.WORD, stamped=True, command=True),
}


class Cause(IntEnum):
    """Causes of transmission."""

    PERIODIC = 1
    BACKGROUND = 2
    SPONTANEOUS = 3
    INITIALISED = 4
    REQUEST = 5
    ACTIVATION = 6
    ACTIVATION_CONFIRMED = 7
    DEACTIVATION = 8
    DEACTIVATION_CONFIRMED = 9
    ACTIVATION_TERMINATED = 10
    REMOTE_COMMAND = 11
    LOCAL_COMMAND = 12
    INTERROGATED = 20
    UNKNOWN_TYPE = 44
    UNKNOWN_CAUSE = 45
    UNKNOWN_ADDRESS = 46
    UNKNOWN_OBJECT = 47


@dataclass(frozen=True, slots=True)
class Information:
    """One information object. `quality` holds the bits of `elements.Quality`, of a command its qualifier.

    Single points are 0 or 1; double points 0 between, 1 off, 2 on, 3 faulty; normalised values -1..1.
    """

    address: int
    value: float | None
    quality: int = 0
    stamp: Stamp | None = None


@dataclass(frozen=True, slots=True)
class Asdu:
    """One ASDU. `cause` is a number of `Cause` or another one; `payload` holds the objects of a type we do not know."""

    type: int
    cause: int
    address: int
    objects: tuple[Information, ...]
    originator: int = 0
    test: bool = False
    negative: bool = False
    sequence: bool = False  # one address for all objects, which follow one another
    payload: bytes = field(default=b"", repr=False)

    @property
    def known(self) -> bool:
        """Whether its objects were read."""
        return self.type in TYPES

    @property
    def command(self) -> bool:
        """Whether it commands the station; the answer to a command is one as well."""
        return self.known and TYPES[self.type].command


def decode_asdu(data: bytes) -> Asdu:
    """ASDU of an I frame; consumes exactly its bytes. Raises DecodeError (truncated, count, size, address)."""
    if len(data) < HEAD_BYTES:
        raise DecodeError("truncated", "length of an ASDU", len(data), f">= {HEAD_BYTES} bytes")
    kind, count, sequence = TYPES.get(data[0]), data[1] & MAX_OBJECTS, bool(data[1] & _SEQUENCE)
    objects: tuple[Information, ...] = ()
    if kind is not None:
        _check_size(data, kind, count, sequence)
        objects = _sequence(data, kind, count) if sequence else _single(data, kind, count)
    return Asdu(
        type=data[0],
        cause=data[2] & _CAUSE,
        address=int.from_bytes(data[4:6], "little"),
        objects=objects,
        originator=data[3],
        test=bool(data[2] & _TEST),
        negative=bool(data[2] & _NEGATIVE),
        sequence=sequence,
        payload=b"" if kind is not None else data[1:2] + data[HEAD_BYTES:],
    )


def _check_size(data: bytes, kind: Type, count: int, sequence: bool) -> None:
    if count == 0:
        raise DecodeError("count", f"objects of an ASDU of type {data[0]}", 0, ">= 1")
    size = ADDRESS_BYTES + count * kind.size if sequence else count * (ADDRESS_BYTES + kind.size)
    if len(data) != HEAD_BYTES + size:
        raise DecodeError("size", f"length of an ASDU of type {data[0]}", len(data), f"{HEAD_BYTES + size} bytes")


def _single(data: bytes, kind: Type, count: int) -> tuple[Information, ...]:
    step = ADDRESS_BYTES + kind.size
    starts = range(HEAD_BYTES, HEAD_BYTES + count * step, step)
    return tuple(_object(data, at + ADDRESS_BYTES, kind, _address(data, at)) for at in starts)


def _sequence(data: bytes, kind: Type, count: int) -> tuple[Information, ...]:
    first, start = _address(data, HEAD_BYTES), HEAD_BYTES + ADDRESS_BYTES
    if first + count - 1 > _MAX_ADDRESS:
        raise DecodeError("address", "last object of a sequence", first + count - 1, f"<= {_MAX_ADDRESS}")
    return tuple(_object(data, start + i * kind.size, kind, first + i) for i in range(count))


def _address(data: bytes, at: int) -> int:
    return int.from_bytes(data[at : at + ADDRESS_BYTES], "little")


def _object(data: bytes, at: int, kind: Type, address: int) -> Information:
    value, quality = kind.kind.read(data, at)
    end = at + kind.size
    return Information(address, value, quality, Stamp(data[end - CP56_BYTES : end]) if kind.stamped else None)


def encode_asdu(asdu: Asdu) -> bytes:
    """Bytes of an ASDU. Raises ValueError for a wrong number of objects, a missing stamp or addresses with holes."""
    head = bytes([asdu.cause & _CAUSE | asdu.negative * _NEGATIVE | asdu.test * _TEST, asdu.originator])
    head += asdu.address.to_bytes(2, "little")
    kind = TYPES.get(asdu.type)
    if kind is None:
        return bytes([asdu.type]) + asdu.payload[:1] + head + asdu.payload[1:]
    if not 1 <= len(asdu.objects) <= MAX_OBJECTS:
        raise ValueError(f"ASDU of {len(asdu.objects)} objects, expected 1..{MAX_OBJECTS}")
    addresses = [part.address for part in asdu.objects]
    if asdu.sequence and addresses != list(range(addresses[0], addresses[0] + len(addresses))):
        raise ValueError("addresses of a sequence have holes")
    parts = [bytes([asdu.type, len(asdu.objects) | asdu.sequence * _SEQUENCE]), head]
    for i, part in enumerate(asdu.objects):
        if not asdu.sequence or i == 0:
            parts.append(part.address.to_bytes(ADDRESS_BYTES, "little"))
        parts.append(_element(kind, part))
    return b"".join(parts)


def _element(kind: Type, part: Information) -> bytes:
    if kind.stamped and part.stamp is None:
        raise ValueError(f"{kind.name} without a stamp")
    return kind.kind.write(part.value, part.quality) + (part.stamp.raw if kind.stamped and part.stamp else b"")
