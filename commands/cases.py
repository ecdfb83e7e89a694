"""`app.py export` and `evidence`: an incident as a document, and its raw rows frozen with hashes. Both are audited."""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Mapping
from pathlib import Path

from sqlalchemy import Connection

from commands.operate import database_url
from commands.people import LOCAL
from host.database import engine
from host.settings import load
from model.errors import OperatorError
from model.ids import stable_id
from model.time import SystemClock, to_datetime
from smc.desk import evidence as frozen
from smc.desk.report import Dossier, as_json, as_markdown
from smc.playbooks import playbook
from smc.settings import SmcSettings
from smc.sharing import Sharer, share
from smc.store import decisions, devices, findings, incidents
from trust.pseudonyms import load_key
from trust.store import append_audit, audit_head


def export(arguments: argparse.Namespace, environment: Mapping[str, str]) -> int:
    """Print one incident to standard output."""
    made = engine(database_url(environment), "export", pool_size=1)
    with made.begin() as conn:
        dossier = _dossier(conn, arguments.case)
        if arguments.form == "stix":
            text = _stix(load(SmcSettings, "SMC", environment), dossier)
        else:
            text = as_markdown(dossier) if arguments.form == "markdown" else as_json(dossier).decode()
        append_audit(conn, LOCAL, "exported", f"incident:{dossier.incident.case}", {"form": arguments.form})
    sys.stdout.write(text)
    made.dispose()
    return 0


def evidence(arguments: argparse.Namespace, environment: Mapping[str, str]) -> int:
    """Write the zip of an incident, or verify one."""
    if arguments.verify:
        manifest = frozen.verify(Path(arguments.case))
        print(f"evidence: {manifest['case']} files={len(manifest['files'])} written={manifest['written']} hashes hold")
        return 0
    made = engine(database_url(environment), "evidence", pool_size=1)
    with made.begin() as conn:
        dossier = _dossier(conn, arguments.case)
        file = Path(arguments.out or f"case-{dossier.incident.number:06d}.zip")
        manifest = frozen.freeze(conn, dossier, audit_head(conn).hash.hex(), file)
        append_audit(
            conn, LOCAL, "evidence-frozen", f"incident:{dossier.incident.case}", {"files": len(manifest["files"])}
        )
    made.dispose()
    rows = sum(entry.get("rows", 0) for entry in manifest["files"])
    print(f"evidence: {file} case={dossier.incident.case} files={len(manifest['files'])} rows={rows}")
    return 0


def _dossier(conn: Connection, case: str) -> Dossier:
    match = re.search(r"(\d+)\Z", case)
    found = incidents.by_number(conn, int(match.group(1))) if match else None
    if found is None:
        raise OperatorError("case", case, "the number of an incident of this centre", "see the incident queue")
    involved = [device for device in devices.all_devices(conn) if device.index in found.devices]
    return Dossier(
        found,
        findings.of_incident(conn, found.incident_id),
        incidents.history(conn, found.incident_id),
        decisions.of_incident(conn, found.incident_id),
        involved,
        to_datetime(SystemClock().now_ns()),
    )


def _stix(settings: SmcSettings, dossier: Dossier) -> str:
    """What would leave the house, through the same gate, as a STIX 2.1 bundle."""
    sharer = Sharer(settings.site, settings.country, settings.area, load_key(settings.pseudonym_key_file))
    latest = max(dossier.decisions, key=lambda decision: decision.proposed, default=None)
    body = share(
        sharer,
        dossier.incident,
        dossier.devices,
        dossier.findings,
        playbook(latest.playbook_id) if latest else None,
        latest.proposed if latest else None,
        None,
    )
    bundle_id = stable_id("bundle", settings.site, dossier.incident.case, dossier.incident.version)
    bundle = {"type": "bundle", "id": f"bundle--{bundle_id}", "objects": json.loads(body)["objects"]}
    return json.dumps(bundle, indent=1) + "\n"
