"""Allowances by ticket, and sealed requests (docs/protocol/03 §6.3, §9)."""

from __future__ import annotations

import json
import secrets
import time
from pathlib import Path

import aiohttp
import pytest

from nym_localnet.errors import TicketRefused
from nym_localnet.gateway_store_io import GatewayStore
from nym_localnet.tickets import NOT_VERIFIED, TicketContext
from nym_mixnet.gateway_wire import (
    Credential,
    ForgetMe,
    ForgetMeAck,
    RememberMe,
    RememberMeAck,
    SessionType,
    open_response,
    parse_response,
    seal_credential,
    seal_request,
)
from nym_mixnet.keys import ClientKeys
from nym_sphinx import SYSTEM_RNG, Hop
from tests.localnet.gateway_users import (
    refused_twice,
)
from tests.localnet.harness import until
from tests.localnet.raw_client import RunningGateway, raw_client, running_gateway


class AcceptOnce:
    """Grants 200 MB for a serial number (the payment) that was not spent here."""

    async def verify(self, credential: bytes, context: TicketContext) -> int:
        ticket = Credential.decode(credential)
        assert ticket.gateway_identity == context.gateway_identity
        if not await context.spend(ticket.payment):
            raise TicketRefused(
                "the provided bandwidth credential has already been spent before at this gateway"
            )
        return 200_000_000


def ticket_for(running: RunningGateway, serial: bytes) -> bytes:
    from datetime import UTC, datetime

    from nym_mixnet.gateway_wire import make_pay_info

    info = make_pay_info(bytes(32), int(time.time()), running.identity)
    return Credential(serial, info, datetime.now(UTC).date(), 1).encode()


async def test_tickets_without_a_verifier_are_refused() -> None:
    async with running_gateway() as running, raw_client(running) as client:
        await client.register()
        assert client.key is not None
        sealed = seal_credential(ticket_for(running, b"1"), client.key, secrets.token_bytes(12))
        assert await client.ask(sealed.encode()) == {"type": "error", "message": NOT_VERIFIED}
        malformed = seal_credential(ticket_for(running, b"1")[:-1], client.key, secrets.token_bytes(12))
        assert (await client.ask(malformed.encode()))["message"] == (
            "Provided binary request was malformed - the received encrypted data was malformed"
        )


async def test_a_verifier_grants_bandwidth_and_remembers_serials_over_restarts(tmp_path: Path) -> None:
    path = tmp_path / "gateway.sqlite"
    keys, key = ClientKeys.generate(SYSTEM_RNG), None
    for life in range(2):
        async with (
            running_gateway(store=GatewayStore(path), verifier=AcceptOnce()) as running,
            raw_client(running, keys, key) as client,
        ):
            await (client.authenticate() if key else client.register())
            key = client.key
            assert key is not None
            fresh = seal_credential(ticket_for(running, b"life %d" % life), key, secrets.token_bytes(12))
            answer = await client.ask(fresh.encode())
            assert answer == {
                "type": "bandwidth",
                "available_total": 200_000_000 * (life + 1),
                "upgrade_mode": False,
            }
            spent = seal_credential(ticket_for(running, b"life 0"), key, secrets.token_bytes(12))
            assert "already been spent" in (await client.ask(spent.encode()))["message"]


async def test_forget_me_and_remember_me() -> None:
    async with running_gateway() as running:
        async with raw_client(running) as client:
            await client.register()
            key = client.key
            assert key is not None
            for request, expected in (
                (RememberMe(SessionType.SOCKS5), RememberMeAck()),
                (ForgetMe(client=False, stats=True), ForgetMeAck()),
                (ForgetMe(client=True, stats=True), ForgetMeAck()),
            ):
                answer = await client.ask(seal_request(request, key, secrets.token_bytes(12)).encode())
                response = parse_response(json.dumps(answer))
                assert open_response(response, key) == expected  # type: ignore[arg-type]
            keys = client.keys
        await until(lambda: not running.gateway.is_active(keys.identity_public), "session ended")
        async with raw_client(running, keys, key) as client:
            text = await refused_twice(client, await client.authenticate())
            assert text == "the client is not registered"
        assert Hop  # the route of the tests above


async def test_too_many_connections_are_turned_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nym_localnet.gateway_io.MAX_CONNECTIONS", 1)
    async with running_gateway() as running, raw_client(running):
        with pytest.raises(aiohttp.ClientError):
            async with raw_client(running):
                pass
