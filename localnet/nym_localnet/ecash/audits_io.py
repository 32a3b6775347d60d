"""The routes by which validators audit a signer: counts, Merkle roots and proofs of issued books (09 §2, §9).

No client or gateway calls them; they are here because a nym-api has them.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import date
from typing import Any, Final

from aiohttp import web

from nym_credentials.signers import refusals
from nym_credentials.signers.audits import (
    AuditRequest,
    ChallengeAnswer,
    DataAnswer,
    IssuedCount,
    IssuedCounts,
    IssuedFor,
)
from nym_credentials.signers.envelope import Envelope, SignedBody
from nym_credentials.signers.routes import Route
from nym_credentials.signers.wire import Output, compact
from nym_localnet.ecash.signer_rules import SignerRefused, SignerRules
from nym_localnet.ecash.signer_store_io import DayCount, SignerStore
from zknym import IssuedRecord, MalformedData, merkle_root, prove_inclusion
from zknym.dates import date_from_text

DEFAULT_PER_PAGE: Final = 50
MOST_PER_PAGE: Final = 100
MOST_RECORDS: Final = 100


class AuditRoutes:
    """The routes of one signer."""

    def __init__(self, rules: SignerRules, store: SignerStore, identity_seed: bytes) -> None:
        self._rules = rules
        self._store = store
        self._identity_seed = identity_seed

    def add_to(self, app: web.Application) -> None:
        """Put the routes into an application."""
        app.router.add_get(Route.ISSUED_COUNT.path, self._count)
        app.router.add_get(Route.ISSUED_FOR_COUNT.path + "/{day}", self._count_for)
        app.router.add_get(Route.ISSUED_ON_COUNT.path + "/{day}", self._count_on)
        app.router.add_get(Route.ISSUED_FOR.path + "/{day}", self._issued_for)
        app.router.add_post(Route.ISSUED_CHALLENGE.path, self._challenge)
        app.router.add_post(Route.ISSUED_DATA.path, self._data)

    async def _count(self, request: web.Request) -> web.Response:
        self._rules.guard_signer()
        page, per_page = _number(request, "page", 0), _number(request, "per_page", DEFAULT_PER_PAGE)
        per_page = min(per_page, MOST_PER_PAGE)
        rows = (await self._store.issued_counts())[page * per_page : (page + 1) * per_page]
        counts = tuple(IssuedCount(row.count, row.issued, row.expiration) for row in rows)
        return _json(IssuedCounts(counts).to_json())

    async def _count_for(self, request: web.Request) -> web.Response:
        day, rows = await self._counted(request, lambda row: row.expiration)
        counts = tuple(IssuedCount(row.count, issuance=row.issued) for row in rows)
        return _json(IssuedCounts(counts, sum(row.count for row in rows), expiration=day).to_json())

    async def _count_on(self, request: web.Request) -> web.Response:
        day, rows = await self._counted(request, lambda row: row.issued)
        counts = tuple(IssuedCount(row.count, expiration=row.expiration) for row in rows)
        return _json(IssuedCounts(counts, sum(row.count for row in rows), issuance=day).to_json())

    async def _counted(
        self, request: web.Request, of: Callable[[DayCount], date]
    ) -> tuple[date, list[DayCount]]:
        self._rules.guard_signer()
        day = _day(request)
        return day, [row for row in await self._store.issued_counts() if of(row) == day]

    async def _issued_for(self, request: web.Request) -> web.Response:
        self._rules.guard_signer()
        day = _day(request)
        records = await self._store.issued_for(day)
        deposits = tuple((record.deposit_id, place) for place, record in enumerate(records))
        root = merkle_root([record.leaf() for record in records]) if records else None
        return self._signed(IssuedFor(day, deposits, root))

    async def _challenge(self, request: web.Request) -> web.Response:
        self._rules.guard_signer()
        asked, records = await self._asked(request)
        wanted = [place for place, each in enumerate(records) if each.deposit_id in asked.body.deposits]
        if not wanted or len(wanted) != len(set(asked.body.deposits)):
            raise SignerRefused("not all of those ticketbooks were issued here")
        proof = prove_inclusion([record.leaf() for record in records], wanted)
        return self._signed(ChallengeAnswer(asked.body.expiration, asked, MOST_RECORDS, proof))

    async def _data(self, request: web.Request) -> web.Response:
        self._rules.guard_signer()
        asked, records = await self._asked(request)
        if len(asked.body.deposits) > MOST_RECORDS:
            raise SignerRefused(
                f"attempted to request too many partial ticketbooks at once. the most are {MOST_RECORDS}"
            )
        found = tuple(each for each in records if each.deposit_id in asked.body.deposits)
        return self._signed(DataAnswer(asked.body.expiration, found, asked))

    async def _asked(self, request: web.Request) -> tuple[Envelope[AuditRequest], list[IssuedRecord]]:
        try:
            value = json.loads(await request.read())
            asked = Envelope.from_json(value, AuditRequest.from_json)
        except (ValueError, MalformedData) as error:
            raise SignerRefused(f"Failed to deserialize the JSON body: {error}", 422) from error
        return asked, await self._store.issued_for(asked.body.expiration)

    def _signed(self, body: SignedBody) -> web.Response:
        envelope = Envelope.sign(body, self._identity_seed)
        return web.Response(body=envelope.encode(), content_type=Output.JSON.content_type)


def _json(value: Any) -> web.Response:
    return web.Response(body=compact(value), content_type=Output.JSON.content_type)


def _day(request: web.Request) -> date:
    try:
        return date_from_text(request.match_info["day"])
    except MalformedData as error:
        raise SignerRefused(refusals.DATE_MALFORMED) from error


def _number(request: web.Request, name: str, default: int) -> int:
    text = request.query.get(name, str(default))
    if not (text.isascii() and text.isdigit()):
        raise SignerRefused(f"{name} is a number")
    return int(text)
