"""taxii2-client, a client that is not ours, drives the live server over mutual TLS."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta

import pytest
from requests import PreparedRequest
from requests.auth import AuthBase
from taxii2client.v21 import ApiRoot, Server, as_pages

from esmc.store import taxii
from esmc.store.taxii import Item
from model.federation import ESMC_URI, SIGNATURE_HEADER, member_uri
from model.finding import FindingKind, Severity
from model.ids import new_id
from model.stix import canonical, encode_envelope
from model.stix_alert import Alert, alert_objects
from model.stix_case import incident_objects
from smc.settings import SmcSettings
from tests.federation.cases import a_case
from trust.signing import Signer


class Signing(AuthBase):
    """Adds our signature to what the foreign client sends."""

    def __init__(self, settings: SmcSettings) -> None:
        self._signer = Signer.load(settings.signing_key_file, member_uri(settings.site))
        self._number = 0

    def __call__(self, request: PreparedRequest) -> PreparedRequest:
        if request.method == "POST":
            self._number += 1
            body = request.body if isinstance(request.body, bytes) else str(request.body).encode()
            request.headers[SIGNATURE_HEADER] = self._signer.sign(
                body, ESMC_URI, datetime.now(UTC), self._number, self._number
            )
        return request


@pytest.fixture
def root(centre, member, monkeypatch) -> ApiRoot:
    monkeypatch.delenv("REQUESTS_CA_BUNDLE", raising=False)  # it overrides verify= in clients that stand on requests
    monkeypatch.delenv("CURL_CA_BUNDLE", raising=False)
    settings = member("DSO-0001")
    server = Server(
        f"{centre.url}/taxii2/",
        verify=str(settings.taxii_ca_file),
        cert=str(settings.taxii_certificate_file),
        auth=Signing(settings),
    )
    assert server.title == "Grid SMC federation"
    (found,) = server.api_roots
    return found


def shelf(root: ApiRoot, alias: str):
    return next(c for c in root.collections if c.title.lower() == alias)


def test_discovery_root_and_collections(root: ApiRoot) -> None:
    assert root.max_content_length == 5 * 1024 * 1024
    assert [c.title for c in root.collections] == [
        c.title for c in sorted(taxii.COLLECTIONS, key=lambda c: str(c.collection))
    ]
    assert [(c.title, c.can_read, c.can_write) for c in root.collections if c.title == "Advice"] == [
        ("Advice", True, False)
    ]


def test_it_posts_and_a_second_post_changes_nothing(centre, root: ApiRoot) -> None:
    incidents = shelf(root, "incidents")
    body = encode_envelope(incident_objects(a_case()))
    status = incidents.add_objects(body, wait_for_completion=True)
    assert (status.status, status.failure_count) == ("complete", 0)
    before = centre.rows("SELECT count(*) FROM taxii_objects")
    assert incidents.add_objects(body).failure_count == 0
    assert centre.rows("SELECT count(*) FROM taxii_objects") == before
    assert root.get_status(status.id).success_count == status.success_count


def test_pages_of_ten_bring_everything_once_and_in_order(centre, root: ApiRoot) -> None:
    reports = publish(centre, 57)
    pages = list(as_pages(shelf(root, "advice").get_objects, per_request=10))
    found = [o["id"] for page in pages for o in page["objects"]]
    assert [ref for ref in found if ref.startswith("report--")] == reports
    assert len(found) == len(set(found))
    assert max(len(page["objects"]) for page in pages) == 10
    manifest = [
        e["id"] for page in as_pages(shelf(root, "advice").get_manifest, per_request=25) for e in page["objects"]
    ]
    assert manifest == found


def test_filters_versions_and_one_object(centre, root: ApiRoot) -> None:
    (report,) = publish(centre, 1)
    again = publish(centre, 1, report.removeprefix("report--"), minutes=5)
    advice = shelf(root, "advice")
    assert again == [report]
    assert list(advice.object_versions(report)["versions"]) == [
        "2026-11-01T10:00:00.000Z",
        "2026-11-01T10:05:00.000Z",
    ]
    (last,) = advice.get_object(report)["objects"]
    assert last["modified"] == "2026-11-01T10:05:00.000Z"
    (first,) = advice.get_objects(type="report", version="first")["objects"]
    assert first["modified"] == "2026-11-01T10:00:00.000Z"
    assert len(advice.get_objects(type="report", version="all")["objects"]) == 2
    assert advice.get_objects(type="malware") == {}
    newest = advice.get_manifest(type="report")["objects"][0]["date_added"]
    assert advice.get_objects(added_after=newest) == {}


def publish(centre, count: int, alert_id: str = "", minutes: int = 0) -> list[str]:
    at = datetime(2026, 11, 1, 10, tzinfo=UTC)
    refs = []
    with centre.engine.begin() as conn:
        for _ in range(count):
            alert = Alert(
                alert_id=alert_id or new_id(), title="Test", text="Text.", kind=FindingKind.METER_TAMPER,
                severity=Severity.HIGH, technique="T0856", members=2, first_seen=at, last_seen=at, created=at,
                published=at + timedelta(minutes=minutes), simulated=True,
            )  # fmt: skip
            items = []
            for o in alert_objects(alert):
                body, version = canonical(o), datetime.fromisoformat(str(o.get("modified", o["created"])))
                items.append(Item(str(o["id"]), version, str(o["type"]), hashlib.sha256(body).digest(), body))
            taxii.add(conn, taxii.ADVICE.collection, items, "ESMC", datetime.now(UTC))
            refs.append(f"report--{alert.alert_id}")
    return refs
