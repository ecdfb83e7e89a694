"""What the desk costs its users: the queue's callback, the size of a figure, the bytes of the first load.

Budgets: list callback p95 200 ms while 50 clients ask at once; a figure 60 kB; first load 3 MB compressed.
"""

from __future__ import annotations

import json
import re
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import structlog

from bench.table import Row, row
from host.database import engine, migrate
from host.postgres import Postgres
from model.device import Provenance
from model.finding import Evidence, Finding, FindingKind, Severity
from model.ids import stable_id
from model.time import SystemClock, to_datetime
from smc import decide, triage
from smc.bus import MemoryBus
from smc.context import StageContext
from smc.settings import SmcSettings
from smc.store import findings
from smc.views import plots
from smc.views.app import desk_frame
from trust import store
from trust.accounts import create
from trust.roles import Role
from trust.sessions import Lifetime
from web.frame import Frame
from web.gate import CSRF_HEADER, UPDATE

AREA = "desk"
SITE = "DSO-0001"
INCIDENTS = 200
CLIENTS, CALLS = 50, 10
BUDGET_S, BUDGET_FIGURE_BYTES, BUDGET_LOAD_BYTES = 0.2, 60_000, 3_000_000


def run() -> list[Row]:
    """Measure on embedded PostgreSQL, in this process."""
    with _centre() as context:
        frame = desk_frame(context)
        headers = _signed_in(context, frame)
        alone_s, crowd_s = _list_callback(frame, headers)
        load = _first_load(frame, headers)
    return [
        row(AREA, "list callback p95, one client", alone_s, "s", "budget", BUDGET_S, "<= 1"),
        row(AREA, f"list callback p95, {CLIENTS} clients at once", crowd_s, "s", "budget", BUDGET_S, "<= 1"),
        row(AREA, "largest figure, three lines", _figure_bytes(), "B", "budget", BUDGET_FIGURE_BYTES, "<= 1"),
        row(AREA, "first load, compressed", load, "B", "budget", BUDGET_LOAD_BYTES, "<= 1"),
    ]


@contextmanager
def _centre() -> Iterator[StageContext]:
    with tempfile.TemporaryDirectory(prefix="grid-smc-bench-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        folder.chmod(0o711)
        with Postgres(folder, durable=False) as server:
            url = server.create_database("desk", "template0")
            migrate(url, "smc")
            settings = SmcSettings(
                site=SITE,
                country="DE",
                area="DE-BY",
                database_url=url,
                redis_url="",
                data=folder,
                simulated=True,
                secure_cookies=False,
            )
            made = StageContext(settings, engine(url, "bench", 16), MemoryBus(), SystemClock(), structlog.get_logger())
            _fill(made)
            yield made
            made.engine.dispose()


def _fill(context: StageContext) -> None:
    now = to_datetime(context.clock.now_ns())
    for n in range(INCIDENTS):
        severity = list(Severity)[n % 4]
        finding = Finding(
            stable_id("finding", SITE, "bench", n), SITE, FindingKind.METER_TAMPER, "bench", "1", (n + 1,),
            now - timedelta(minutes=5), now, severity, 1.0 + n / 10, 0.99, f"Meter {n} tells less", "bench",
            (Evidence("power_w", 1.0, 2.0, 1.9, 2.1, "W", 1.0),), (), (), "T0856", Provenance.SIMULATED,
        )  # fmt: skip
        with context.engine.begin() as conn:
            findings.add(conn, [finding])
        incident, _ = triage.group(context, finding)
        decide.propose(context, incident.incident_id)


def _signed_in(context: StageContext, frame: Frame) -> dict[str, str]:
    lifetime = Lifetime(timedelta(hours=1), timedelta(hours=1))
    with context.engine.begin() as conn:
        who = create(conn, "bench", "bench opens the desk", Role.ANALYST, "bench", must_change=False)
        token, session = store.open_session(conn, who, "127.0.0.1", lifetime)
    return {"Cookie": f"{frame.gate.cookie}={token}", CSRF_HEADER: session.csrf}


def _list_callback(frame: Frame, headers: dict[str, str]) -> tuple[float, float]:
    """(p95 of one client after the other, p95 of all clients at once), in s."""
    body = _update(frame)

    def call(_n: int) -> float:
        started_s = time.perf_counter()
        answer = frame.server.test_client(use_cookies=False).post(UPDATE, json=body, headers=headers)
        if answer.status_code != 200:
            raise RuntimeError(
                f"the list callback answered {answer.status_code}: {answer.get_data(as_text=True)[:200]}"
            )
        return time.perf_counter() - started_s

    alone = [call(n) for n in range(CLIENTS)]
    with ThreadPoolExecutor(CLIENTS) as pool:
        crowd = [s for _ in range(CALLS) for s in pool.map(call, range(CLIENTS))]
    return float(np.percentile(alone[5:], 95)), float(np.percentile(crowd, 95))


def _update(frame: Frame) -> dict[str, Any]:
    """The request that a browser sends when the live stream says that the incidents changed."""
    output = next(key for key in frame.dash.callback_map if key.startswith("..queue-grid.rowData"))
    names = [part.rsplit(".", 1) for part in output.strip(".").split("...")]
    return {
        "output": output,
        "outputs": [{"id": name, "property": prop} for name, prop in names],
        "inputs": [
            {"id": "url", "property": "search", "value": ""},
            {"id": "tick-incidents", "property": "data", "value": 1},
            {"id": "queue-news", "property": "n_clicks"},
        ],
        "changedPropIds": ["tick-incidents.data"],
        "state": [{"id": "queue-shown", "property": "data", "value": {"ids": [], "query": ""}}],
    }


def _figure_bytes() -> float:
    """JSON bytes of the chart with the most lines, 9,000 frames each."""
    time_ns = np.arange(9_000, dtype=np.int64) * 100_000_000
    noise = np.random.default_rng(1)
    names = [f"voltage_l{n}_v" for n in (1, 2, 3)]
    arrays = {"time_ns": time_ns, **{name: 230 + noise.standard_normal(9_000) for name in names}}
    figure = plots.phases(arrays, "voltage", "Voltage", plots.Scene(0.0, 900_000.0))
    return float(len(json.dumps(figure.to_plotly_json(), default=lambda o: o.to_plotly_json()).encode()))


def _first_load(frame: Frame, headers: dict[str, str]) -> float:
    """Compressed bytes of the document and of everything it names."""
    client = frame.server.test_client(use_cookies=False)
    asked = {**headers, "Accept": "text/html,*/*", "Accept-Encoding": "br"}
    document = client.get("/", headers=asked | {"Accept-Encoding": "identity"}).get_data(as_text=True)
    addresses = re.findall(r'(?:src|href)="(/[^"]+)"', document)
    total = len(client.get("/", headers=asked).data)
    for address in dict.fromkeys(addresses):
        answer = client.get(address, headers=asked)
        if answer.status_code != 200:
            raise RuntimeError(f"{address} of the first load answered {answer.status_code}")
        total += len(answer.data)
    return float(total)
