"""`python -m bench [AREA]`: run the benchmarks, print them as a table, write bench/results.json and docs/benchmarks.md.

Every area is named here: a module that is missing or fails is an error, never a shorter table.
"""

from __future__ import annotations

import argparse
import json
import time
from importlib import import_module
from pathlib import Path

from bench import page
from bench.table import Row, show

AREAS = ("intake", "meters", "bus", "storage", "queries", "load", "growth", "detection", "desk", "federation")
RESULTS = Path(__file__).with_name("results.json")


def main(arguments: list[str] | None = None) -> int:
    """Measure and write; 0 also where a goal is missed: a miss stays in the table, it is no fault of the run."""
    parser = argparse.ArgumentParser(prog="python -m bench", description="Ratios of ours to a limit or peer, same run.")
    parser.add_argument("area", nargs="?", choices=AREAS, help="run one area; its rows replace the former ones")
    parser.add_argument("--results", type=Path, default=RESULTS, help="file to write (default: %(default)s)")
    parser.add_argument("--page", type=Path, default=page.PAGE, help="page to write (default: %(default)s)")
    options = parser.parse_args(arguments)
    areas = [options.area] if options.area else list(AREAS)
    rows: list[Row] = []
    for area in areas:
        measured = _measured(area)
        rows += measured
        _write(options.results, options.page, area, measured)  # at once: a later area that fails loses nothing
    show(rows)
    print(f"bench: {sum(bool(row['holds']) for row in rows)} of {len(rows)} goals hold")
    return 0


def _write(results: Path, written: Path, area: str, measured: list[Row]) -> None:
    """Put the rows of an area in the place of its former ones."""
    kept = [row for row in _former(results) if row["area"] in AREAS and row["area"] != area]
    found = sorted(kept + measured, key=lambda r: AREAS.index(r["area"]))
    results.write_text(json.dumps(found, indent=1) + "\n")
    written.write_text(page.text(found))


def _measured(area: str) -> list[Row]:
    began_s = time.monotonic()
    rows: list[Row] = import_module(f"bench.{area}").run()
    print(f"bench: {area} took {time.monotonic() - began_s:.0f} s", flush=True)
    return rows


def _former(results: Path) -> list[Row]:
    if not results.exists():
        return []
    found: list[Row] = json.loads(results.read_text())
    return found


if __name__ == "__main__":
    raise SystemExit(main())
