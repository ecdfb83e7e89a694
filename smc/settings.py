"""Settings of one operator's centre, prefix `SMC_`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from host.settings import setting
from model.errors import SettingsError

ACK_DATABASE, ACK_BUS = ACKS = ("database", "bus")  # the durable point that an acknowledgement stands for
MAX_PARTITIONS = 256


@dataclass(frozen=True, kw_only=True)
class SmcSettings:
    """Everything an operator can choose. Read once by `app.py`; stages get this object."""

    site: str = setting("code of this operator in the federation, e.g. DSO-0001 (letters, digits, hyphen)")
    site_name: str = setting("name of this operator as its own people see it", "")
    country: str = setting("ISO 3166 alpha-2 country of the grid area, e.g. DE")
    area: str = setting("ISO 3166-2 first-level area, never finer, e.g. DE-BY")
    database_url: str = setting(
        "PostgreSQL or TimescaleDB of this centre, postgresql://user@host/database", variable="DATABASE_URL"
    )
    redis_url: str = setting("Redis or Valkey of this centre, redis://host/0 or unix:///path", variable="REDIS_URL")
    data: Path = setting("folder for keys and files of this centre", Path("var/smc"))
    simulated: bool = setting("the whole grid behind this centre is simulated; marks every page and export", False)
    pmus: tuple[str, ...] = setting("PMUs or PDCs to dial by IEEE C37.118.2, host:port/idcode, comma-separated", ())
    mqtt: str = setting("MQTT broker to subscribe at, host:port; empty: no MQTT intake", "")
    mqtt_user: str = setting("user name at the MQTT broker", "")
    mqtt_password_file: Path = setting("file with the password at the MQTT broker, mode 0600", Path())
    ack: str = setting(
        "what an acknowledgement to a sender means: database (committed by the intake) or bus (synced to its disk, "
        "committed later by `app.py smc store`)",
        "database",
    )
    partitions: int = setting("topics that the bus divides readings into by device; with SMC_ACK=bus, 1 to 256", 8)
    flush_rows: int = setting("rows that make an intake batch full", 5_000)
    flush_s: float = setting("seconds after which an intake batch is committed though not full", 0.25)
    listen_host: str = setting("address the dashboard listens on", "127.0.0.1")
    listen_port: int = setting("port the dashboard listens on", 8050)
    session_idle_s: float = setting("seconds without activity after which a sign-in ends", 900.0)
    session_max_s: float = setting("seconds after which a sign-in ends in any case", 43_200.0)
    secure_cookies: bool = setting("send the session cookie over TLS only; off only for loopback", True)
    taxii_url: str = setting(
        "API root of the pan-European centre, https://host:port/federation/; empty: no federation", ""
    )
    taxii_ca_file: Path = setting("certificate authority of the federation, PEM", Path())
    taxii_certificate_file: Path = setting("this centre's TLS client certificate with its key, PEM, mode 0600", Path())
    signing_key_file: Path = setting("this centre's Ed25519 signing key, PEM, mode 0600", Path())
    peer_key_file: Path = setting("pinned Ed25519 public key of the pan-European centre, PEM", Path())
    pseudonym_key_file: Path = setting("secret key of the pseudonyms that leave the house, mode 0600", Path())
    poll_s: float = setting("seconds between two polls for European advice", 10.0)
    keep_readings_days: int = setting("days after their receipt that meter readings are kept", 90)
    keep_phasors_days: int = setting("days after their receipt that phasor frames are kept", 90)
    keep_conflicts_days: int = setting("days that second contents of one device and time are kept", 365)
    keep_events_days: int = setting("days that events of devices are kept", 365)
    keep_quarantine_days: int = setting("days that refused bytes are kept", 90)
    keep_rollups_minute_days: int = setting("days that rollups of 1 minute are kept", 90)
    keep_rollups_quarter_days: int = setting("days that rollups of 15 minutes are kept", 365)
    keep_rollups_day_days: int = setting("days that rollups of 1 day are kept", 730)
    columnstore: bool = setting(
        "compress closed chunks where TimescaleDB's TSL edition is found; not proven by our tests", False
    )
    metrics_port: int = setting("loopback port for Prometheus metrics of the stages; 0: none", 0)

    def __post_init__(self) -> None:
        if self.ack not in ACKS:
            raise SettingsError("SMC_ACK", self.ack, " or ".join(ACKS), "correct SMC_ACK")
        if not 1 <= self.partitions <= MAX_PARTITIONS:
            raise SettingsError("SMC_PARTITIONS", self.partitions, f"1 to {MAX_PARTITIONS}", "correct SMC_PARTITIONS")
