"""The line as people walk it: an incident appears by itself, its evidence is looked at, its playbook approved."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from playwright.sync_api import Page, Route, expect

from model.incident import Incident
from smc import act
from smc.context import StageContext
from smc.store import decisions, incidents
from tests.browser import world
from tests.browser.browsing import sign_in
from tests.browser.conftest import Browsing, Desk

pytestmark = [pytest.mark.chromium, pytest.mark.timeout(180)]
LIVE_MS = 10_000


@contextmanager
def acting(centre: StageContext) -> Iterator[None]:
    """The real act stage, in a thread."""
    stop = threading.Event()
    thread = threading.Thread(target=act.run, args=(centre, stop), name="act")
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(30)
        assert not thread.is_alive()


def test_an_incident_appears_and_its_playbook_is_approved(desk: Desk, browsing: Browsing) -> None:
    fleet, began = world.found_grid(desk.centre)
    page = browsing.page(desk.address)
    sign_in(page, desk.address, "omar")
    page.get_by_role("link", name="Incidents", exact=True).click()
    expect(page.locator("#queue-total")).to_contain_text("No incident matches")
    page.evaluate("window.notReloaded = true")

    incident = world.raise_finding(desk.centre, world.spoofed(fleet, began))

    row = page.locator("#queue-grid .ag-row", has_text="drifts away")
    expect(row).to_be_visible(timeout=LIVE_MS)
    assert page.evaluate("window.notReloaded") is True
    row.click()
    expect(page.locator("#plot-angle .main-svg").first).to_be_visible(timeout=LIVE_MS)
    expect(page.locator("#case-why")).to_contain_text("turn by 1.6 mrad/s")
    expect(page.locator("#case-why .scale-observed.outside")).to_have_count(1)

    with acting(desk.centre):
        page.get_by_label("Reason of the decision").fill("Angles turn, magnitudes hold: its clock lies.")
        page.get_by_role("button", name="Approve").click()
        expect(page.locator("#case-approval-told")).to_contain_text("Approved")
        expect(page.locator("#case-steps .outcome")).to_contain_text(
            "Dry run: nothing was switched or sent", timeout=LIVE_MS
        )
    expect(page.locator("#case-steps")).to_contain_text("by omar")
    expect(page.locator("#case-approval")).to_be_hidden()
    assert page.evaluate("window.notReloaded") is True
    with desk.centre.engine.connect() as conn:
        decision = decisions.of_incident(conn, incident.incident_id)[0]
    assert (decision.status, decision.decided_by, decision.dry_run) == ("done", "omar", True)


@pytest.mark.slow
def test_a_decision_needs_a_reason_and_the_right(desk: Desk, browsing: Browsing) -> None:
    fleet, began = world.found_grid(desk.centre)
    incident = world.raise_finding(desk.centre, world.tampered(fleet, began))
    page = browsing.page(desk.address)
    sign_in(page, desk.address, "omar")
    page.goto(f"{desk.address}/incident?id={incident.incident_id}")
    page.get_by_role("button", name="Approve").click()
    expect(page.locator("#case-approval-told")).to_contain_text("Not done: length of the reason")
    analyst = browsing.page(desk.address)
    sign_in(analyst, desk.address, "anna")
    analyst.goto(f"{desk.address}/incident?id={incident.incident_id}")
    expect(analyst.get_by_role("button", name="Approve")).to_be_disabled()
    with desk.centre.engine.connect() as conn:
        assert decisions.of_incident(conn, incident.incident_id)[0].status == "proposed"


@pytest.mark.slow
def test_two_people_change_one_incident_and_the_second_is_told(desk: Desk, browsing: Browsing) -> None:
    fleet, began = world.found_grid(desk.centre)
    incident = world.raise_finding(desk.centre, world.tampered(fleet, began))
    first, second = browsing.page(desk.address), browsing.page(desk.address)
    for page, name in ((first, "anna"), (second, "otto")):
        if page is second:  # its stream is held back, so that it still shows what was there before
            page.context.route("**/live*", _held)
            page.context.route("**/live/versions", _held)
        sign_in(page, desk.address, name)
        page.goto(f"{desk.address}/incident?id={incident.incident_id}")
        expect(page.locator("#case-head")).to_contain_text("New")
    _choose(first, "Acknowledged")
    expect(first.locator("#case-told")).to_contain_text("Status is now: acknowledged")
    second.get_by_label("Reason or note").fill("looked at it, no attack")
    _choose(second, "Closed: benign")
    expect(second.locator("#case-told")).to_contain_text("Not done: anna changed this incident first")
    expect(second.locator("#case-told")).to_contain_text("acknowledged")
    expect(second.get_by_label("Reason or note")).to_have_value("looked at it, no attack")
    expect(second.locator("#case-head")).to_contain_text("Acknowledged")  # and sees what the other one did
    assert _now(desk, incident).status == "acknowledged"
    assert _now(desk, incident).version == incident.version + 1


@pytest.mark.slow
def test_a_row_that_is_selected_stays_while_new_ones_wait(desk: Desk, browsing: Browsing) -> None:
    fleet, began = world.found_grid(desk.centre)
    world.raise_finding(desk.centre, world.idle(fleet, began))
    page = browsing.page(desk.address)
    sign_in(page, desk.address, "anna")
    page.goto(f"{desk.address}/incidents")
    page.locator("#queue-grid .ag-row").first.click()
    expect(page.locator("#case-head")).to_contain_text("does not move")
    page.get_by_label("Reason or note").fill("half a sentence")
    world.raise_finding(desk.centre, world.spoofed(fleet, began))
    expect(page.locator("#queue-news")).to_have_text("1 new, show", timeout=LIVE_MS)
    expect(page.locator("#queue-grid .ag-row")).to_have_count(1)
    page.locator("#queue-news").click()
    expect(page.locator("#queue-grid .ag-row")).to_have_count(2)
    expect(page.locator("#queue-grid .ag-row-selected")).to_contain_text("does not move")
    expect(page.get_by_label("Reason or note")).to_have_value("half a sentence")


@pytest.mark.slow
def test_a_note_and_an_assignment_are_in_the_history(desk: Desk, browsing: Browsing) -> None:
    fleet, began = world.found_grid(desk.centre)
    incident = world.raise_finding(desk.centre, world.tampered(fleet, began))
    page = browsing.page(desk.address)
    sign_in(page, desk.address, "anna")
    page.goto(f"{desk.address}/incident?id={incident.incident_id}")
    page.get_by_role("button", name="Take it myself").click()
    expect(page.locator("#case-head")).to_contain_text("anna")
    page.get_by_label("Reason or note").fill("asked the metering team for the sealed register")
    page.get_by_role("button", name="Add note").click()
    history = page.locator("section", has_text="Append-only: every change")
    expect(history).to_contain_text("anna · note")
    expect(history).to_contain_text("asked the metering team")
    assert _now(desk, incident).assignee == "anna"


def _held(route: Route) -> None:
    """Nothing new, and ask again in an hour."""
    if route.request.url.endswith("/versions"):
        route.fulfill(json={})
    else:
        route.fulfill(content_type="text/event-stream", body="retry: 3600000\n\n")


def _choose(page: Page, status: str) -> None:
    page.locator("#case-status").click()
    page.get_by_role("option", name=status, exact=True).click()
    page.get_by_role("button", name="Set status").click()


def _now(desk: Desk, incident: Incident) -> Incident:
    with desk.centre.engine.connect() as conn:
        found = incidents.get(conn, incident.incident_id)
    assert found is not None
    return found
