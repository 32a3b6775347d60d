"""Registration at a gateway, both roles, without I/O (docs/protocol/03 §4; vectors:
``registration_handshakes``).

Station-to-station: an ephemeral X25519 exchange, each side's signature over both ephemeral keys, sealed
with the key that follows. Texts go in, texts come out; whoever owns the socket keeps the five-second timer.
Frames that are no handshake messages are for the caller to skip: both machines raise
`MalformedGatewayMessage` for them and stay where they are. `HandshakeFailed.reply` is the frame that tells
the peer why it is over.
"""

from __future__ import annotations

import random
from enum import StrEnum

from nacl.bindings import crypto_scalarmult, crypto_scalarmult_base
from nacl.exceptions import CryptoError

from nym_mixnet.errors import HandshakeFailed, MalformedGatewayMessage, printable
from nym_mixnet.gateway_requests import (
    Handshake,
    HandshakeError,
    HandshakePayload,
    RegisterRequest,
    parse_handshake,
)
from nym_mixnet.gateway_wire import CURRENT_PROTOCOL
from nym_mixnet.keys import KEY_BYTES, SIGNATURE_BYTES, SigningKey, verify_signature
from nym_mixnet.session_key import (
    KDF_SALT_BYTES,
    NONCE_BYTES,
    TAG_BYTES,
    SessionKey,
    derive_session_key,
)

HANDSHAKE_TIMEOUT_SECONDS = 5.0
"""How long each side waits for the other's next message."""

_INIT_BYTES = 2 * KEY_BYTES + KDF_SALT_BYTES
_SEALED_SIGNATURE_BYTES = SIGNATURE_BYTES + TAG_BYTES
_MATERIAL_BYTES = _SEALED_SIGNATURE_BYTES + NONCE_BYTES
_SUCCESS = b"\x01"

_BAD_SIGNATURE = "received invalid signature"
_BAD_RESPONSE = "received response was malformed:"
_BAD_REQUEST = "sent request was malformed"


class HandshakeState(StrEnum):
    FRESH = "fresh"
    AWAIT_MATERIAL = "await material"
    AWAIT_FINALIZATION = "await finalization"
    DONE = "done"
    FAILED = "failed"


class _Machine:
    """What both roles share: the ephemeral key, sealed signatures, failing once."""

    def __init__(self, identity: SigningKey, version: int, ephemeral_private: bytes, nonce: bytes) -> None:
        self._identity = identity
        self._version = version
        self._ephemeral_private = ephemeral_private
        self._ephemeral = crypto_scalarmult_base(ephemeral_private)
        self._nonce = nonce
        self._key: SessionKey | None = None
        self.state = HandshakeState.FRESH

    @property
    def session_key(self) -> SessionKey:
        """The agreed key, once the handshake is done."""
        if self._key is None or self.state is not HandshakeState.DONE:
            raise RuntimeError("the handshake is not complete")
        return self._key

    @property
    def negotiated_version(self) -> int:
        return self._version

    def timed_out(self) -> HandshakeFailed:
        """The peer was silent for `HANDSHAKE_TIMEOUT_SECONDS`: end it. The error is returned, not raised."""
        return self._failure("timed out waiting for a handshake message")

    def _failure(self, message: str, *, tell: bool = True) -> HandshakeFailed:
        self.state = HandshakeState.FAILED
        return HandshakeFailed(message, reply=HandshakeError(message).encode() if tell else None)

    def _payload(self, data: bytes) -> str:
        return HandshakePayload(self._version, data).encode()

    def _expect_payload(self, message: Handshake) -> bytes:
        if isinstance(message, HandshakeError):
            raise self._failure(f"error on the remote: {printable(message.message)}")
        return message.data

    def _agree(self, peer_ephemeral: bytes, salt: bytes) -> SessionKey:
        try:
            exchange = crypto_scalarmult(self._ephemeral_private, peer_ephemeral)
        except CryptoError:  # a point of small order: the key would not be a secret
            raise self._failure(_BAD_REQUEST) from None
        self._key = derive_session_key(exchange, salt)
        return self._key

    def _sealed_signature(self, key: SessionKey, peer_ephemeral: bytes) -> bytes:
        signature = self._identity.sign(self._ephemeral + peer_ephemeral)
        return key.seal(signature, self._nonce) + self._nonce  # nonce last, unlike everywhere else

    def _check_signature(self, key: SessionKey, sealed: bytes, peer: bytes, peer_ephemeral: bytes) -> None:
        try:
            signature = key.open(sealed[:_SEALED_SIGNATURE_BYTES], sealed[_SEALED_SIGNATURE_BYTES:])
        except MalformedGatewayMessage as error:
            raise self._failure(error.detail) from None
        if not verify_signature(peer, peer_ephemeral + self._ephemeral, signature):
            raise self._failure(_BAD_SIGNATURE)


class ClientHandshake(_Machine):
    """The client's side. `start()` once, then `receive()` until `state` is DONE; then comes `register`."""

    def __init__(
        self,
        *,
        identity: SigningKey,
        gateway_identity: bytes,
        protocol_version: int,
        ephemeral_private: bytes,
        salt: bytes,
        nonce: bytes,
    ) -> None:
        super().__init__(identity, protocol_version, ephemeral_private, nonce)
        self._gateway_identity = gateway_identity
        self._salt = salt

    @classmethod
    def new(
        cls, identity: SigningKey, gateway_identity: bytes, protocol_version: int, rng: random.Random
    ) -> ClientHandshake:
        return cls(
            identity=identity,
            gateway_identity=gateway_identity,
            protocol_version=protocol_version,
            ephemeral_private=rng.randbytes(KEY_BYTES),
            salt=rng.randbytes(KDF_SALT_BYTES),
            nonce=rng.randbytes(NONCE_BYTES),
        )

    def start(self) -> str:
        """The first text frame."""
        assert self.state is HandshakeState.FRESH
        self.state = HandshakeState.AWAIT_MATERIAL
        return self._payload(self._identity.public + self._ephemeral + self._salt)

    def receive(self, text: str) -> list[str]:
        """The gateway's next text frame; returns what to send. Raises `HandshakeFailed`."""
        message = parse_handshake(text)
        if self.state is HandshakeState.AWAIT_MATERIAL:
            return [self._on_material(message)]
        if self.state is HandshakeState.AWAIT_FINALIZATION:
            self._on_finalization(self._expect_payload(message))
            return []
        raise MalformedGatewayMessage("a handshake message out of turn")

    def _on_material(self, message: Handshake) -> str:
        data = self._expect_payload(message)
        if len(data) != KEY_BYTES + _MATERIAL_BYTES:
            raise self._failure(_BAD_RESPONSE)
        assert isinstance(message, HandshakePayload)
        if message.protocol_version > CURRENT_PROTOCOL:
            raise self._failure(
                f"the gateway wants protocol version {message.protocol_version}, "
                f"this client speaks {CURRENT_PROTOCOL} at most"
            )
        self._version = message.protocol_version
        peer_ephemeral = data[:KEY_BYTES]
        key = self._agree(peer_ephemeral, self._salt)
        self._check_signature(key, data[KEY_BYTES:], self._gateway_identity, peer_ephemeral)
        self.state = HandshakeState.AWAIT_FINALIZATION
        return self._payload(self._sealed_signature(key, peer_ephemeral))

    def _on_finalization(self, data: bytes) -> None:
        if len(data) != 1:
            raise self._failure(_BAD_RESPONSE)
        if data != _SUCCESS:
            raise self._failure(_BAD_REQUEST)
        self.state = HandshakeState.DONE


class GatewayHandshake(_Machine):
    """The gateway's side: `begin()` with the client's first message, then `receive()` once."""

    def __init__(self, *, identity: SigningKey, ephemeral_private: bytes, nonce: bytes) -> None:
        super().__init__(identity, CURRENT_PROTOCOL, ephemeral_private, nonce)
        self._client_identity = b""
        self._client_ephemeral = b""

    @classmethod
    def new(cls, identity: SigningKey, rng: random.Random) -> GatewayHandshake:
        return cls(
            identity=identity,
            ephemeral_private=rng.randbytes(KEY_BYTES),
            nonce=rng.randbytes(NONCE_BYTES),
        )

    @property
    def client_identity(self) -> bytes:
        """Who registers: proven only once `state` is DONE."""
        return self._client_identity

    def begin(self, request: RegisterRequest) -> str:
        """Message 1, already parsed as a control request; returns message 2. Raises `HandshakeFailed`."""
        assert self.state is HandshakeState.FRESH
        self._version = min(request.protocol_version, CURRENT_PROTOCOL)
        data = request.data
        if len(data) != _INIT_BYTES:
            raise self._failure(_BAD_REQUEST)
        self._client_identity = data[:KEY_BYTES]
        self._client_ephemeral = data[KEY_BYTES : 2 * KEY_BYTES]
        key = self._agree(self._client_ephemeral, data[2 * KEY_BYTES :])
        self.state = HandshakeState.AWAIT_MATERIAL
        return self._payload(self._ephemeral + self._sealed_signature(key, self._client_ephemeral))

    def receive(self, text: str) -> str:
        """Message 3; returns message 4. Raises `HandshakeFailed`."""
        message = parse_handshake(text)
        if self.state is not HandshakeState.AWAIT_MATERIAL:
            raise MalformedGatewayMessage("a handshake message out of turn")
        data = self._expect_payload(message)
        if len(data) != _MATERIAL_BYTES:
            raise self._failure(_BAD_RESPONSE)
        assert self._key is not None
        self._check_signature(self._key, data, self._client_identity, self._client_ephemeral)
        self.state = HandshakeState.DONE
        return self._payload(_SUCCESS)
