"""Where packets go: addresses of nodes, and addresses of clients ("recipients") (docs/protocol/02 §3)."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final

from nym_sphinx.base58 import b58decode, b58encode
from nym_sphinx.constants import ADDRESS_BYTES, KEY_BYTES
from nym_sphinx.errors import MalformedAddress, MalformedBase58, MalformedRecipient

IPV4_ADDRESS_BYTES: Final = 7
IPV6_ADDRESS_BYTES: Final = 19
RECIPIENT_BYTES: Final = 3 * KEY_BYTES

_ADDRESSES_REMEMBERED: Final = 4096
_ED25519_P: Final = 2**255 - 19
_ED25519_D: Final = -121665 * pow(121666, -1, _ED25519_P) % _ED25519_P


@dataclass(frozen=True, slots=True, eq=False)
class NodeAddress:
    """The IP address and port where a mix node or gateway takes packets.

    The encodings are made once, when the object is; comparing and hashing use them.
    """

    ip: IPv4Address | IPv6Address
    port: int
    _encoded: bytes = field(init=False, repr=False)
    _padded: bytes = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if not 0 <= self.port <= 0xFFFF:
            raise MalformedAddress("a port is a number from 0 to 65535")
        if isinstance(self.ip, IPv6Address) and self.ip.scope_id is not None:
            raise MalformedAddress("an IPv6 address with a zone has no meaning on another machine")
        encoded = bytes([self.ip.version]) + self.port.to_bytes(2, "big") + self.ip.packed
        object.__setattr__(self, "_encoded", encoded)
        object.__setattr__(self, "_padded", encoded.ljust(ADDRESS_BYTES, b"\0"))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, NodeAddress):
            return NotImplemented
        return self._encoded == other._encoded

    def __hash__(self) -> int:
        return hash(self._encoded)

    def __str__(self) -> str:
        if isinstance(self.ip, IPv4Address):
            return f"{self.ip}:{self.port}"
        # Mapped IPv4 in the notation that every resolver prints; Python does so from 3.13 on.
        mapped = self.ip.ipv4_mapped
        return f"[{self.ip}]:{self.port}" if mapped is None else f"[::ffff:{mapped}]:{self.port}"

    def encode(self) -> bytes:
        """7 bytes (IPv4) or 19 (IPv6), unpadded, as in a mix packet."""
        return self._encoded

    def encode_padded(self, width: int = ADDRESS_BYTES) -> bytes:
        """Zero-padded to ``width`` bytes: 32 in a Sphinx header, 19 in a SURB-ack."""
        if width == ADDRESS_BYTES:
            return self._padded
        if width < len(self._encoded):
            raise MalformedAddress(f"this address needs {len(self._encoded)} bytes, not {width}")
        return self._encoded.ljust(width, b"\0")

    @classmethod
    def decode(cls, data: bytes) -> NodeAddress:
        """The address at the start of ``data``; what follows it is ignored. Raises ``MalformedAddress``."""
        if data[:1] == b"\x04" and len(data) >= IPV4_ADDRESS_BYTES:
            return _decode_exact(data[:IPV4_ADDRESS_BYTES])
        if data[:1] == b"\x06" and len(data) >= IPV6_ADDRESS_BYTES:
            return _decode_exact(data[:IPV6_ADDRESS_BYTES])
        raise MalformedAddress("not a node address: unknown address version, or too short")

    @classmethod
    def parse(cls, text: str) -> NodeAddress:
        """From ``1.2.3.4:80`` or ``[::1]:80``. Raises ``MalformedAddress``."""
        host, separator, port = text.rpartition(":")
        bracketed = host.startswith("[") and host.endswith("]")
        if bracketed:
            host = host[1:-1]
        try:
            ip = ip_address(host)
        except ValueError:
            raise MalformedAddress("not a node address: expected 1.2.3.4:80 or [::1]:80") from None
        if (
            not separator
            or bracketed != (ip.version == 6)
            or not (port.isascii() and port.isdigit())
            or len(port) > 5
        ):
            raise MalformedAddress("not a node address: expected 1.2.3.4:80 or [::1]:80")
        return cls(ip, int(port))


@lru_cache(maxsize=_ADDRESSES_REMEMBERED)
def _decode_exact(data: bytes) -> NodeAddress:
    port = int.from_bytes(data[1:3], "big")
    packed = data[3:]
    return NodeAddress(IPv4Address(packed) if len(packed) == 4 else IPv6Address(packed), port)


@dataclass(frozen=True, slots=True)
class Recipient:
    """A Nym address: whom a message is for, and the gateway that holds it for them.

    All three are public keys of 32 bytes.
    """

    identity: bytes
    """Ed25519; also the destination of the Sphinx packets."""
    encryption: bytes
    """X25519; messages are encrypted for it end to end."""
    gateway: bytes
    """Ed25519 identity of the gateway."""

    def __post_init__(self) -> None:
        if not len(self.identity) == len(self.encryption) == len(self.gateway) == KEY_BYTES:
            raise MalformedRecipient("a Nym address has three keys of 32 bytes each")
        if not (_is_ed25519_point(self.identity) and _is_ed25519_point(self.gateway)):
            raise MalformedRecipient("a Nym address with an identity that is no Ed25519 key")

    def __str__(self) -> str:
        return f"{b58encode(self.identity)}.{b58encode(self.encryption)}@{b58encode(self.gateway)}"

    def encode(self) -> bytes:
        """96 bytes."""
        return self.identity + self.encryption + self.gateway

    @classmethod
    def decode(cls, data: bytes) -> Recipient:
        """From exactly 96 bytes. Raises ``MalformedRecipient``."""
        if len(data) != RECIPIENT_BYTES:
            raise MalformedRecipient(f"a Nym address has {RECIPIENT_BYTES} bytes, not {len(data)}")
        return cls(data[:32], data[32:64], data[64:])

    @classmethod
    def parse(cls, text: str) -> Recipient:
        """From ``identity.encryption@gateway`` in base58. Raises ``MalformedRecipient``."""
        client, at, gateway = text.partition("@")
        identity, dot, encryption = client.partition(".")
        if not (at and dot):
            raise MalformedRecipient("a Nym address looks like identity.encryption@gateway")
        try:
            return cls(b58decode(identity), b58decode(encryption), b58decode(gateway))
        except MalformedBase58:
            raise MalformedRecipient(
                "a Nym address has three base58 keys: identity.encryption@gateway"
            ) from None


@lru_cache(maxsize=_ADDRESSES_REMEMBERED)
def _is_ed25519_point(key: bytes) -> bool:
    """Whether these 32 bytes decompress: x^2 = (y^2 - 1) / (d y^2 + 1) has a root."""
    y = int.from_bytes(key, "little") & (2**255 - 1)
    y_squared = y * y % _ED25519_P
    # u/v is a square exactly if u*v is, v never being zero.
    product = (y_squared - 1) * (_ED25519_D * y_squared + 1) % _ED25519_P
    return pow(product, (_ED25519_P - 1) // 2, _ED25519_P) != _ED25519_P - 1
