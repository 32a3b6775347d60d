"""Payloads: the padding of a plaintext and the layers of a whole route (docs/protocol/01 §6)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from nym_sphinx.ciphers import lioness_encrypt
from nym_sphinx.constants import MIN_PAYLOAD_BYTES, PAYLOAD_OVERHEAD_BYTES
from nym_sphinx.errors import PayloadTampered, PayloadTooLong

_LEADING_ZEROS: Final = bytes(16)


def seal_payload(payload_keys: Sequence[bytes], plaintext: bytes, payload_bytes: int) -> bytes:
    """Pad ``plaintext`` to ``payload_bytes`` and encrypt it for a route (192-byte keys in route order).

    Raises ``PayloadTooLong`` if the plaintext and 17 bytes of padding do not fit.
    """
    room = payload_bytes - PAYLOAD_OVERHEAD_BYTES - len(plaintext)
    if room < 0 or payload_bytes < MIN_PAYLOAD_BYTES:
        raise PayloadTooLong(
            f"a plaintext of {len(plaintext)} bytes does not fit a payload of {payload_bytes}"
        )
    padded = b"".join((_LEADING_ZEROS, plaintext, b"\x01", bytes(room)))
    return lioness_encrypt(reversed(payload_keys), padded)


def open_payload(padded: bytes) -> bytes:
    """The plaintext of a payload whose last layer was taken off.

    Raises ``PayloadTampered`` if the 16 zero bytes in front or the 0x01 marker are missing: the only
    integrity check a payload has.
    """
    if not padded.startswith(_LEADING_ZEROS):
        raise PayloadTampered("payload without its leading zeros: altered on the way, or a wrong key")
    end = padded.rfind(b"\x01", len(_LEADING_ZEROS))
    if end < 0:
        raise PayloadTampered("payload without its end marker: altered on the way, or a wrong key")
    return padded[len(_LEADING_ZEROS) : end]
