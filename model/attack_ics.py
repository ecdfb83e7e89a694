"""Facts of MITRE ATT&CK for ICS 18.1 that this product speaks of: ids, names, versions, tactics; no descriptions.

"© 2025 The MITRE Corporation. This work is reproduced and distributed with the permission of The MITRE Corporation."
The licence and its disclaimers are in attack_ics_LICENSE.txt beside this file and travel with every copy. MITRE
ATT&CK and ATT&CK are registered trademarks of The MITRE Corporation. Source: mitre-attack/attack-stix-data,
ics-attack-18.1.json.
"""

from __future__ import annotations

from dataclasses import dataclass

NOTICE = (
    "© 2025 The MITRE Corporation. "
    "This work is reproduced and distributed with the permission of The MITRE Corporation."
)


@dataclass(frozen=True, slots=True)
class Technique:
    """One technique as MITRE published it: `created` and `modified` are MITRE's own, never re-stamped."""

    technique_id: str
    stix_id: str
    name: str
    created: str
    modified: str
    tactics: tuple[str, ...]  # kill-chain phase names

    @property
    def url(self) -> str:
        """MITRE's page; shown as a reference, never fetched."""
        return f"https://attack.mitre.org/techniques/{self.technique_id}"


TECHNIQUES = (
    Technique(
        "T0803",
        "attack-pattern--008b8f56-6107-48be-aa9f-746f927dbb61",
        "Block Command Message",
        "2020-05-21T17:43:26.506Z",
        "2025-04-15T19:58:01.218Z",
        ("inhibit-response-function",),
    ),
    Technique(
        "T0804",
        "attack-pattern--3f1f4ccb-9be2-4ff8-8f69-dd972221169b",
        "Block Reporting Message",
        "2020-05-21T17:43:26.506Z",
        "2025-04-16T21:26:13.771Z",
        ("inhibit-response-function",),
    ),
    Technique(
        "T0814",
        "attack-pattern--1b22b676-9347-4c55-9a35-ef0dc653db5b",
        "Denial of Service",
        "2020-05-21T17:43:26.506Z",
        "2025-04-15T19:58:10.656Z",
        ("inhibit-response-function",),
    ),
    Technique(
        "T0830",
        "attack-pattern--9a505987-ab05-4f46-a9a6-6441442eec3b",
        "Adversary-in-the-Middle",
        "2020-05-21T17:43:26.506Z",
        "2025-04-16T21:26:16.777Z",
        ("collection",),
    ),
    Technique(
        "T0832",
        "attack-pattern--4c2e1408-9d68-4187-8e6b-a77bc52700ec",
        "Manipulation of View",
        "2020-05-21T17:43:26.506Z",
        "2025-04-15T19:58:29.210Z",
        ("impact",),
    ),
    Technique(
        "T0836",
        "attack-pattern--097924ce-a9a9-4039-8591-e0deedfb8722",
        "Modify Parameter",
        "2020-05-21T17:43:26.506Z",
        "2025-04-16T21:26:10.077Z",
        ("impair-process-control",),
    ),
    Technique(
        "T0838",
        "attack-pattern--e5de767e-f513-41cd-aa15-33f6ce5fbf92",
        "Modify Alarm Settings",
        "2020-05-21T17:43:26.506Z",
        "2025-04-16T21:26:19.764Z",
        ("inhibit-response-function",),
    ),
    Technique(
        "T0848",
        "attack-pattern--b14395bd-5419-4ef4-9bd8-696936f509bb",
        "Rogue Master",
        "2020-05-21T17:43:26.506Z",
        "2025-04-16T21:26:17.326Z",
        ("initial-access",),
    ),
    Technique(
        "T0855",
        "attack-pattern--40b300ba-f553-48bf-862e-9471b220d455",
        "Unauthorized Command Message",
        "2020-05-21T17:43:26.506Z",
        "2025-04-16T21:26:13.939Z",
        ("impair-process-control",),
    ),
    Technique(
        "T0856",
        "attack-pattern--8535b71e-3c12-4258-a4ab-40257a1becc4",
        "Spoof Reporting Message",
        "2020-05-21T17:43:26.506Z",
        "2025-04-16T21:26:15.909Z",
        ("evasion", "impair-process-control"),
    ),
    Technique(
        "T0857",
        "attack-pattern--b9160e77-ea9e-4ba9-b1c8-53a3c466b13d",
        "System Firmware",
        "2020-05-21T17:43:26.506Z",
        "2025-04-16T21:26:17.862Z",
        ("persistence", "inhibit-response-function"),
    ),
    Technique(
        "T0859",
        "attack-pattern--cd2c76a4-5e23-4ca5-9c40-d5e0604f7101",
        "Valid Accounts",
        "2020-05-21T17:43:26.506Z",
        "2025-04-15T19:59:08.866Z",
        ("persistence", "lateral-movement"),
    ),
    Technique(
        "T0860",
        "attack-pattern--2877063e-1851-48d2-bcc6-bc1d2733157e",
        "Wireless Compromise",
        "2020-05-21T17:43:26.506Z",
        "2025-04-15T19:58:15.610Z",
        ("initial-access",),
    ),
    Technique(
        "T0862",
        "attack-pattern--5e0f75da-e108-4688-a6de-a4f07cc2cbe3",
        "Supply Chain Compromise",
        "2020-05-21T17:43:26.506Z",
        "2025-04-16T21:26:14.822Z",
        ("initial-access",),
    ),
    Technique(
        "T0878",
        "attack-pattern--2900bbd8-308a-4274-b074-5b8bde8347bc",
        "Alarm Suppression",
        "2020-05-21T17:43:26.506Z",
        "2025-04-16T21:26:11.789Z",
        ("inhibit-response-function",),
    ),
)

BY_ID = {technique.technique_id: technique for technique in TECHNIQUES}
BY_STIX_ID = {technique.stix_id: technique for technique in TECHNIQUES}
