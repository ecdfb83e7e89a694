"""STIX 2.1 as this federation speaks it: ids, envelopes and the catalogue that belongs to nobody but the ESMC.

Pure: the same state gives the same bytes on every machine. Ids are UUIDv5 over `type|creator|key`. Cases are made in
model/stix_case.py, early alerts and acknowledgements in model/stix_alert.py, and nowhere else.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable

from model.attack_ics import BY_STIX_ID, Technique
from model.ids import stable_id
from model.marking import Tlp

StixObject = dict[str, object]

ESMC = "ESMC"
CATALOGUE_TIME = "2026-01-01T00:00:00.000Z"
CORE_INCIDENT = "extension-definition--ef765651-680c-498d-9894-99799f2fa126"  # cti-stix-common-objects efb50f3
TLP_2_0 = "extension-definition--60a3c5c5-0d10-413e-aab3-9e08dde9e88d"
COURSE_OF_ACTION = "extension-definition--1e1c1bd7-c527-4215-8e18-e199e74da57c"
TLP_MARKINGS = {
    Tlp.CLEAR: "marking-definition--94868c89-83c2-464b-929b-a1a8aa3c8487",
    Tlp.GREEN: "marking-definition--bab4a63c-aed9-4cf5-a766-dfca5abac2bb",
    Tlp.AMBER: "marking-definition--55d920b0-5e8b-4f79-9ee9-91f868d9b421",
    Tlp.AMBER_STRICT: "marking-definition--939a9414-2ddd-4d32-a0cd-375ea402b003",
    Tlp.RED: "marking-definition--e828b379-4e03-4974-9ac4-e53a884c97c1",
}


def _own_definition(key: str) -> str:
    return f"extension-definition--{stable_id('extension-definition', ESMC, key)}"


OWN_INCIDENT = _own_definition("smc-incident")
OWN_ALERT = _own_definition("smc-alert")
OWN_ACK = _own_definition("smc-ack")


def encode_envelope(objects: Iterable[StixObject]) -> bytes:
    """TAXII 2.1 envelope: sorted keys, no white space, UTF-8. The same objects give the same bytes."""
    return canonical({"objects": list(objects)})


def canonical(value: object) -> bytes:
    """Sorted JSON, the form that is hashed and signed."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


# ── the catalogue: fixed content owned by the ESMC; a member's copy is never a version ───────────────────────────


def identity_id(code: str) -> str:
    """STIX id of an organisation of the federation."""
    return f"identity--{stable_id('identity', ESMC, code)}"


def identity(code: str) -> StixObject:
    """An organisation is a code, never a name."""
    member: StixObject = {} if code == ESMC else {"created_by_ref": identity_id(ESMC), "sectors": ["energy"]}
    return _catalogue("identity", identity_id(code), name=code, identity_class="organization", **member)


def location(country: str, area: str) -> StixObject:
    """Country and first-level area, never finer."""
    key = area or country
    place = {"country": country} | ({"administrative_area": area} if area else {})
    ref = f"location--{stable_id('location', ESMC, key)}"
    return _catalogue("location", ref, name=key, created_by_ref=identity_id(ESMC), **place)


def marking(level: Tlp) -> StixObject:
    """A TLP 2.0 marking definition as FIRST and OASIS published it."""
    return {
        "type": "marking-definition",
        "spec_version": "2.1",
        "id": TLP_MARKINGS[level],
        "created": "2022-10-01T00:00:00.000Z",
        "name": f"TLP:{level.upper()}",
        "extensions": {TLP_2_0: {"extension_type": "property-extension", "tlp_2_0": str(level)}},
    }


def technique_stub(technique: Technique) -> StixObject:
    """MITRE's own id, created and modified, no creator: the same bytes from every sender."""
    reference = {"source_name": "mitre-attack", "external_id": technique.technique_id, "url": technique.url}
    return {
        "type": "attack-pattern",
        "spec_version": "2.1",
        "id": technique.stix_id,
        "created": technique.created,
        "modified": technique.modified,
        "name": technique.name,
        "external_references": [reference],
        "kill_chain_phases": [{"kill_chain_name": "mitre-ics-attack", "phase_name": p} for p in technique.tactics],
    }


def extension_definitions() -> list[StixObject]:
    """Our three extensions; every one travels with the objects that use it."""
    return [_definition(*row) for row in _DEFINITIONS]


_INCIDENT_FIELDS = ("first_seen", "last_seen", "incident_type", "source", "x_smc_gravity", "x_smc_rsit", "x_smc_seq")
_ALERT_FIELDS = ("x_smc_kind", "x_smc_gravity", "x_smc_members", "x_smc_first_seen", "x_smc_last_seen")
_DEFINITIONS = (
    ("smc-incident", "SMC grid incident", _INCIDENT_FIELDS),
    ("smc-alert", "SMC early alert", _ALERT_FIELDS),
    ("smc-ack", "SMC acknowledgement", ("x_smc_ack",)),
)


def _definition(key: str, name: str, properties: tuple[str, ...]) -> StixObject:
    return _catalogue(
        "extension-definition",
        _own_definition(key),
        created_by_ref=identity_id(ESMC),
        name=name,
        schema=f"https://grid-smc.example/schemas/{key}-1.0.json",
        version="1.0",
        extension_types=["toplevel-property-extension"],
        extension_properties=list(properties),
    )


def _catalogue(kind: str, ref: str, **properties: object) -> StixObject:
    times = {"created": CATALOGUE_TIME, "modified": CATALOGUE_TIME}
    return {"type": kind, "spec_version": "2.1", "id": ref, **times, **properties}


def catalogue_copy(received: StixObject) -> StixObject | None:
    """The federation's own content for a catalogue object, by what the copy claims to be; None if it is none.

    A receiver compares: an equal copy is a success and never a version, any other content is refused.
    """
    maker = _CATALOGUE.get(str(received.get("type")))
    return None if maker is None else maker(received)


def is_catalogue(received: StixObject) -> bool:
    """Whether objects of this type belong to the catalogue, so that only the ESMC may change them."""
    return str(received.get("type")) in _CATALOGUE


def _marking_copy(received: StixObject) -> StixObject | None:
    return next((marking(level) for level, ref in TLP_MARKINGS.items() if ref == received.get("id")), None)


def _definition_copy(received: StixObject) -> StixObject | None:
    return next((d for d in extension_definitions() if d["id"] == received.get("id")), None)


def _technique_copy(received: StixObject) -> StixObject | None:
    technique = BY_STIX_ID.get(str(received.get("id")))
    return None if technique is None else technique_stub(technique)


def _identity_copy(received: StixObject) -> StixObject | None:
    name = str(received.get("name"))
    return identity(name) if re.fullmatch(r"[A-Z0-9][A-Z0-9-]{0,30}", name) else None


def _location_copy(received: StixObject) -> StixObject | None:
    country, area = str(received.get("country")), str(received.get("administrative_area", ""))
    valid = re.fullmatch(r"[A-Z]{2}", country) and re.fullmatch(r"([A-Z]{2}-[A-Z0-9]{1,3})?", area)
    return location(country, area) if valid else None


_CATALOGUE: dict[str, Callable[[StixObject], StixObject | None]] = {
    "marking-definition": _marking_copy,
    "extension-definition": _definition_copy,
    "attack-pattern": _technique_copy,
    "identity": _identity_copy,
    "location": _location_copy,
}
