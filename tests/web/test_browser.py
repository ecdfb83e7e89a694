"""The frame in a real browser: no foreign request, no error, no Share button, accessible, both themes, both widths."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect
from sqlalchemy import create_engine, text

from host.database import engine as connect
from host.database import migrate
from host.postgres import Postgres
from model.ids import new_id
from tests.web.conftest import PASSWORD, peopled
from tests.web.sample import sample
from tests.web.test_serve import free_port, wait_for
from web.serve import serve

pytestmark = pytest.mark.chromium
SIZES = {"desk": (1440, 900), "phone": (390, 844)}


def desk(url: str, port: int) -> None:
    engine = connect(url, "test-browser")

    def versions() -> dict[str, int]:
        with engine.begin() as conn:
            return {"incidents": int(conn.execute(text("SELECT count(*) FROM stage_health")).scalar_one())}

    serve(sample(engine, versions=versions).server, "127.0.0.1", port)


@pytest.fixture(scope="module")
def database_url(postgres_embedded: Postgres) -> Iterator[str]:
    name = f"test_{new_id().hex}"
    url = postgres_embedded.create_database(name)
    migrate(url, "smc")
    for _ in peopled(url):
        yield url
    postgres_embedded.drop_database(name)


@pytest.fixture(scope="module")
def address(database_url: str) -> Iterator[str]:
    port = free_port()
    process = multiprocessing.get_context("fork").Process(target=desk, args=(database_url, port))
    process.start()
    wait_for(port)
    yield f"http://127.0.0.1:{port}"
    process.terminate()
    process.join(timeout=15)


class Watch:
    """What went wrong while a page was used."""

    def __init__(self, page: Page, address: str) -> None:
        self.problems: list[str] = []
        page.on("console", lambda m: self.problems.append(m.text) if m.type == "error" else None)
        page.on("pageerror", lambda error: self.problems.append(str(error)))
        own = (address, "data:", "blob:")
        page.on("request", lambda r: None if r.url.startswith(own) else self.problems.append(f"foreign: {r.url}"))


def visit(browser: Browser, address: str, theme: str, size: str, path: str = "/") -> tuple[Page, Watch]:
    """A fresh context, signed in as operator, on that page."""
    width, height = SIZES[size]
    context = browser.new_context(viewport={"width": width, "height": height})
    context.add_cookies([{"name": "grid-theme", "value": theme, "url": address}])
    page = context.new_page()
    watch = Watch(page, address)
    page.goto(address + path)
    page.get_by_label("Name").fill("operator")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_selector(".page")
    return page, watch


@pytest.mark.parametrize(
    ("theme", "size"),
    [
        ("dark", "desk"),
        pytest.param("light", "phone", marks=pytest.mark.slow),
        pytest.param("light", "desk", marks=pytest.mark.slow),
        pytest.param("dark", "phone", marks=pytest.mark.slow),
    ],
)
def test_every_page_is_quiet_accessible_and_fits(browser: Browser, address: str, theme: str, size: str) -> None:
    page, watch = visit(browser, address, theme, size)
    for path, ready in (("/", ".js-plotly-plot .main-svg"), ("/list", ".ag-row"), ("/europe", ".choroplethlayer path")):
        answer = page.goto(address + path)
        assert answer is not None
        assert "script-src 'self'" in answer.headers["content-security-policy"]
        page.wait_for_selector(ready, state="attached")
        assert page.locator('[data-title*="Share"], [data-title*="cloud"]').count() == 0
        assert page.evaluate("document.documentElement.scrollWidth") <= SIZES[size][0]
        assert page.evaluate("document.documentElement.dataset.mantineColorScheme") == theme
        assert serious(page) == [], path
    assert watch.problems == []
    page.context.close()


def serious(page: Page) -> list[str]:
    """Serious and critical findings of axe."""
    found: dict[str, Any] = Axe().run(page).response
    return [
        f"{finding['id']}: {finding['nodes'][0]['html'][:160]}"
        for finding in found["violations"]
        if finding["impact"] in {"serious", "critical"}
    ]


def test_filters_survive_sign_in_and_links_keep_the_page(browser: Browser, address: str) -> None:
    page, watch = visit(browser, address, "dark", "desk", "/list?sev=critical&q=a%26b")
    assert page.url.endswith("/list?sev=critical&q=a%26b")
    expect(page.locator(".ag-center-cols-container .ag-row")).to_have_count(1)
    page.evaluate("window.stillHere = true")
    page.get_by_role("link", name="Overview", exact=True).click()
    page.wait_for_selector(".figure")
    assert page.evaluate("window.stillHere") is True
    assert watch.problems == []
    page.context.close()


def test_a_change_in_the_store_reaches_two_tabs(browser: Browser, address: str, database_url: str) -> None:
    page, watch = visit(browser, address, "dark", "desk", "/list")
    other = page.context.new_page()
    other.goto(address + "/list")
    expect(page.locator("#ticked")).to_contain_text("version 0")
    engine = create_engine(database_url.replace("postgresql://", "postgresql+psycopg://"))
    with engine.begin() as conn:
        conn.execute(text("INSERT INTO stage_health VALUES ('test', now(), now(), '{}')"))
    engine.dispose()
    for tab in (page, other):
        expect(tab.locator("#ticked")).to_contain_text("version 1", timeout=10_000)
    assert watch.problems == []
    page.context.close()


@pytest.mark.slow
def test_theme_zone_and_drawer_work(browser: Browser, address: str) -> None:
    page, watch = visit(browser, address, "dark", "desk")
    page.get_by_label("Switch between dark and light").click()
    expect(page.locator("html")).to_have_attribute("data-mantine-color-scheme", "light")
    page.locator("#frame-zone").click()
    expect(page.locator("html")).to_have_attribute("data-zone", "local")
    page.wait_for_selector(".page")
    assert watch.problems == []
    page.context.close()
    phone, watch = visit(browser, address, "dark", "phone")
    link = phone.get_by_role("link", name="Incidents", exact=True)
    expect(link).not_to_be_in_viewport()
    phone.get_by_label("Navigation").click()
    expect(link).to_be_in_viewport()
    link.click()
    phone.wait_for_selector(".ag-row")
    expect(link).not_to_be_in_viewport()
    assert watch.problems == []
    phone.context.close()


@pytest.mark.slow
def test_sign_out_ends_it_in_every_tab(browser: Browser, address: str) -> None:
    page, _ = visit(browser, address, "dark", "desk")
    other = page.context.new_page()
    other.goto(address + "/list")
    other.wait_for_selector(".ag-row")
    page.get_by_role("button", name="Sign out").click()
    page.wait_for_url("**/sign-in")
    other.reload()
    other.wait_for_url("**/sign-in?next=%2Flist")
    page.context.close()
