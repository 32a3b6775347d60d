"""The two version bytes of the exit protocol (docs/protocol/05 §1).

The provider envelope and the SOCKS5 messages inside it each carry one. Both are 3 today; a byte below 3
means the old unversioned form. A version is an ``int``: the byte itself, or :data:`LEGACY`.
"""

from __future__ import annotations

import json
from typing import Any, Final

from nym_exit.errors import MalformedControl

#: The unversioned form. No versioned message can have this number.
LEGACY: Final = 0
#: First and current versioned form of both layers.
CURRENT: Final = 3


def version_from_byte(byte: int) -> int:
    """Map a message's first byte to its version: below 3 is :data:`LEGACY`."""
    return byte if byte >= CURRENT else LEGACY


def version_prefix(version: int) -> bytes:
    """The bytes that announce ``version`` in front of an envelope or a response: none for legacy."""
    return b"" if version == LEGACY else bytes((version,))


def version_to_json(version: int) -> dict[str, Any]:
    """The form used in configuration files: ``{"type": "Versioned", "version": 3}``."""
    if version == LEGACY:
        return {"type": "Legacy"}
    return {"type": "Versioned", "version": version}


def version_from_json(value: object) -> int:
    """Read :func:`version_to_json`'s form.

    Raises:
        MalformedControl: the value has another shape.
    """
    match value:
        case {"type": "Legacy"}:
            return LEGACY
        case {"type": "Versioned", "version": int(version)} if CURRENT <= version <= 0xFF:
            return version
        case _:
            raise MalformedControl("a protocol version is neither legacy nor a number from 3 to 255")


def version_to_text(version: int) -> str:
    """The JSON text that a versions answer carries inside a string (docs/protocol/05 §1.4)."""
    return json.dumps(version_to_json(version), separators=(",", ":"))


def version_from_text(text: str) -> int:
    """Read :func:`version_to_text`'s form; raises MalformedControl."""
    try:
        value = json.loads(text)
    except ValueError as error:
        raise MalformedControl("a protocol version is not JSON") from error
    return version_from_json(value)
