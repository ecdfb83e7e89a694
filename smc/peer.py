"""Speaking with the pan-European centre: TAXII over mutual TLS, every answer's signature checked.

Only the federation's own authority is trusted, no redirect is followed, and the peer comes from the settings alone.
"""

from __future__ import annotations

import http.client
import json
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

from model.errors import DecodeError, GridSmcError, SettingsError, SetupError
from model.federation import ESMC_URI, MEDIA_TYPE, SIGNATURE_HEADER, member_uri
from model.time import Clock, to_datetime
from smc.settings import SmcSettings
from trust import signing
from wire.stix import MAX_BYTES, parse_json

TIMEOUT_S = 10.0


class Unreachable(GridSmcError):
    """No connection, no TLS, or no answer in time. Try again later."""


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer whose signature holds. Header names are lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    token: str

    def json(self) -> dict[str, Any]:
        """The body as a JSON object. Raises DecodeError."""
        value = parse_json(self.body)
        if not isinstance(value, dict):
            raise DecodeError("answer", "answer of the peer", type(value).__name__, "a JSON object")
        return value


class Peer:
    """One connection to the centre, opened when needed and again after every failure. Not for several threads."""

    def __init__(self, settings: SmcSettings, clock: Clock) -> None:
        parts = urlsplit(settings.taxii_url)
        if parts.scheme != "https" or not parts.hostname or not parts.path.endswith("/"):
            expected = "https://host:port/federation/"
            raise SettingsError("SMC_TAXII_URL", settings.taxii_url, expected, "correct it, with the slash at its end")
        self._host, self._port, self._path = parts.hostname, parts.port or 443, parts.path
        self._uri, self._clock = member_uri(settings.site), clock
        self._signer = signing.Signer.load(settings.signing_key_file, self._uri)
        self._esmc_key = _read(settings.peer_key_file, "key of the pan-European centre")
        self._tls = _tls(settings)
        self._connection: http.client.HTTPSConnection | None = None

    def get(self, path: str, arguments: Mapping[str, str] | None = None) -> Reply:
        """GET below the API root. Raises Unreachable, or NotTrusted for an answer that is not signed as it must be."""
        query = f"?{urlencode(arguments)}" if arguments else ""
        return self._request("GET", f"{self._path}{path}{query}", None, {})

    def post(self, path: str, body: bytes, seq: int, outbox: int) -> Reply:
        """POST an envelope, signed anew. Raises as `get`."""
        now = to_datetime(self._clock.now_ns())
        token = self._signer.sign(body, ESMC_URI, now, seq, outbox)
        return self._request("POST", f"{self._path}{path}", body, {"Content-Type": MEDIA_TYPE, SIGNATURE_HEADER: token})

    def close(self) -> None:
        """Give the connection back."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _request(self, method: str, path: str, body: bytes | None, headers: dict[str, str]) -> Reply:
        try:
            if self._connection is None:
                self._connection = http.client.HTTPSConnection(
                    self._host, self._port, timeout=TIMEOUT_S, context=self._tls
                )
            self._connection.request(method, path, body, {"Accept": MEDIA_TYPE} | headers)
            answer = self._connection.getresponse()
            data = answer.read(MAX_BYTES + 1)
        except (OSError, http.client.HTTPException) as error:
            self.close()
            raise Unreachable(f"{self._host}:{self._port}: {type(error).__name__}: {error}") from error
        if len(data) > MAX_BYTES:
            self.close()
            raise DecodeError("size", "length of an answer", "too long", f"<= {MAX_BYTES} bytes")
        return self._verified(answer, data)

    def _verified(self, answer: http.client.HTTPResponse, data: bytes) -> Reply:
        headers = {name.lower(): value for name, value in answer.getheaders()}
        token = headers.get(SIGNATURE_HEADER.lower(), "")
        now = to_datetime(self._clock.now_ns())
        signing.verify(token, data, self._esmc_key, issuer=ESMC_URI, audience=self._uri, now=now)
        return Reply(answer.status, headers, data, token)


def failure_text(status: dict[str, Any]) -> str:
    """The first failures of a TAXII status as one line, "" if there are none."""
    failures = status.get("failures")
    return "; ".join(json.dumps(f)[:160] for f in failures[:3]) if isinstance(failures, list) else ""


def _tls(settings: SmcSettings) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    try:
        context.load_verify_locations(settings.taxii_ca_file)
        context.load_cert_chain(settings.taxii_certificate_file)
    except (OSError, ssl.SSLError) as error:
        files = f"{settings.taxii_ca_file}, {settings.taxii_certificate_file}"
        raise SetupError("certificates of the federation", files, "readable PEM files", "correct the paths") from error
    return context


def _read(path: Path, what: str) -> str:
    try:
        return path.read_text()
    except OSError as error:
        raise SetupError(what, str(path), "a readable PEM file", "correct the path") from error
