"""The client's long-lived keys: they are its address (docs/protocol/04 §6, vectors: ``key_files``).

Three secrets: an Ed25519 identity, an X25519 encryption key, and the 16-byte key that recognises our own
acks. On disk each is a PEM file whose body is the base64 of the raw bytes (no ASN.1), with CRLF line ends
as the reference writes them. Files appear together or not at all, whatever moment the process dies at.
"""

from __future__ import annotations

import base64
import binascii
import os
import random
import re
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from nacl.bindings import crypto_scalarmult_base

from nym_mixnet.errors import StoreError

KEY_BYTES = 32
ACK_KEY_BYTES = 16
SIGNATURE_BYTES = 64

PRIVATE_IDENTITY_LABEL = "ED25519 PRIVATE KEY"
PUBLIC_IDENTITY_LABEL = "ED25519 PUBLIC KEY"
PRIVATE_ENCRYPTION_LABEL = "X25519 PRIVATE KEY"
PUBLIC_ENCRYPTION_LABEL = "X25519 PUBLIC KEY"
ACK_KEY_LABEL = "AES-128-CTR ACKNOWLEDGEMENTS KEY"

_SECRET_FILES = ("private_identity.pem", "private_encryption.pem", "ack_key.pem")
_PEM = re.compile(
    r"\s*-----BEGIN (?P<label>[A-Z0-9 -]+)-----\r?\n(?P<body>[A-Za-z0-9+/=\s]*?)-----END (?P=label)-----\s*"
)
_PEM_LINE_CHARACTERS = 64


def verify_signature(public: bytes, data: bytes, signature: bytes) -> bool:
    """True if `signature` is the Ed25519 signature of `data` under `public`."""
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, data)
    except (InvalidSignature, ValueError):
        return False
    return True


class SigningKey:
    """An Ed25519 key pair made of its 32-byte seed. Never shows the seed."""

    __slots__ = ("_key", "public")

    def __init__(self, seed: bytes) -> None:
        self._key = Ed25519PrivateKey.from_private_bytes(seed)
        self.public = self._key.public_key().public_bytes_raw()

    def sign(self, data: bytes) -> bytes:
        return self._key.sign(data)

    def __repr__(self) -> str:
        return f"SigningKey(public={self.public.hex()})"


@dataclass(frozen=True)
class ClientKeys:
    """The three secrets of a client and what follows from them."""

    identity_private: bytes = field(repr=False)
    encryption_private: bytes = field(repr=False)
    ack_key: bytes = field(repr=False)

    def __post_init__(self) -> None:
        lengths = (len(self.identity_private), len(self.encryption_private), len(self.ack_key))
        if lengths != (KEY_BYTES, KEY_BYTES, ACK_KEY_BYTES):
            raise ValueError(f"client keys have 32, 32 and 16 bytes, not {lengths}")

    @classmethod
    def generate(cls, rng: random.Random) -> ClientKeys:
        """New keys; `rng` must be the operating system's outside tests."""
        return cls(rng.randbytes(KEY_BYTES), rng.randbytes(KEY_BYTES), rng.randbytes(ACK_KEY_BYTES))

    @cached_property
    def signing_key(self) -> SigningKey:
        return SigningKey(self.identity_private)

    @cached_property
    def encryption_public(self) -> bytes:
        return crypto_scalarmult_base(self.encryption_private)

    @property
    def identity_public(self) -> bytes:
        """Also the client's address at its gateway (docs/protocol/03 §3)."""
        return self.signing_key.public

    def sign(self, data: bytes) -> bytes:
        """Ed25519 signature with the identity key, 64 bytes."""
        return self.signing_key.sign(data)

    def pem_files(self) -> dict[str, str]:
        """File name → content of the five key files."""
        return {
            "private_identity.pem": encode_pem(PRIVATE_IDENTITY_LABEL, self.identity_private),
            "public_identity.pem": encode_pem(PUBLIC_IDENTITY_LABEL, self.identity_public),
            "private_encryption.pem": encode_pem(PRIVATE_ENCRYPTION_LABEL, self.encryption_private),
            "public_encryption.pem": encode_pem(PUBLIC_ENCRYPTION_LABEL, self.encryption_public),
            "ack_key.pem": encode_pem(ACK_KEY_LABEL, self.ack_key),
        }


def encode_pem(label: str, raw: bytes) -> str:
    """PEM text of raw key bytes, CRLF line ends."""
    body = base64.b64encode(raw).decode("ascii")
    lines = [body[i : i + _PEM_LINE_CHARACTERS] for i in range(0, len(body), _PEM_LINE_CHARACTERS)]
    return "\r\n".join([f"-----BEGIN {label}-----", *lines, f"-----END {label}-----", ""])


def decode_pem(text: str, label: str, length: int) -> bytes:
    """The raw key in a PEM text. `StoreError` (without the content) if it is not that kind of key."""
    match = _PEM.fullmatch(text)
    if match is None:
        raise StoreError(f"not a PEM file with a {label}")
    if match["label"] != label:
        raise StoreError(f"holds a {match['label']} where a {label} belongs")
    try:
        raw = base64.b64decode("".join(match["body"].split()), validate=True)
    except binascii.Error:
        raise StoreError(f"the {label} is not base64") from None
    if len(raw) != length:
        raise StoreError(f"the {label} has {len(raw)} bytes instead of {length}")
    return raw


def fsync_folder(folder: Path) -> None:
    """Make renames in `folder` survive a power failure."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_private(path: Path, text: str) -> None:
    """Write a file of mode 0600 and force it to disk."""
    path.unlink(missing_ok=True)
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "w", encoding="ascii", newline="") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def _staged(folder: Path, name: str) -> Path:
    return folder / f".{name}.new"


def write_key_files(folder: Path, keys: ClientKeys) -> None:
    """Write all key files, mode 0600. A crash leaves no key file, or what `read_key_files` completes."""
    files = keys.pem_files()
    for name, content in files.items():
        write_private(_staged(folder, name), content)
    fsync_folder(folder)
    for name in files:  # only now, with all of them on disk, may the first one get its name
        _staged(folder, name).rename(folder / name)
    fsync_folder(folder)


def _finish_interrupted_write(folder: Path) -> None:
    names = (*_SECRET_FILES, "public_identity.pem", "public_encryption.pem")
    staged = [name for name in names if _staged(folder, name).exists()]
    if any((folder / name).exists() for name in names):
        for name in staged:
            if (folder / name).exists():
                _staged(folder, name).unlink()
            else:
                _staged(folder, name).rename(folder / name)
    else:  # died before the first rename: nobody has seen these keys
        for name in staged:
            _staged(folder, name).unlink()
    if staged:
        fsync_folder(folder)


def read_key_files(folder: Path) -> ClientKeys | None:
    """The keys in `folder`; None if it holds none. `StoreError` names the file that is missing or wrong."""
    _finish_interrupted_write(folder)
    present = [name for name in _SECRET_FILES if (folder / name).exists()]
    if not present:
        return None
    if len(present) < len(_SECRET_FILES):
        missing = next(name for name in _SECRET_FILES if name not in present)
        raise StoreError(
            f"{folder / missing} is missing while other keys are there: restore it from a backup, "
            "or move the other key files away to start with a new address"
        )

    def read(name: str, label: str, length: int) -> bytes:
        try:
            return decode_pem((folder / name).read_text(encoding="ascii"), label, length)
        except (OSError, UnicodeDecodeError) as error:
            raise StoreError(f"{folder / name} cannot be read: {type(error).__name__}") from error
        except StoreError as error:
            raise StoreError(f"{folder / name}: {error}") from None

    keys = ClientKeys(
        read("private_identity.pem", PRIVATE_IDENTITY_LABEL, KEY_BYTES),
        read("private_encryption.pem", PRIVATE_ENCRYPTION_LABEL, KEY_BYTES),
        read("ack_key.pem", ACK_KEY_LABEL, ACK_KEY_BYTES),
    )
    for name, label, public in (
        ("public_identity.pem", PUBLIC_IDENTITY_LABEL, keys.identity_public),
        ("public_encryption.pem", PUBLIC_ENCRYPTION_LABEL, keys.encryption_public),
    ):
        if (folder / name).exists() and read(name, label, KEY_BYTES) != public:
            raise StoreError(
                f"{folder / name} does not belong to the private key beside it: restore the pair"
            )
    return keys
