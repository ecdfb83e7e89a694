"""Names that both ends of the federation agree on."""

from __future__ import annotations

ESMC_URI = "urn:smc:esmc"
MEMBER_PREFIX = "urn:smc:dso:"
MEDIA_TYPE = "application/taxii+json;version=2.1"
SIGNATURE_HEADER = "SMC-Signature"  # compact JWS over the exact body, on requests and answers
OUTBOX_EXPECTED_HEADER = "SMC-Outbox-Expected"  # with 409: the number to send again from
INCIDENTS, ADVICE, ACKNOWLEDGEMENTS = "incidents", "advice", "acknowledgements"  # aliases of the collections


def member_uri(code: str) -> str:
    """The SAN URI in a member's client certificate, which is also the issuer of its signatures."""
    return f"{MEMBER_PREFIX}{code}"
