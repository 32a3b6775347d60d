"""A payment source whose chain lives in the test and is asked over HTTP: it survives the death of who pays."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import aiohttp
from aiohttp import web

from nym_credentials.chain.records import Failed, Included, Price, SignedDeposit
from nym_credentials.chain.source import Quote, Recovered, Recovery
from nym_credentials.errors import (
    ChainUnreachable,
    DepositIdsUnclear,
    InsufficientFunds,
    PriceChanged,
    SequenceMismatch,
    TransactionRefused,
)
from nym_credentials.money import Coin
from nym_credentials.signers.epoch import SignerSet
from tests.credentials.signers.mini_signers import Network
from zknym import b58encode

ACCOUNT, CONTRACT = "n1buyer", "n1ecash"
FEE = 4_000


@dataclass
class MiniChain:
    """One account, one contract. A transaction is JSON: keys, price, sequence."""

    network: Network
    price: int = 75_000_000
    balance: int = 1_000_000_000
    sequence: int = 0
    height: int = 100
    mempool: dict[str, bytes] = field(default_factory=dict)
    blocks: dict[str, dict[str, Any]] = field(default_factory=dict)
    hold: bool = False
    """Takes transactions and includes none."""
    faults: set[str] = field(default_factory=set)
    submissions: list[str] = field(default_factory=list)

    @property
    def app(self) -> web.Application:
        app = web.Application()
        app.router.add_get("/state", self._state)
        app.router.add_post("/submit", self._submit)
        app.router.add_get("/tx/{hash}", self._tx)
        app.router.add_get("/find/{key}", self._find)
        app.router.add_get("/signers/{epoch}", self._signers)
        return app

    def include_all(self) -> None:
        """A block with everything that waits."""
        self.height += 1
        for tx_hash, tx in list(self.mempool.items()):
            value = json.loads(tx)
            del self.mempool[tx_hash]
            if value["sequence"] != self.sequence:
                continue
            self.sequence += 1
            self.balance -= FEE
            if "fails-in-block" in self.faults:
                self.blocks[tx_hash] = {"height": self.height, "code": 5, "log": "out of luck"}
                continue
            self.balance -= value["price"] * len(value["keys"])
            first = len(self.network.deposits)
            self.network.deposits += [bytes.fromhex(key) for key in value["keys"]]
            ids = [] if "no-ids" in self.faults else list(range(first, len(self.network.deposits)))
            self.blocks[tx_hash] = {"height": self.height, "code": 0, "ids": ids}

    async def _state(self, _: web.Request) -> web.Response:
        return web.json_response({"price": self.price, "balance": self.balance, "sequence": self.sequence})

    async def _submit(self, request: web.Request) -> web.Response:
        tx = await request.read()
        tx_hash, value = hash_of(tx), json.loads(tx)
        self.submissions.append(tx_hash)
        if "refuses" in self.faults:
            return web.json_response({"code": 13})
        if tx_hash in self.blocks or value["sequence"] != self.sequence:
            return web.json_response({"code": 32})
        if "swallows" in self.faults:
            return web.json_response({"code": 0})
        self.mempool[tx_hash] = tx
        if not self.hold:
            self.include_all()
        if "answer-lost" in self.faults:
            assert request.transport is not None
            request.transport.abort()
        return web.json_response({"code": 0})

    async def _tx(self, request: web.Request) -> web.Response:
        if "deaf" in self.faults:
            assert request.transport is not None
            request.transport.abort()
        return web.json_response(self.blocks.get(request.match_info["hash"]))

    async def _find(self, request: web.Request) -> web.Response:
        key = bytes.fromhex(request.match_info["key"])
        return web.json_response([i for i, known in enumerate(self.network.deposits) if known == key])

    async def _signers(self, request: web.Request) -> web.Response:
        epoch = request.match_info["epoch"]
        found = self.network.signer_set(None if epoch == "current" else int(epoch))
        rows = [
            (s.index, s.key.encode().hex(), s.url, s.owner, True, s.identity and s.identity.hex())
            for s in found.signers
        ]
        return web.json_response(
            {
                "epoch": found.epoch_id,
                "threshold": found.threshold,
                "rows": rows,
                "issuing": found.issuing,
                "wait": found.wait_seconds,
            }
        )


def hash_of(tx: bytes) -> str:
    return hashlib.sha256(tx).hexdigest().upper()


class _Http:
    def __init__(self, url: str) -> None:
        self._url = url

    async def ask(self, path: str, data: bytes | None = None) -> Any:
        try:
            async with aiohttp.ClientSession() as http:
                method = "GET" if data is None else "POST"
                async with http.request(method, self._url + path, data=data) as response:
                    return await response.json()
        except (aiohttp.ClientError, OSError) as error:
            raise ChainUnreachable(f"no answer: {type(error).__name__}") from error


class MiniSource(_Http):
    """`PaymentSource` over `MiniChain`."""

    name = "mini"

    async def quote(self, count: int = 1) -> Quote:
        state = await self.ask("/state")
        price, balance = Coin("unym", state["price"]), Coin("unym", state["balance"])
        return Quote(count, Price(price), Coin("unym", FEE), True, balance, ACCOUNT)

    async def prepare(self, public_keys: Sequence[bytes], price: Coin) -> SignedDeposit:
        state = await self.ask("/state")
        if state["price"] != price.amount:
            raise PriceChanged("the price is another now")
        if state["balance"] < price.amount + FEE:
            raise InsufficientFunds("too little money")
        tx = json.dumps(
            {
                "keys": [key.hex() for key in public_keys],
                "price": price.amount,
                "sequence": state["sequence"],
                "memo": b58encode(public_keys[0]),
            }
        ).encode()
        return SignedDeposit(tx, hash_of(tx), "mini", 1, state["sequence"], 160_000, Coin("unym", FEE))

    async def submit(self, deposit: SignedDeposit) -> None:
        code = (await self.ask("/submit", deposit.tx_bytes))["code"]
        if code == 32:
            if await self.outcome(deposit) is not None:
                return
            raise SequenceMismatch("sequence", code=32, codespace="sdk")
        if code:
            raise TransactionRefused("no", code=code, codespace="sdk")

    async def outcome(self, deposit: SignedDeposit) -> Included | Failed | None:
        found = await self.ask(f"/tx/{deposit.tx_hash}")
        if found is None:
            return None
        if "ids" in found and not found["ids"]:
            raise DepositIdsUnclear("which deposit it is cannot be told")
        if found["code"]:
            return Failed(found["height"], found["code"], "wasm", found["log"])
        return Included(found["height"], tuple(found["ids"]), 100_000)

    async def wait(self, deposit: SignedDeposit, seconds: float) -> Included | Failed | None:
        return await self.outcome(deposit)

    async def recover(self, deposit: SignedDeposit, public_keys: Sequence[bytes]) -> Recovered:
        with contextlib.suppress(DepositIdsUnclear):
            outcome = await self.outcome(deposit)
            if isinstance(outcome, Included):
                return Recovered(Recovery.INCLUDED, outcome.height, outcome.deposit_ids)
            if isinstance(outcome, Failed):
                return Recovered(Recovery.FAILED, outcome.height, (), outcome)
        if (await self.ask("/state"))["sequence"] <= deposit.sequence:
            return Recovered(Recovery.RESUBMIT)
        ids = await self.ask(f"/find/{public_keys[0].hex()}")
        if ids:
            return Recovered(Recovery.INCLUDED, None, tuple(ids))
        return Recovered(Recovery.IMPOSSIBLE)


class MiniDirectory(_Http):
    """`SignerDirectory` over `MiniChain`."""

    async def current(self) -> SignerSet:
        return self._read(await self.ask("/signers/current"))

    async def of_epoch(self, epoch_id: int) -> SignerSet:
        return self._read(await self.ask(f"/signers/{epoch_id}"))

    @staticmethod
    def _read(value: Any) -> SignerSet:
        rows = [
            (index, bytes.fromhex(key), url, owner, verified, identity and bytes.fromhex(identity))
            for index, key, url, owner, verified, identity in value["rows"]
        ]
        return SignerSet.of_shares(
            value["epoch"], value["threshold"], rows, issuing=value["issuing"], wait_seconds=value["wait"]
        )
