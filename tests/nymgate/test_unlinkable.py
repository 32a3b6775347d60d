"""What chain, signers and gateways are sent has nothing in common but what the protocol requires.

Everything that leaves this process is recorded on its way: HTTP requests to the chain and to each signer by small
relays in front of them, tickets as the gateway was given them. Out of each recording all values are taken that could
identify anything (numbers in JSON lists, hex, base58, base64, and what is inside of those), and any two recordings are
searched for common pieces of 16 bytes.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from nym_credentials.chain.wallet import Wallet
from nymgate.daemon import Proxy
from tests.nymgate.paid_world import LIMIT_SECONDS, TICKET_BYTES, account_with, buy, paying_network, plan_for
from zknym import MalformedData, b58decode

WINDOW_BYTES = 16
RUN = re.compile(rb"[0-9A-Za-z+/=]{22,}")


@dataclass
class Request:
    """One HTTP request."""

    line: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Relay:
    """Stands in front of a server and writes down what is sent to it."""

    url: str = ""
    requests: list[Request] = field(default_factory=list)

    def take(self) -> list[Request]:
        taken, self.requests = self.requests, []
        return taken


@contextlib.asynccontextmanager
async def relay(target: str) -> Iterator[Relay]:
    host, port = re.fullmatch(r"http://([^:/]+):(\d+)/?.*", target).groups()
    noted = Relay()

    async def serve(reader, writer):
        up_reader, up_writer = await asyncio.open_connection(host, int(port))

        async def down():
            while data := await up_reader.read(1 << 16):
                writer.write(data)
                await writer.drain()

        async with asyncio.TaskGroup() as group:
            task = group.create_task(down())
            with contextlib.suppress(asyncio.IncompleteReadError, OSError):
                while True:
                    head = await reader.readuntil(b"\r\n\r\n")
                    lines = head.decode().split("\r\n")
                    headers = dict(line.split(": ", 1) for line in lines[1:] if line)
                    body = await reader.readexactly(int(headers.get("Content-Length", 0)))
                    noted.requests.append(Request(lines[0], headers, body))
                    up_writer.write(head + body)
                    await up_writer.drain()
            up_writer.close()
            task.cancel()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        noted.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        yield noted


def leaves(value: Any) -> Iterator[bytes]:
    """Everything in JSON that could identify something, as bytes."""
    if isinstance(value, dict):
        for item in value.values():
            yield from leaves(item)
    elif isinstance(value, list):
        if value and all(isinstance(item, int) and 0 <= item < 256 for item in value):
            yield bytes(value)
        else:
            for item in value:
                yield from leaves(item)
    elif isinstance(value, str):
        yield from texts(value.encode(), 3)


def texts(data: bytes, depth: int) -> Iterator[bytes]:
    """What encoded text within bytes stands for."""
    for run in RUN.findall(data):
        for decode in (bytes.fromhex, b58decode, lambda text: base64.b64decode(text, validate=True)):
            with contextlib.suppress(ValueError, MalformedData):
                found = decode(run.decode())
                if len(found) >= WINDOW_BYTES:
                    yield found
                    if depth:
                        yield from texts(found, depth - 1)


def pieces(values: Iterable[bytes]) -> set[bytes]:
    return {
        value[start : start + WINDOW_BYTES]
        for value in values
        for start in range(len(value) - WINDOW_BYTES + 1)
    }


def of_requests(requests: list[Request]) -> set[bytes]:
    found: list[bytes] = []
    for request in requests:
        found += texts(request.line.encode(), 3)
        if request.body:
            found += leaves(json.loads(request.body))
    return pieces(found)


@dataclass
class Purchase:
    """What one purchase sent, and what it was."""

    chain: list[Request]
    signers: list[list[Request]]
    record: Any

    @property
    def key(self) -> bytes:
        return self.record.identity_key


async def record(tmp_path) -> tuple[list[Purchase], list[Any], Wallet, bytes]:
    async with contextlib.AsyncExitStack() as stack:
        net = await stack.enter_async_context(paying_network(ticket_scale=0.0005))
        payments = net.payments
        chain = await stack.enter_async_context(relay(payments.rpc_url))
        signers = [await stack.enter_async_context(relay(signer.url)) for signer in payments.signers]
        announced = [signer.url for signer in payments.signers]
        plan = plan_for(net, tmp_path, **{"tickets.ticket_size": f"{round(TICKET_BYTES * 0.0005)}B"})
        network = replace(plan.money.network, chain=replace(plan.money.chain, rpc_urls=(chain.url,)))
        plan = replace(plan, money=replace(plan.money, network=network))
        purchases = []
        async with account_with(net, plan, 400) as money:
            wallet = await money.wallet()
            for index, noted in enumerate(signers, start=1):
                payments.nyx.dkg.announce(payments.options.initial_epoch, index, noted.url)
            for _ in range(2):
                [bought] = await buy(money)
                purchases.append(Purchase(chain.take(), [noted.take() for noted in signers], bought))
            for index, url in enumerate(announced, start=1):
                payments.nyx.dkg.announce(payments.options.initial_epoch, index, url)
        tickets = []
        async with Proxy(plan) as proxy, asyncio.timeout(LIMIT_SECONDS):
            source, client = proxy.identity.spender.source, await client_of(proxy)
            gateway = client.address.gateway
            for number in range(3):
                if number == 2:  # one of the other book
                    [first, _second] = await proxy.purse.money.books()
                    await proxy.purse.money.store.give_up_book(first.book_id)
                ticket = await source.prepare(gateway)
                tickets.append(ticket)
                await ticket.settle("accepted", None, "")
            identity = client.address.identity
        assert not chain.take(), "spending asks the chain nothing"
        assert not any(noted.take() for noted in signers), "nor the signers"
        return purchases, [(t.taken.book_id, t.credential) for t in tickets], wallet, gateway + identity


async def client_of(proxy):
    return (await proxy.ready()).client


@pytest.mark.slow
async def test_nothing_sent_links_one_step_with_another(tmp_path):
    purchases, tickets, wallet, keys = await record(tmp_path)
    gateway, identity = keys[:32], keys[32:]
    chain = [of_requests(purchase.chain) for purchase in purchases]
    signers = [[of_requests(requests) for requests in purchase.signers] for purchase in purchases]
    assert all(gateway in credential for _book, credential in tickets)
    paid = [pieces(credential.split(gateway)) for _book, credential in tickets]
    assert len({book for book, _credential in tickets}) == 2
    # The recording is one: it has in it what the protocol says that is sent.
    for number, purchase in enumerate(purchases):
        assert pieces([purchase.key]) <= chain[number]
        asked = [shares_asked(requests) for requests in purchase.signers]
        assert sum(map(bool, asked)) >= 2, "the threshold"
        for body in (body for bodies in asked for body in bodies):
            assert body["deposit_id"] == purchase.record.deposit.deposit_id
        assert any(wallet.address.encode() in base64.b64decode(tx) for tx in broadcasts(purchase.chain))

    assert all(sum(len(seen) > 500 for seen in of_book) >= 2 for of_book in signers), (
        "requests were understood"
    )
    assert all(len(seen) > 1000 for seen in paid)
    # Chain and signers share the number of the deposit, by which signers look it up, and nothing else.
    for seen in (*signers[0], *signers[1]):
        assert not seen & chain[0]
        assert not seen & chain[1]
    # The account stays with the chain.
    account = pieces([wallet.public_key, bech32_bytes(wallet.address)])
    for seen in (*signers[0], *signers[1], *paid):
        assert not seen & account
    for purchase in purchases:
        sent = b"".join(request.body + request.line.encode() for seen in purchase.signers for request in seen)
        for mark in (
            wallet.address,
            purchase.record.payment.tx_hash,
            purchase.record.payment.tx_hash.lower(),
        ):
            assert mark.encode() not in sent
    # Two books have nothing in common at the signers, even at one and the same.
    for first in signers[0]:
        for second in signers[1]:
            assert not first & second
    # Signers and chain cannot tell who spends, nor gateways who bought.
    for seen in paid:
        for other in (*chain, *signers[0], *signers[1]):
            assert not seen & other
        assert not seen & pieces([identity]), "the session says who we are, the ticket does not"
    # Two tickets share nothing but the gateway that they are made out to, also those of one book.
    for number, first in enumerate(paid):
        for second in paid[number + 1 :]:
            assert not first & second
    check_headers(purchases)


def check_headers(purchases: list[Purchase]) -> None:
    """No cookies, no ids that go on, the same headers from everybody and at every time."""
    for of_server in (
        [request for purchase in purchases for request in purchase.chain],
        [request for purchase in purchases for seen in purchase.signers for request in seen],
    ):
        for method in ("GET", "POST"):
            shown = {
                frozenset(
                    (name, value)
                    for name, value in request.headers.items()
                    if name not in ("Host", "Content-Length")
                )
                for request in of_server
                if request.line.startswith(method)
            }
            assert len(shown) <= 1, shown
            for headers in shown:
                assert {name for name, _value in headers} <= {
                    "Accept",
                    "Accept-Encoding",
                    "Content-Type",
                    "User-Agent",
                    "Connection",
                }
    ids = [json.loads(r.body)["id"] for purchase in purchases for r in purchase.chain if r.body]
    assert len(ids) == len(set(map(str, ids))) or len(set(map(str, ids))) == 1, "no counter that goes on"


def shares_asked(requests: list[Request]) -> list[Any]:
    return [json.loads(request.body) for request in requests if "blind-sign" in request.line]


def broadcasts(requests: list[Request]) -> list[str]:
    bodies = [json.loads(request.body) for request in requests if request.body]
    return [body["params"]["tx"] for body in bodies if body.get("method") == "broadcast_tx_sync"]


def bech32_bytes(address: str) -> bytes:
    """The 20 bytes of a bech32 address."""
    alphabet = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
    bits = "".join(f"{alphabet.index(c):05b}" for c in address.split("1", 1)[1][:-6])
    return bytes(int(bits[i : i + 8], 2) for i in range(0, len(bits) // 8 * 8, 8))
