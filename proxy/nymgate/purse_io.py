"""The money side of a running proxy: the ticket source of its gateway link, and purchases that were left unfinished."""

import asyncio
import contextlib
import random
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self

import structlog

from nym_credentials.errors import CredentialsError
from nym_credentials.tickets.charges import Meter
from nym_credentials.tickets.rules import ClockWatch
from nymgate import wiring
from nymgate.errors import NymgateError, StoreBusy
from nymgate.money import MoneyPlan, NoAccount, explain_money
from nymgate.money_io import Money, Stock

if TYPE_CHECKING:
    from nym_credentials.purchase.steps import Resumed
    from nym_credentials.tickets.source_io import StoredTickets
    from nym_mixnet.client_io import MixnetClient

log = structlog.get_logger("nymgate.purse")

RESUME_FIRST_SECONDS: Final = 5.0
RESUME_LIMIT_SECONDS: Final = 600.0
HOUSEKEEPING_SECONDS: Final = 6 * 3600.0


class Spender:
    """Spends the tickets of the one store for one gateway link, with an account of its own at that gateway."""

    def __init__(self, stored: "Callable[[Callable[[], Meter]], StoredTickets]", watch: ClockWatch) -> None:
        self.watch = watch
        self._client: MixnetClient | None = None
        self._links = 0
        self.stored = stored(self._meter)
        self.source = wiring.LinkTickets(self.stored, lambda: self._meter().remaining)

    def serves(self, client: "MixnetClient") -> None:
        """From now on this client's link spends the tickets."""
        self._client, self._links = client, self._links + 1

    async def close(self) -> None:
        """Give up tickets that wait to be sent again."""
        await self.stored.close()

    def _meter(self) -> Meter:
        stats = None if self._client is None else self._client.link_stats
        if stats is None:
            return Meter(None, 0, self._links)
        return Meter(stats.remaining_bandwidth, stats.bytes_charged, self._links)


class Purse:
    """Use it as an async context manager around everything that may spend."""

    def __init__(self, plan: MoneyPlan, *, rng: random.Random) -> None:
        self.plan = plan
        self.watch = ClockWatch()
        self.money = Money(plan)
        self._rng = rng

    async def __aenter__(self) -> Self:
        await self.money.__aenter__()
        if self.money.store.left_behind:
            log.warning("tickets.left.behind", count=self.money.store.left_behind)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.money.__aexit__(kind, error, trace)

    def source_for(self, account: bytes) -> Spender:
        """What a gateway link takes its tickets from. ``account`` tells links at the same gateway apart."""
        from nym_credentials.tickets.source_io import StoredTickets

        return Spender(
            lambda meter: StoredTickets(
                self.money.store,
                watch=self.watch,
                meter=meter,
                ticket_bytes=self.plan.config.tickets.ticket_size,
                client_identity=account,
            ),
            self.watch,
        )

    async def stock(self) -> Stock:
        """What there is."""
        return await self.money.stock()

    # ---- for as long as the proxy runs -------------------------------------------------------------------

    async def keep(self, reached: Callable[[], "asyncio.Future[None]"]) -> None:
        """Finish what was left unfinished, and tidy up. ``reached``: done when chain and signers can be asked."""
        failures = 0
        while True:
            try:
                with contextlib.suppress(CredentialsError):
                    await self.money.store.forget_expired(self.money.today)
                if not await self.money.unfinished():
                    failures = 0
                    await asyncio.sleep(HOUSEKEEPING_SECONDS)
                    continue
                await asyncio.shield(reached())
                results = await self._resume()
                if all(item.error is None for item in results):
                    continue
            except StoreBusy:
                pass  # another process is at it
            except NoAccount as error:
                log.warning("purchases.unfinished", reason=error.what, todo=error.todo)
            except NymgateError as error:
                log.warning("purchases.unfinished", layer=error.layer, code=error.code, reason=str(error))
            longest = min(RESUME_LIMIT_SECONDS, RESUME_FIRST_SECONDS * 2.0 ** min(failures, 10))
            failures += 1
            await asyncio.sleep(self._rng.uniform(longest / 2, longest))

    async def _resume(self) -> "list[Resumed]":
        async with self.money.buyer(patience_seconds=0.0) as buyer:
            results = await buyer.resume()
        for item in results:
            kind, state = item.purchase.ticket_type.label, item.purchase.state.value
            if item.error is None:
                log.info("purchase.finished", purchase=str(item.purchase.id), type=kind, state=state)
            else:
                error = item.error
                ours = explain_money(error) if isinstance(error, CredentialsError) else None
                log.warning(
                    "purchase.unfinished",
                    purchase=str(item.purchase.id),
                    state=state,
                    code=ours.code if ours is not None else "E_INTERNAL",
                    reason=str(error) if ours is not None else type(error).__name__,
                )
        return results
