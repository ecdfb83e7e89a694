"""Every page of the desk in a real browser: sound, accessible, local, in both sizes and both themes."""

from __future__ import annotations

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, ViewportSize, expect

from tests.browser.browsing import NARROW, WIDE, settled, sign_in
from tests.browser.conftest import Browsing, Filled
from tests.browser.shots import pages

pytestmark = [pytest.mark.chromium, pytest.mark.timeout(300)]


@pytest.mark.parametrize(
    ("size", "theme"),
    [
        pytest.param(WIDE, "dark", id="wide-dark"),
        pytest.param(NARROW, "light", id="narrow-light", marks=pytest.mark.slow),
        pytest.param(WIDE, "light", id="wide-light", marks=pytest.mark.slow),
        pytest.param(NARROW, "dark", id="narrow-dark", marks=pytest.mark.slow),
    ],
)
def test_every_page_stands(filled: Filled, browsing: Browsing, size: ViewportSize, theme: str) -> None:
    page = browsing.page(filled.address, size, theme)
    sign_in(page, filled.address, "axel")
    problems = {}
    for name, path in pages(filled.world).items():
        page.goto(filled.address + path)
        settled(page)
        expect(page.locator(".state-error")).to_have_count(0)
        expect(page.locator("[data-title*='Share'], [title*='Share chart'], [data-title*='cloud']")).to_have_count(0)
        wider = page.evaluate("document.documentElement.scrollWidth - window.innerWidth")
        assert wider <= 0, f"{name} is {wider} px wider than the screen"
        problems[name] = _serious(page)
    assert {name: found for name, found in problems.items() if found} == {}


def _serious(page: Page) -> list[str]:
    """Serious and critical findings of axe, with the first element of each."""
    found = Axe().run(page).response["violations"]
    return [
        f"{v['id']}: {v['nodes'][0]['html'][:200]} {v['nodes'][0]['failureSummary'][:200]}"
        for v in found
        if v["impact"] in {"serious", "critical"}
    ]


def test_from_a_figure_to_the_raw_row_in_three_clicks(filled: Filled, browsing: Browsing) -> None:
    page = browsing.page(filled.address)
    sign_in(page, filled.address, "anna")
    page.get_by_role("link", name="Open incidents").click()
    page.locator("#queue-grid .ag-row", has_text="drifts away").first.click()
    expect(page.locator("#case-head")).to_contain_text("drifts away from all neighbours")
    page.get_by_role("link", name="All signals and raw rows").click()
    expect(page.locator("#raw-rows .ag-row").first).to_be_visible()
    expect(page.locator("#raw-rows")).to_contain_text("Frequency (Hz)")


@pytest.mark.slow
def test_a_device_never_seen_is_hatched_and_not_green(filled: Filled, browsing: Browsing) -> None:
    page = browsing.page(filled.address)
    sign_in(page, filled.address, "anna")
    page.goto(f"{filled.address}/device?index={filled.world.fleet.unseen.index}")
    settled(page)
    expect(page.locator(".not-observed", has_text="never observed")).to_be_visible()
    expect(page.locator(".graph")).to_have_count(0)  # never a blank axis
    page.goto(f"{filled.address}/devices?q=norm-0099")
    row = page.locator("tr", has_text="norm-0099")
    expect(row.locator(".not-observed")).to_be_visible()
    expect(row.locator(".tone-ok")).to_have_count(0)


@pytest.mark.slow
def test_what_is_replayed_or_simulated_says_so(filled: Filled, browsing: Browsing) -> None:
    page = browsing.page(filled.address)
    sign_in(page, filled.address, "anna")
    expect(page.locator(".data-mark")).to_have_text("SIMULATED")
    page.goto(f"{filled.address}/device?index={filled.world.fleet.replayed.index}")
    expect(page.locator("h1")).to_contain_text("replayed")
    page.goto(f"{filled.address}/device?index={filled.world.fleet.meters[0].index}")
    expect(page.locator("h1")).to_contain_text("simulated")


@pytest.mark.slow
def test_refused_bytes_are_shown(filled: Filled, browsing: Browsing) -> None:
    page = browsing.page(filled.address)
    sign_in(page, filled.address, "anna")
    page.goto(f"{filled.address}/intake")
    page.locator("section", has_text="Quarantined messages").get_by_role("link", name="crc").click()
    expect(page.locator("pre.bytes")).to_contain_text("000000  aa 01 00 2a")
    expect(page.locator(".opened")).to_contain_text("CHK of a C37.118 frame is 0x1234, expected 0x29b1")


@pytest.mark.slow
def test_the_chain_is_checked_by_an_auditor_and_hidden_from_an_analyst(filled: Filled, browsing: Browsing) -> None:
    page = browsing.page(filled.address)
    sign_in(page, filled.address, "axel")
    page.goto(f"{filled.address}/audit")
    page.get_by_role("button", name="Check the whole chain").click()
    expect(page.locator("#audit-verdict")).to_contain_text("The chain holds")
    other = browsing.page(filled.address)
    sign_in(other, filled.address, "anna")
    expect(other.get_by_role("link", name="Audit")).to_have_count(0)


def test_the_queue_is_driven_by_keys(filled: Filled, browsing: Browsing) -> None:
    page = browsing.page(filled.address)
    sign_in(page, filled.address, "anna")
    page.goto(f"{filled.address}/incidents", wait_until="domcontentloaded")
    page.keyboard.press("j")  # the list is still on its way: the key waits for it
    expect(page.locator("#case-head")).to_contain_text("Clock of pmu:63:PMU3")
    expect(page.locator("#queue-grid .ag-row")).to_have_count(3)
    settled(page)
    page.keyboard.press("j")
    expect(page.locator("#case-head")).to_contain_text("Meter of norm-0002")
    page.keyboard.press("j")
    page.keyboard.press("k")
    page.keyboard.press("k")  # at once: each goes on from where the one before led
    expect(page.locator("#case-head")).to_contain_text("Clock of pmu:63:PMU3")
    page.keyboard.press("/")
    page.keyboard.type("meter of jjk")  # letters typed are letters, not commands
    expect(page.locator("#queue-words")).to_have_value("meter of jjk")
    expect(page.locator("#queue-total")).to_contain_text("No incident matches")
    page.locator("#queue-words").fill("norm-0002")
    expect(page.locator("#queue-grid .ag-row")).to_have_count(1)
    page.locator("h1").click()
    page.keyboard.press("?")
    expect(page.get_by_role("dialog", name="Keys")).to_be_visible()
    page.keyboard.press("Escape")
    page.keyboard.press("j")
    page.keyboard.press("Enter")
    expect(page.locator("h1")).to_contain_text("case-000002")


@pytest.mark.slow
def test_the_address_carries_the_filters(filled: Filled, browsing: Browsing) -> None:
    page = browsing.page(filled.address)
    sign_in(page, filled.address, "anna")
    page.goto(f"{filled.address}/incidents?sev=high&q=meter")
    expect(page.locator("#queue-grid .ag-row")).to_have_count(1)
    expect(page.locator("#queue-words")).to_have_value("meter")
    page.locator("#queue-words").fill("")
    page.get_by_text("low", exact=True).first.click()
    expect(page.locator("#queue-grid .ag-row")).to_have_count(2)
    page.wait_for_url("**sev=low,high**")
    page.reload()
    expect(page.locator("#queue-grid .ag-row")).to_have_count(2)
