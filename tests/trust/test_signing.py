"""A signature holds for these bytes, this partner, now; everything else is refused with its reason."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from hypothesis import given
from hypothesis import strategies as st

from model.errors import NotTrusted, SetupError
from trust import signing
from trust.pseudonyms import load_key, pseudonym
from trust.secret_files import MAX_SECRET, read_secret, write_secret

NOW = datetime(2026, 11, 23, 10, 0, tzinfo=UTC)
BODY = b'{"type": "bundle"}'
ME, YOU = "urn:smc:dso:DSO-0001", "urn:smc:esmc"


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    path = tmp_path_factory.mktemp("keys") / "signing.pem"
    return path, signing.create_key(path)


def check(token: str, public: str, body: bytes = BODY, **other: object) -> signing.Claims:
    said = {"issuer": ME, "audience": YOU, "now": NOW} | other
    return signing.verify(token, body, public, **said)  # type: ignore[arg-type]


def test_a_signature_holds(keys: tuple[Path, str]) -> None:
    signer = signing.Signer.load(keys[0], ME)
    claims = check(signer.sign(BODY, YOU, NOW, seq=7, outbox=3), keys[1])
    assert (claims.iss, claims.aud, claims.seq, claims.outbox) == (ME, YOU, 7, 3)
    assert signer.sign(BODY, YOU, NOW) != signer.sign(BODY, YOU, NOW)  # a fresh jti each time


@pytest.mark.parametrize(
    ("reason", "other"),
    [
        ("body", {"body": BODY + b" "}),
        ("issuer", {"issuer": "urn:smc:dso:DSO-0002"}),
        ("audience", {"audience": "urn:smc:dso:DSO-0002"}),
        ("stale", {"now": NOW + timedelta(seconds=361)}),
        ("stale", {"now": NOW - timedelta(seconds=361)}),
    ],
)
def test_what_does_not_fit_is_refused(keys: tuple[Path, str], reason: str, other: dict[str, object]) -> None:
    token = signing.Signer.load(keys[0], ME).sign(BODY, YOU, NOW)
    body = other.pop("body", BODY)
    with pytest.raises(NotTrusted) as refused:
        check(token, keys[1], body=body, **other)  # type: ignore[arg-type]
    assert refused.value.reason == reason


def encoded(part: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode()


def forged(path: Path, header: dict[str, object], **claims: object) -> str:
    """A token signed by the true key with a header and claims of our choice."""
    good = signing.Signer.load(path, ME).sign(BODY, YOU, NOW)
    payload = json.loads(base64.urlsafe_b64decode(good.split(".")[1] + "=="))
    key = load_pem_private_key(path.read_bytes(), None)
    assert isinstance(key, Ed25519PrivateKey)
    signed = f"{encoded(header)}.{encoded(payload | claims)}"
    return f"{signed}.{base64.urlsafe_b64encode(key.sign(signed.encode())).rstrip(b'=').decode()}"


def good_header(path: Path) -> dict[str, object]:
    token = signing.Signer.load(path, ME).sign(BODY, YOU, NOW)
    header: dict[str, object] = json.loads(base64.urlsafe_b64decode(token.split(".")[0] + "=="))
    return header


def test_the_forger_of_this_test_can_sign(keys: tuple[Path, str]) -> None:
    assert check(forged(keys[0], good_header(keys[0])), keys[1]).iss == ME


@pytest.mark.parametrize(
    "header",
    [
        {"alg": "none"},
        {"alg": "HS256"},
        {"alg": "EdDSA"},
        {"alg": "RS256"},
        {"alg": "ES256"},
        {"crit": ["exp"], "exp": 1},
        {"jwk": {"kty": "OKP", "crv": "Ed25519", "x": "AAAA"}},
        {"jku": "https://evil.example/keys"},
        {"x5u": "https://evil.example/cert"},
        {"x5c": ["AAAA"]},
        {"kid": "another"},
        {"kid": "../../etc/passwd"},
        {"typ": "JWT"},
        {"cty": "x"},
        {"b64": False, "crit": ["b64"]},
    ],
    ids=str,
)
def test_headers_that_try_something_are_refused(keys: tuple[Path, str], header: dict[str, object]) -> None:
    with pytest.raises(NotTrusted):
        check(forged(keys[0], good_header(keys[0]) | header), keys[1])


@pytest.mark.parametrize(
    "claims",
    [
        {"iat": "1"},
        {"iat": True},
        {"iat": 253402300800},
        {"iat": 10**30},
        {"seq": None},
        {"seq": 1.0},
        {"aud": [YOU]},
        {"exp": 1},
        {"body_sha256": ""},
    ],
    ids=str,
)
def test_claims_of_another_shape_are_refused(keys: tuple[Path, str], claims: dict[str, object]) -> None:
    with pytest.raises(NotTrusted):
        check(forged(keys[0], good_header(keys[0]), **claims), keys[1])


def test_another_key_is_refused(keys: tuple[Path, str], tmp_path: Path) -> None:
    signing.create_key(tmp_path / "other.pem")
    token = signing.Signer.load(tmp_path / "other.pem", ME).sign(BODY, YOU, NOW)
    with pytest.raises(NotTrusted):
        check(token, keys[1])


@given(text=st.text(max_size=200) | st.from_regex(r"[\w-]{0,40}\.[\w-]{0,40}\.[\w-]{0,40}"))
def test_noise_is_refused_and_nothing_else_is_raised(keys: tuple[Path, str], text: str) -> None:
    with pytest.raises(NotTrusted):
        check(text, keys[1])


@given(position=st.integers(0, 10_000), bit=st.integers(0, 6))
def test_a_flipped_bit_is_refused(keys: tuple[Path, str], position: int, bit: int) -> None:
    token = signing.Signer.load(keys[0], ME).sign(BODY, YOU, NOW)
    position %= len(token)
    other = token[:position] + chr(ord(token[position]) ^ (1 << bit)) + token[position + 1 :]
    decoded = [base64.urlsafe_b64decode(p + "==") for p in token.split(".")]
    try:
        same = [base64.urlsafe_b64decode(p + "==") for p in other.split(".")] == decoded
    except ValueError:
        same = False
    if same and other.count(".") == 2:
        return  # the last character of base64 carries bits that say nothing
    with pytest.raises(NotTrusted):
        check(other, keys[1])


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644, 0o777])
def test_a_key_that_others_may_read_does_not_start(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "key.pem"
    signing.create_key(path)
    path.chmod(mode)
    with pytest.raises(SetupError, match=f"{mode:04o}.*chmod 600"):
        signing.Signer.load(path, ME)


def test_secret_files_are_written_once_and_for_their_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    write_secret(path, b"one")
    assert path.stat().st_mode & 0o777 == 0o600
    with pytest.raises(FileExistsError):
        write_secret(path, b"two")
    assert read_secret(path, "the secret") == b"one"


def test_missing_wrong_and_giant_secrets_say_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match="No such file"):
        read_secret(tmp_path / "none", "the secret")
    with pytest.raises(SetupError, match="plain file"):
        read_secret(tmp_path, "the secret")
    write_secret(tmp_path / "giant", bytes(MAX_SECRET + 1))
    with pytest.raises(SetupError, match="at most"):
        read_secret(tmp_path / "giant", "the secret")


def test_pseudonyms_are_stable_per_key_and_domain_only(tmp_path: Path) -> None:
    write_secret(tmp_path / "a", bytes(range(32)))
    write_secret(tmp_path / "short", bytes(16))
    one, other = load_key(tmp_path / "a"), bytes(32)
    assert pseudonym(one, "device", "meter-1") == pseudonym(one, "device", "meter-1")
    names = {pseudonym(k, d, n) for k in (one, other) for d in ("device", "feeder") for n in ("meter-1", "meter-2")}
    assert len(names) == 8
    assert all(len(name) * 4 >= 80 for name in names)
    with pytest.raises(SetupError, match="32 bytes"):
        load_key(tmp_path / "short")
