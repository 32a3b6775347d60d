"""The smallest store that keeps its promise: one JSON file, replaced as a whole and synced at every write."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

from nym_credentials.errors import PurchaseConflict
from nym_credentials.purchase.records import Purchase
from zknym import CoinSignatureSet, DateSignatureSet, EpochKey, TicketBook

_EMPTY: dict[str, Any] = {"purchases": {}, "books": [], "keys": {}, "coins": {}, "dates": {}}


class FileStore:
    """`PurchaseStore` over a file that several processes may use one after the other."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.writes = 0

    def _load(self) -> dict[str, Any]:
        return json.loads(self._path.read_text()) if self._path.exists() else json.loads(json.dumps(_EMPTY))

    def _write(self, value: dict[str, Any]) -> None:
        new = self._path.with_suffix(".new")
        with new.open("w") as file:
            json.dump(value, file)
            file.flush()
            os.fsync(file.fileno())
        new.replace(self._path)
        self.writes += 1

    @staticmethod
    def _row(purchase: Purchase) -> dict[str, Any]:
        return {"version": purchase.version, "data": purchase.to_bytes().hex()}

    @staticmethod
    def _read(row: dict[str, Any]) -> Purchase:
        return Purchase.from_bytes(bytes.fromhex(row["data"]), version=row["version"])

    async def add_purchase(self, purchase):
        value, key = self._load(), str(purchase.id)
        assert key not in value["purchases"]
        purchase = replace(purchase, version=1)
        value["purchases"][key] = self._row(purchase)
        self._write(value)
        return purchase

    def _save(self, value, purchase):
        key = str(purchase.id)
        if value["purchases"][key]["version"] != purchase.version:
            raise PurchaseConflict("somebody else was faster")
        purchase = replace(purchase, version=purchase.version + 1)
        value["purchases"][key] = self._row(purchase)
        return purchase

    async def save_purchase(self, purchase):
        value = self._load()
        saved = self._save(value, purchase)
        self._write(value)
        return saved

    async def finish_purchase(self, purchase, book):
        value = self._load()
        saved = self._save(value, purchase)
        value["books"].append(book.encode().hex())
        self._write(value)
        return saved

    async def purchase(self, purchase_id):
        row = self._load()["purchases"].get(str(purchase_id))
        return None if row is None else self._read(row)

    async def purchases(self, *, limit=100):
        return [self._read(row) for row in reversed(self._load()["purchases"].values())][:limit]

    async def unfinished_purchases(self):
        rows = self._load()["purchases"].values()
        return [purchase for purchase in map(self._read, rows) if not purchase.state.finished]

    def books(self) -> list[TicketBook]:
        return [TicketBook.decode(bytes.fromhex(item)) for item in self._load()["books"]]

    async def _get(self, table, key, kind):
        row = self._load()[table].get(str(key))
        return None if row is None else kind.decode(bytes.fromhex(row))

    async def _put(self, table, key, item):
        value = self._load()
        value[table][str(key)] = item.encode().hex()
        self._write(value)

    async def epoch_key(self, epoch_id):
        return await self._get("keys", epoch_id, EpochKey)

    async def put_epoch_key(self, key):
        await self._put("keys", key.epoch_id, key)

    async def coin_signatures(self, epoch_id):
        return await self._get("coins", epoch_id, CoinSignatureSet)

    async def put_coin_signatures(self, signatures):
        await self._put("coins", signatures.epoch_id, signatures)

    async def date_signatures(self, epoch_id, expiration):
        return await self._get("dates", f"{epoch_id}/{expiration}", DateSignatureSet)

    async def put_date_signatures(self, signatures):
        await self._put("dates", f"{signatures.epoch_id}/{signatures.expiration}", signatures)
