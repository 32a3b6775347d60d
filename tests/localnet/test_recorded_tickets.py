"""Recorded tickets and a gateway's recorded words about them (docs/protocol/03 §9.4, `gateway_answers`)."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from nym_localnet import gateway_rules
from nym_localnet.chain.faucet import Faucet
from nym_localnet.chain.server_io import ChainServer
from nym_localnet.desk_settings import DeskSettings
from nym_localnet.ecash import ticket_rules
from nym_localnet.ecash.desk_io import TicketDesk
from nym_localnet.ecash.desk_store_io import DeskStore
from nym_localnet.ecash.ticket_rules import ReceivedTicket, Standing
from nym_localnet.errors import TicketRefused
from nym_localnet.tickets import ALREADY_SPENT, TicketContext
from tests.localnet.harness import until
from tests.localnet.recorded_world import RecordedWorld, recorded_world
from tests.vector_files import load
from zknym import PayInfo, SpendingCredential, TicketType, b58decode

pytestmark = pytest.mark.vectors

FILE = load("recorded-chain")
CLIENT = bytes(32)
NOT_APPLICABLE = {
    # A JSON web token is not even parsed here: upgrade mode is never on in a test network.
    "upgradeModeJWT rubbish": "provided upgrade mode JWT is invalid",
}


@asynccontextmanager
async def desk(world: RecordedWorld, gateway: dict[str, Any]) -> AsyncIterator[TicketDesk]:
    """A gateway's desk that asks the recorded chain and signers."""
    from nym_credentials.chain.wallet import Wallet

    server = ChainServer(
        world.nyx, Faucet(Wallet(b"\1" * 32), world.nyx.chain), block_seconds=60, faucet_amount=1
    )
    await server.start()
    dkg = world.nyx.dkg
    for signer in world.signers:
        dkg.announce(dkg.current_epoch, signer.index, signer.url)
    settings = DeskSettings(
        rpc_url=server.url, dkg_address=world.nyx.contracts.coconut_dkg, account=gateway["cosmos_address"]
    )
    taken = TicketDesk(settings, DeskStore(), clock=lambda: world.now_unix)
    await taken.start()
    try:
        yield taken
    finally:
        await taken.close()
        await server.close()


async def never(serial: bytes) -> bool:
    raise AssertionError("the desk keeps its own record")


def context(gateway: dict[str, Any], now: float) -> TicketContext:
    return TicketContext(b58decode(gateway["identity"]), now, never, CLIENT)


async def test_recorded_tickets_are_taken_and_a_double_spend_is_punished() -> None:
    tickets, (first, second, *_) = FILE["tickets"], FILE["state"]["gateways"]
    async with recorded_world(FILE) as world, desk(world, first) as one, desk(world, second) as two:
        revoked: list[tuple[bytes, int]] = []

        async def revoke(client: bytes, amount: int) -> None:
            revoked.append((client, amount))

        one.on_revoked = two.on_revoked = revoke
        entry = TicketType.MIXNET_ENTRY.bytes_per_ticket
        for taken, name, gateway in (
            (one, "accepted_by_gateway_1", first),
            (two, "double_spend_at_gateway_2", second),
        ):
            raw = bytes.fromhex(tickets[name]["credential_hex"])
            info = PayInfo.decode(bytes.fromhex(tickets[name]["pay_info_hex"]))
            known = ReceivedTicket.decode(raw)
            assert known.serial.hex() == tickets[name]["serial_number_hex"]
            assert str(known.spend_date) == tickets[name]["spend_date"]
            for offset in (-31, 31):
                with pytest.raises(TicketRefused, match="timestamp is invalid"):
                    await taken.verify(raw, context(gateway, info.timestamp + offset))
            assert await taken.verify(raw, context(gateway, info.timestamp + 30)) == entry
            with pytest.raises(TicketRefused, match=ALREADY_SPENT):
                await taken.verify(raw, context(gateway, info.timestamp))
            await until(lambda taken=taken: not taken._submitting, "the signers were asked")
        assert [each.standing for each in await one.store.tickets()] == [Standing.VERIFIED]
        assert [each.standing for each in await two.store.tickets()] == [Standing.REJECTED]
        assert revoked == [(CLIENT, 10 * entry)]
        with pytest.raises(TicketRefused, match="public key does not match"):
            await two.verify(fresh_for(first, tickets), context(second, world.now_unix))


def fresh_for(gateway: dict[str, Any], tickets: dict[str, Any]) -> bytes:
    """A ticket with a serial number that nobody knows, made out to that gateway; its proof is not good."""
    from dataclasses import replace

    from zknym.generators import BASE_G1

    credential = SpendingCredential.decode(bytes.fromhex(tickets["accepted_by_gateway_1"]["credential_hex"]))
    assert credential.pay_info.gateway_identity == b58decode(gateway["identity"])
    return replace(
        credential, payment=replace(credential.payment, serial_numbers=(BASE_G1.times(7),))
    ).encode()


def known_texts() -> list[str]:
    """Everything that our gateways say when they refuse, as patterns."""
    words = [
        value
        for module in (gateway_rules, ticket_rules)
        for name, value in vars(module).items()
        if name.isupper() and isinstance(value, str)
    ]
    return [re.escape(text).replace(re.escape("{}"), ".*") for text in [*words, ALREADY_SPENT]]


def error_answers() -> list[tuple[str, str]]:
    return [
        (each["case"], each["answer"]["message"])
        for each in FILE.get("gateway_answers", ())
        if isinstance(each["answer"], dict) and each["answer"].get("type") == "error"
    ]


@pytest.mark.parametrize(("case", "message"), error_answers())
def test_our_gateways_refuse_in_the_recorded_words(case: str, message: str) -> None:
    if case in NOT_APPLICABLE:
        assert message.startswith(NOT_APPLICABLE[case])
        return
    assert any(re.fullmatch(text, message) for text in known_texts()), message


@pytest.mark.parametrize("day", [0, -1, 2_440_588, 2_461_367, 1_721_426, 1_721_425, 5_373_484])
def test_days_are_shown_as_the_calendar_has_them(day: int) -> None:
    from zknym.dates import from_julian_day

    shown = ticket_rules.shown_day(day)
    if 1_721_426 <= day <= 5_373_484:  # the years 1 to 9999
        assert shown == str(from_julian_day(day))
    else:
        assert shown == {0: "-4713-11-24", -1: "-4713-11-23", 1_721_425: "0000-12-31"}[day]


def test_bounds_of_the_signers_verdict() -> None:
    table = {
        (3, 3, 0): Standing.VERIFIED,
        (3, 2, 0): Standing.PENDING,
        (3, 2, 1): Standing.REJECTED,
        (4, 3, 1): Standing.VERIFIED,
        (4, 2, 1): Standing.PENDING,
        (4, 0, 2): Standing.REJECTED,
        (10, 7, 2): Standing.VERIFIED,
        (10, 7, 3): Standing.REJECTED,
        (0, 0, 0): Standing.PENDING,
    }
    for (signers, accepted, rejected), expected in table.items():
        assert ticket_rules.standing(signers, accepted, rejected) is expected
