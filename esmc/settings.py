"""Settings of the pan-European centre, prefix `ESMC_`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from host.settings import setting


@dataclass(frozen=True, kw_only=True)
class EsmcSettings:
    """Everything the duty officer's administrators can choose."""

    database_url: str = setting(
        "PostgreSQL or TimescaleDB of this centre, postgresql://user@host/database", variable="DATABASE_URL"
    )
    data: Path = setting("folder for keys and files of this centre", Path("var/esmc"))
    simulated: bool = setting("the members behind this centre are simulated; marks every page and export", False)
    listen_host: str = setting("address the dashboard listens on", "127.0.0.1")
    listen_port: int = setting("port the dashboard listens on", 8060)
    session_idle_s: float = setting("seconds without activity after which a sign-in ends", 900.0)
    session_max_s: float = setting("seconds after which a sign-in ends in any case", 43_200.0)
    secure_cookies: bool = setting("send the session cookie over TLS only; off only for loopback", True)
    taxii_host: str = setting("address the TAXII server listens on", "127.0.0.1")
    taxii_port: int = setting("port the TAXII server listens on (mTLS)", 8443)
    taxii_ca_file: Path = setting("certificate authority of the federation, PEM")
    taxii_certificate_file: Path = setting("TLS server certificate with its key, PEM, mode 0600")
    signing_key_file: Path = setting("this centre's Ed25519 signing key, PEM, mode 0600")
    campaign_members: int = setting("members that must see the same technique before a campaign is named", 3)
    campaign_window_s: float = setting("seconds within which incidents may belong to one campaign", 86_400.0)
