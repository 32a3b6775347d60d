"""A process that dies at one point of the store: run with path, book file, action and point as arguments."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

from nym_credentials.store.client_database_io import move_client_books
from nym_credentials.store.records import Settlement
from nym_credentials.store.store_io import TicketStore
from zknym import ImportableTicketBook, TicketType


async def main(path: str, book_path: str, action: str, point: str) -> None:
    def at(name: str) -> None:
        if name == point and armed:
            os.kill(os.getpid(), signal.SIGKILL)

    armed = action == "open"
    data = Path(book_path).read_bytes()
    book = ImportableTicketBook.decode(data).book
    today = book.expiration
    store = await TicketStore.open(path, at=at)
    if action == "import":
        armed = True
        await store.import_book(data, today)
    elif action == "finish":
        stored = (await store.purchases.unfinished_purchases())[0]
        armed = True
        await store.purchases.finish_purchase(stored.issued(), book)
    elif action == "export":
        armed = True
        exported = await store.export_book(1)
        Path(book_path).with_name("exported").write_bytes(exported)
    elif action == "move":
        armed = True
        await move_client_books(store, Path(path).with_name("credentials_database.db"), today)
    elif action == "share":
        for _ in range(10):
            taken = await store.take(TicketType.MIXNET_ENTRY, today)
            print(taken.index, flush=True)
            if point != "idle":
                await store.settle(taken, Settlement.ACCEPTED)
        if point != "idle":
            return await store.close()
    else:
        armed = action == "take"
        taken = await store.take(TicketType.MIXNET_ENTRY, today, gateway=bytes(32))
        Path(book_path).with_name("sent").write_text(str(taken.index))
        armed = True
        await store.settle(taken, Settlement(sys.argv[5]))
    if point == "idle":
        os.kill(os.getpid(), signal.SIGKILL)
    raise SystemExit("the point was never reached")


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:5]))
