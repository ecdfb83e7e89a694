"""Bring the demo up: databases, keys and members, accounts, programs; in that order."""

from __future__ import annotations

import secrets
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Engine

from commands.demo.accounts import ESMC_ROLES, SMC_ROLES, SignIn, create_accounts
from commands.demo.automatic import AutomaticOperator
from commands.demo.centres import (
    Ports,
    enrol_site,
    esmc_programs,
    forget_topics,
    fresh_database,
    inherited,
    open_engine,
    replay_programs,
    site_programs,
)
from commands.demo.federation import create_federation
from commands.demo.plan import OPERATORS, ROOT, DemoSettings, Operator, free_port
from host.broker import write_users
from host.postgres import Postgres
from host.supervisor import Program, Supervisor
from host.valkey import Valkey
from smc.bus import RedisBus
from trust.secret_files import write_secret


@dataclass
class Started:
    """What a started demo needs to be watched."""

    sites: dict[str, Engine]
    people: dict[str, list[SignIn]]
    automatic: list[AutomaticOperator]


class Servers:
    """PostgreSQL and Valkey: embedded, or those that DATABASE_URL and REDIS_URL name."""

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        self._postgres = None if environment.get("DATABASE_URL") else Postgres(folder / "postgres")
        self._valkey = None if environment.get("REDIS_URL") else Valkey(folder / "valkey")
        self._environment = environment

    def __enter__(self) -> Servers:
        try:
            for server in (self._postgres, self._valkey):
                if server is not None:
                    server.start()
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


@dataclass(frozen=True)
class Starter:
    """Everything that starting needs; `start` is the whole story."""

    servers: Servers
    supervisor: Supervisor
    settings: DemoSettings
    recorded: list[Path]
    base: Mapping[str, str]  # the environment every program gets
    listen: Mapping[str, int]  # port by site code, "ESMC", "TAXII"

    def start(self) -> Started:
        """Start all; the supervisor and the servers stop what was started if this fails."""
        keys = self._fresh_folder(self.settings.data / "keys")
        url = self.servers.database("demo_esmc", "esmc")
        esmc = open_engine(url, "esmc")
        for_esmc, for_members = create_federation(keys, esmc, self.listen["TAXII"])
        started = Started({}, {"ESMC": create_accounts(esmc, ESMC_ROLES)}, [])
        ports, password = self._broker(keys)
        for program in esmc_programs(self.settings, {**self.base, **for_esmc, "DATABASE_URL": url}, ports):
            self.supervisor.start(program)
        for operator in OPERATORS:
            self._start_site(operator, for_members[operator.site], ports, password, started)
        return started

    def _start_site(
        self, operator: Operator, keys: Mapping[str, str], ports: Ports, password: Path, started: Started
    ) -> None:
        url = self.servers.database(f"demo_{operator.site.lower().replace('-', '_')}", "smc")
        made = started.sites[operator.site] = open_engine(url, operator.site)
        forget_topics(self.servers.redis_url, operator.site)
        self._fresh_folder(self.settings.data / operator.site)
        enrol_site(made, operator, self.settings)
        people = started.people[operator.site] = create_accounts(made, SMC_ROLES)
        variables = {**self.base, **keys, "DATABASE_URL": url, "REDIS_URL": self.servers.redis_url}
        programs = site_programs(operator, self.settings, variables, ports, password)
        if self.recorded and operator is OPERATORS[0]:
            programs += replay_programs(operator, self.recorded, programs[-1].environment)
        for program in programs:
            self.supervisor.start(program)
        if self.settings.auto:
            bus = RedisBus(self.servers.redis_url, prefix=operator.site)
            (person,) = (p for p in people if p.name == "operator")
            started.automatic.append(AutomaticOperator(made, bus, person))

    def _broker(self, keys: Path) -> tuple[Ports, Path]:
        """The demo's MQTT broker (amqtt, for the demo only) with a random password."""
        password = secrets.token_urlsafe(18)
        password_file, users_file = keys / "mqtt-password", keys / "mqtt-users"
        write_secret(password_file, password.encode())
        write_users(users_file, {"centre": password, "norm": password})
        ports = Ports(self.listen, free_port(), {operator.site: free_port() for operator in OPERATORS})
        line = (sys.executable, "-m", "host.broker", "--port", str(ports.broker), "--users", str(users_file))
        self.supervisor.start(Program("broker", line, self.base, ROOT))
        return ports, password_file

    def _fresh_folder(self, folder: Path) -> Path:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(mode=0o700, parents=True)
        return folder


def starter(
    servers: Servers,
    supervisor: Supervisor,
    settings: DemoSettings,
    recorded: list[Path],
    environment: Mapping[str, str],
    listen: Mapping[str, int],
) -> Starter:
    """A starter whose programs inherit the little they need of `environment`."""
    return Starter(servers, supervisor, settings, recorded, inherited(environment), listen)
