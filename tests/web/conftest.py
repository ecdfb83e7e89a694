"""The sample desk on a fresh database, with a person of every role, as Flask test clients and as a real server."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

import pytest
from flask.testing import FlaskClient
from sqlalchemy import Engine

from host.database import engine as connect
from tests.web.sample import sample
from trust import accounts
from trust.roles import Role
from web.frame import Frame

PASSWORD = "correct horse battery"
HTML = {"Accept": "text/html"}


def peopled(url: str) -> Iterator[Engine]:
    """An engine on that database with an account of every role, named like it."""
    made = connect(url, "test-web", pool_size=8)
    with made.begin() as conn:
        for role in Role:
            accounts.create(conn, role.value, PASSWORD, role, "test", must_change=False)
    yield made
    made.dispose()


def signed_in(frame: Frame, role: str) -> FlaskClient:
    """A client signed in as that role."""
    client = frame.server.test_client()
    answer = submit(client, role, PASSWORD)
    assert answer.status_code == 303, answer.text
    return client


@pytest.fixture
def engine(smc_embedded: str) -> Iterator[Engine]:
    yield from peopled(smc_embedded)


@pytest.fixture
def frame(engine: Engine) -> Frame:
    return sample(engine)


@pytest.fixture
def sign_in(frame: Frame) -> Callable[[str], FlaskClient]:
    return lambda role: signed_in(frame, role)


def submit(client: FlaskClient, name: str, password: str, wanted: str = "/"):  # type: ignore[no-untyped-def]
    """Fetch the form and send it back filled in."""
    form = client.get("/sign-in", query_string={"next": wanted}, headers=HTML)
    found = re.search(r'name="csrf" value="([0-9a-f]+)"', form.text)
    assert found is not None
    fields = {"csrf": found[1], "name": name, "password": password, "next": wanted}
    return client.post("/sign-in", data=fields, headers=HTML)
