"""Europe's pages in a real browser: map, campaigns, members, advice; nothing leaves the machine."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, ViewportSize, expect

from tests.browser import europe
from tests.browser.browsing import NARROW, WIDE, settled, sign_in
from tests.browser.conftest import Browsing
from tests.browser.desks import ROOT, _free_port, _wait

pytestmark = pytest.mark.chromium

PAGES = {"map": "/", "campaigns": "/campaigns", "members": "/members", "advice": "/advice"}


@pytest.fixture
def europe_desk(esmc_embedded: str, tmp_path: Path) -> Iterator[str]:
    centre = europe.context(esmc_embedded, tmp_path)
    europe.fill(centre)
    centre.engine.dispose()
    port = _free_port()
    command = [sys.executable, "-m", "tests.browser.europe", esmc_embedded, str(tmp_path), str(port)]
    with (tmp_path / "desk.log").open("wb") as log:
        process = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=subprocess.STDOUT)
    address = f"http://127.0.0.1:{port}"
    try:
        _wait(address, process, tmp_path / "desk.log")
        yield address
    finally:
        process.terminate()
        process.wait(15)


@pytest.mark.parametrize("theme", ["dark", "light"])
@pytest.mark.parametrize("size", [WIDE, NARROW], ids=["wide", "narrow"])
def test_every_page_stands_and_is_accessible(
    europe_desk: str, browsing: Browsing, size: ViewportSize, theme: str
) -> None:
    page = browsing.page(europe_desk, size, theme)
    sign_in(page, europe_desk, "erik")
    for name, path in PAGES.items():
        page.goto(europe_desk + path)
        settled(page)
        keep(page, f"{name}-{size['width']}-{theme}")
        assert page.evaluate("document.documentElement.scrollWidth") <= size["width"], f"{name} scrolls sideways"
        assert page.locator("[data-title^='Share']").count() == 0
        found = Axe().run(page).response["violations"]
        assert [v for v in found if v["impact"] in ("serious", "critical")] == [], name


def test_from_the_map_to_the_evidence_of_a_campaign(europe_desk: str, browsing: Browsing) -> None:
    page = browsing.page(europe_desk)
    sign_in(page, europe_desk, "erik")
    settled(page)
    expect(page.get_by_text("relaxed for").first).to_contain_text("all members there are simulated")
    expect(page.get_by_role("row", name="PT")).to_contain_text("suppressed")
    expect(page.get_by_role("row", name="IT")).to_contain_text("not observed")
    page.get_by_role("link", name="Campaign 1: meter tamper").first.click()
    settled(page)
    expect(page.get_by_text("4 members reported 6 incidents")).to_be_visible()
    expect(page.get_by_text("DSO-0003/case-000004")).to_be_visible()
    keep(page, "campaign")
    page.goto(f"{europe_desk}/advice")
    expect(page.get_by_text("3 of 6 members have answered this version.")).to_be_visible()


def test_a_page_follows_what_arrives(europe_desk: str, browsing: Browsing, esmc_embedded: str, tmp_path: Path) -> None:
    page = browsing.page(europe_desk)
    sign_in(page, europe_desk, "erik")
    page.goto(f"{europe_desk}/members")
    settled(page)
    centre = europe.context(esmc_embedded, tmp_path)
    with centre.engine.begin() as conn:
        europe.members.failed(conn, "DSO-0001", "the same id and version is stored with other content")
    expect(page.get_by_text("the same id and version is stored with other content")).to_be_visible(timeout=10_000)
    centre.engine.dispose()


def keep(page: Page, name: str) -> None:
    """A picture for whoever asks for one by GRID_SMC_SHOTS."""
    folder = os.environ.get("GRID_SMC_SHOTS")
    if folder:
        page.screenshot(path=Path(folder) / f"{name}.png", full_page=True)
