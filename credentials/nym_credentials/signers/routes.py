"""Paths and query parameters of a signer (docs/protocol/09 §2, §10.1)."""

from __future__ import annotations

from datetime import date
from enum import StrEnum
from typing import Final
from urllib.parse import quote

from zknym.dates import date_from_text
from zknym.errors import MalformedText

PREFIX: Final = "/v1/ecash/"
"""Behind the address that a signer announces on the chain; no `/api` is added."""


class Route(StrEnum):
    """The routes by name."""

    BLIND_SIGN = "blind-sign"
    PARTIAL_DATES = "partial-expiration-date-signatures"
    PARTIAL_COINS = "partial-coin-indices-signatures"
    MASTER_KEY = "master-verification-key"
    DATES = "aggregated-expiration-date-signatures"
    COINS = "aggregated-coin-indices-signatures"
    VERIFY_TICKET = "verify-ecash-ticket"
    BATCH_REDEEM = "batch-redeem-ecash-tickets"
    SPENT_FILTER = "double-spending-filter-v1"
    STATUS = "signer-status"
    ISSUED_COUNT = "issued-ticketbooks-count"
    ISSUED_FOR_COUNT = "issued-ticketbooks-for-count"
    ISSUED_ON_COUNT = "issued-ticketbooks-on-count"
    ISSUED_FOR = "issued-ticketbooks-for"
    ISSUED_CHALLENGE = "issued-ticketbooks-challenge-commitment"
    ISSUED_DATA = "issued-ticketbooks-data"

    @property
    def path(self) -> str:
        """From the root of the server."""
        return PREFIX + self.value


def target(
    route: Route, *, epoch_id: int | None = None, expiration: date | None = None, output: str | None = None
) -> str:
    """Path and query, in the order in which the reference writes the parameters."""
    parameters = [
        ("expiration_date", None if expiration is None else expiration.isoformat()),
        ("epoch_id", None if epoch_id is None else str(epoch_id)),
        ("output", output),
    ]
    query = "&".join(f"{name}={quote(value, safe='')}" for name, value in parameters if value is not None)
    return f"{route.path}?{query}" if query else route.path


def epoch_parameter(text: str | None) -> int | None:
    """The parameter `epoch_id` of a request. Raises `MalformedText`."""
    if text is None:
        return None
    if not (text.isascii() and text.isdigit()) or len(text) > len(str(2**64 - 1)) or int(text) >= 2**64:
        raise MalformedText("epoch_id is a number of 64 bits")
    return int(text)


def date_parameter(text: str | None) -> date | None:
    """The parameter `expiration_date` of a request. Raises `MalformedData`."""
    return None if text is None else date_from_text(text)
