"""Processes that spend tickets from one store until they are told to stop, or die.

Run with the store, the recorder's port, the day, how many processes and threads there shall be, and the identities of
gateways if real payments shall be made out to them: then the recorder presents them, and answers what came of it. One
process is loaded and makes the others by forking, so that a new one is there at once when one was killed. What is
"sent" goes to the recorder, which knows nothing of the store.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import random
import signal
import sys
import threading
from datetime import date
from uuid import uuid4

from nym_credentials.errors import CredentialsError, OutOfTickets, PurchaseDeclined, PurchaseError
from nym_credentials.purchase.records import Purchase
from nym_credentials.store.keys import StoreKey
from nym_credentials.store.records import Settlement
from nym_credentials.store.store_io import TicketStore
from nym_credentials.tickets.source_io import StoredTickets
from zknym import TicketType, UserSecretKey

LEASE_SECONDS = 2.0
DEATH = 0.002
"""How likely a process kills itself at each point of the store that it comes to."""
PRICE = 75_000_000
CAP = 5 * PRICE
BUYING = 0.15
OUTCOMES = (Settlement.ACCEPTED,) * 8 + (Settlement.UNKNOWN, Settlement.REFUSED, Settlement.UNSENT, None)
"""None: it is left as it is."""


async def spend(
    where: str, port: int, today: date, gateways: list[bytes], stop: threading.Event, dice: random.Random
) -> None:
    """One spender: its own store, its own loop."""

    def at(_point: str) -> None:
        if dice.random() < DEATH:
            os.kill(os.getpid(), signal.SIGKILL)

    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    key = StoreKey.from_bytes(bytes(range(32)))
    while not stop.is_set():
        with contextlib.suppress(CredentialsError):
            async with await TicketStore.open(where, key=key, at=at, lease_seconds=LEASE_SECONDS) as store:
                while not stop.is_set():
                    if gateways:
                        await pay_one(store, gateways, reader, writer, dice)
                    else:
                        await spend_one(store, today, reader, writer, dice)
    writer.close()


def budget(purchase, spendings):
    """The cap that all processes share."""
    if sum(spending.price for spending in spendings) + purchase.price > CAP:
        raise PurchaseDeclined("It would be over the cap.")


async def plan_one(store):
    """Plans a purchase when it is our turn, if the budget allows."""
    store.purchases.check = budget
    plan = Purchase(
        id=uuid4(),
        ticket_type=TicketType.MIXNET_ENTRY,
        network="test",
        contract="n1contract",
        account="n1account",
        price=PRICE,
        denom="unym",
        created_unix=1,
        identity_seed=bytes(32),
        user=UserSecretKey.generate(),
    )
    with contextlib.suppress(PurchaseError):
        async with store.turn():
            await store.purchases.add_purchase(plan)


async def spend_one(store, today, reader, writer, dice):
    if dice.random() < BUYING:
        await plan_one(store)
    try:
        taken = await store.take(TicketType.MIXNET_ENTRY, today, gateway=bytes([dice.randrange(3)] * 32))
    except OutOfTickets:
        await asyncio.sleep(0.1)
        return
    outcome = dice.choice(OUTCOMES)
    if outcome is not Settlement.UNSENT:
        wallet = hashlib.sha256(taken.book.wallet.wallet_secret.to_bytes(32, "little")).hexdigest()
        writer.write(f"{wallet} {taken.book_id} {taken.index}\n".encode())
        await reader.readline()
    await asyncio.sleep(dice.random() * 0.01)
    if outcome is not None:
        await store.settle(taken, outcome)


async def pay_one(store, gateways, reader, writer, dice):
    number = dice.randrange(len(gateways))
    try:
        ticket = await StoredTickets(store).prepare(gateways[number])
    except OutOfTickets:
        await asyncio.sleep(0.1)
        return
    writer.write(f"{number} {ticket.taken.book_id} {ticket.taken.index} {ticket.credential.hex()}\n".encode())
    outcome, _, total = (await reader.readline()).decode().partition(" ")
    await ticket.settle(outcome, int(total or 0))


def spender(where: str, port: int, today: date, gateways: list[bytes], threads: int, seed: int) -> None:
    """One process."""
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
    workers = [
        threading.Thread(
            target=lambda n=number: asyncio.run(
                spend(where, port, today, gateways, stop, random.Random(seed + n))
            )
        )
        for number in range(threads)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()


def main(where: str, port: str, day: str, processes: str, threads: str, *gateways: str) -> None:
    """Keeps so many processes alive until SIGTERM, and tells their numbers on stdout."""
    stopping = False
    seed = random.SystemRandom()
    children: set[int] = set()

    def stop(*_: object) -> None:
        nonlocal stopping
        stopping = True
        for child in children:
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGTERM)

    signal.signal(signal.SIGTERM, stop)
    while children or not stopping:
        while not stopping and len(children) < int(processes):
            # Held back until the new process is known here, and knows itself what to do when told to stop.
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
            child = os.fork()
            if not child:
                identities = [bytes.fromhex(gateway) for gateway in gateways]
                spender(
                    where, int(port), date.fromisoformat(day), identities, int(threads), seed.randrange(2**40)
                )
                os._exit(0)
            children.add(child)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
            print(child, flush=True)
        with contextlib.suppress(ChildProcessError):
            children.discard(os.waitpid(-1, 0)[0])


if __name__ == "__main__":
    main(*sys.argv[1:])
