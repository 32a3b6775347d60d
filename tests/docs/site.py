"""The web that pages of the manual talk about: a small site at every name they use, with certificates to match."""

from __future__ import annotations

import contextlib
import datetime
import functools
import http.server
import ssl
import subprocess
import threading
import zipfile
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

NAMES = ("example.com", "example.org", "www.example.com", "www.example.org")
LOOPBACK = "127.0.0.1"
WHEEL = "something-1-py3-none-any.whl"
PAGE = b"<!doctype html><title>Example Domain</title><h1>Example Domain</h1>\n"


class _Site(http.server.SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass


def content(folder: Path) -> Path:
    """What there is: a page, and a repository to clone."""
    root, work = folder / ".site", folder / ".work"
    root.mkdir()
    (root / "index.html").write_bytes(PAGE)
    who = ("-c", "user.name=Example", "-c", "user.email=nobody@example.com")
    for words in (
        ("init", "--quiet", str(work)),
        ("-C", str(work), *who, "commit", "--quiet", "--allow-empty", "-m", "Begin"),
        ("clone", "--quiet", "--bare", str(work), str(root / "repository.git")),
        ("-C", str(root / "repository.git"), "update-server-info"),
    ):
        subprocess.run(["git", *words], check=True)
    (root / "project.git").symlink_to(root / "repository.git")
    index = root / "simple" / "something"
    index.mkdir(parents=True)
    with zipfile.ZipFile(index / WHEEL, "w") as wheel:
        wheel.writestr("something.py", "")
        wheel.writestr(
            "something-1.dist-info/METADATA", "Metadata-Version: 2.1\nName: something\nVersion: 1\n"
        )
        wheel.writestr(
            "something-1.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        wheel.writestr("something-1.dist-info/RECORD", "")
    (index / "index.html").write_text(f'<a href="{WHEEL}">{WHEEL}</a>')
    return root


def certificate(folder: Path) -> tuple[Path, Path]:
    """A certificate of its own for all names, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "the web of the manual")])
    now = datetime.datetime.now(datetime.UTC)
    names = [*map(x509.DNSName, NAMES), x509.IPAddress(ip_address(LOOPBACK))]
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    cert_file, key_file = folder / ".site.pem", folder / ".site.key"
    cert_file.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    key_file.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    return cert_file, key_file


@contextlib.contextmanager
def site(folder: Path) -> Iterator[dict[str, str]]:
    """Serves ports 80 and 443 of the loopback; gives what makes clients trust its certificate."""
    cert_file, key_file = certificate(folder)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert_file, key_file)
    serve = functools.partial(_Site, directory=str(content(folder)))
    servers = [http.server.ThreadingHTTPServer((LOOPBACK, port), serve) for port in (80, 443)]
    servers[1].socket = context.wrap_socket(servers[1].socket, server_side=True)
    for server in servers:
        threading.Thread(target=server.serve_forever, daemon=True).start()
    trusted = str(cert_file)
    try:
        yield {
            "CURL_CA_BUNDLE": trusted,
            "SSL_CERT_FILE": trusted,
            "REQUESTS_CA_BUNDLE": trusted,
            "GIT_SSL_CAINFO": trusted,
            "PIP_CERT": trusted,
            "PIP_INDEX_URL": f"https://{NAMES[0]}/simple",
            "PIP_TARGET": str(folder / ".installed"),
            "PIP_DISABLE_PIP_VERSION_CHECK": "1",
            "PIP_NO_CACHE_DIR": "1",
        }
    finally:
        for server in servers:
            server.shutdown()
            server.server_close()
