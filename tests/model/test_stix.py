"""What goes over the wire: valid STIX 2.1, the same bytes for the same state, ids by the rule."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from stix2validator import ValidationOptions, validate_string

from model.attack_ics import NOTICE, TECHNIQUES
from model.device import Provenance
from model.finding import FindingKind, Severity
from model.incident import Status
from model.marking import Tlp
from model.stix import TLP_MARKINGS, catalogue_copy, encode_envelope, identity_id, is_catalogue, marking
from model.stix_alert import ACK_STATES, Alert, ack_objects, alert_objects
from model.stix_case import incident_objects, incident_ref
from tests.federation.cases import a_case
from wire.stix import check

AT = datetime(2026, 11, 1, 10, tzinfo=UTC)
SEVEN = UUID("07cb01f8-5900-5062-af79-2044ab6ba769")
TEXT = "Three operators see it."
ALERT = Alert(SEVEN, "Campaign 1", TEXT, FindingKind.CLOCK_ATTACK, Severity.HIGH, "", 3, AT, AT, AT, AT, True)
FORMS = {
    "a case": incident_objects(a_case()),
    "a case without technique": incident_objects(a_case(kind=FindingKind.CLOCK_ATTACK)),
    "a closed case": incident_objects(replace(a_case(), status=Status.CLOSED_FALSE, playbook=None, groups=())),
    "an alert": alert_objects(ALERT),
    "an alert with a technique": alert_objects(replace(ALERT, technique="T0856")),
    "an acknowledgement": ack_objects("DSO-0001", f"report--{SEVEN}", "2026-11-01T10:00:00.000Z", "acted", AT),
    "all markings": [marking(level) for level in Tlp],
}


@pytest.mark.parametrize("form", FORMS)
def test_everything_outbound_is_valid_stix(form: str) -> None:
    bundle = {"type": "bundle", "id": f"bundle--{UUID(int=4, version=4)}", "objects": FORMS[form]}
    result = validate_string(json.dumps(bundle), ValidationOptions(version="2.1"))
    assert result.is_valid, result.errors


@pytest.mark.parametrize("form", FORMS)
def test_everything_outbound_passes_our_own_strict_reading(form: str) -> None:
    for o in FORMS[form]:
        if is_catalogue(o):
            assert catalogue_copy(o) == o
        else:
            check(o)


def test_the_same_state_gives_the_same_bytes_everywhere() -> None:
    body = encode_envelope(incident_objects(replace(a_case(), playbook=None)))
    assert body == encode_envelope(incident_objects(replace(a_case(), playbook=None)))
    assert hashlib.sha256(body).hexdigest() == GOLDEN, "wire bytes changed: peers would see another content"


GOLDEN = "4f785fd560feaa3d359f01409fc374c3ad613af0e8a6128e3fb7109cdeebf85a"


def test_ids_follow_the_published_rule() -> None:
    """Values of the example that was published with the rule: type, creator, key."""
    assert identity_id("ESMC") == "identity--7148d74e-4090-58f4-9557-008bf5e74826"
    assert identity_id("DSO-0001") == "identity--5463a7ad-d324-5156-96f2-b7ca48d61772"
    assert incident_ref("DSO-0001", "case-000042") == "incident--07cb01f8-5900-5062-af79-2044ab6ba769"


def test_two_operators_never_make_one_id() -> None:
    first, second = (
        {str(o["id"]) for o in incident_objects(a_case(site)) if not is_catalogue(o)} for site in ("A", "B")
    )
    assert first & second == set()


def test_times_come_from_the_case_and_a_version_is_later() -> None:
    newer = replace(a_case(), modified=AT + timedelta(minutes=1), version=4)
    before, after = (next(o for o in incident_objects(c) if o["type"] == "incident") for c in (a_case(), newer))
    assert before["id"] == after["id"]
    assert (before["modified"], after["modified"]) == ("2026-11-01T10:00:00.000Z", "2026-11-01T10:01:00.000Z")


def test_small_counts_are_not_told() -> None:
    text = encode_envelope(incident_objects(replace(a_case(), meters=None)))
    assert b"meters=below 10, not stated" in text
    assert b"impacted_entity_counts" not in text


@pytest.mark.parametrize("provenance", [p for p in Provenance if p is not Provenance.MEASURED])
def test_what_is_not_measured_says_so(provenance: Provenance) -> None:
    incident = next(o for o in incident_objects(replace(a_case(), provenance=provenance)) if o["type"] == "incident")
    assert str(provenance) in incident["labels"]  # type: ignore[operator]


def test_an_acknowledgement_has_a_known_state() -> None:
    with pytest.raises(ValueError, match=", ".join(ACK_STATES)):
        ack_objects("DSO-0001", "report--x", "v", "agreed", AT)


def test_mitres_notice_travels_and_stubs_are_never_restamped() -> None:
    assert "The MITRE Corporation" in NOTICE
    assert len({t.stix_id for t in TECHNIQUES}) == len(TECHNIQUES) == 15
    assert len(TLP_MARKINGS) == len(Tlp)
