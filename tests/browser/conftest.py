"""Fixtures of the browser tests: Chromium once per session, a centre with its own database per test that changes it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, ViewportSize

from host.postgres import Postgres
from host.valkey import Valkey
from smc.context import StageContext
from tests.browser import world
from tests.browser.browsing import WIDE, Watched
from tests.browser.desks import served
from tests.servers.databases import _database, _template


@dataclass(frozen=True, slots=True)
class Desk:
    """A running desk: its address, and the centre behind it."""

    address: str
    centre: StageContext


@pytest.fixture
def centre(smc_embedded: str, valkey_url: str, tmp_path: Path) -> Iterator[StageContext]:
    """An empty centre on a fresh database, with accounts and nothing else."""
    made = world.context(world.settings(smc_embedded, valkey_url, tmp_path))
    yield made
    made.engine.dispose()


@pytest.fixture
def desk(centre: StageContext, tmp_path: Path) -> Iterator[Desk]:
    """The centre's desk, served."""
    with served(centre.settings.database_url, centre.settings.redis_url, tmp_path) as address:
        yield Desk(address, centre)


@dataclass(frozen=True, slots=True)
class Filled:
    """A desk whose centre holds the whole world; shared by tests that only read."""

    address: str
    world: world.World


@pytest.fixture(scope="session")
def filled(
    postgres_embedded: Postgres, valkey_server: Valkey, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Filled]:
    """The whole world, going on, served once for all tests that change nothing."""
    folder = tmp_path_factory.mktemp("desk")
    databases = _database(postgres_embedded, _template(postgres_embedded, "smc"))
    url = next(databases)
    context = world.context(world.settings(url, valkey_server.url, folder))
    made = world.fill(context)
    with world.going_on(context, made.fleet, made.began), served(url, valkey_server.url, folder) as address:
        yield Filled(address, made)
    context.engine.dispose()
    next(databases, None)


class Browsing:
    """Opens contexts of the browser that are watched and closed after the test."""

    def __init__(self, browser: Browser) -> None:
        self._browser = browser
        self._contexts: list[BrowserContext] = []
        self.watched: list[Watched] = []

    def page(self, address: str, size: ViewportSize = WIDE, theme: str = "dark") -> Page:
        """A page in a fresh context: own cookies, own session."""
        context = self._browser.new_context(viewport=size, reduced_motion="reduce")
        context.add_cookies([{"name": "grid-theme", "value": theme, "url": address}])
        watched = Watched(address)
        watched.follow(context)
        self._contexts.append(context)
        self.watched.append(watched)
        return context.new_page()

    def close(self) -> None:
        """Close every context of the test."""
        for context in self._contexts:
            context.close()


@pytest.fixture
def browsing(browser: Browser) -> Iterator[Browsing]:
    """Pages for one test. At its end: no request left the machine, no error was in a console, a policy was set."""
    made = Browsing(browser)
    yield made
    made.close()
    for watched in made.watched:
        assert watched.foreign == []
        assert watched.errors == []
        assert "script-src 'self'" in watched.policy
        assert "unsafe-eval" not in watched.policy
