"""Start the demo, watch it, stop it, count."""

from __future__ import annotations

import shutil
import signal
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path

from sqlalchemy import Engine

from commands.demo.accounts import ESMC_ROLES, SMC_ROLES, SignIn, create_accounts
from commands.demo.automatic import AutomaticOperator
from commands.demo.centres import (
    Ports,
    enrol_site,
    esmc_programs,
    fresh_database,
    inherited,
    open_engine,
    replay_program,
    site_programs,
)
from commands.demo.federation import create_federation
from commands.demo.plan import (
    ESMC_PORT,
    HOST,
    OPERATORS,
    ROOT,
    TAXII_PORT,
    DemoSettings,
    captures,
    free_port,
    require_free_ports,
)
from host.broker import write_users
from host.log import configure
from host.postgres import Postgres
from host.settings import load
from host.supervisor import Program, Supervisor
from host.valkey import Valkey
from model.errors import SetupError
from smc.bus import RedisBus
from smc.store.tally import Tally, tally
from trust.secret_files import write_secret

READY_S = 90.0
AUTO_EVERY_S = 1.0


@dataclass(frozen=True)
class Started:
    """What a started demo needs to be watched."""

    sites: dict[str, Engine]
    people: dict[str, list[SignIn]]
    automatic: list[AutomaticOperator]


def demo(environment: Mapping[str, str]) -> int:
    """`app.py demo`. Exit code 0 after Ctrl-C or DEMO_SECONDS; whatever was started is stopped in every case."""
    began = time.monotonic()
    settings = load(DemoSettings, "DEMO", environment)
    configure("demo", "demo")
    recorded = captures(settings)
    require_free_ports()
    stop = _stop_on_signal()
    settings.data.mkdir(parents=True, exist_ok=True)
    with Servers(settings.data, environment) as servers, Supervisor(settings.data / "logs") as supervisor:
        started = _start(servers, supervisor, settings, recorded, environment)
        _await_desks(supervisor, stop)
        if not stop.is_set():
            _announce(started, recorded, time.monotonic() - began, settings)
            _watch(started, supervisor, settings, stop)
        memory_mb = supervisor.memory_bytes() / 1e6
        totals = _totals(started.sites)
        print(f"demo: memory of all processes {memory_mb:.0f} MB, restarts {sum(supervisor.restarts().values())}")
    print(_last_line(totals))
    return 0


class Servers:
    """PostgreSQL and Valkey: embedded, or those that DATABASE_URL and REDIS_URL name."""

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        self._postgres = None if environment.get("DATABASE_URL") else Postgres(folder / "postgres")
        self._valkey = None if environment.get("REDIS_URL") else Valkey(folder / "valkey")
        self._environment = environment

    def __enter__(self) -> Servers:
        if self._postgres is not None:
            self._postgres.start()
        try:
            if self._valkey is not None:
                self._valkey.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for server in (self._valkey, self._postgres):
            if server is not None:
                server.stop()

    @property
    def redis_url(self) -> str:
        """Where the bus is."""
        return self._valkey.url if self._valkey is not None else self._environment["REDIS_URL"]

    def database(self, name: str, branch: str) -> str:
        """A fresh, migrated database."""
        return fresh_database(self._postgres or self._environment["DATABASE_URL"], name, branch)


def _start(
    servers: Servers,
    supervisor: Supervisor,
    settings: DemoSettings,
    recorded: list[Path],
    environment: Mapping[str, str],
) -> Started:
    keys = settings.data / "keys"
    shutil.rmtree(keys, ignore_errors=True)
    keys.mkdir(mode=0o700)
    esmc_url = servers.database("demo_esmc", "esmc")
    esmc = open_engine(esmc_url, "esmc")
    for_esmc, for_members = create_federation(keys, esmc)
    people = {"ESMC": create_accounts(esmc, ESMC_ROLES)}
    base = inherited(environment)
    ports, password = _broker(supervisor, keys, base)
    for program in esmc_programs(settings, {**base, **for_esmc, "DATABASE_URL": esmc_url}):
        supervisor.start(program)
    sites, automatic = {}, []
    for operator in OPERATORS:
        url = servers.database(f"demo_{operator.site.lower().replace('-', '_')}", "smc")
        made = sites[operator.site] = open_engine(url, operator.site)
        bus = RedisBus(servers.redis_url, prefix=operator.site)
        bus.clear()
        enrol_site(made, operator, settings)
        people[operator.site] = create_accounts(made, SMC_ROLES)
        shutil.rmtree(settings.data / operator.site, ignore_errors=True)
        variables = {**base, **for_members[operator.site], "DATABASE_URL": url, "REDIS_URL": servers.redis_url}
        programs = site_programs(operator, settings, variables, ports, password)
        if recorded and operator is OPERATORS[0]:
            programs.append(replay_program(operator, recorded, programs[1].environment))
        for program in programs:
            supervisor.start(program)
        if settings.auto:
            automatic.append(AutomaticOperator(made, bus, people[operator.site][1]))
    return Started(sites, people, automatic)


def _broker(supervisor: Supervisor, keys: Path, base: Mapping[str, str]) -> tuple[Ports, Path]:
    """The demo's MQTT broker (amqtt, for the demo only) with a random password."""
    import secrets

    password = secrets.token_urlsafe(18)
    password_file, users_file = keys / "mqtt-password", keys / "mqtt-users"
    write_secret(password_file, password.encode())
    write_users(users_file, {"centre": password, "norm": password})
    ports = Ports(free_port(), {operator.site: free_port() for operator in OPERATORS})
    line = (sys.executable, "-m", "host.broker", "--port", str(ports.broker), "--users", str(users_file))
    supervisor.start(Program("broker", line, base, ROOT))
    return ports, password_file


def _await_desks(supervisor: Supervisor, stop: threading.Event) -> None:
    waiting = {operator.port for operator in OPERATORS} | {ESMC_PORT}
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


def _announce(started: Started, recorded: list[Path], seconds: float, settings: DemoSettings) -> None:
    print(f"\nGrid SMC demo, ready after {seconds:.1f} s. All grids are simulated.")
    if recorded:
        print(
            f"  replayed at {OPERATORS[0].site}: {', '.join(path.name for path in recorded)} (real capture, shifted to now)"
        )
    else:
        print("  no real capture found (DEMO_CAPTURE, or the data folder beside the checkout): the demo runs without")
    for operator in OPERATORS:
        print(f"  {operator.site}  http://{HOST}:{operator.port}  {_people(started.people[operator.site])}")
    print(f"  ESMC      http://{HOST}:{ESMC_PORT}  {_people(started.people['ESMC'])}")
    print(f"  TAXII     https://{HOST}:{TAXII_PORT}/taxii2/ (client certificates in {settings.data / 'keys'})")
    print(f"  logs      {settings.data / 'logs'}\n  Ctrl-C stops all of it.\n", flush=True)


def _people(people: list[SignIn]) -> str:
    return "  ".join(f"{person.name} / {person.password}" for person in people)


def _watch(started: Started, supervisor: Supervisor, settings: DemoSettings, stop: threading.Event) -> None:
    """Until the time is over or somebody stops it; approve and tell news on the way."""
    deadline = time.monotonic() + settings.seconds if settings.seconds else float("inf")
    next_look = 0.0
    told: Mapping[str, Tally] = {}
    while not stop.is_set() and time.monotonic() < deadline:
        supervisor.tick()
        if time.monotonic() >= next_look:
            next_look = time.monotonic() + AUTO_EVERY_S
            for operator in started.automatic:
                operator.approve_all()
            told = _tell(started.sites, told)
        stop.wait(0.2)


def _tell(sites: Mapping[str, Engine], before: Mapping[str, Tally]) -> dict[str, Tally]:
    """Print what is new since the last look: findings, incidents, decisions, what was federated, advice."""
    now = {}
    for site, made in sites.items():
        with made.connect() as conn:
            now[site] = tally(conn)
        old = before.get(site)
        for name in ("findings", "incidents", "decisions", "federated", "advice"):
            value = getattr(now[site], name)
            if value and (old is None or value != getattr(old, name)):
                print(f"  {time.strftime('%H:%M:%S')} {site} {name}={value}", flush=True)
    return now


def _totals(sites: Mapping[str, Engine]) -> dict[str, int]:
    totals = dict.fromkeys((field.name for field in fields(Tally)), 0)
    for made in sites.values():
        with made.connect() as conn:
            for name, value in vars_of(tally(conn)).items():
                totals[name] += value
    return totals


def vars_of(counted: Tally) -> dict[str, int]:
    """A tally as a dictionary."""
    return {field.name: getattr(counted, field.name) for field in fields(Tally)}


def _last_line(totals: Mapping[str, int]) -> str:
    names = ("frames", "readings", "findings", "incidents", "decisions", "federated", "advice")
    return "demo: " + " ".join(f"{name}={totals[name]}" for name in names)


def _stop_on_signal() -> threading.Event:
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    return stop
