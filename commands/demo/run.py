"""Start the demo, watch it, stop it, count."""

from __future__ import annotations

import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from threading import Event

from sqlalchemy import Engine

from commands.centres import stop_on_signal
from commands.demo.accounts import SignIn
from commands.demo.plan import HOST, OPERATORS, DemoSettings, captures, ports, require_free
from commands.demo.start import Servers, Started, starter
from host.log import configure
from host.settings import load
from host.supervisor import Supervisor
from model.errors import SetupError
from smc.store.tally import Tally, tally

READY_S = 90.0
LOOK_EVERY_S = 1.0
TOLD = ("findings", "incidents", "decisions", "federated", "advice")
LAST_LINE = ("frames", "readings", *TOLD)


def demo(environment: Mapping[str, str]) -> int:
    """`app.py demo`. Exit code 0 after Ctrl-C or DEMO_SECONDS; whatever was started is stopped in every case."""
    began_s = time.monotonic()
    settings = load(DemoSettings, "DEMO", environment)
    configure("demo", "demo")
    recorded, listen = captures(settings), ports(settings)
    require_free(listen.values())
    stop = stop_on_signal()
    settings.data.mkdir(parents=True, exist_ok=True)
    with Servers(settings.data, environment) as servers, Supervisor(settings.data / "logs") as supervisor:
        started = starter(servers, supervisor, settings, recorded, environment, listen).start()
        _await_desks(supervisor, listen, stop)
        if not stop.is_set():
            _announce(started, recorded, listen, settings, time.monotonic() - began_s)
            _watch(started, supervisor, settings, stop)
        totals = _totals(started.sites)
        memory_mb, restarts = supervisor.memory_bytes() / 1e6, sum(supervisor.restarts().values())
        print(f"demo: stopping; memory of all processes together {memory_mb:.0f} MB, restarts {restarts}", flush=True)
    print("demo: " + " ".join(f"{name}={totals[name]}" for name in LAST_LINE))
    return 0


def _await_desks(supervisor: Supervisor, listen: Mapping[str, int], stop: Event) -> None:
    waiting = {port for name, port in listen.items() if name != "TAXII"}
    deadline = time.monotonic() + READY_S
    while waiting and not stop.is_set():
        supervisor.tick()
        waiting -= {port for port in waiting if _answers(port)}
        if time.monotonic() > deadline:
            raise SetupError("desks", sorted(waiting), f"answering within {READY_S:.0f} s", f"see {supervisor.logs}")
        stop.wait(0.2)


def _answers(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://{HOST}:{port}/health", timeout=2) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def _announce(
    started: Started, recorded: list[Path], listen: Mapping[str, int], settings: DemoSettings, seconds: float
) -> None:
    print(f"\nGrid SMC demo, ready after {seconds:.1f} s. All grids are simulated.")
    if recorded:
        names = ", ".join(path.name for path in recorded)
        print(f"  replayed  {names} at {OPERATORS[0].site} (real capture, shifted to now)")
    else:
        print("  no real capture found (DEMO_CAPTURE, or the data folder beside the checkout): the demo runs without")
    for site in (*(operator.site for operator in OPERATORS), "ESMC"):
        print(f"  {site:<9} http://{HOST}:{listen[site]}  {_people(started.people[site])}")
    print(f"  TAXII     https://{HOST}:{listen['TAXII']}/taxii2/ (client certificates in {settings.data / 'keys'})")
    print(f"  logs      {settings.data / 'logs'}")
    print("  attacks begin within a minute; Ctrl-C stops all of it\n", flush=True)


def _people(people: list[SignIn]) -> str:
    return "  ".join(f"{person.name} / {person.password}" for person in people)


def _watch(started: Started, supervisor: Supervisor, settings: DemoSettings, stop: Event) -> None:
    """Until the time is over or somebody stops it: approve, if asked to, and tell what is new."""
    deadline = time.monotonic() + settings.seconds if settings.seconds else float("inf")
    next_look_s = 0.0
    told: Mapping[str, Tally] = {}
    while not stop.is_set() and time.monotonic() < deadline:
        supervisor.tick()
        if time.monotonic() >= next_look_s:
            next_look_s = time.monotonic() + LOOK_EVERY_S
            for operator in started.automatic:
                operator.approve_all()
            told = _tell(started.sites, told)
        stop.wait(0.2)


def _tell(sites: Mapping[str, Engine], before: Mapping[str, Tally]) -> dict[str, Tally]:
    """Print what is new since the last look, a line per change."""
    now = {site: _tally(made) for site, made in sites.items()}
    for site, counted in now.items():
        for name in TOLD:
            value = getattr(counted, name)
            if value and (site not in before or value != getattr(before[site], name)):
                print(f"  {time.strftime('%H:%M:%S')}  {site}  {name}={value}", flush=True)
    return now


def _totals(sites: Mapping[str, Engine]) -> dict[str, int]:
    counted = [asdict(_tally(made)) for made in sites.values()]
    return {name: sum(one[name] for one in counted) for name in LAST_LINE}


def _tally(made: Engine) -> Tally:
    with made.connect() as conn:
        return tally(conn)
