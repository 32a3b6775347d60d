"""What a gateway checks, and the words in which it refuses (docs/protocol/03 §5, §7.6, §8, §9).

Pure: the caller brings the request, the client's record and the time. The texts are upstream's, since
clients of the field match some of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from nym_localnet.errors import Refused
from nym_mixnet.gateway_requests import AuthenticateRequest
from nym_mixnet.session_key import SessionKey

CURRENT_PROTOCOL: Final = 6
OLDEST_PROTOCOL: Final = 4
MAX_SKEW_SECONDS: Final = 120
FREE_ALLOWANCE_BYTES: Final = 64 * 1024**3
"""docs/protocol/03 §9.3"""
TICKET_VALIDITY_DAYS: Final = 6
DAY_SECONDS: Final = 24 * 3600
CREDENTIAL_HEAD_BYTES: Final = 4
CREDENTIAL_TAIL_BYTES: Final = 72 + 4 + 8
"""pay-info, Julian day, epoch"""

NOT_REGISTERED: Final = "the client is not registered"
WRONG_KEY: Final = "failed to verify provided address ciphertext"
BAD_SIGNATURE: Final = "failed to verify request signature"
REPLAYED_TIMESTAMP: Final = "the provided request timestamp is smaller or equal to one previously used"
STALE_SESSION: Final = "attempted to overwrite client session with a stale authentication"
DUPLICATE: Final = "There is already an open connection to this client"
HANDSHAKE_FAILED: Final = "Failed to perform registration handshake: {}"
LEGACY_AUTHENTICATION: Final = (
    "the legacy authentication method is no longer supported. please update your client"
)
ONLY_REGISTER_OR_AUTHENTICATE: Final = "Only 'Register' or 'Authenticate' requests are allowed"
SPHINX_WITHOUT_AUTHENTICATION: Final = (
    "possibly received a sphinx packet without prior authentication. Request is going to be ignored"
)
INITIAL_TIMEOUT: Final = "timed out while waiting for initial data"
BAD_BINARY: Final = "Provided binary request was malformed - {}"
BAD_SEALED: Final = "the received encrypted data was malformed"
BAD_TEXT: Final = "Provided text request was malformed - {}"
ILLEGAL: Final = "The received request is not valid in the current context: {}"
ILLEGAL_TYPE: Final = "received illegal message of type {} in an authenticated client"
ILLEGAL_COCONUT: Final = "coconut credential are not longer supported"
UNKNOWN_TEXT: Final = "received a text request of an unknown type"
UNDECRYPTABLE_TEXT: Final = "failed to decrypt provided text request"
ONLY_TICKETS: Final = "This gateway is only accepting coconut credentials for bandwidth"
NO_UPGRADE_MODE: Final = "the upgrade mode attestation does not appear to have been published"
STORAGE: Final = "Internal gateway storage error"


def shown_time(unix: float) -> str:
    """A time as it appears inside upstream's texts."""
    when = datetime.fromtimestamp(unix, UTC)
    fraction = f"{when.microsecond:06d}".rstrip("0") or "0"
    return f"{when:%Y-%m-%d} {when.hour}:{when:%M:%S}.{fraction} +00:00:00"


def negotiate(client_version: int) -> int:
    """The version of an authenticated session (docs/protocol/03 §2)."""
    if not OLDEST_PROTOCOL <= client_version <= CURRENT_PROTOCOL:
        raise Refused(
            "Attempted to negotiate connection with client using incompatible protocol version. "
            f"Ours is {CURRENT_PROTOCOL} and the client reports {client_version}"
        )
    return client_version


def check_request(request: AuthenticateRequest, now_unix: float) -> None:
    """Steps 2 and 3 of docs/protocol/03 §5: what needs no record."""
    if abs(now_unix - request.timestamp) > MAX_SKEW_SECONDS:
        received = shown_time(request.timestamp) if request.timestamp < 2**34 else str(request.timestamp)
        raise Refused(
            f"the provided request timestamp is excessively skewed. got {received} "
            f"whilst the server time is {shown_time(now_unix)}"
        )
    if not request.signature_is_valid():
        raise Refused(BAD_SIGNATURE)


def check_record(
    request: AuthenticateRequest, key: SessionKey | None, last_auth_unix: int | None
) -> SessionKey:
    """Steps 4 to 6: registered, right key, strictly newer than the last authentication."""
    if key is None:
        raise Refused(NOT_REGISTERED)
    if not request.proves(key):
        raise Refused(WRONG_KEY)
    if last_auth_unix is not None and request.timestamp <= last_auth_unix:
        raise Refused(REPLAYED_TIMESTAMP)
    return key


def has_credential_length(data: bytes) -> bool:
    """Whether the length of an opened credential fits that of its payment (docs/protocol/03 §9.4)."""
    size = int.from_bytes(data[:CREDENTIAL_HEAD_BYTES], "big")
    return len(data) == CREDENTIAL_HEAD_BYTES + size + CREDENTIAL_TAIL_BYTES


def midnight(now_unix: float) -> int:
    """The last midnight UTC."""
    return int(now_unix // DAY_SECONDS) * DAY_SECONDS


@dataclass(slots=True)
class Allowance:
    """The bytes that a client may still send (docs/protocol/03 §9.1). May be negative."""

    available: int = 0
    expires_unix: int = 0
    owed: int = 0
    """taken back by the signers' verdict, and not subtracted yet: as upstream, that shows with the next packet"""

    @property
    def net(self) -> int:
        """What is on record: available bytes without what is owed."""
        return self.available - self.owed

    def expire(self, now_unix: float) -> None:
        """Set to nothing what is past its day."""
        if self.expires_unix < midnight(now_unix):
            self.available = self.owed = 0

    def charge(self, cost: int, now_unix: float) -> bool:
        """Subtract the cost of a packet; False when it is not covered."""
        self.expire(now_unix)
        covered = self.available >= cost
        if covered:
            self.available -= cost
        self._settle()
        return covered

    def revoke(self, amount: int) -> None:
        """Take back bytes. The packet after that is still forwarded (docs/protocol/03 §9.1)."""
        self.owed += amount

    def _settle(self) -> None:
        self.available, self.owed = self.net, 0

    def claim_free(self, amount: int, now_unix: float) -> None:
        """Add the free allowance, good until the coming midnight UTC."""
        self.expire(now_unix)
        self._settle()
        self.available += amount
        self.expires_unix = midnight(now_unix)

    def add_ticket(self, amount: int, now_unix: float) -> None:
        """Add what a ticket grants."""
        self.expire(now_unix)
        self._settle()
        self.available += amount
        self.expires_unix = midnight(now_unix) + TICKET_VALIDITY_DAYS * DAY_SECONDS
