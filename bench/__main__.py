"""`python -m bench [AREA]`: run the benchmarks, print them as a table, write bench/results.json.

Every area is named here: a module that is missing or fails is an error, never a shorter table.
"""

from __future__ import annotations

import argparse
import json
from importlib import import_module
from pathlib import Path

from bench.table import Row, show

AREAS = ("storage", "bus", "intake", "detection", "desk", "federation")
RESULTS = Path(__file__).with_name("results.json")


def main(arguments: list[str] | None = None) -> int:
    """Measure and write; 0 also where a goal is missed: a miss stays in the table, it is no fault of the run."""
    parser = argparse.ArgumentParser(prog="python -m bench", description="Ratios of ours to a limit or peer, same run.")
    parser.add_argument("area", nargs="?", choices=AREAS, help="run one area; its rows replace the former ones")
    parser.add_argument("--results", type=Path, default=RESULTS, help="file to write (default: %(default)s)")
    options = parser.parse_args(arguments)
    areas = [options.area] if options.area else list(AREAS)
    rows: list[Row] = [row for area in areas for row in import_module(f"bench.{area}").run()]
    show(rows)
    former = _former(options.results) if options.area else []
    kept = [row for row in former if row["area"] not in areas]
    options.results.write_text(json.dumps(sorted(kept + rows, key=lambda r: AREAS.index(r["area"])), indent=1) + "\n")
    print(f"bench: {sum(bool(row['holds']) for row in rows)} of {len(rows)} goals hold")
    return 0


def _former(results: Path) -> list[Row]:
    if not results.exists():
        return []
    found: list[Row] = json.loads(results.read_text())
    return found


if __name__ == "__main__":
    raise SystemExit(main())
