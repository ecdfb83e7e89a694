"""Screenshots of every page for the documentation: `python -m tests.browser.shots [FOLDER]` (default docs/screenshots).

Everything shown is simulated or replayed and marked so. Files are named CENTRE-PAGE-THEME-WIDTH.png, each below 300 kB.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from playwright.sync_api import Browser, Page, sync_playwright

from esmc.store import correlation
from host.database import migrate
from host.postgres import Postgres
from host.valkey import Valkey
from tests.browser import europe, world
from tests.browser.browsing import NARROW, WIDE, settled, sign_in
from tests.browser.desks import ROOT, served, served_europe
from tests.servers.browsers import CHROMIUM_ARGS

FOLDER = ROOT / "docs" / "screenshots"
LARGEST_BYTES, TALLEST = 300_000, 2_600
SIZES = (WIDE, NARROW)
IN_LIGHT = ("overview", "incident-beside-queue", "incident", "map")  # the others are shown in the dark only
EUROPE_PAGES = {"map": "/", "campaigns": "/campaigns", "members": "/members", "advice": "/advice"}


@dataclass(frozen=True, slots=True)
class Shown:
    """One desk to show: its address, who looks, and the address of every page by the name of its picture."""

    centre: str
    address: str
    person: str
    pages: Mapping[str, str]


@contextmanager
def desks() -> Iterator[tuple[Shown, Shown]]:
    """A filled and living centre and a filled Europe on embedded servers."""
    with tempfile.TemporaryDirectory(prefix="grid-smc-shots-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        folder.chmod(0o711)
        for part in ("pg", "kv", "smc", "esmc"):
            (folder / part).mkdir(mode=0o711)
        with (
            Postgres(folder / "pg", durable=False) as postgres,
            Valkey(folder / "kv") as valkey,
            operator(postgres, valkey, folder / "smc") as own,
            pan_european(postgres, folder / "esmc") as all_of_it,
        ):
            yield own, all_of_it


@contextmanager
def operator(postgres: Postgres, valkey: Valkey, folder: Path) -> Iterator[Shown]:
    """An operator's centre; the auditor sees every page, so the auditor looks."""
    url = postgres.create_database("shots", "template0")
    migrate(url, "smc")
    context = world.context(world.settings(url, valkey.url, folder))
    made = world.fill(context)
    with world.going_on(context, made.fleet, made.began), served(url, valkey.url, folder) as address:
        yield Shown("smc", address, "axel", pages(made))
    context.engine.dispose()


@contextmanager
def pan_european(postgres: Postgres, folder: Path) -> Iterator[Shown]:
    """The pan-European centre with a campaign."""
    url = postgres.create_database("europe", "template0")
    migrate(url, "esmc")
    context = europe.context(url, folder)
    europe.fill(context)
    with context.engine.connect() as conn:
        campaign = correlation.campaigns(conn)[0].campaign_id
    with served_europe(url, folder) as address:
        yield Shown("esmc", address, "erik", {**EUROPE_PAGES, "campaign": f"/campaigns?id={campaign}"})
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


def take(browser: Browser, shown: Shown, folder: Path) -> list[Path]:
    """All pictures of one desk: both sizes in the dark, the most telling pages in the light too."""
    files = []
    for size in SIZES:
        for theme in ("dark", "light"):
            context = browser.new_context(viewport=size, reduced_motion="reduce")
            context.add_cookies([{"name": "grid-theme", "value": theme, "url": shown.address}])
            page = context.new_page()
            sign_in(page, shown.address, shown.person)
            for name, path in shown.pages.items():
                if theme == "dark" or name in IN_LIGHT:
                    file = folder / f"{shown.centre}-{name}-{theme}-{size['width']}.png"
                    files.append(_shot(page, shown.address + path, file))
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
    with desks() as every, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=CHROMIUM_ARGS)
        for shown in every:
            for file in take(browser, shown, folder):
                print(f"{file.name} {file.stat().st_size:,} bytes")
        browser.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER)
