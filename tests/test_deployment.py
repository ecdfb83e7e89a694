"""docker-compose.yml as far as it can be judged without an engine: what a careful operator would object to."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
import yaml

from app import parser
from esmc.settings import EsmcSettings
from host.settings import describe
from smc.settings import SmcSettings

ROOT = Path(__file__).resolve().parent.parent
SIZES = {"k": 1 << 10, "m": 1 << 20, "g": 1 << 30}
Service = dict[str, Any]


def compose() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    return loaded


def bytes_of(size: str) -> int:
    found = re.fullmatch(r"(\d+)([kmg])b?", size.lower())
    assert found, size
    return int(found[1]) * SIZES[found[2]]


def weaknesses(deployment: dict[str, Any]) -> list[str]:
    """All of them, each with the service that has it."""
    told = [
        f"{name}: {weakness}"
        for name, service in deployment["services"].items()
        for judge in (of_any, of_its_openings, of_a_database, of_a_bus)
        for weakness in judge(service)
    ]
    return told + list(of_the_wiring(deployment))


def of_any(service: Service) -> Iterator[str]:
    if "healthcheck" not in service and service.get("restart") != "no":
        yield "no health check"
    if "mem_limit" not in service:
        yield "no memory limit"
    if "image" in service and re.search(r":(latest)?$|^[^:]+$", service["image"]):
        yield "version not pinned"
    if not service.get("profiles"):
        yield "starts without being asked for"


def of_its_openings(service: Service) -> Iterator[str]:
    for port in service.get("ports", []):
        if not str(port).startswith("127.0.0.1:"):
            yield f"port {port} open to all"
    if service.get("privileged") or "no-new-privileges:true" not in service.get("security_opt", []):
        yield "may gain privileges"
    for variable, value in service.get("environment", {}).items():
        if re.search(r"PASSWORD|SECRET|KEY", variable) and not str(value).startswith("/run/secrets/"):
            yield f"{variable} holds a secret"


def of_a_database(service: Service) -> Iterator[str]:
    """The images' own defaults differ by version and tell the vendor that they run."""
    if "timescale" not in service.get("image", ""):
        return
    options, environment = service.get("command", []), service.get("environment", {})
    if "timescaledb.telemetry_level=off" not in options or environment.get("TIMESCALEDB_TELEMETRY") != "off":
        yield "telemetry is on"
    if not re.search(r":\d+\.\d+\.\d+-pg\d+(-oss)?$", service["image"]):
        yield "neither TimescaleDB nor PostgreSQL is pinned"
    data = PurePosixPath(environment.get("PGDATA", "/nowhere"))
    if not any(data.is_relative_to(volume.split(":")[1]) for volume in service.get("volumes", [])):
        yield "PGDATA lies in no volume"
    if "builtin" not in environment.get("POSTGRES_INITDB_ARGS", ""):
        yield "the order of text depends on the image"
    buffers = [option.partition("=")[2] for option in options if option.startswith("shared_buffers=")]
    if not buffers or bytes_of(buffers[0]) > bytes_of(service["mem_limit"]) / 2:
        yield "shared_buffers do not suit the memory"


def of_a_bus(service: Service) -> Iterator[str]:
    if "valkey-server" not in service.get("command", []):
        return
    words = service["command"]
    given = {word: words[place + 1] for place, word in enumerate(words[:-1]) if word.startswith("--")}
    wanted = {"--port": "0", "--appendonly": "yes", "--appendfsync": "always", "--maxmemory-policy": "noeviction"}
    for name, value in wanted.items():
        if given.get(name) != value:
            yield f"{name} is {given.get(name)}, not {value}"
    if bytes_of(given.get("--maxmemory", "1024g")) > bytes_of(service["mem_limit"]) * 0.6:
        yield "no memory left beside --maxmemory for rewriting the file"


def of_the_wiring(deployment: dict[str, Any]) -> Iterator[str]:
    services = deployment["services"]
    for name, service in services.items():
        for kind in ("secrets", "configs", "networks"):
            used = {each if isinstance(each, str) else each["source"] for each in service.get(kind, [])}
            for unknown in sorted(used - deployment.get(kind, {}).keys()):
                yield f"{name}: {kind} {unknown} is not declared"
        volumes = {volume.split(":")[0] for volume in service.get("volumes", [])}
        for unknown in sorted(volumes - deployment.get("volumes", {}).keys()):
            yield f"{name}: volume {unknown} is not declared"
        for unknown in sorted(service.get("depends_on", {}).keys() - services.keys()):
            yield f"{name}: depends on unknown {unknown}"
    yield from (
        f"secret {name} is not a file" for name, secret in deployment["secrets"].items() if set(secret) != {"file"}
    )


def built() -> dict[str, Service]:
    return {name: service for name, service in compose()["services"].items() if "build" in service}


def test_the_deployment_has_no_known_weakness() -> None:
    assert weaknesses(compose()) == []


def test_the_deployment_runs_every_part_of_both_centres() -> None:
    run = {" ".join(service["command"]) for service in built().values()}
    assert {f"smc {stage}" for stage in ("intake", "store", "detect", "stages", "keep", "desk")} <= run
    assert {"esmc taxii", "esmc correlate", "esmc desk"} <= run
    assert {"migrate smc", "migrate esmc"} <= run


@pytest.mark.parametrize("name", built())
def test_the_deployment_runs_commands_that_exist(name: str) -> None:
    parser().parse_args(built()[name]["command"])


def test_no_service_needs_one_of_another_profile() -> None:
    """`smc-store` is the one exception: its profile is an addition to that of the centre."""
    services = compose()["services"]
    for name, service in services.items():
        for needed in service.get("depends_on", {}):
            shared = set(service["profiles"]) & set(services[needed]["profiles"])
            assert shared or name == "smc-store", f"{name} needs {needed}"


@pytest.mark.parametrize(("prefix", "kind"), [("SMC", SmcSettings), ("ESMC", EsmcSettings)])
def test_the_deployment_sets_only_known_settings_and_all_required_ones(prefix: str, kind: type[Any]) -> None:
    known = {name: default for name, default, _ in describe(kind, prefix)}
    for service in built().values():
        if service["command"][0] != prefix.lower():
            continue
        given = service["environment"]
        assert {name for name in given if name.startswith(f"{prefix}_")} <= known.keys()
        assert {name for name, default in known.items() if default == "required"} <= given.keys()


def test_the_broker_knows_its_clients_and_keeps_their_messages() -> None:
    lines = compose()["configs"]["mosquitto"]["content"].splitlines()
    assert {"allow_anonymous false", "password_file /run/secrets/mqtt_users", "persistence true"} <= set(lines)
    limits = dict(line.split(" ", 1) for line in lines)
    assert int(limits["max_queued_messages"]) >= 1_000_000


WEAK = {
    "services": {
        "a": {
            "image": "valkey/valkey",
            "ports": ["6379:6379"],
            "environment": {"DB_PASSWORD": "admin"},
            "secrets": ["nowhere"],
            "volumes": ["nowhere:/data"],
            "depends_on": {"b": {}},
            "privileged": True,
        },
        "database": {"image": "timescale/timescaledb:latest-pg18", "mem_limit": "1g", "profiles": ["x"]},
        "bus": {"command": ["valkey-server", "--appendonly", "no"], "mem_limit": "1g", "profiles": ["x"]},
    },
    "secrets": {"x": {"environment": "X"}},
}


def test_a_weak_deployment_is_objected_to() -> None:
    told = weaknesses(WEAK)
    assert sum(line.startswith("a: ") for line in told) == 10, told
    assert [line for line in told if line.startswith("database: ")] == [
        "database: no health check",
        "database: may gain privileges",
        "database: telemetry is on",
        "database: neither TimescaleDB nor PostgreSQL is pinned",
        "database: PGDATA lies in no volume",
        "database: the order of text depends on the image",
        "database: shared_buffers do not suit the memory",
    ]
    assert sum(line.startswith("bus: -") for line in told) == 4, told
    assert "bus: no memory left beside --maxmemory for rewriting the file" in told
    assert "secret x is not a file" in told
