"""The demo's databases, and the programs of each centre with their settings."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from redis import Redis
from sqlalchemy import Engine

from commands.demo.plan import HOST, ROOT, DemoSettings, Operator
from host.database import engine, migrate, recreate
from host.postgres import Postgres
from host.supervisor import Program
from model.device import Site
from norm.fleet import Fleet
from norm.inventory import inventory
from smc.bus import GROUPS
from smc.store import devices

SEED = 2026
PDC_IDCODE = 1
_INHERITED = ("PATH", "HOME", "LANG", "TMPDIR", "VIRTUAL_ENV", "SMC_CACHE")


@dataclass(frozen=True)
class Ports:
    """Loopback ports: of the desks and TAXII by name, and, chosen at start, the broker's and the concentrators'."""

    listen: Mapping[str, int]
    broker: int
    concentrator: Mapping[str, int]


def fresh_database(server: Postgres | str, name: str, branch: str) -> str:
    """An empty, migrated database on the embedded server or on that of a URL; what an earlier demo left is gone."""
    if isinstance(server, str):
        url = recreate(server, name)
    else:
        server.drop_database(name)
        url = server.create_database(name)
    migrate(url, branch)
    return url


def forget_topics(redis_url: str, site: str) -> None:
    """Delete what an earlier demo left on the bus for this site; the databases are new as well."""
    client = Redis.from_url(redis_url)
    client.delete(*(f"{site}:{topic}" for topic in GROUPS))
    client.close()


def enrol_site(made: Engine, operator: Operator, settings: DemoSettings) -> None:
    """Write the operator and its simulated NORMs into the inventory, as a bulk import would."""
    with made.begin() as conn:
        devices.put_site(conn, Site(operator.site, operator.name, operator.country, operator.area, simulated=True))
        devices.enrol(conn, inventory(Fleet(SEED, operator.site, settings.units)))


def open_engine(url: str, name: str) -> Engine:
    """The demo's own connection to a centre's database."""
    return engine(url, f"demo.{name}", pool_size=1)


def site_programs(
    operator: Operator, settings: DemoSettings, variables: Mapping[str, str], ports: Ports, password: Path
) -> list[Program]:
    """NORMs, intake, detect, stages and desk of one operator, in the order they start."""
    concentrator = ports.concentrator[operator.site]
    environment = {
        **variables,
        "SMC_SITE": operator.site,
        "SMC_SITE_NAME": operator.name,
        "SMC_COUNTRY": operator.country,
        "SMC_AREA": operator.area,
        "SMC_SIMULATED": "1",
        "SMC_DATA": str(settings.data / operator.site),
        "SMC_PMUS": f"{HOST}:{concentrator}/{PDC_IDCODE}",
        "SMC_MQTT": f"{HOST}:{ports.broker}",
        "SMC_MQTT_USER": "centre",
        "SMC_MQTT_PASSWORD_FILE": str(password),
        "SMC_LISTEN_PORT": str(ports.listen[operator.site]),
        "SMC_SECURE_COOKIES": "0",
        "SMC_POLL_S": "3",
    }
    norm = ["norm", "--site", operator.site, "--units", str(settings.units), "--seed", str(SEED)]
    norm += ["--pmu-port", str(concentrator), "--mqtt", f"{HOST}:{ports.broker}", "--scenario", operator.scenario]
    norm += ["--mqtt-user", "norm", "--mqtt-password-file", str(password)]
    norm += ["--truth", str(settings.data / f"{operator.site}-truth.json")]
    programs = [
        app(f"{operator.site}.{stage}", ["smc", stage], environment) for stage in ("intake", "detect", "stages")
    ]
    desk = app(f"{operator.site}.desk", ["smc", "desk"], environment)
    return [app(f"{operator.site}.norm", norm, inherited(variables)), *programs, desk]


def replay_programs(operator: Operator, captures: list[Path], environment: Mapping[str, str]) -> list[Program]:
    """Real captures, each in a loop at real speed, as live PMUs of one operator; marked replayed."""
    return [
        app(f"{operator.site}.replay-{number}", ["replay", str(path), "--loop", "--speed", "1"], environment)
        for number, path in enumerate(captures, 1)
    ]


def esmc_programs(settings: DemoSettings, variables: Mapping[str, str], ports: Ports) -> list[Program]:
    """TAXII server, correlation and desk of the pan-European centre."""
    environment = {
        **variables,
        "ESMC_SIMULATED": "1",
        "ESMC_DATA": str(settings.data / "esmc"),
        "ESMC_LISTEN_PORT": str(ports.listen["ESMC"]),
        "ESMC_TAXII_PORT": str(ports.listen["TAXII"]),
        "ESMC_SECURE_COOKIES": "0",
        "ESMC_CAMPAIGN_MEMBERS": "2",  # the demo has two members; the default is three
    }
    return [app(f"esmc.{part}", ["esmc", part], environment) for part in ("taxii", "correlate", "desk")]


def app(name: str, words: list[str], environment: Mapping[str, str]) -> Program:
    """A command of app.py as a supervised program."""
    return Program(name, (sys.executable, str(ROOT / "app.py"), *words), environment, ROOT)


def inherited(environment: Mapping[str, str]) -> dict[str, str]:
    """The little a program needs of our own environment: never SMC_*, DATABASE_URL or a secret by accident."""
    return {name: environment[name] for name in _INHERITED if name in environment} | {"PYTHONPATH": str(ROOT)}
