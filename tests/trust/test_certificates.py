"""Certificates of the federation in a real TLS handshake, and what a stranger's is worth."""

from __future__ import annotations

import socket
import ssl
import threading
from pathlib import Path

import pytest

from trust.certificates import Authority, create_authority, issue_client, issue_server, uri_names

NAME = "urn:smc:dso:DSO-0001"


@pytest.fixture(scope="module")
def authority() -> Authority:
    return create_authority("Test federation")


def context(side: ssl.Purpose, ca: bytes, pair: bytes, folder: Path) -> ssl.SSLContext:
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if side is ssl.Purpose.CLIENT_AUTH else ssl.PROTOCOL_TLS_CLIENT)
    made.load_verify_locations(cadata=ca.decode())
    made.verify_mode = ssl.CERT_REQUIRED
    file = folder / f"{side.name}.pem"
    file.write_bytes(pair)
    made.load_cert_chain(file)
    return made


def handshake(ca: bytes, server: bytes, client: bytes, folder: Path, host: str = "127.0.0.1") -> list[str]:
    """Names that a server sees of its client after a handshake over a loopback socket."""
    listener = socket.create_server(("127.0.0.1", 0))
    seen: list[list[str]] = []

    def accept() -> None:
        raw, _ = listener.accept()
        raw.settimeout(5)
        try:
            with context(ssl.Purpose.CLIENT_AUTH, ca, server, folder).wrap_socket(raw, server_side=True) as tls:
                der = tls.getpeercert(binary_form=True)
                assert der is not None
                seen.append(uri_names(der))
                tls.sendall(b"ok")
        except (ssl.SSLError, OSError):
            raw.close()

    thread = threading.Thread(target=accept)
    thread.start()
    try:
        with (
            socket.create_connection(listener.getsockname(), timeout=5) as raw,
            context(ssl.Purpose.SERVER_AUTH, ca, client, folder).wrap_socket(raw, server_hostname=host) as tls,
        ):
            assert tls.recv(2) == b"ok"
    finally:
        thread.join(timeout=10)
        listener.close()
    return seen[0]


def test_a_member_is_known_by_its_uri(authority: Authority, tmp_path: Path) -> None:
    pair, server = issue_client(authority, NAME), issue_server(authority, "127.0.0.1")
    assert handshake(authority.pem, server, pair, tmp_path) == [NAME]


def test_strangers_and_wrong_uses_are_refused(authority: Authority, tmp_path: Path) -> None:
    other = create_authority("Another federation")
    server, client = issue_server(authority, "127.0.0.1"), issue_client(authority, NAME)
    refused = (ssl.SSLError, OSError, AssertionError, IndexError)
    with pytest.raises(refused):
        handshake(authority.pem, server, issue_client(other, NAME), tmp_path)
    with pytest.raises(refused):
        handshake(authority.pem, issue_server(other, "127.0.0.1"), client, tmp_path)
    with pytest.raises(refused):  # a client's certificate is no server's
        handshake(authority.pem, client, client, tmp_path)
    with pytest.raises(refused):  # nor the other way round
        handshake(authority.pem, server, server, tmp_path)
    with pytest.raises(refused):
        handshake(authority.pem, issue_server(authority, "elsewhere.example"), client, tmp_path)
