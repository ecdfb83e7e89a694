"""The demo as a person sees it: an attack appears live, is approved, reaches Europe; nothing is left behind."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.browsing import WIDE, Watched
from tests.commands.running import ROOT, app, environment, processes_naming

pytestmark = [pytest.mark.embedded, pytest.mark.valkey, pytest.mark.chromium, pytest.mark.timeout(300)]
OFFSET = 11_000
ATTACK_MS = 150_000


@dataclass
class Running:
    """A started demo and what it has printed so far."""

    process: subprocess.Popen[str]
    data: Path
    lines: list[str] = field(default_factory=list)

    def read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line.rstrip("\n"))

    def awaited(self, pattern: str, seconds: float) -> re.Match[str]:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            for line in list(self.lines):
                if match := re.search(pattern, line):
                    return match
            assert self.process.poll() is None, "\n".join(self.lines)
            time.sleep(0.1)
        raise AssertionError(f"no line like {pattern!r} within {seconds} s:\n" + "\n".join(self.lines))

    def sign_in(self, site: str, name: str) -> tuple[str, str]:
        line = self.awaited(rf"^\s+{site} +http", 5).string
        address = re.search(r"http://\S+", line)
        password = re.search(rf"{name} / (\S+)", line)
        assert address is not None
        assert password is not None
        return address.group(), password.group(1)


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    data = tmp_path_factory.mktemp("demo")
    variables = environment(DEMO_PORT_OFFSET=str(OFFSET), DEMO_DATA=str(data), DEMO_UNITS="16")
    process = subprocess.Popen(
        [sys.executable, "-u", str(ROOT / "app.py"), "demo"],
        env=variables, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    running = Running(process, data)
    reader = threading.Thread(target=running.read)
    reader.start()
    try:
        running.awaited(r"ready after", 120)
        yield running
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(60)
        reader.join()
        assert process.stdout is not None
        process.stdout.close()


def test_an_attack_is_seen_approved_and_reaches_europe(demo: Running, browser: Browser) -> None:
    """Order matters: this test walks the line, the next ones look at what remains of it."""
    desk, password = demo.sign_in("DSO-0001", "operator")
    watched, page = opened(browser, desk)
    sign_in(page, desk, "operator", password)
    expect(page.locator("body")).to_contain_text(re.compile("simulated", re.IGNORECASE))
    page.get_by_role("link", name="Incidents", exact=True).click()
    page.evaluate("window.notReloaded = true")
    row = page.locator("#queue-grid .ag-row", has_text=re.compile("Clock of .* drifts"))
    expect(row).to_be_visible(timeout=ATTACK_MS)
    assert page.evaluate("window.notReloaded") is True
    row.click()
    expect(page.locator("#case-why")).to_contain_text("µs")
    expect(page.locator("#case-why .main-svg, section .main-svg").first).to_be_visible(timeout=20_000)
    page.get_by_label("Reason of the decision").fill("Angles turn, magnitudes hold: its clock lies.")
    page.get_by_role("button", name="Approve").click()
    expect(page.locator("#case-steps .outcome")).to_contain_text("Dry run: nothing was switched", timeout=20_000)

    europe, password = demo.sign_in("ESMC", "european")
    watched_europe, page = opened(browser, europe)
    sign_in(page, europe, "european", password)
    page.get_by_role("link", name="Campaigns", exact=True).click()
    expect(page.locator("#frame-content")).to_contain_text(re.compile("clock", re.IGNORECASE), timeout=ATTACK_MS)
    for seen in (watched, watched_europe):
        assert seen.foreign == []
        assert "script-src 'self'" in seen.policy
        assert seen.errors == []


def test_the_advice_comes_back_to_the_operator(demo: Running, browser: Browser) -> None:
    desk, password = demo.sign_in("DSO-0002", "analyst")
    watched, page = opened(browser, desk)
    sign_in(page, desk, "analyst", password)
    demo.awaited(r"DSO-0002 +advice=[1-9]", 120)
    page.get_by_role("link", name="Advice", exact=True).click()
    expect(page.locator("#frame-content")).to_contain_text(re.compile("clock", re.IGNORECASE), timeout=30_000)
    assert watched.foreign == []


def test_the_demo_stops_and_leaves_no_process(demo: Running) -> None:
    demo.process.send_signal(signal.SIGINT)
    assert demo.process.wait(60) == 0
    last = demo.lines[-1]
    counts = dict(part.split("=") for part in last.split()[1:])
    assert list(counts) == ["frames", "readings", "findings", "incidents", "decisions", "federated", "advice"]
    assert all(int(value) > 0 for value in counts.values()), last
    assert processes_naming(str(demo.data)) == []
    memory = next(line for line in demo.lines if "memory of all processes" in line)
    assert int(re.search(r"(\d+) MB", memory).group(1)) <= 2_000  # type: ignore[union-attr]


def test_a_taken_port_is_named_and_nothing_starts(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        offset = taken.getsockname()[1] - 8060
        done = app("demo", variables={"DEMO_PORT_OFFSET": str(offset), "DEMO_DATA": str(tmp_path / "d")})
        assert done.returncode == 2
        assert done.stderr.count("\n") == 1
        assert f"127.0.0.1:{taken.getsockname()[1]}" in done.stderr
    assert not (tmp_path / "d").exists()


def opened(browser: Browser, address: str) -> tuple[Watched, Page]:
    watched = Watched(address)
    context = browser.new_context(viewport=WIDE)
    watched.follow(context)
    return watched, context.new_page()


def sign_in(page: Page, address: str, name: str, password: str) -> None:
    page.goto(f"{address}/sign-in")
    page.get_by_label("Name").fill(name)
    page.get_by_label("Password").fill(password)
    page.get_by_role("button", name="Sign in").click()
    expect(page.locator("#frame-content .page")).to_be_visible(timeout=20_000)
