"""`app.py smc enrol | keys` and `app.py esmc member | keys`: who belongs to a centre, and the keys it speaks with."""

from __future__ import annotations

import argparse
import secrets
from collections.abc import Mapping
from pathlib import Path

import msgspec

from commands.operate import database_url
from commands.people import LOCAL
from esmc import members
from esmc.settings import EsmcSettings
from host.database import engine
from host.settings import load
from model.device import Device, Site
from model.errors import SettingsError, SetupError
from model.time import SystemClock, to_datetime
from smc.settings import SmcSettings
from smc.store import devices
from trust.secret_files import write_secret
from trust.signing import create_key
from trust.store import append_audit

PSEUDONYM_KEY_BYTES = 32


def enrol(file: str, environment: Mapping[str, str]) -> int:
    """Add the devices of an inventory file (JSON list, fields of model.device.Device) or bring them up to date."""
    settings = load(SmcSettings, "SMC", environment)
    inventory = read_inventory(Path(file), settings.site)
    made = engine(settings.database_url, "enrol", pool_size=1)
    with made.begin() as conn:
        site = Site(settings.site, settings.site_name, settings.country, settings.area, settings.simulated)
        devices.put_site(conn, site)
        devices.enrol(conn, inventory)
        append_audit(conn, LOCAL, "devices-enrolled", f"site:{settings.site}", {"devices": len(inventory)})
    made.dispose()
    print(f"smc: {len(inventory)} devices of {settings.site} enrolled")
    return 0


def read_inventory(file: Path, site: str) -> list[Device]:
    """The devices of a file. SetupError names the first entry that is none of this site."""
    try:
        found = msgspec.json.decode(file.read_bytes(), type=list[Device])
    except (OSError, msgspec.DecodeError) as error:
        raise SetupError("inventory file", file, "a JSON list of devices", str(error)) from error
    for number, device in enumerate(found):
        if device.site != site or not device.name:
            raise SetupError(f"device {number} of {file}", f"{device.name} of {device.site}", site, "correct the file")
    return found


def smc_keys(environment: Mapping[str, str]) -> int:
    """Make this operator's signing and pseudonym keys where the settings name them, never over old ones."""
    settings = load(SmcSettings, "SMC", environment)
    _signing_key("SMC_SIGNING_KEY_FILE", settings.signing_key_file)
    pseudonyms = _named("SMC_PSEUDONYM_KEY_FILE", settings.pseudonym_key_file)
    if not pseudonyms.exists():
        write_secret(pseudonyms, secrets.token_bytes(PSEUDONYM_KEY_BYTES))
        print(f"keys: {pseudonyms} made; it never leaves this centre")
    return 0


def esmc_keys(environment: Mapping[str, str]) -> int:
    """Make the pan-European centre's signing key where the settings name it, never over an old one."""
    _signing_key("ESMC_SIGNING_KEY_FILE", load(EsmcSettings, "ESMC", environment).signing_key_file)
    return 0


def member(arguments: argparse.Namespace, environment: Mapping[str, str]) -> int:
    """Make an operator a member of the federation, with its pinned public key."""
    key = Path(arguments.key)
    if not key.is_file():
        raise SetupError("--key", arguments.key, "the member's public key, PEM", "ask the member for its .pub file")
    made = engine(database_url(environment), "member", pool_size=1)
    now = to_datetime(SystemClock().now_ns())
    with made.begin() as conn:
        found = members.enrol(
            conn, arguments.code, arguments.name, arguments.country, arguments.area, key.read_text(), now,
            simulated=arguments.simulated,
        )  # fmt: skip
        append_audit(conn, LOCAL, "member-enrolled", f"member:{found.code}", {"certificate": found.certificate})
    made.dispose()
    print(f"esmc: {found.code} is a member; its client certificate must name {found.certificate}")
    return 0


def _signing_key(variable: str, path: Path) -> None:
    private = _named(variable, path)
    public = private.with_suffix(".pub")
    if private.exists():
        print(f"keys: {private} is there already")
        return
    public.write_text(create_key(private))
    print(f"keys: {private} made; give {public} to the partners")


def _named(variable: str, path: Path) -> Path:
    if path == Path():
        raise SettingsError("setting", variable, "the file to write the key to", f"set {variable} and start again")
    if not path.parent.is_dir():
        raise SetupError(variable, path, "a file in an existing folder", f"mkdir -p {path.parent}")
    return path
