"""Who is at the other end: the names in the client certificate that the TLS socket has verified."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from trust.certificates import uri_names


def peer_names(environ: Mapping[str, Any]) -> list[str]:
    """SAN URIs of the verified client certificate of a WSGI request, as the TLS socket tells them."""
    channel = environ.get("gunicorn.socket")
    certificate = channel.getpeercert(binary_form=True) if isinstance(channel, ssl.SSLSocket) else None
    return _names(certificate) if certificate else []


@lru_cache(maxsize=4_096)
def _names(certificate: bytes) -> list[str]:
    """Parsed once per certificate, not once per request."""
    return uri_names(certificate)
