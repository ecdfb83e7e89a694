"""Names that say nothing outside: keyed, stable while the key stays, unlinkable between operators."""

from __future__ import annotations

import hashlib
import hmac
from pathlib import Path

from model.errors import SetupError
from trust.secret_files import read_secret

KEY_BYTES = 32
DIGITS = 20  # hexadecimal: 80 bits


def load_key(path: Path) -> bytes:
    """The secret, 32 bytes in a file. SetupError if it is missing, short, or readable by others."""
    key = read_secret(path, "pseudonym key")
    if len(key) != KEY_BYTES:
        raise SetupError("pseudonym key", f"{len(key)} bytes", f"{KEY_BYTES} bytes", "create it with 32 random bytes")
    return key


def pseudonym(key: bytes, domain: str, name: str) -> str:
    """HMAC-SHA256 over domain tag and name, first 80 bits as hexadecimal text."""
    return hmac.new(key, f"{domain}|{name}".encode(), hashlib.sha256).hexdigest()[:DIGITS]
