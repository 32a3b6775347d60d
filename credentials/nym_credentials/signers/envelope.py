"""The signed envelope {"body", "signature"}: Ed25519 over the body's JSON exactly as sent (docs/protocol/09 §5).

The signature covers bytes, not values. So the body is cut out of the received text instead of being written anew:
two writers may differ in the order of members or in the digits of a time.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Generic, Protocol, TypeVar

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from nym_credentials.signers.wire import WireReader, byte_string, compact, parse_json
from zknym import MalformedData, MalformedJson, b58decode, b58encode
from zknym.json_fields import Json, JsonObject, member, text

_SIGNATURE_BYTES: Final = 64
_WHITE_SPACE: Final = " \t\r\n"


class EnvelopeSignatureInvalid(MalformedData):
    """An envelope that was not signed by the key it should be signed by."""


class SignedBody(Protocol):
    """What can be in an envelope."""

    def to_json(self) -> JsonObject:
        """The JSON value, members in the reference's order."""
        ...


T = TypeVar("T", bound=SignedBody)


@dataclass(frozen=True, slots=True)
class Envelope(Generic[T]):
    """A body, the bytes that were signed, and the signature on them (64 bytes)."""

    body: T
    plaintext: bytes
    signature: bytes

    @classmethod
    def sign(cls, body: T, seed: bytes) -> Envelope[T]:
        """Signs with an Ed25519 seed of 32 bytes."""
        plaintext = compact(body.to_json())
        return cls(body, plaintext, Ed25519PrivateKey.from_private_bytes(seed).sign(plaintext))

    def verify(self, key: bytes) -> T:
        """The body, if `key` (Ed25519, 32 bytes) has signed it. Raises `EnvelopeSignatureInvalid`."""
        try:
            Ed25519PublicKey.from_public_bytes(key).verify(self.signature, self.plaintext)
        except (InvalidSignature, ValueError):
            raise EnvelopeSignatureInvalid("the answer is not signed by the signer's key") from None
        return self.body

    def encode(self) -> bytes:
        """The JSON of the envelope. The signed bytes go in as they are."""
        return b'{"body":' + self.plaintext + b',"signature":"' + b58encode(self.signature).encode() + b'"}'

    def to_json(self) -> JsonObject:
        """The envelope as a value, for envelopes inside of others."""
        return {"body": parse_json(self.plaintext), "signature": b58encode(self.signature)}

    @classmethod
    def decode(cls, data: bytes, read_body: Callable[[Json], T]) -> Envelope[T]:
        """The inverse of `encode`; `read_body` reads the body's value. Raises `MalformedData`."""
        value = parse_json(data)
        signature = _signature(text(member(value, "signature")))
        return cls(read_body(member(value, "body")), _span_of_body(data), signature)

    @classmethod
    def from_json(cls, value: Json, read_body: Callable[[Json], T]) -> Envelope[T]:
        """Reads an envelope inside of another one: its bytes are written anew. Raises `MalformedData`."""
        body = member(value, "body")
        return cls(read_body(body), compact(body), _signature(text(member(value, "signature"))))

    def to_bincode(self, body: bytes) -> bytes:
        """The envelope around a body in bincode. The signature remains that of the JSON."""
        return body + byte_string(b58encode(self.signature))

    @classmethod
    def from_bincode(cls, data: bytes, read_body: Callable[[WireReader], T]) -> Envelope[T]:
        """The inverse of `to_bincode`: what was signed has to be written anew. Raises `MalformedData`."""
        reader = WireReader(data)
        body = read_body(reader)
        signature = _signature(reader.text())
        reader.finish()
        return cls(body, compact(body.to_json()), signature)


def _signature(encoded: str) -> bytes:
    signature = b58decode(encoded)
    if len(signature) != _SIGNATURE_BYTES:
        raise MalformedJson(f"a signature has {_SIGNATURE_BYTES} bytes")
    return signature


def _span_of_body(data: bytes) -> bytes:
    """The bytes of the member "body" of a JSON object that is known to be well-formed."""
    try:
        text = data.decode()
    except UnicodeDecodeError:
        raise MalformedJson("not UTF-8") from None
    decoder = json.JSONDecoder()
    found: list[str] = []
    position = _skip(text, 0) + 1  # the opening brace
    while True:
        position = _skip(text, position)
        if text[position] == "}":
            break
        if text[position] == ",":
            position = _skip(text, position + 1)
        name, position = decoder.raw_decode(text, position)
        start = _skip(text, _skip(text, position) + 1)  # behind the colon
        _, position = decoder.raw_decode(text, start)
        if name == "body":
            found.append(text[start:position])
    if len(found) != 1:
        raise MalformedJson('an envelope has one member "body"')
    return found[0].encode()


def _skip(text: str, position: int) -> int:
    while text[position] in _WHITE_SPACE:
        position += 1
    return position
