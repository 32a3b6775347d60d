"""What is remembered of gateways: the allowance there, and how it treated the last tickets (docs/protocol/10 §9)."""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from nym_credentials.store.core_io import StoreCore
from nym_credentials.store.records import GatewayAccount, Settlement
from nym_credentials.store.tables_io import GatewayRow

_LOST_SECONDS: Final = (0, 30, 300, 1_800)
_REFUSED_SECONDS: Final = (30, 300, 1_800, 7_200)
PAUSES_SECONDS: Final = {
    Settlement.UNKNOWN: _LOST_SECONDS,
    Settlement.REFUSED: _REFUSED_SECONDS,
    Settlement.SPENT: _REFUSED_SECONDS,
}
"""How long no ticket is risked at a gateway that cost one, by how many it cost in a row; the last goes on for ever.
A connection may break once without a pause: traffic waits for the next claim."""


def gateway_hash(core: StoreCore, gateway: bytes | None) -> bytes | None:
    """By what the store knows a gateway: the database does not tell which ones were used."""
    return None if gateway is None else core.sealer.hash("gateway", gateway)


async def account(connection: AsyncConnection, gateway: bytes, *, lock: bool = False) -> GatewayAccount:
    """By hash. `lock`: nobody else changes it until the end of the transaction."""
    statement = select(
        GatewayRow.allowance,
        GatewayRow.accepted,
        GatewayRow.refusals,
        GatewayRow.paused_until_unix,
        GatewayRow.changed_unix,
    ).where(GatewayRow.gateway == gateway)
    row = (await connection.execute(statement.with_for_update() if lock else statement)).first()
    return GatewayAccount() if row is None else GatewayAccount(*row)


async def note_allowance(
    connection: AsyncConnection, core: StoreCore, gateway: bytes, allowance: int
) -> None:
    """The gateway stated how many bytes it still forwards."""
    await _locked(connection, core, gateway)
    await _keep(connection, core, gateway, allowance=allowance)


async def note_settlement(
    connection: AsyncConnection,
    core: StoreCore,
    gateway: bytes,
    settlement: Settlement,
    available_total: int | None,
) -> None:
    """Counts a ticket that the gateway took or cost."""
    if settlement is not Settlement.ACCEPTED and settlement not in PAUSES_SECONDS:
        return
    known = await _locked(connection, core, gateway)
    if settlement is Settlement.ACCEPTED:
        changes: dict[str, Any] = {"accepted": known.accepted + 1, "refusals": 0, "paused_until_unix": 0}
        if available_total is not None:
            changes["allowance"] = available_total
        await _keep(connection, core, gateway, **changes)
    else:
        pauses = PAUSES_SECONDS[settlement]
        pause = pauses[min(known.refusals, len(pauses) - 1)]
        await _keep(
            connection, core, gateway, refusals=known.refusals + 1, paused_until_unix=core.now() + pause
        )


async def _keep(connection: AsyncConnection, core: StoreCore, gateway: bytes, **changes: Any) -> None:
    changes["changed_unix"] = core.now()
    await connection.execute(update(GatewayRow).where(GatewayRow.gateway == gateway).values(**changes))


async def _locked(connection: AsyncConnection, core: StoreCore, gateway: bytes) -> GatewayAccount:
    """Made if it is new; nobody else changes it until the end of the transaction."""
    fresh: dict[str, Any] = {"allowance": None, "accepted": 0, "refusals": 0, "paused_until_unix": 0}
    fresh |= {"gateway": gateway, "changed_unix": core.now()}
    await core.put(connection, GatewayRow, fresh, keep=True)
    return await account(connection, gateway, lock=True)
