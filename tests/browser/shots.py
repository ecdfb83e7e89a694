"""Screenshots of every page for the documentation: `python -m tests.browser.shots [FOLDER]` (default docs/screenshots).

Everything shown is simulated and marked so. Two sizes, dark and light; each file below 300 kB.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, Page, sync_playwright

from host.database import migrate
from host.postgres import Postgres
from host.valkey import Valkey
from tests.browser import world
from tests.browser.browsing import NARROW, WIDE, settled, sign_in
from tests.browser.desks import ROOT, served
from tests.servers.browsers import CHROMIUM_ARGS

FOLDER = ROOT / "docs" / "screenshots"
LARGEST_BYTES, TALLEST = 300_000, 2_600


@contextmanager
def desk() -> Iterator[tuple[str, world.World]]:
    """A filled and living centre on embedded servers: its address and what is in it."""
    with tempfile.TemporaryDirectory(prefix="grid-smc-shots-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        folder.chmod(0o711)
        (folder / "pg").mkdir(mode=0o711)
        (folder / "kv").mkdir(mode=0o711)
        with Postgres(folder / "pg", durable=False) as postgres, Valkey(folder / "kv") as valkey:
            url = postgres.create_database("shots", "template0")
            migrate(url, "smc")
            context = world.context(world.settings(url, valkey.url, folder))
            made = world.fill(context)
            with world.going_on(context, made.fleet, made.began), served(url, valkey.url, folder) as address:
                yield address, made
            context.engine.dispose()


def pages(made: world.World) -> dict[str, str]:
    """Name of the picture and address of every page."""
    _, tampered, spoofed = made.incidents
    meter = made.fleet.meters[world.TAMPERED]
    return {
        "overview": "/",
        "incidents": "/incidents",
        "incident-beside-queue": f"/incidents?sel={spoofed.incident_id}",
        "incident": f"/incident?id={tampered.incident_id}",
        "signals": "/devices",
        "device-meter": f"/device?index={meter.index}&from=now-10m",
        "device-pmu": f"/device?index={spoofed.devices[0]}",
        "intake": "/intake",
        "advice": "/advice",
        "sharing": "/sharing?open=1",
        "audit": "/audit",
    }


def take(browser: Browser, address: str, made: world.World, folder: Path) -> list[Path]:
    """All pictures; the auditor sees every page, so the auditor takes them."""
    files = []
    for size_name, size in (("wide", WIDE), ("narrow", NARROW)):
        context = browser.new_context(viewport=size, reduced_motion="reduce", color_scheme="dark")
        page = context.new_page()
        sign_in(page, address, "axel")
        for name, path in pages(made).items():
            files.append(_shot(page, address + path, folder / f"smc-{name}-{size_name}.png"))
        if size_name == "wide":
            context.add_cookies([{"name": "grid-theme", "value": "light", "url": address}])
            for name in ("overview", "incident-beside-queue"):
                files.append(_shot(page, address + pages(made)[name], folder / f"smc-{name}-light.png"))
        context.close()
    return files


def _shot(page: Page, address: str, file: Path) -> Path:
    page.goto(address)
    settled(page)
    size = page.viewport_size
    assert size is not None
    tall = page.evaluate("document.documentElement.scrollHeight")
    page.set_viewport_size({**size, "height": min(max(tall, size["height"]), TALLEST)})  # the rail as high as the page
    settled(page)
    page.screenshot(path=file, animations="disabled")
    page.set_viewport_size(size)
    if file.stat().st_size > LARGEST_BYTES:  # too much to show: what is first on the screen must do
        page.screenshot(path=file, animations="disabled")
    return file


def main(folder: Path) -> None:
    """Write the pictures and say how large they are."""
    folder.mkdir(parents=True, exist_ok=True)
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    with desk() as (address, made), sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=CHROMIUM_ARGS)
        for file in take(browser, address, made, folder):
            print(f"{file.name} {file.stat().st_size:,} bytes")
        browser.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER)
