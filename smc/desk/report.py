"""An incident as a document: Markdown for people, JSON for programs. Pure; who may export is decided by the caller."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import msgspec

from model.decision import Decision
from model.device import Device, Provenance
from model.finding import Evidence, Finding
from model.incident import Incident
from model.time import iso_utc
from smc.store.incidents import HistoryEntry


@dataclass(frozen=True, slots=True)
class Dossier:
    """Everything a centre knows about one incident, read in one transaction."""

    incident: Incident
    findings: Sequence[Finding]
    history: Sequence[HistoryEntry]
    decisions: Sequence[Decision]
    devices: Sequence[Device]  # those the incident names
    written: datetime


def as_json(dossier: Dossier) -> bytes:
    """The dossier as indented JSON; times RFC 3339, ids as text."""
    return msgspec.json.format(msgspec.json.encode(dossier), indent=1) + b"\n"


def as_markdown(dossier: Dossier) -> str:
    """The dossier in the order in which people ask: what, why, what was done, who changed what."""
    incident = dossier.incident
    names = {device.index: device.name for device in dossier.devices}
    parts = [f"# {incident.case}: {_plain(incident.title)}", _mark(incident.provenance), _facts(incident, names)]
    parts += ["## Findings", *(_finding(finding, names) for finding in dossier.findings)]
    parts += ["## Decisions", *(_decision(decision) for decision in dossier.decisions)] if dossier.decisions else []
    parts += ["## History", "\n".join(_entry(entry) for entry in dossier.history)]
    parts += [f"Written {iso_utc(dossier.written)}. All times UTC."]
    return "\n\n".join(part for part in parts if part) + "\n"


def _mark(provenance: Provenance) -> str:
    return "" if provenance is Provenance.MEASURED else f"**{provenance.upper()} DATA**"


def _facts(incident: Incident, names: Mapping[int, str]) -> str:
    devices = ", ".join(f"`{names.get(index, index)}`" for index in incident.devices) or "none named"
    rows = {
        "Severity": incident.severity,
        "Status": incident.status,
        "Kind": incident.kind,
        "Seen": f"{iso_utc(incident.first_seen)} to {iso_utc(incident.last_seen)}",
        "Opened": iso_utc(incident.opened),
        "Assignee": _plain(incident.assignee) or "nobody",
        "ATT&CK for ICS": incident.technique or "none fits",
        "Devices": devices,
    }
    return "\n".join(["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows.items())])


def _finding(finding: Finding, names: Mapping[int, str]) -> str:
    head = f"### {_plain(finding.title)}\n\n{_plain(finding.explanation)}"
    who = ", ".join(f"`{names.get(index, index)}`" for index in finding.devices)
    basis = (
        f"{finding.detector} {finding.detector_version} on {who}, {iso_utc(finding.start)} to {iso_utc(finding.end)}; "
        f"score {finding.score:.2f} × threshold, probability {finding.probability:.3f}"
    )
    lists = [_list("Possible causes", finding.causes), _list("Evidence that is missing", finding.missing)]
    return "\n\n".join(part for part in (head, basis, _evidence(finding.evidence), *lists) if part)


def _evidence(evidence: Sequence[Evidence]) -> str:
    rows = [
        f"| {e.signal} | {e.observed:.6g} {e.unit} | {e.expected:.6g} {e.unit} | {e.lower:.6g} … {e.upper:.6g} "
        f"| {e.share:.0%} |"
        for e in evidence
    ]
    return (
        "\n".join(["| signal | observed | expected | band | share |", "|---|---|---|---|---|", *rows]) if rows else ""
    )


def _list(title: str, items: Sequence[str]) -> str:
    return "\n".join([f"{title}:", *(f"* {_plain(item)}" for item in items)]) if items else ""


def _decision(decision: Decision) -> str:
    by = f", {decision.decided_by} at {iso_utc(decision.decided)}" if decision.decided else ""
    lines = [f"### {decision.title}: {decision.status}{by}", _plain(decision.reason), _plain(decision.decision_reason)]
    return "\n\n".join(line for line in (*lines, _plain(decision.outcome)) if line)


def _entry(entry: HistoryEntry) -> str:
    change = f"{entry.before} → {entry.after}" if entry.before else entry.after
    return (
        f"* {iso_utc(entry.at)} {_plain(entry.actor)}: {entry.action} {_plain(change)} {_plain(entry.reason)}".rstrip()
    )


def _plain(text: str) -> str:
    """Text of people and peers, so that it cannot become markup."""
    return text.replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;").replace("`", "'")
