"""A gateway keeps what absent clients should get (docs/protocol/03 §7.4)."""

from __future__ import annotations

import asyncio
import time

import pytest

from nym_localnet import gateway_client_io, gateway_store_io
from nym_localnet.gateway_store_io import GatewayStore
from tests.localnet.gateway_users import (
    ack_to,
    deliver,
    payload,
    registered,
)
from tests.localnet.harness import sink, until
from tests.localnet.raw_client import raw_client, running_gateway


async def test_payloads_for_an_absent_client_wait_in_order_and_come_before_the_answer() -> None:
    async with running_gateway() as running, sink() as collected:
        keys, key = await registered(running)
        count = 2 * gateway_store_io.RETRIEVAL_BATCH + 7
        for number in range(count):
            await deliver(running, keys.identity_public, payload(number % 251), ack_to(collected))
        await until(lambda: len(collected.frames) == count, "acks released once stored")
        async with raw_client(running, keys, key) as client:
            answer = await client.authenticate()
            assert answer["type"] == "authenticate"
            assert client.pushed == [payload(number % 251) for number in range(count)]
        assert running.gateway.store.waiting(keys.identity_public) == 0


async def test_a_registration_gets_what_was_stored_under_the_new_key() -> None:
    async with running_gateway() as running, sink() as collected:
        keys, _ = await registered(running)
        await deliver(running, keys.identity_public, payload(5), ack_to(collected))
        await until(lambda: collected.frames, "stored")
        async with raw_client(running, keys) as client:
            assert (await client.register())["status"] is True
            assert client.pushed == [payload(5)]


async def test_payloads_for_strangers_are_dropped_without_ack() -> None:
    async with running_gateway() as running, sink() as collected:
        await deliver(running, bytes(32), payload(1), ack_to(collected))
        assert running.gateway.counters.unknown_clients == 1
        assert not collected.frames


async def test_the_store_of_one_client_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gateway_store_io, "MAX_STORED_PER_CLIENT", 2)
    async with running_gateway() as running, sink() as collected:
        keys, _ = await registered(running)
        for number in range(3):
            await deliver(running, keys.identity_public, payload(number), ack_to(collected))
        await until(lambda: len(collected.frames) == 2, "two stored")
        assert running.gateway.counters.stored_refused == 1


async def test_old_payloads_are_purged() -> None:
    store = GatewayStore()
    async with running_gateway(store=store) as running, sink() as collected:
        keys, _ = await registered(running)
        await deliver(running, keys.identity_public, payload(1), ack_to(collected))
        await until(lambda: collected.frames, "stored")
        assert await store.purge(time.time() - 60) == 0
        assert await store.purge(time.time() + 60) == 1
        assert store.waiting(keys.identity_public) == 0


async def test_what_a_broken_connection_did_not_take_goes_back_to_the_store() -> None:
    async with running_gateway() as running, sink() as collected:
        async with raw_client(running, receive_timeout=None) as client:
            await client.register()
            keys, key = client.keys, client.key
            # The client stops reading: the kernel's buffers fill, the rest waits at the gateway.
            client.socket._response.connection.transport.pause_reading()  # type: ignore[union-attr]
            count = 4000
            for number in range(count):
                await deliver(running, keys.identity_public, payload(number % 251), ack_to(collected))
                if number % 100 == 0:
                    await asyncio.sleep(0)
            await until(lambda: len(collected.frames) > 100, "some were written")
            acknowledged = 0
            while acknowledged < len(collected.frames):  # until the buffers are full
                acknowledged = len(collected.frames)
                await asyncio.sleep(0.5)
            assert acknowledged < count
            client.socket._response.connection.transport.abort()  # type: ignore[union-attr]
        await until(lambda: len(collected.frames) == count, "all acknowledged: written or stored")
        returned = running.gateway.counters.returned_to_store
        assert returned >= count - acknowledged
        async with raw_client(running, keys, key) as client:
            await client.authenticate()
            assert len(client.pushed) == returned
            assert client.pushed == [payload(number % 251) for number in range(count)][-returned:]


async def test_a_slow_client_does_not_fill_the_gateway(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gateway_client_io, "MAX_QUEUED", 10)
    async with running_gateway() as running, sink() as collected, raw_client(running) as client:
        await client.register()
        for number in range(20):  # no turn for the writer in between
            await deliver(running, client.keys.identity_public, payload(number), ack_to(collected))
        await until(lambda: len(collected.frames) == 10, "what fitted is acknowledged")
        assert running.gateway.counters.stored_refused == 10
