"""Who said it: an Ed25519 JWS in a header over the exact bytes of a body, fresh, in sequence, for one recipient.

The token is a compact JWS whose payload names issuer, audience, time, a random id, a sequence number, the sender's
outbox number and the SHA-256 of the body. Only `alg` Ed25519 and the pinned key's `kid` are accepted: no `none`, no
HMAC, no `crit`, no key out of the token. What was seen before (`jti`, `seq`) is for the caller's store to remember.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jwk import OKPKey

from model.errors import NotTrusted, SetupError
from trust.secret_files import read_secret, write_secret

ALGORITHM = "Ed25519"
WINDOW_S = 360.0  # how far the clocks of two partners may be apart
MAX_TOKEN = 4_096
_FIELDS = {"iss": str, "aud": str, "iat": int, "jti": str, "seq": int, "outbox": int, "body_sha256": str}


@dataclass(frozen=True, slots=True)
class Claims:
    """What a verified token says. `iat` in whole seconds since 1970; `outbox` 0 where there is none."""

    iss: str
    aud: str
    iat: int
    jti: str
    seq: int
    outbox: int
    body_sha256: str


class Signer:
    """One partner's private key and name."""

    def __init__(self, key: OKPKey, issuer: str) -> None:
        self._key, self._issuer = key, issuer
        self._header = {"alg": ALGORITHM, "kid": key.thumbprint()}

    @classmethod
    def load(cls, path: Path, issuer: str) -> Signer:
        """Signer from a PKCS#8 PEM file. SetupError if there is none, or others may read it."""
        try:
            return cls(_key(read_secret(path, "signing key")), issuer)
        except (ValueError, JoseError, UnsupportedAlgorithm) as error:
            raise SetupError(
                "signing key", str(path), "a readable Ed25519 private key, PEM", "create or correct it"
            ) from error

    def sign(self, body: bytes, audience: str, now: datetime, seq: int = 0, outbox: int = 0) -> str:
        """A fresh token over these bytes for one recipient; a retry signs the same bytes anew."""
        claims = Claims(self._issuer, audience, int(now.timestamp()), secrets.token_hex(16), seq, outbox, _digest(body))
        payload = json.dumps({name: getattr(claims, name) for name in Claims.__slots__}, separators=(",", ":"))
        return jws.serialize_compact(self._header, payload.encode(), self._key, algorithms=[ALGORITHM])


def verify(token: str, body: bytes, public_key: str, *, issuer: str, audience: str, now: datetime) -> Claims:
    """The claims of a token that holds for these bytes. Raises NotTrusted with the rule that was broken."""
    pinned = _key(public_key.encode())
    payload = _open(token, pinned)
    claims = _claims(payload)
    if claims.iss != issuer:
        raise NotTrusted("issuer", "issuer of a signature", claims.iss[:80], issuer)
    if claims.aud != audience:
        raise NotTrusted("audience", "audience of a signature", claims.aud[:80], audience)
    if claims.body_sha256 != _digest(body):
        raise NotTrusted("body", "SHA-256 of a body", _digest(body), claims.body_sha256[:64])
    age_s = now.timestamp() - claims.iat
    if abs(age_s) > WINDOW_S:
        raise NotTrusted("stale", "age of a signature", f"{age_s:.0f} s", f"within {WINDOW_S:.0f} s")
    return claims


def create_key(path: Path) -> str:
    """Write a new private key (mode 0600, never over an old one) and return its public key as PEM."""
    key = Ed25519PrivateKey.generate()
    data = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    write_secret(path, data)
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def _key(pem: bytes) -> OKPKey:
    key = OKPKey.import_key(pem)
    if key.curve_name != "Ed25519":
        raise ValueError(f"key is on {key.curve_name}, expected Ed25519")
    return key


def _open(token: str, pinned: OKPKey) -> Any:
    if not 0 < len(token) <= MAX_TOKEN or not token.isascii():
        raise NotTrusted("signature", "length of a signature", len(token), f"1 to {MAX_TOKEN} ASCII characters")
    try:
        signed = jws.deserialize_compact(token, pinned, algorithms=[ALGORITHM])
        headers = signed.headers()
        payload = json.loads(signed.payload or b"")
    except (JoseError, ValueError, TypeError, KeyError) as error:
        raise NotTrusted("signature", "signature", type(error).__name__, "an Ed25519 JWS by the pinned key") from error
    if set(headers) - {"alg", "kid"} or headers.get("kid") != pinned.thumbprint():
        raise NotTrusted("key", "header of a signature", sorted(headers), "alg and the kid of the pinned key")
    return payload


def _claims(payload: Any) -> Claims:
    if not isinstance(payload, dict) or {name: type(value) for name, value in payload.items()} != _FIELDS:
        raise NotTrusted("claims", "claims of a signature", type(payload).__name__, ", ".join(_FIELDS))
    return Claims(**payload)


def _digest(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()
