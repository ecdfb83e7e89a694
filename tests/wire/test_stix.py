"""Strict reading: every way an object can be wrong is refused with a reason, and nothing else is ever raised."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.errors import DecodeError
from model.stix_case import incident_objects
from tests.federation.cases import a_case
from wire.stix import check, parse_envelope, parse_json


def an_object(kind: str = "incident") -> dict[str, Any]:
    return json.loads(json.dumps(next(o for o in incident_objects(a_case()) if o["type"] == kind)))


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "markup": ({"name": "<script>alert(1)</script>"}, "text"),
    "closing tag": ({"name": "</b>"}, "text"),
    "script address": ({"name": "JavaScript:x"}, "text"),
    "NUL": ({"name": "a\0b"}, "text"),
    "newline": ({"name": "a\nb"}, "text"),
    "right-to-left override": ({"name": "a\u202eb"}, "text"),
    "lone surrogate": ({"name": "\ud800"}, "encoding"),
    "unknown property": ({"x_more": 1}, "schema"),
    "severity at top level": ({"severity": "high"}, "schema"),
    "unknown type": ({"type": "observed-data"}, "schema"),
    "other spec version": ({"spec_version": "2.0"}, "schema"),
    "confidence 101": ({"confidence": 101}, "schema"),
    "confidence as text": ({"confidence": "80"}, "schema"),
    "name too long": ({"name": "a" * 201}, "schema"),
    "two markings": ({"object_marking_refs": ["marking-definition--" + "0" * 8] * 2}, "schema"),
    "newline behind the time": ({"modified": "2026-11-01T10:00:00.000Z\n"}, "text"),
    "month 13": ({"modified": "2026-13-01T10:00:00.000Z"}, "time"),
    "modified before created": ({"modified": "2026-10-01T10:00:00.000Z"}, "time"),
    "seen backwards": ({"first_seen": "2026-11-01T09:59:00.000Z", "last_seen": "2026-11-01T09:00:00.000Z"}, "time"),
    "id of another type": ({"id": "note--07cb01f8-5900-5062-af79-2044ab6ba769"}, "id"),
    "id no UUID": ({"id": "incident--1"}, "schema"),
    "unknown extension": ({"extensions": {"extension-definition--x": {}}}, "schema"),
}


@pytest.mark.parametrize("what", WRONG)
def test_a_wrong_object_is_refused_with_its_reason(what: str) -> None:
    changes, reason = WRONG[what]
    with pytest.raises(DecodeError) as caught:
        check(an_object() | changes)
    assert caught.value.reason == reason


def test_small_counts_are_refused_at_the_receiver_too() -> None:
    incident = an_object()
    core = next(e for e in incident["extensions"].values() if "determination" in e)
    core["impacted_entity_counts"] = {"ics-sensor": 9}
    with pytest.raises(DecodeError, match="expected a type and properties"):
        check(incident)


def test_a_playbook_must_be_the_one_it_is_named() -> None:
    course = an_object("course-of-action")
    next(iter(course["extensions"].values()))["playbook_bin"] = "e30="
    with pytest.raises(DecodeError) as caught:
        check(course)
    assert caught.value.reason == "playbook"


def test_canonical_bytes_do_not_depend_on_the_order_of_keys() -> None:
    incident = an_object()
    assert check(incident)[1] == check(dict(reversed(incident.items())))[1]


@given(st.binary(max_size=200))
@settings(max_examples=300, deadline=None)
def test_any_bytes_raise_decode_errors_only(data: bytes) -> None:
    for read in (parse_json, parse_envelope):
        with contextlib.suppress(DecodeError):
            read(data)


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(), lambda c: st.lists(c) | st.dictionaries(st.text(), c)
)


@given(st.sampled_from(sorted(an_object())), JSON)
@settings(max_examples=300, deadline=None)
def test_any_property_replaced_by_anything_raises_decode_errors_only(name: str, value: Any) -> None:
    with contextlib.suppress(DecodeError):
        check(an_object() | {name: value})
