"""Control requests to a service provider and their answers (docs/protocol/05 §1.4).

They carry no id: whoever asks pairs answers with questions by order and keeps one in flight.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final, TypeAlias

from nym_exit.errors import MalformedControl
from nym_exit.versions import CURRENT, version_from_text, version_to_text

_ERROR_TAG: Final = 0xFF


class ControlRequest(Enum):
    """What can be asked; the value is the byte on the wire."""

    HEALTH = 0
    BINARY_INFO = 1
    SUPPORTED_VERSIONS = 2

    def encode(self) -> bytes:
        """The request's body, without the envelope."""
        return bytes((self.value,))

    @classmethod
    def decode(cls, data: bytes) -> ControlRequest:
        """Read a request's body; bytes after the tag are ignored, as by the reference.

        Raises:
            MalformedControl: no tag, or an unknown one.
        """
        if not data:
            raise MalformedControl("a control request is empty")
        try:
            return cls(data[0])
        except ValueError as error:
            raise MalformedControl(f"{data[0]} is not a control request") from error


@dataclass(frozen=True, slots=True)
class Health:
    """The exit is alive."""


@dataclass(frozen=True, slots=True)
class BuildInformation:
    """How the exit's program was built. All texts; fields in the order of the wire."""

    binary_name: str
    build_timestamp: str = ""
    build_version: str = ""
    commit_sha: str = ""
    commit_timestamp: str = ""
    commit_branch: str = ""
    rustc_version: str = ""
    rustc_channel: str = ""
    cargo_profile: str = ""
    cargo_triple: str = ""


@dataclass(frozen=True, slots=True)
class BinaryInfo:
    """Which program the exit runs."""

    binary_name: str
    build_information: BuildInformation


@dataclass(frozen=True, slots=True)
class SupportedVersions:
    """The highest versions the exit speaks: envelope and SOCKS5 protocol."""

    interface_version: int = CURRENT
    provider_version: int = CURRENT


@dataclass(frozen=True, slots=True)
class ControlError:
    """The exit could not answer (never sent by the reference today)."""

    message: str


ControlResponse: TypeAlias = Health | BinaryInfo | SupportedVersions | ControlError

_BUILD_FIELDS: Final = tuple(BuildInformation.__dataclass_fields__)


def encode_control_response(response: ControlResponse) -> bytes:
    """The response's body, without the envelope: a tag and compact JSON."""
    match response:
        case Health():
            return bytes((ControlRequest.HEALTH.value,))
        case BinaryInfo(name, build):
            body: dict[str, Any] = {
                "binary_name": name,
                "build_information": {field: getattr(build, field) for field in _BUILD_FIELDS},
            }
            tag: int = ControlRequest.BINARY_INFO.value
        case SupportedVersions(interface, provider):
            body = {
                "interface_version": version_to_text(interface),
                "provider_version": version_to_text(provider),
            }
            tag = ControlRequest.SUPPORTED_VERSIONS.value
        case ControlError(message):
            body = {"message": message}
            tag = _ERROR_TAG
    return bytes((tag,)) + json.dumps(body, separators=(",", ":"), ensure_ascii=False).encode()


def decode_control_response(data: bytes) -> ControlResponse:
    """Read a response's body.

    Raises:
        MalformedControl: unknown tag, or JSON of another shape.
    """
    if not data:
        raise MalformedControl("a control answer is empty")
    tag = data[0]
    if tag == ControlRequest.HEALTH.value:
        return Health()
    if tag == ControlRequest.BINARY_INFO.value:
        body = _json_object(data[1:])
        build = body.get("build_information")
        if not isinstance(build, dict):
            raise MalformedControl("field build_information is missing or not an object")
        return BinaryInfo(
            _text(body, "binary_name"), BuildInformation(*(_text(build, field) for field in _BUILD_FIELDS))
        )
    if tag == ControlRequest.SUPPORTED_VERSIONS.value:
        body = _json_object(data[1:])
        return SupportedVersions(
            version_from_text(_text(body, "interface_version")),
            version_from_text(_text(body, "provider_version")),
        )
    if tag == _ERROR_TAG:
        return ControlError(_text(_json_object(data[1:]), "message"))
    raise MalformedControl(f"{tag} is not a control answer")


def _json_object(data: bytes) -> dict[str, Any]:
    try:
        value = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise MalformedControl("a control answer is not JSON") from error
    if not isinstance(value, dict):
        raise MalformedControl("a control answer is not a JSON object")
    return value


def _text(body: dict[str, Any], field: str) -> str:
    value = body.get(field)
    if not isinstance(value, str):
        raise MalformedControl(f"field {field} is missing or not a text")
    return value
