"""A poll that finds nothing is answered early, and yet exactly as the application would have answered it."""

from __future__ import annotations

import hashlib
import http.client
import json
import ssl
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote
from uuid import uuid4

import pytest
from sqlalchemy import text

from esmc.store import taxii
from esmc.store.taxii import ADVICE, Item
from esmc.taxii.paging import write_stamp
from model.federation import ESMC_URI, MEDIA_TYPE, SIGNATURE_HEADER, member_uri
from smc.settings import SmcSettings
from tests.federation.conftest import Centre, Enrolled
from trust import signing

ADVICE_OBJECTS = "/federation/collections/advice/objects/"
FUTURE = "?added_after=2100-01-01T00:00:00Z"


class Poller:
    """A member that asks over one connection and verifies every signature."""

    def __init__(self, centre: Centre, settings: SmcSettings) -> None:
        self.centre, self.audience = centre, member_uri(settings.site)
        context = ssl.create_default_context(cafile=str(settings.taxii_ca_file))
        context.load_cert_chain(settings.taxii_certificate_file)
        port = centre.settings.taxii_port
        self.connection = http.client.HTTPSConnection("127.0.0.1", port, timeout=10, context=context)

    def get(self, path: str, accept: str = MEDIA_TYPE) -> tuple[int, Any]:
        self.connection.request("GET", path, None, {"Accept": accept})
        answer = self.connection.getresponse()
        body, token = answer.read(), answer.headers.get(SIGNATURE_HEADER)
        assert answer.headers["Content-Type"] == MEDIA_TYPE
        if token is not None:
            about = {"issuer": ESMC_URI, "audience": self.audience, "now": datetime.now(UTC)}
            signing.verify(token, body, self.centre.public_key, **about)
        return answer.status if token else -answer.status, json.loads(body)

    def after(self, moment: datetime, path: str = ADVICE_OBJECTS) -> list[str]:
        """Ids (or versions) of what came after a moment."""
        status, told = self.get(f"{path}?added_after={quote(write_stamp(moment))}")
        assert status == 200
        return [o["id"] for o in told.get("objects", [])]


@pytest.fixture
def poller(centre: Centre, member: Enrolled) -> Iterator[Poller]:
    made = Poller(centre, member("DSO-0001"))
    yield made
    made.connection.close()


def test_what_is_committed_is_in_the_next_poll_and_nothing_before(centre: Centre, poller: Poller) -> None:
    newest = datetime.now(UTC) - timedelta(days=1)
    assert poller.after(newest) == []
    for _ in range(5):
        with centre.engine.begin() as conn:
            item = an_item()
            taxii.add(conn, ADVICE.collection, [item], "ESMC", datetime.now(UTC))
            assert poller.after(newest) == [], "not committed yet"
        assert poller.after(newest) == poller.after(newest, ADVICE_OBJECTS.replace("objects", "manifest")) == [item.id]
        with centre.engine.connect() as conn:
            newest = taxii.newest(conn)[ADVICE.collection]
        assert poller.after(newest - timedelta(microseconds=1)) == [item.id]
        assert poller.after(newest) == []


@pytest.mark.parametrize(
    ("path", "accept", "status"),
    [
        (ADVICE_OBJECTS + FUTURE, MEDIA_TYPE, 200),
        (ADVICE_OBJECTS.replace("advice", str(ADVICE.collection)) + FUTURE, MEDIA_TYPE, 200),
        (ADVICE_OBJECTS + FUTURE + "&match[type]=report&limit=10", MEDIA_TYPE, 200),
        (ADVICE_OBJECTS + FUTURE, "text/html", 406),
        (ADVICE_OBJECTS + FUTURE + "&limit=0", MEDIA_TYPE, 400),
        (ADVICE_OBJECTS + FUTURE + "&next=AAAA", MEDIA_TYPE, 400),
        (ADVICE_OBJECTS + "?added_after=tomorrow", MEDIA_TYPE, 400),
        (ADVICE_OBJECTS.replace("advice", "incidents") + FUTURE, MEDIA_TYPE, 403),
        (ADVICE_OBJECTS.replace("advice", "nothing") + FUTURE, MEDIA_TYPE, 404),
    ],
)
def test_refusals_stay_as_they_are_and_are_signed(poller: Poller, path: str, accept: str, status: int) -> None:
    found, told = poller.get(path, accept)
    assert found == status
    assert told == {} if status == 200 else told["http_status"] == str(status)


def test_strangers_and_the_revoked_are_refused(centre: Centre, poller: Poller) -> None:
    assert poller.get(ADVICE_OBJECTS + FUTURE)[0] == 200
    with centre.engine.begin() as conn:
        conn.execute(text("UPDATE members SET revoked = now()"))
    statuses = [poller.get(ADVICE_OBJECTS + FUTURE)[0]]
    while statuses[-1] == 200 and len(statuses) < 100_000:
        statuses.append(poller.get(ADVICE_OBJECTS + FUTURE)[0])
    assert statuses[-1] == -403, "not signed: to whom?"


def test_a_broken_connection_to_the_database_costs_no_poll(centre: Centre, poller: Poller) -> None:
    for _ in range(2):
        assert poller.get(ADVICE_OBJECTS + FUTURE) == (200, {})
        with centre.engine.begin() as conn:
            sql = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name = 'taxii'"
            assert conn.execute(text(sql)).scalar_one() > 0
    assert poller.get(ADVICE_OBJECTS + FUTURE) == (200, {})


def an_item() -> Item:
    """An object of no further meaning."""
    name, at = f"report--{uuid4()}", datetime.now(UTC)
    body = json.dumps({"id": name, "type": "report"}).encode()
    return Item(name, at, "report", hashlib.sha256(body).digest(), body)
