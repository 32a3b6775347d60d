"""An entry over TLS: a certificate is checked, by name and by who signed it (docs/protocol/03 §1)."""

from __future__ import annotations

import asyncio
import os
import ssl
import sys
from asyncio.subprocess import PIPE
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tests.mixnet.mini_gateway import MiniGateway
from tests.mixnet.tls_client import HOST, PACKET

CLIENT_SECONDS = 30


def certificate(folder: Path, host: str) -> Path:
    """A self-signed certificate for `host`, with its key, in one PEM file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, host)])
    now = datetime.now(UTC)
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = folder / f"{host}.pem"
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        + signed.public_bytes(serialization.Encoding.PEM)
    )
    return path


@pytest.mark.parametrize(
    "host, trusted, sent",
    [(HOST, True, True), (HOST, False, False), ("other.example", True, False)],
    ids=["trusted", "self-signed", "another name"],
)
async def test_a_tls_entry_is_used_if_its_certificate_is_right(
    tmp_path: Path, host: str, trusted: bool, sent: bool
) -> None:
    pem = certificate(tmp_path, host)
    gateway = MiniGateway()
    gateway.tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    gateway.tls.load_cert_chain(pem)
    async with gateway:
        environment = dict(os.environ)
        if trusted:
            environment["SSL_CERT_FILE"] = str(pem)
        client = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "tests.mixnet.tls_client",
            str(gateway.port),
            gateway.identity.public.hex(),
            env=environment,
            stdout=PIPE,
        )
        async with asyncio.timeout(CLIENT_SECONDS):
            said, _ = await client.communicate()
        text = said.decode().strip()
        if sent:
            assert text == "sent"
            assert gateway.packets == [PACKET]
        else:
            assert f"wss://{HOST}:{gateway.port}: [SSL: CERTIFICATE_VERIFY_FAILED]" in text
            assert gateway.connections == 0
