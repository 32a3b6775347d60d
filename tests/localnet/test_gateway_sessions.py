"""A gateway lets clients in, one session each, and refuses in the documented words (docs/protocol/03 §4-§7)."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

import aiohttp
import pytest

from nym_localnet import gateway_client_io, gateway_connection_io
from nym_mixnet.gateway_wire import (
    SessionKey,
)
from nym_mixnet.keys import ClientKeys
from nym_sphinx import SYSTEM_RNG
from tests.localnet.gateway_users import (
    ack_to,
    authenticate_text,
    deliver,
    payload,
    refused_twice,
    registered,
)
from tests.localnet.harness import sink, until
from tests.localnet.raw_client import raw_client, running_gateway


@pytest.mark.parametrize("version", [4, 5, 6, 9])
async def test_registration(version: int) -> None:
    async with running_gateway() as running, raw_client(running) as client:
        assert await client.ask({"type": "supportedProtocol"}) == {"type": "supportedProtocol", "version": 6}
        if version <= 6:
            assert await client.register(version) == {
                "type": "register",
                "protocol_version": version,
                "status": True,
                "upgrade_mode": False,
            }
            assert await client.ask({"type": "supportedProtocol"}) == {
                "type": "supportedProtocol",
                "version": 6,
            }
        else:
            answer = await client.register(version)
            assert answer["protocol_version"] == 6


async def test_authentication_and_its_answer() -> None:
    async with running_gateway() as running:
        keys, key = await registered(running)
        for version in (4, 5, 6):
            async with raw_client(running, keys, key) as client:
                answer = await client.authenticate(int(time.time()) - 10 + version, version=version)
                assert answer == {
                    "type": "authenticate",
                    "protocol_version": version,
                    "status": True,
                    "bandwidth_remaining": 0,
                    "upgrade_mode": False,
                }
            await until(lambda: not running.gateway.is_active(keys.identity_public), "session ended")


async def test_authentication_is_refused_in_the_documented_order_and_words() -> None:
    async with running_gateway() as running:
        keys, key = await registered(running)
        now = int(time.time())

        async def refusal(**change: Any) -> str:
            used = {"timestamp": now, "key": key} | change
            mine = used.pop("keys", keys)
            async with raw_client(running, mine) as client:
                return await refused_twice(client, await client.authenticate(**used))

        wrong_key = SessionKey(bytes(32))
        incompatible = (
            "Attempted to negotiate connection with client using incompatible protocol version. "
            "Ours is 6 and the client reports {}"
        )
        assert await refusal(version=3, timestamp=0) == incompatible.format(3)
        assert await refusal(version=7) == incompatible.format(7)
        for skewed in (now - 125, now + 130, 2**60):
            text = await refusal(timestamp=skewed, keys=ClientKeys.generate(SYSTEM_RNG))
            assert text.startswith("the provided request timestamp is excessively skewed. got ")
            assert " whilst the server time is " in text
        assert await refusal(keys=ClientKeys.generate(SYSTEM_RNG)) == "the client is not registered"
        assert await refusal(key=wrong_key) == "failed to verify provided address ciphertext"
        async with raw_client(running, keys, key) as client:
            assert (await client.authenticate(now))["status"] is True
        await until(lambda: not running.gateway.is_active(keys.identity_public), "session ended")
        reused = "the provided request timestamp is smaller or equal to one previously used"
        assert await refusal() == reused
        assert await refusal(timestamp=now - 1) == reused
        assert (
            await refusal(timestamp=now - 1, key=wrong_key) == "failed to verify provided address ciphertext"
        )


async def test_a_forged_signature_is_refused() -> None:
    async with running_gateway() as running:
        keys, key = await registered(running)
        async with raw_client(running, keys, key) as client:
            request = json.loads(authenticate_text(keys, key))
            request["requestSignature"][5] ^= 1
            text = await refused_twice(client, await client.ask(request))
            assert text == "failed to verify request signature"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("nonsense", "Only 'Register' or 'Authenticate' requests are allowed"),
        ('{"type":"claimFreeTestnetBandwidth"}', "Only 'Register' or 'Authenticate' requests are allowed"),
        (
            '{"type":"authenticate","protocol_version":3,"address":"a","enc_address":"b","iv":"c"}',
            "the legacy authentication method is no longer supported. please update your client",
        ),
    ],
)
async def test_before_authentication_other_requests_end_the_connection(text: str, reason: str) -> None:
    async with running_gateway() as running, raw_client(running) as client:
        assert await client.ask(text) == {"type": "error", "message": reason}
        assert await client.hear() is None


async def test_a_packet_before_authentication_ends_the_connection() -> None:
    async with running_gateway() as running, raw_client(running) as client:
        await client.socket.send_bytes(b"\x01\x01" + bytes(40))
        assert (await client.hear())["message"] == (
            "possibly received a sphinx packet without prior authentication. Request is going to be ignored"
        )
        assert await client.hear() is None


async def test_silence_before_authentication_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gateway_connection_io, "INITIAL_MESSAGE_SECONDS", 0.05)
    async with running_gateway() as running, raw_client(running) as client:
        assert (await client.hear())["message"] == "timed out while waiting for initial data"
        assert await client.hear() is None


async def test_pings_are_answered_before_and_after_authentication() -> None:
    async with running_gateway() as running, raw_client(running, autoping=False) as client:
        for _ in range(2):
            await client.socket.ping(b"\x01\x02\x03")
            message = await client.socket.receive()
            assert (message.type, bytes(message.data)) == (aiohttp.WSMsgType.PONG, b"\x01\x02\x03")
            if client.key is None:
                await client.register()


async def test_no_extension_is_negotiated_and_plain_http_is_turned_away() -> None:
    async with running_gateway() as running, raw_client(running, compress=15) as client:
        assert client.socket.compress == 0
        async with (
            aiohttp.ClientSession() as session,
            session.get(running.url.replace("ws", "http", 1)) as response,
        ):
            assert response.status == 426


async def test_a_failed_handshake() -> None:
    async with running_gateway() as running, raw_client(running) as client:
        first = await client.ask({"type": "handshakePayload", "protocol_version": 6, "data": [1, 2, 3]})
        assert first["type"] == "handshakeError"
        assert first["message"] == "sent request was malformed"
        text = await refused_twice(client, await client.hear())
        assert text == "Failed to perform registration handshake: sent request was malformed"


async def test_a_silent_handshake_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gateway_connection_io, "HANDSHAKE_TIMEOUT_SECONDS", 0.05)
    async with running_gateway() as running, raw_client(running) as client:
        data = [*client.keys.identity_public, *client.keys.encryption_public, *bytes(16)]
        first = await client.ask(
            {"type": "registerHandshakeInitRequest", "protocol_version": 6, "data": data}
        )
        assert first["type"] == "handshakePayload"
        second = await client.hear()
        assert second == {"type": "handshakeError", "message": "timed out waiting for a handshake message"}


async def test_a_second_session_is_refused_while_the_first_answers_pings() -> None:
    async with running_gateway() as running, raw_client(running) as first:
        await first.register()
        listening = asyncio.get_running_loop().create_task(first.socket.receive())
        async with raw_client(running, first.keys, first.key) as second:
            text = await refused_twice(second, await second.authenticate(int(time.time()) + 2))
            assert text == "There is already an open connection to this client"
        async with raw_client(running, first.keys) as third:
            text = await refused_twice(third, await third.register())
            assert text == "There is already an open connection to this client"
        listening.cancel()


async def test_a_session_that_does_not_answer_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gateway_client_io, "PROBE_SECONDS", 0.1)
    async with running_gateway() as running, raw_client(running, autoping=False) as first:
        await first.register()
        async with raw_client(running, first.keys, first.key) as second:
            assert (await second.authenticate(int(time.time()) + 2))["status"] is True
            assert (await second.ask({"type": "claimFreeTestnetBandwidth"}))["type"] == "bandwidth"
            async with sink() as collected:
                await deliver(running, first.keys.identity_public, payload(3), ack_to(collected))
                assert await second.hear_push() == payload(3)


async def test_an_older_authentication_does_not_replace_a_session() -> None:
    async with running_gateway() as running:
        keys, key = await registered(running)
        now = int(time.time())
        async with raw_client(running, keys, key) as first:
            await first.authenticate(now)
            # the stored timestamp refuses first; a session begun by registration has no stored one
        await until(lambda: not running.gateway.is_active(keys.identity_public), "session ended")
        async with raw_client(running, keys) as again:
            await again.register()
            async with raw_client(running, keys, again.key) as second:
                text = await refused_twice(second, await second.authenticate(now + 1 - 10 + 9))
                assert text == "the provided request timestamp is smaller or equal to one previously used"


async def test_a_stale_authentication_against_a_live_registration() -> None:
    async with running_gateway() as running, raw_client(running) as first:
        await first.register()
        async with raw_client(running, first.keys, first.key) as second:
            text = await refused_twice(second, await second.authenticate(int(time.time()) - 5))
            assert text == "attempted to overwrite client session with a stale authentication"
