"""What a signer says about itself, and whether it can be counted on (docs/protocol/09 §5)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from nym_credentials.signers.wire import Body, WireReader, boolean, byte_string, varint
from zknym import MalformedJson
from zknym.json_fields import Json, JsonObject, integer, member, text

STALE_AFTER_SECONDS: Final = 300.0
"""A status older than this says nothing any more; one from further ahead comes from a wrong clock."""


@dataclass(frozen=True, slots=True)
class SignerStatus(Body):
    """The body of `signer-status`, which comes in an envelope."""

    current_time: str
    """RFC 3339, UTC, as the signer wrote it."""
    epoch_id: int
    disabled: bool
    is_signer: bool
    has_keys: bool

    @classmethod
    def now(
        cls,
        time_unix: float,
        epoch_id: int,
        *,
        disabled: bool = False,
        is_signer: bool = True,
        has_keys: bool = True,
    ) -> SignerStatus:
        """The status of a signer at a time (Unix seconds)."""
        moment = datetime.fromtimestamp(time_unix, UTC).replace(tzinfo=None).isoformat()
        return cls(f"{moment}Z", epoch_id, disabled, is_signer, has_keys)

    @property
    def time_unix(self) -> float:
        """The signer's clock in Unix seconds. Raises `MalformedJson`."""
        try:
            moment = datetime.fromisoformat(self.current_time)
        except ValueError:
            raise MalformedJson("currentTime is not a time of RFC 3339") from None
        if moment.tzinfo is None:
            raise MalformedJson("currentTime has no time zone")
        return moment.timestamp()

    def ill_because(self, epoch_id: int, now_unix: float) -> str:
        """Why this signer cannot be counted on for `epoch_id`; empty if it can. Raises `MalformedJson`."""
        age = now_unix - self.time_unix
        if abs(age) > STALE_AFTER_SECONDS:
            return f"its clock differs from ours by {abs(age):.0f} s"
        if self.disabled:
            return "signing is switched off there"
        if not self.is_signer:
            return "it is not among the signers of this epoch"
        if not self.has_keys:
            return "it has no signing keys yet"
        if self.epoch_id != epoch_id:
            return f"it signs for epoch {self.epoch_id}, not for {epoch_id}"
        return ""

    def to_json(self) -> JsonObject:
        return {
            "currentTime": self.current_time,
            "dkgEcashEpochId": self.epoch_id,
            "signerDisabled": self.disabled,
            "isEcashSigner": self.is_signer,
            "hasSigningKeys": self.has_keys,
        }

    @classmethod
    def from_json(cls, value: Json) -> SignerStatus:
        return cls(
            text(member(value, "currentTime")),
            integer(member(value, "dkgEcashEpochId")),
            boolean(member(value, "signerDisabled")),
            boolean(member(value, "isEcashSigner")),
            boolean(member(value, "hasSigningKeys")),
        )

    def to_bincode(self) -> bytes:
        flags = bytes([self.disabled, self.is_signer, self.has_keys])
        return byte_string(self.current_time) + varint(self.epoch_id) + flags

    @classmethod
    def read(cls, reader: WireReader) -> SignerStatus:
        return cls(reader.text(), reader.varint(), reader.boolean(), reader.boolean(), reader.boolean())
