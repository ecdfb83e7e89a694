"""One read of the list serves all desks, and still nobody gets an old one, another one, or one past his rights."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event

from model.time import FixedClock, to_datetime, to_ns
from smc.context import StageContext
from smc.store import incidents
from smc.views.app import desk_frame
from tests.browser import world
from trust import accounts
from trust.sessions import Lifetime
from web.frame import Frame
from web.gate import CSRF_HEADER, UPDATE

DESKS = 24
OUTPUTS = (
    *("queue-grid.rowData", "queue-total.children", "queue-pages.total", "queue-shown.data"),
    *("queue-news.children", "queue-news.hidden"),
)


class Desks:
    """A centre's desk whose clock stands, and how often the list was read in the database."""

    def __init__(self, centre: StageContext) -> None:
        now = to_datetime(centre.clock.now_ns())
        world.add_accounts(centre.engine)
        fleet = world.enrol(centre.engine)
        made = (world.idle, world.tampered, world.spoofed)
        self.incidents = [world.raise_finding(centre, make(fleet, now)) for make in made]
        self.centre = replace(centre, clock=FixedClock(to_ns(now + timedelta(minutes=1))))
        self.frame: Frame = desk_frame(self.centre)
        self.reads = 0
        self.counting = threading.Lock()
        event.listen(centre.engine, "before_cursor_execute", self._count)

    def _count(self, _conn: Any, _cursor: Any, statement: str, *_: Any) -> None:
        with self.counting:
            self.reads += "row_number() OVER" in statement

    def headers(self, name: str) -> dict[str, str]:
        """Headers of somebody who is signed in."""
        lifetime = Lifetime(timedelta(hours=1), timedelta(hours=1))
        signed = accounts.sign_in(self.centre.engine, name, world.PASSWORDS[name], "127.0.0.1", lifetime)
        assert signed is not None
        return {"Cookie": f"{self.frame.gate.cookie}={signed.token}", CSRF_HEADER: signed.session.csrf}

    def listed(self, headers: dict[str, str], search: str = "", shown: list[str] | None = None) -> Any:
        """What the list's callback answers when the live stream told of a change."""
        body = {
            "output": f"..{'...'.join(OUTPUTS)}..",
            "outputs": [dict(zip(("id", "property"), name.split("."), strict=True)) for name in OUTPUTS],
            "inputs": [
                {"id": "url", "property": "search", "value": search},
                {"id": "tick-incidents", "property": "data", "value": 1},
                {"id": "queue-news", "property": "n_clicks"},
            ],
            "changedPropIds": ["tick-incidents.data"],
            "state": [{"id": "queue-shown", "property": "data", "value": {"ids": shown or [], "query": ""}}],
        }
        client = self.frame.server.test_client(use_cookies=False)
        return client.post(UPDATE, json=body, headers=headers)

    def cases(self, headers: dict[str, str], search: str = "", shown: list[str] | None = None) -> list[str]:
        """Cases of the rows of the answer, with their status."""
        answer = self.listed(headers, search, shown)
        assert answer.status_code == 200, answer.text
        return [f"{row['case']} {row['status']}" for row in answer.json["response"]["queue-grid"]["rowData"]]


@pytest.fixture
def desks(smc_embedded: str, valkey_url: str, tmp_path: Path) -> Iterator[Desks]:
    centre = world.context(world.settings(smc_embedded, valkey_url, tmp_path))
    yield Desks(centre)
    centre.engine.dispose()


def test_many_desks_ask_and_the_list_is_read_for_all_of_them(desks: Desks) -> None:
    people = [desks.headers("anna"), desks.headers("omar")]
    with ThreadPoolExecutor(DESKS) as pool:
        found = list(pool.map(lambda n: desks.cases(people[n % 2]), range(DESKS)))
    assert found == [["case-000003 new", "case-000002 new", "case-000001 new"]] * DESKS
    assert desks.reads <= 4, "once, and again where the database's own upkeep changed something meanwhile"


def test_what_was_committed_is_in_the_next_answer(desks: Desks) -> None:
    anna = desks.headers("anna")
    assert desks.cases(anna)[0] == "case-000003 new"
    with desks.centre.engine.begin() as conn:
        which = desks.incidents[2]
        incidents.change_status(conn, which.incident_id, which.version, incidents.Status.ACKNOWLEDGED, "omar", "mine")
        assert desks.cases(anna)[0] == "case-000003 new", "not committed yet"
    assert desks.cases(anna)[0] == "case-000003 acknowledged"


def test_other_filters_another_page_and_another_moment_are_other_answers(desks: Desks) -> None:
    anna = desks.headers("anna")
    assert desks.cases(anna) == ["case-000003 new", "case-000002 new", "case-000001 new"]
    assert desks.cases(anna, "?sev=critical") == ["case-000003 new"]
    assert desks.cases(anna, "?sort=severity") == ["case-000001 new", "case-000002 new", "case-000003 new"]
    assert desks.cases(anna, "?page=2") == []
    clock = desks.centre.clock
    assert isinstance(clock, FixedClock)
    clock.advance(8 * 86_400)
    assert desks.cases(anna) == [], "a week later none of them is of the last 7 days"


def test_a_selection_holds_the_rows_of_one_desk_and_of_no_other(desks: Desks) -> None:
    anna = desks.headers("anna")
    first, second, _ = desks.incidents
    search, shown = f"?sel={first.incident_id}", [str(second.incident_id), str(first.incident_id)]
    assert desks.cases(anna, search, shown) == ["case-000002 new", "case-000001 new"]
    assert desks.cases(anna) == ["case-000003 new", "case-000002 new", "case-000001 new"]


def test_who_may_not_see_incidents_gets_no_shared_list_either(desks: Desks) -> None:
    assert len(desks.cases(desks.headers("anna"))) == 3
    refused = desks.listed(desks.headers("adam"))
    assert refused.status_code == 403
    assert "case-" not in refused.text
