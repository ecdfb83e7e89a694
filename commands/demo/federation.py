"""Keys and memberships of the demo's federation: an authority, certificates, signing keys; new at every start.

In a real federation the authority is offline and each member makes its own keys; here one program plays all parts.
"""

from __future__ import annotations

import secrets
from pathlib import Path

from sqlalchemy import Engine

from commands.demo.plan import HOST, OPERATORS, Operator
from esmc import members
from model.federation import member_uri
from model.time import SystemClock, to_datetime
from trust.certificates import create_authority, issue_client, issue_server
from trust.secret_files import write_secret
from trust.signing import create_key


def create_federation(folder: Path, esmc: Engine, taxii_port: int) -> tuple[dict[str, str], dict[str, dict[str, str]]]:
    """Write all keys below `folder`, enrol the members; returns ESMC_* variables, and SMC_* variables by site."""
    authority = create_authority("Grid SMC demo federation")
    ca_file = folder / "ca.pem"
    ca_file.write_bytes(authority.pem)
    server_file, esmc_key = folder / "esmc-server.pem", folder / "esmc-signing.pem"
    write_secret(server_file, issue_server(authority, HOST))
    public = folder / "esmc-signing.pub"
    public.write_text(create_key(esmc_key))
    for_esmc = {
        "ESMC_TAXII_CA_FILE": str(ca_file),
        "ESMC_TAXII_CERTIFICATE_FILE": str(server_file),
        "ESMC_SIGNING_KEY_FILE": str(esmc_key),
    }
    for_members: dict[str, dict[str, str]] = {}
    for operator in OPERATORS:
        certificate, key, pseudonyms = (
            folder / f"{operator.site}-{name}" for name in ("client.pem", "sign.pem", "hide.key")
        )
        write_secret(certificate, issue_client(authority, member_uri(operator.site)))
        write_secret(pseudonyms, secrets.token_bytes(32))
        _enrol(esmc, operator, create_key(key))
        for_members[operator.site] = {
            "SMC_TAXII_URL": f"https://{HOST}:{taxii_port}/federation/",
            "SMC_TAXII_CA_FILE": str(ca_file),
            "SMC_TAXII_CERTIFICATE_FILE": str(certificate),
            "SMC_SIGNING_KEY_FILE": str(key),
            "SMC_PEER_KEY_FILE": str(public),
            "SMC_PSEUDONYM_KEY_FILE": str(pseudonyms),
        }
    return for_esmc, for_members


def _enrol(esmc: Engine, operator: Operator, public_key: str) -> None:
    now = to_datetime(SystemClock().now_ns())
    with esmc.begin() as conn:
        members.enrol(
            conn, operator.site, operator.name, operator.country, operator.area, public_key, now, simulated=True
        )
