"""What the demo consists of: settings, the two operators, ports. Facts only."""

from __future__ import annotations

import socket
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from host.settings import setting
from model.errors import SetupError

ROOT = Path(__file__).resolve().parents[2]
HOST = "127.0.0.1"
ESMC_PORT, TAXII_PORT = 8060, 8443
CAPTURES = ROOT.parent / "shared" / "data" / "captures" / "c37.118"


@dataclass(frozen=True)
class DemoSettings:
    """Read from variables `DEMO_*`."""

    seconds: float = setting("seconds after which the demo stops by itself; 0: runs until Ctrl-C", 0.0)
    auto: bool = setting("approve proposed playbooks by itself, as a demo account", False)
    capture: Path = setting("pcap file or folder of IEEE C37.118.2 traffic to replay", Path())
    data: Path = setting("folder for everything the demo writes", ROOT / "var" / "demo")
    units: int = setting("simulated NORMs per operator", 24)
    port_offset: int = setting("added to every port the demo listens on", 0)


@dataclass(frozen=True)
class Operator:
    """One simulated operator of the demo. Attacks start some seconds after the NORMs do."""

    site: str
    name: str
    country: str
    area: str
    port: int
    scenario: str  # as `app.py norm --scenario`


# The same clock attack at both operators is what the pan-European centre joins into one campaign.
OPERATORS = (
    Operator("DSO-0001", "Operator one", "DE", "DE-BY", 8050, "s08:9@40*30,s01:5@45*0.6"),
    Operator("DSO-0002", "Operator two", "NL", "NL-UT", 8051, "s08:4@45*35,s01:11@55*0.55"),
)


def ports(settings: DemoSettings) -> dict[str, int]:
    """Where the demo listens: by site code, "ESMC" and "TAXII"."""
    plain = {operator.site: operator.port for operator in OPERATORS} | {"ESMC": ESMC_PORT, "TAXII": TAXII_PORT}
    return {name: port + settings.port_offset for name, port in plain.items()}


def require_free(wanted: Iterable[int]) -> None:
    """Refuse to start anything while a port of the demo is taken."""
    for port in wanted:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, port))
            except OSError as error:
                raise SetupError(
                    "port", f"{HOST}:{port}", "free", "stop what listens there, then start again"
                ) from error


def free_port() -> int:
    """A loopback port nobody listens on now."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def captures(settings: DemoSettings) -> list[Path]:
    """The captures to replay: DEMO_CAPTURE, else the data folder beside the checkout; empty if there are none."""
    if settings.capture != Path():
        if not settings.capture.exists():
            raise SetupError("DEMO_CAPTURE", str(settings.capture), "a pcap file or a folder of them", "correct it")
        found = sorted(settings.capture.glob("*.pcap")) if settings.capture.is_dir() else [settings.capture]
        return [path.resolve() for path in found]
    return sorted(path.resolve() for path in CAPTURES.glob("*.pcap"))
