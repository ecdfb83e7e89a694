"""Europe's pages in a real browser: map, campaigns, members, advice; nothing leaves the machine."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, ViewportSize, expect

from esmc.context import EsmcContext
from host.postgres import Postgres
from tests.browser import europe
from tests.browser.browsing import NARROW, WIDE, settled, sign_in
from tests.browser.conftest import Browsing
from tests.browser.desks import served_europe
from tests.browser.shots import EUROPE_PAGES
from tests.servers.databases import _database, _template

pytestmark = pytest.mark.chromium


@dataclass(frozen=True, slots=True)
class EuropeDesk:
    """Europe's running desk and the centre behind it; the tests of this file share it."""

    address: str
    centre: EsmcContext


@pytest.fixture(scope="module")
def europe_desk(postgres_embedded: Postgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[EuropeDesk]:
    folder = tmp_path_factory.mktemp("europe")
    databases = _database(postgres_embedded, _template(postgres_embedded, "esmc"))
    url = next(databases)
    centre = europe.context(url, folder)
    europe.fill(centre)
    with served_europe(url, folder) as address:
        yield EuropeDesk(address, centre)
    centre.engine.dispose()
    next(databases, None)


@pytest.mark.parametrize(
    ("size", "theme"),
    [
        pytest.param(WIDE, "dark", id="wide-dark"),
        pytest.param(NARROW, "light", id="narrow-light", marks=pytest.mark.slow),
        pytest.param(WIDE, "light", id="wide-light", marks=pytest.mark.slow),
        pytest.param(NARROW, "dark", id="narrow-dark", marks=pytest.mark.slow),
    ],
)
def test_every_page_stands_and_is_accessible(
    europe_desk: EuropeDesk, browsing: Browsing, size: ViewportSize, theme: str
) -> None:
    page = browsing.page(europe_desk.address, size, theme)
    sign_in(page, europe_desk.address, "erik")
    for name, path in EUROPE_PAGES.items():
        page.goto(europe_desk.address + path)
        settled(page)
        keep(page, f"{name}-{size['width']}-{theme}")
        assert page.evaluate("document.documentElement.scrollWidth") <= size["width"], f"{name} scrolls sideways"
        assert page.locator("[data-title^='Share']").count() == 0
        found = Axe().run(page).response["violations"]
        assert [v for v in found if v["impact"] in ("serious", "critical")] == [], name


def test_from_the_map_to_the_evidence_of_a_campaign(europe_desk: EuropeDesk, browsing: Browsing) -> None:
    page = browsing.page(europe_desk.address)
    sign_in(page, europe_desk.address, "erik")
    settled(page)
    expect(page.get_by_text("relaxed for").first).to_contain_text("all members there are simulated")
    expect(page.get_by_role("row", name="PT")).to_contain_text("suppressed")
    expect(page.get_by_role("row", name="IT")).to_contain_text("not observed")
    page.get_by_role("link", name="Campaign 1: meter tamper").first.click()
    settled(page)
    expect(page.get_by_text("4 members reported 6 incidents")).to_be_visible()
    expect(page.get_by_text("DSO-0003/case-000004")).to_be_visible()
    keep(page, "campaign")
    page.goto(f"{europe_desk.address}/advice")
    expect(page.get_by_text("3 of 6 members have answered this version.")).to_be_visible()


@pytest.mark.slow
def test_a_page_follows_what_arrives(europe_desk: EuropeDesk, browsing: Browsing) -> None:
    page = browsing.page(europe_desk.address)
    sign_in(page, europe_desk.address, "erik")
    page.goto(f"{europe_desk.address}/members")
    settled(page)
    with europe_desk.centre.engine.begin() as conn:
        europe.members.failed(conn, "DSO-0001", "the same id and version is stored with other content")
    expect(page.get_by_text("the same id and version is stored with other content")).to_be_visible(timeout=10_000)


def keep(page: Page, name: str) -> None:
    """A picture for whoever asks for one by GRID_SMC_SHOTS."""
    folder = os.environ.get("GRID_SMC_SHOTS")
    if folder:
        page.screenshot(path=Path(folder) / f"{name}.png", full_page=True)
