"""Strict reading of STIX 2.1 envelopes: our own types and properties only, every number and text bounded.

Pure codec. STIX from elsewhere is hostile text: nothing here is executed, fetched or matched as a pattern. Two steps:
`parse_envelope` judges the bytes as a whole, `check` one object at a time, so that a bad object fails alone.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec
import orjson
from msgspec import Meta, Struct, field

from model.errors import DecodeError
from model.stix import CORE_INCIDENT, COURSE_OF_ACTION, OWN_ACK, OWN_ALERT, OWN_INCIDENT, StixObject

MAX_BYTES = 5 * 1024 * 1024
MAX_OBJECTS = 1_000
MAX_DEPTH = 20
MAX_INTEGER = 2**53
_UUID = r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
# Control characters arrive escaped from orjson; then markup, script addresses, and bidirectional overrides in UTF-8.
_HOSTILE = re.compile(rb"\\u00|\\[btnfr]|<[A-Za-z!/?]|(?i:javascript:)|\xe2\x80[\x8e\x8f\xa8-\xae]|\xe2\x81[\xa6-\xa9]")

Stamp = Annotated[str, Meta(pattern=r"\A\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z\Z")]
AnyRef = Annotated[str, Meta(pattern=rf"\A[a-z][a-z-]{{2,40}}--{_UUID}\Z")]
Creator = Annotated[str, Meta(pattern=rf"\Aidentity--{_UUID}\Z")]
Marking = Annotated[str, Meta(pattern=rf"\Amarking-definition--{_UUID}\Z")]
Name = Annotated[str, Meta(min_length=1, max_length=200)]
Text = Annotated[str, Meta(min_length=1, max_length=2_000)]
Token = Annotated[str, Meta(pattern=r"\A[a-z0-9][a-z0-9/-]{0,79}\Z")]
Label = Annotated[str, Meta(pattern=r'\A[A-Za-z0-9:="-]{1,120}\Z')]
Percent = Annotated[int, Meta(ge=0, le=100)]
Count = Annotated[int, Meta(ge=0, le=1_000_000_000)]
Severity = Literal["low", "medium", "high", "critical"]
AckState = Literal["received", "read", "acted", "not-applicable", "recalled", "held"]
Kind = Literal["data-quality", "meter-tamper", "clock-attack"]


class _Strict(Struct, forbid_unknown_fields=True, kw_only=True):
    pass


class _Toplevel(_Strict):
    extension_type: Literal["toplevel-property-extension"]


class _Core(_Strict):
    extension_type: Literal["property-extension"]
    determination: Literal["blocked", "confirmed", "failed-attempt", "false-positive", "suspected"]
    investigation_status: Literal["new", "open", "closed"]
    criticality: Percent
    detection_methods: Annotated[list[Token], Meta(max_length=10)]
    impacted_entity_counts: dict[Literal["ics-sensor", "ics-pmu"], Annotated[int, Meta(ge=10, le=100_000_000)]] = field(
        default_factory=dict
    )


class _IncidentExtensions(_Strict, rename={"core": CORE_INCIDENT, "own": OWN_INCIDENT}):
    core: _Core
    own: _Toplevel


class _AckExtensions(_Strict, rename={"own": OWN_ACK}):
    own: _Toplevel


class _AlertExtensions(_Strict, rename={"own": OWN_ALERT}):
    own: _Toplevel


class _Playbook(_Strict):
    extension_type: Literal["property-extension"]
    created: Stamp
    modified: Stamp
    playbook_id: Annotated[str, Meta(pattern=rf"\Aplaybook--{_UUID}\Z")]
    playbook_standard: Literal["cacao-2.0"]
    playbook_abstraction: Literal["executable", "template"]
    playbook_type: Annotated[list[Token], Meta(min_length=1, max_length=10)]
    playbook_bin: Annotated[str, Meta(pattern=r"\A[A-Za-z0-9+/=]+\Z", max_length=262_144)]


class _PlaybookExtensions(_Strict, rename={"playbook": COURSE_OF_ACTION}):
    playbook: _Playbook


class _Reference(_Strict):
    source_name: Token
    external_id: Annotated[str, Meta(pattern=r"\A[A-Za-z0-9/-]{1,80}\Z")]


class _Ack(_Strict):
    state: AckState
    id: AnyRef
    version: Stamp
    time: Stamp


class _Object(_Strict, tag_field="type"):
    id: AnyRef
    spec_version: Literal["2.1"]
    created: Stamp
    modified: Stamp
    created_by_ref: Creator
    object_marking_refs: Annotated[list[Marking], Meta(min_length=1, max_length=1)]


class Incident(_Object, tag="incident"):
    """A case of an operator."""

    name: Name
    description: Text
    confidence: Percent
    labels: Annotated[list[Label], Meta(max_length=10)]
    external_references: Annotated[list[_Reference], Meta(max_length=1)]
    first_seen: Stamp
    last_seen: Stamp
    incident_type: Kind
    source: Literal["smc"]
    x_smc_gravity: Severity
    x_smc_rsit: Token
    x_smc_seq: Count
    extensions: _IncidentExtensions


class Grouping(_Object, tag="grouping"):
    """What belongs to one case."""

    name: Name
    context: Literal["suspicious-activity"]
    object_refs: Annotated[list[AnyRef], Meta(min_length=1, max_length=200)]


class Sighting(_Object, tag="sighting"):
    """A technique seen somewhere."""

    sighting_of_ref: AnyRef
    where_sighted_refs: Annotated[list[AnyRef], Meta(min_length=1, max_length=5)]
    first_seen: Stamp
    last_seen: Stamp
    count: Count
    confidence: Percent
    summary: Literal[True] | bool


class Infrastructure(_Object, tag="infrastructure"):
    """A pseudonymised group of devices."""

    name: Name
    description: Text
    infrastructure_types: Annotated[list[Token], Meta(max_length=5)]


class Relationship(_Object, tag="relationship"):
    """A link of two objects."""

    relationship_type: Token
    source_ref: AnyRef
    target_ref: AnyRef


class CourseOfAction(_Object, tag="course-of-action"):
    """A CACAO playbook, carried and never executed."""

    name: Name
    description: Text
    extensions: _PlaybookExtensions


class Note(_Object, tag="note"):
    """Counts of a case, or an acknowledgement."""

    content: Text
    object_refs: Annotated[list[AnyRef], Meta(min_length=1, max_length=5)]
    x_smc_ack: _Ack | None = None
    extensions: _AckExtensions | None = None


class Report(_Object, tag="report"):
    """An early alert of the ESMC."""

    name: Name
    description: Text
    report_types: Annotated[list[Token], Meta(min_length=1, max_length=3)]
    published: Stamp
    labels: Annotated[list[Label], Meta(max_length=10)]
    object_refs: Annotated[list[AnyRef], Meta(min_length=1, max_length=50)]
    x_smc_kind: Kind
    x_smc_gravity: Severity
    x_smc_members: Annotated[int, Meta(ge=2, le=10_000)]
    x_smc_first_seen: Stamp
    x_smc_last_seen: Stamp
    extensions: _AlertExtensions


WireObject = Incident | Grouping | Sighting | Infrastructure | Relationship | CourseOfAction | Note | Report
_STAMPS = ("created", "modified", "first_seen", "last_seen", "published", "x_smc_first_seen", "x_smc_last_seen")


def parse_json(data: bytes) -> Any:
    """JSON without duplicate keys, NaN, or integers beyond 2^53, at most 5 MiB. Raises DecodeError only."""
    if len(data) > MAX_BYTES:
        raise DecodeError("size", "length of a JSON text", len(data), f"<= {MAX_BYTES} bytes")
    try:
        return json.loads(
            data.decode(), object_pairs_hook=_unique, parse_constant=_no_constant, parse_int=_bounded_integer
        )
    except (ValueError, RecursionError) as error:
        raise DecodeError("json", "JSON text", type(error).__name__, "well-formed UTF-8 JSON") from error


def parse_envelope(data: bytes) -> list[StixObject]:
    """Objects of a TAXII 2.1 envelope, each a JSON object with text as `type` and `id`, at most 1,000 of them.

    Raises DecodeError with reason "envelope" where the JSON is sound but no envelope, other reasons otherwise.
    """
    envelope = parse_json(data)
    objects = envelope.get("objects") if isinstance(envelope, dict) else None
    if not isinstance(objects, list) or not all(isinstance(o, dict) for o in objects):
        raise DecodeError("envelope", "TAXII envelope", type(envelope).__name__, "an object with a list `objects`")
    if len(objects) > MAX_OBJECTS:
        raise DecodeError("objects", "objects of an envelope", len(objects), f"<= {MAX_OBJECTS}")
    if _depth(envelope) > MAX_DEPTH:
        raise DecodeError("depth", "depth of an envelope", f"> {MAX_DEPTH}", f"<= {MAX_DEPTH}")
    return objects


def check(received: StixObject) -> tuple[WireObject, bytes]:
    """One object as its strict type, and its canonical bytes (sorted JSON). Raises DecodeError only."""
    try:
        body = orjson.dumps(received, option=orjson.OPT_SORT_KEYS)
    except orjson.JSONEncodeError as error:
        raise DecodeError("encoding", "object", "text outside of UTF-8", "valid text") from error
    found = _HOSTILE.search(body)
    if found:
        raise DecodeError("text", "text of an object", repr(found.group()[:16]), "text without markup and controls")
    try:
        typed: WireObject = msgspec.convert(received, type=WireObject)
    except msgspec.ValidationError as error:
        raise DecodeError("schema", "object", str(error)[:200], "a type and properties of this federation") from error
    if not typed.id.startswith(f"{received['type']}--"):
        raise DecodeError("id", "id of an object", typed.id, f"{received['type']}--<uuid>")
    _check_times(typed)
    _check_playbook(typed)
    return typed, body


def stamp(text: str) -> datetime:
    """Aware datetime of a STIX timestamp. Raises DecodeError for a day or hour that does not exist."""
    try:
        return datetime.fromisoformat(text)
    except ValueError as error:
        raise DecodeError("time", "timestamp", text, "an existing time") from error


def _check_times(typed: WireObject) -> None:
    times = {name: stamp(value) for name in _STAMPS if isinstance(value := getattr(typed, name, None), str)}
    if times["modified"] < times["created"]:
        raise DecodeError("time", "modified", typed.modified, f">= created {typed.created}")
    if times.get("first_seen", times["created"]) > times.get("last_seen", times["modified"]):
        raise DecodeError("time", "first_seen", times.get("first_seen"), "<= last_seen")


def _check_playbook(typed: WireObject) -> None:
    if not isinstance(typed, CourseOfAction):
        return
    try:
        playbook = parse_json(base64.b64decode(typed.extensions.playbook.playbook_bin, validate=True))
    except binascii.Error as error:
        raise DecodeError("playbook", "playbook_bin", "no base64", "base64 of a CACAO playbook") from error
    if not isinstance(playbook, dict) or playbook.get("id") != typed.extensions.playbook.playbook_id:
        raise DecodeError("playbook", "playbook_bin", "another document", typed.extensions.playbook.playbook_id)


def _unique(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("duplicate key")
    return members


def _no_constant(text: str) -> Any:
    raise ValueError(f"{text} is no JSON")


def _bounded_integer(text: str) -> int:
    value = int(text) if len(text) <= 17 else MAX_INTEGER + 1
    if abs(value) > MAX_INTEGER:
        raise ValueError("integer beyond 2^53")
    return value


def _depth(value: object) -> int:
    """Levels of nesting, breadth first, given up one past the limit."""
    level: list[object] = [value]
    for depth in range(MAX_DEPTH + 1):
        level = [child for node in level for child in _children(node)]
        if not level:
            return depth
    return MAX_DEPTH + 1


def _children(node: object) -> Sequence[object]:
    items = node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
    return [item for item in items if isinstance(item, dict | list)]
