"""What every browser test does: start Chromium without any talk to the outside, sign in, wait until a page stands."""

from __future__ import annotations

from dataclasses import dataclass, field
from urllib.parse import urlsplit

from playwright.sync_api import BrowserContext, Page, ViewportSize, expect

from tests.browser.world import PASSWORDS

WIDE: ViewportSize = {"width": 1440, "height": 900}
NARROW: ViewportSize = {"width": 390, "height": 844}
SETTLE_MS = 30_000
expect.set_options(timeout=SETTLE_MS)  # a loaded machine may be slow; what is wrong stays wrong


@dataclass
class Watched:
    """What a page did behind the scenes: requests to other hosts, errors in its console, its policy."""

    address: str
    foreign: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    policy: str = ""

    def follow(self, context: BrowserContext) -> None:
        """Write down every request and every error of every page of this context."""
        host = urlsplit(self.address).netloc
        context.on("request", lambda r: self._request(r.url, host))
        context.on("response", self._response)
        context.on("console", lambda m: self.errors.append(m.text) if m.type == "error" else None)
        context.on("weberror", lambda e: self.errors.append(str(e.error)))

    def _request(self, url: str, host: str) -> None:
        parts = urlsplit(url)
        if parts.scheme not in {"data", "blob"} and parts.netloc != host:
            self.foreign.append(url)

    def _response(self, response: object) -> None:
        policy = response.headers.get("content-security-policy", "")  # type: ignore[attr-defined]
        self.policy = policy or self.policy


def sign_in(page: Page, address: str, name: str) -> None:
    """Sign in as one of the world's people."""
    page.goto(f"{address}/sign-in")
    page.get_by_label("Name").fill(name)
    page.get_by_label("Password").fill(PASSWORDS[name])
    page.get_by_role("button", name="Sign in").click()
    expect(page.locator("#frame-content .page")).to_be_visible(timeout=SETTLE_MS)


def settled(page: Page) -> None:
    """Wait until the content stands and every graph on it is drawn."""
    expect(page.locator("#frame-content .page, #frame-content .state").first).to_be_visible(timeout=SETTLE_MS)
    page.wait_for_function(
        "() => [...document.querySelectorAll('.graph')].every(g => g.querySelector('.main-svg'))"
        " && document.querySelector('[data-dash-is-loading]') === null && document.fonts.status === 'loaded'",
        timeout=SETTLE_MS,
    )
