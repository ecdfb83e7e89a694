"""What the centre refuses, and that every refusal is counted, named and kept with its bytes."""

from __future__ import annotations

import http.client
import json
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from model.federation import ESMC_URI, MEDIA_TYPE, SIGNATURE_HEADER, member_uri
from model.stix import StixObject, encode_envelope, identity_id
from model.stix_case import incident_objects
from smc.settings import SmcSettings
from tests.federation.cases import a_case
from tests.federation.conftest import Centre, Enrolled
from trust.certificates import create_authority, issue_client
from trust.secret_files import write_secret
from trust.signing import Signer

INCIDENTS = "/federation/collections/incidents/objects/"


@dataclass
class Wire:
    """A member's hands on the wire, without any of its good manners."""

    centre: Centre
    settings: SmcSettings
    seq: int = 0
    number: int = 0

    def sign(
        self, body: bytes, *, seq: int | None = None, number: int | None = None, at: datetime | None = None
    ) -> str:
        self.seq += 1
        signer = Signer.load(self.settings.signing_key_file, member_uri(self.settings.site))
        number = self.number + 1 if number is None else number
        return signer.sign(body, ESMC_URI, at or datetime.now(UTC), self.seq if seq is None else seq, number)

    def post(self, body: bytes, token: str | None = None, **headers: str) -> tuple[int, dict[str, object]]:
        chosen = {"Content-Type": MEDIA_TYPE, SIGNATURE_HEADER: token or self.sign(body)} | headers
        return self.request("POST", INCIDENTS, body, chosen)

    def request(
        self, method: str, path: str, body: bytes | None, headers: dict[str, str]
    ) -> tuple[int, dict[str, object]]:
        context = ssl.create_default_context(cafile=str(self.settings.taxii_ca_file))
        context.load_cert_chain(self.settings.taxii_certificate_file)
        port = self.centre.settings.taxii_port
        connection = http.client.HTTPSConnection("127.0.0.1", port, timeout=10, context=context)
        try:
            connection.request(method, path, body, {"Accept": MEDIA_TYPE} | headers)
            answer = connection.getresponse()
            text = answer.read()
        finally:
            connection.close()
        assert answer.headers["Content-Type"] == MEDIA_TYPE
        return answer.status, json.loads(text)

    def reasons(self) -> list[str]:
        return [str(row[0]) for row in self.centre.rows("SELECT reason FROM quarantine ORDER BY received")]


@pytest.fixture
def wire(centre: Centre, member: Enrolled) -> Wire:
    return Wire(centre, member("DSO-0001"))


def envelope(**changes: object) -> bytes:
    objects = incident_objects(a_case())
    next(o for o in objects if o["type"] == "incident").update(changes)
    return encode_envelope(objects)


def test_a_good_envelope_is_stored_and_a_duplicate_changes_nothing(wire: Wire) -> None:
    status, told = wire.post(envelope())
    assert (status, told["status"], told["failure_count"]) == (202, "complete", 0)
    count = wire.centre.rows("SELECT count(*) FROM taxii_objects")
    wire.number = 1
    status, told = wire.post(envelope(), wire.sign(envelope(), number=1))
    assert (status, told["failure_count"]) == (202, 0)
    assert wire.centre.rows("SELECT count(*) FROM taxii_objects") == count
    assert wire.centre.rows("SELECT count(*) FROM intake_raw") == [(2,)], "both stay as proof"
    assert wire.request("GET", f"/federation/status/{told['id']}/", None, {})[1] == told


def test_a_signature_over_other_bytes_is_refused(wire: Wire) -> None:
    status, _ = wire.post(envelope(), wire.sign(b"something else"))
    assert (status, wire.reasons()) == (403, ["body"])


def test_a_missing_signature_is_refused(wire: Wire) -> None:
    assert wire.post(envelope(), "x")[0] == 403
    assert wire.reasons() == ["signature"]


def test_a_strangers_key_is_refused(wire: Wire, member: Enrolled) -> None:
    other = member("DSO-0002")
    impostor = Signer.load(other.signing_key_file, member_uri("DSO-0001"))
    token = impostor.sign(envelope(), ESMC_URI, datetime.now(UTC), 1, 1)
    assert wire.post(envelope(), token)[0] == 403
    assert wire.reasons() == ["signature"]
    assert wire.centre.rows("SELECT code, errors FROM members ORDER BY code") == [("DSO-0001", 1), ("DSO-0002", 0)]


def test_a_replay_is_refused(wire: Wire) -> None:
    token = wire.sign(envelope())
    assert wire.post(envelope(), token)[0] == 202
    assert wire.post(envelope(), token)[0] == 403
    assert wire.reasons() == ["sequence"]


def test_an_old_signature_is_refused(wire: Wire) -> None:
    at = datetime.now(UTC) - timedelta(seconds=400)
    assert wire.post(envelope(), wire.sign(envelope(), at=at))[0] == 403
    assert wire.reasons() == ["stale"]


def test_a_foreign_creator_fails_alone(wire: Wire) -> None:
    status, told = wire.post(envelope(created_by_ref=identity_id("DSO-0002")))
    assert (status, told["failure_count"]) == (202, 1)
    assert "created_by_ref" in str(told["failures"])
    assert wire.centre.rows("SELECT count(*) FROM taxii_objects WHERE type = 'incident'") == [(0,)]
    assert wire.centre.rows("SELECT errors FROM members") == [(1,)]


def test_a_forged_catalogue_object_fails_alone(wire: Wire) -> None:
    objects: list[StixObject] = [
        o | ({"name": "Nothing"} if o["type"] == "attack-pattern" else {}) for o in incident_objects(a_case())
    ]
    status, told = wire.post(encode_envelope(objects))
    assert (status, told["failure_count"]) == (202, 1)


def test_other_content_under_a_stored_version_raises_the_alarm(wire: Wire) -> None:
    wire.post(envelope())
    wire.number = 1
    _, told = wire.post(envelope(confidence=3))
    assert told["failure_count"] == 1
    assert wire.reasons() == ["integrity"]


def test_a_gap_in_the_outbox_is_named(wire: Wire) -> None:
    status, told = wire.post(envelope(), wire.sign(envelope(), number=3))
    assert status == 409
    assert "the next number of the outbox is 1" in str(told["description"])


def test_a_certificate_of_another_authority_ends_the_handshake(wire: Wire, tmp_path: Path) -> None:
    path = tmp_path / "foreign.pem"
    write_secret(path, issue_client(create_authority("Elsewhere"), member_uri("DSO-0001")))
    stranger = replace(wire, settings=replace(wire.settings, taxii_certificate_file=path))
    with pytest.raises((ssl.SSLError, OSError)):
        stranger.request("GET", "/taxii2/", None, {})


def test_a_revoked_member_and_one_never_enrolled_are_refused(wire: Wire, tmp_path: Path) -> None:
    path = tmp_path / "unknown.pem"
    write_secret(path, issue_client(wire.centre.authority, member_uri("DSO-0999")))
    unknown = replace(wire, settings=replace(wire.settings, taxii_certificate_file=path))
    assert unknown.request("GET", "/taxii2/", None, {})[0] == 403
    assert wire.request("GET", "/taxii2/", None, {})[0] == 200
    with wire.centre.engine.begin() as conn:
        from esmc.store.members import revoke

        revoke(conn, "DSO-0001", datetime.now(UTC))
    time.sleep(1.1)  # the cycle within which it is refused
    assert wire.request("GET", "/taxii2/", None, {})[0] == 403


HOSTILE: dict[str, tuple[Callable[[], bytes], int, str]] = {
    "no JSON": (lambda: b"{", 400, "json"),
    "duplicate keys": (lambda: b'{"objects":[],"objects":[]}', 400, "json"),
    "NaN": (lambda: b'{"objects":[{"a":NaN}]}', 400, "json"),
    "beyond 2^53": (lambda: b'{"objects":[{"a":9007199254740993}]}', 400, "json"),
    "100,000 brackets": (lambda: b'{"objects":' + b"[" * 100_000, 400, "json"),
    "depth 21": (lambda: b'{"objects":[{"a":' + b"[" * 21 + b"]" * 21 + b"}]}", 400, "depth"),
    "no envelope": (lambda: b"[]", 422, "envelope"),
    "objects no list": (lambda: b'{"objects":{}}', 422, "envelope"),
    "1,001 objects": (lambda: encode_envelope([{"type": "note"}] * 1_001), 400, "objects"),
    "no UTF-8": (lambda: b'{"objects":["\xff"]}', 400, "json"),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_hostile_envelopes_are_refused_and_kept(wire: Wire, what: str) -> None:
    body, status, reason = HOSTILE[what][0](), *HOSTILE[what][1:]
    assert wire.post(body)[0] == status
    assert wire.reasons() == [reason]
    wire.number = 1
    assert wire.post(envelope())[0] == 202, "the next envelope is taken"


def test_the_rest_of_the_hostile_table(wire: Wire) -> None:
    too_long = b" " * (5 * 1024 * 1024 + 1)
    token = wire.sign(envelope())
    assert (
        wire.request("POST", INCIDENTS, envelope(), {"Content-Type": "text/plain", SIGNATURE_HEADER: token})[0] == 415
    )
    assert wire.post(envelope(), None, **{"Content-Encoding": "gzip"})[0] == 415
    assert wire.post(too_long)[0] == 413
    assert wire.request("GET", INCIDENTS, None, {})[0] == 403, "members do not read each other's cases"
    assert wire.request("DELETE", f"{INCIDENTS}x/", None, {})[0] == 403
    assert wire.request("GET", "/federation/collections/nowhere/objects/", None, {})[0] == 404
    assert wire.request("GET", "/taxii2/", None, {"Accept": "text/html"})[0] == 406
    advice = "/federation/collections/advice/objects/"
    for query in ("limit=0", "limit=-1", "limit=x", "added_after=yesterday", "next=AAAA", "match[version]=2026"):
        assert wire.request("GET", f"{advice}?{query}", None, {})[0] == 400, query


def test_one_member_cannot_flood(wire: Wire) -> None:
    seen = []
    for _ in range(61):
        seen.append(wire.post(b"{", "x")[0])
    assert seen[:60] == [403] * 60
    assert seen[60] == 429
