"""Serve the desk of a test centre: `python -m tests.browser.desk_server DATABASE_URL REDIS_URL FOLDER PORT`."""

from __future__ import annotations

import sys
from pathlib import Path

from smc.views.app import desk_app
from tests.browser import world
from web.serve import serve


def main(database_url: str, redis_url: str, folder: str, port: str) -> None:
    """Serve until stopped."""
    context = world.context(world.settings(database_url, redis_url, Path(folder)))
    serve(desk_app(context), "127.0.0.1", int(port))


if __name__ == "__main__":
    main(*sys.argv[1:5])
