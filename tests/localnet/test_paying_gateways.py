"""Gateways that take tickets, in a whole network: docs/protocol/03 §9 and the recorded answers of upstream's."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path
from secrets import token_bytes
from typing import Any

import pytest

from nym_credentials.signers.tickets import Rejection
from nym_localnet import Localnet, LocalnetOptions, Mode, PaymentOptions
from nym_localnet.ecash.desk_io import TicketDesk
from nym_localnet.ecash.ticket_rules import Standing
from nym_localnet.errors import StartFailed
from nym_mixnet.gateway_wire import seal_credential
from nym_sphinx import Hop, PacketSize
from tests.localnet.harness import loopback, until
from tests.localnet.paying import BLOCK_SECONDS, buyer, gateway_client, paying_net, purse, spend, today
from tests.localnet.raw_client import RawClient
from zknym import SpendingCredential, TicketType

TICKET = 200_000_000


def desk_of(net: Localnet, name: str) -> TicketDesk:
    host: Any = net._hosts[0]
    desk = host._nodes[name].desk
    assert desk is not None
    return desk


async def settled(net: Localnet, name: str, number: int, standing: Standing = Standing.VERIFIED) -> None:
    desk = desk_of(net, name)
    async with asyncio.timeout(60):
        while len(await desk.store.tickets(standing)) < number:  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def retried(desk: TicketDesk, verified: int) -> None:
    """Until so many tickets are verified, asking again and again."""
    async with asyncio.timeout(60):
        while len(await desk.store.tickets(Standing.VERIFIED)) < verified:
            await desk.retry_now()
            await asyncio.sleep(0.01)


def text(answer: Any) -> str:
    assert answer["type"] == "error", answer
    return str(answer["message"])


async def test_from_an_empty_wallet_to_metered_bytes_and_matching_books() -> None:
    async with paying_net() as net, buyer(net.payments) as payer:
        tickets = await purse(payer)
        async with gateway_client(net) as client:
            await client.register()
            assert text(await client.ask({"type": "claimFreeTestnetBandwidth"})) == (
                "This gateway is only accepting coconut credentials for bandwidth"
            )
            for number in range(1, 3):
                answer = await spend(client, tickets.pay(client.running.identity))
                assert answer == {
                    "type": "bandwidth",
                    "available_total": number * TICKET,
                    "upgrade_mode": False,
                }
        await settled(net, "gateway1", 2)
        books = await net.payments.books()
        account = net.payments.address("gateway1")
        assert (books.deposits, books.deposited) == (1, net.payments.options.price)
        assert books.issued == (1, 1, 0)
        assert books.tickets == ({account: 2},) * 3
        counters = (await net.nodes["gateway1"].counters())["gateway"]
        assert (counters["tickets"], counters["tickets_verified"]) == (2, 2)
        assert counters["granted_bytes"] == 2 * TICKET


async def test_every_refusal_in_the_words_of_the_reference() -> None:
    async with paying_net() as net, buyer(net.payments) as payer:
        tickets = await purse(payer)
        exit_tickets = await purse(payer, TicketType.MIXNET_EXIT)
        async with gateway_client(net) as client:
            await client.register()
            here = client.running.identity
            first = tickets.pay(here)
            assert (await spend(client, first))["available_total"] == TICKET
            spent = "the provided bandwidth credential has already been spent before at this gateway"
            assert text(await spend(client, first)) == spent
            assert text(await spend(client, tickets.pay(here, index=0))) == spent
            for offset in (-33, 33):
                answer = await spend(client, tickets.pay(here, offset_seconds=offset))
                assert text(answer) == "provided payinfo's timestamp is invalid"
            for offset in (-25, 25):
                assert "available_total" in await spend(client, tickets.pay(here, offset_seconds=offset))
            answer = await spend(client, tickets.pay(bytes(32)))
            assert text(answer) == "provided payinfo's public key does not match provider's"
            tomorrow = today() + timedelta(days=1)
            answer = await spend(client, tickets.pay(here, day=tomorrow))
            wrong_date = "the provided credential has an invalid spending date. got {} but expected {}"
            assert text(answer) == wrong_date.format(tomorrow, today())
            raw = tickets.pay(here).encode()
            odd_days = ((0, "-4713-11-24"), (-1, "-4713-11-23"), (2**31 - 1, None))
            for day, shown in odd_days:
                changed = raw[:-12] + day.to_bytes(4, "big", signed=True) + raw[-8:]
                message = text(await spend(client, changed))
                assert message.startswith(wrong_date.split("{}")[0])
                assert shown is None or message == wrong_date.format(shown, today())
            honest = tickets.pay(here, day=tomorrow).encode()
            forged = honest[:-12] + raw[-12:-8] + honest[-8:]
            assert text(await spend(client, forged)) == (
                "failed to verify provided ticket due to invalid expiration date signatures"
            )
            book = tickets.book
            two = book.pay(
                tickets.pay(here).pay_info,
                today(),
                tickets.data.key,
                tickets.data.coins,
                tickets.data.dates,
                tickets=2,
            )[0]
            assert text(await spend(client, two)) == (
                "the received payment contained more than a single ticket. that's currently not supported"
            )
            flipped = tickets.pay(here).encode()
            flipped = flipped[:1160] + bytes([flipped[1160] ^ 1]) + flipped[1161:]
            malformed = "Provided binary request was malformed - the received encrypted data was malformed"
            assert text(await spend(client, flipped)) in (
                "the provided ticket failed to get verified",
                malformed,
            )
            for broken in (raw[:-1], raw + b"\0", b""):
                assert text(await spend(client, broken)) == malformed
            for epoch in (6, 2**63 + 1):
                answer = await spend(client, raw[:-8] + epoch.to_bytes(8, "big"))
                assert text(answer) == (
                    f"the DKG threshold value for epoch {epoch} is currently unavailable. "
                    "we're probably mid-epoch transition"
                )
            before = (await spend(client, raw))["available_total"]  # refused so often, and still unspent
            assert (
                text(await spend(client, relabelled(tickets.pay(here), 9)))
                == "provided unknown ticketbook type"
            )
            relabel = await spend(client, relabelled(tickets.pay(here), 1))
            assert text(relabel) == "the provided ticket failed to get verified"
            info = tickets.pay(here).pay_info
            for expected in ("available_total", "message"):
                book = tickets.book
                paid, tickets.book = book.pay(
                    info, today(), tickets.data.key, tickets.data.coins, tickets.data.dates
                )
                answer = await spend(client, paid)
                assert expected in answer
            assert text(answer) == "received payinfo is a duplicate"
            answer = await spend(client, exit_tickets.pay(here))
            assert answer["available_total"] == before + TICKET + 100_000_000
        counters = (await net.nodes["gateway1"].counters())["gateway"]
        assert counters["tickets"] == 6
        assert counters["tickets_refused"] >= 15


def relabelled(credential: SpendingCredential, code: int) -> bytes:
    from dataclasses import replace

    return replace(credential, payment=replace(credential.payment, ticket_type=code)).encode()


async def authenticated_total(net: Localnet, client: RawClient, number: int = 0) -> int:
    """What the gateway says when the client of that connection comes back. The old connection has to be over."""
    async with gateway_client(net, number, client.keys, client.key) as again:
        await asyncio.sleep(1.0)  # authentications are counted in whole seconds
        answer = await again.authenticate()
        return int(answer["bandwidth_remaining"])


async def test_a_ticket_spent_at_two_gateways_costs_ten_times_its_bytes() -> None:
    async with paying_net() as net, buyer(net.payments) as payer:
        tickets = await purse(payer)
        async with gateway_client(net, 0) as client:
            await client.register()
            await spend(client, tickets.pay(client.running.identity))
        await settled(net, "gateway1", 1)
        async with gateway_client(net, 1) as client:
            await client.register()
            answer = await spend(client, tickets.pay(client.running.identity, index=0))
            assert answer["available_total"] == TICKET
            await settled(net, "gateway2", 1, Standing.REJECTED)
            counters = (await net.nodes["gateway2"].counters())["gateway"]
            assert counters["tickets_rejected"] == 1
            assert counters["revoked_bytes"] == 10 * TICKET
            answer = await spend(client, tickets.pay(client.running.identity))
            assert answer["available_total"] == 2 * TICKET - 10 * TICKET
            again = await spend(client, tickets.pay(client.running.identity, index=0))
            assert "already been spent" in text(
                again
            )  # unlike upstream, where a rejected ticket is good again
        gateway = _gateway(net, "gateway2")
        await until(lambda: not gateway.is_active(client.keys.identity_public), "session ended")
        assert await authenticated_total(net, client, 1) == -8 * TICKET


def _gateway(net: Localnet, name: str) -> Any:
    host: Any = net._hosts[0]
    return host._nodes[name]._gateway


async def test_silent_and_rejecting_signers() -> None:
    async with paying_net() as net, buyer(net.payments) as payer:
        tickets, signers = await purse(payer), net.payments.signers
        desk = desk_of(net, "gateway1")
        async with gateway_client(net) as client:
            await client.register()
            here = client.running.identity
            # One of three is down: pending, the bytes stay.
            signers[0].faults.down = True
            assert (await spend(client, tickets.pay(here)))["available_total"] == TICKET
            await until(lambda: signers[1].requests["verify-ecash-ticket"], "the others were asked")
            signers[0].faults.down = False
            await retried(desk, 1)
            # The answer of one is lost: asked again it says "replayed", which is not the client's fault.
            signers[2].faults.lose_next_ticket = True
            assert (await spend(client, tickets.pay(here)))["available_total"] == 2 * TICKET
            await until(lambda: not signers[2].faults.lose_next_ticket, "the answer was lost")
            await retried(desk, 2)
            # One rejection of three is enough.
            signers[1].faults.reject_tickets = Rejection.INVALID
            assert "available_total" in await spend(client, tickets.pay(here))
            await settled(net, "gateway1", 1, Standing.REJECTED)
            counters = (await net.nodes["gateway1"].counters())["gateway"]
            assert (counters["tickets_verified"], counters["tickets_rejected"]) == (2, 1)


async def test_a_share_that_is_not_verified_heals_without_a_restart() -> None:
    async with paying_net() as net, buyer(net.payments) as payer:
        tickets = await purse(payer)
        dkg = net.payments.nyx.dkg
        dkg.set_verified(dkg.current_epoch, 2, False)
        async with gateway_client(net) as client:
            await client.register()
            raw = tickets.pay(client.running.identity)
            assert text(await spend(client, raw)) == "the provided key share hasn't been verified"
            dkg.set_verified(dkg.current_epoch, 2, True)
            assert (await spend(client, raw))["available_total"] == TICKET


async def test_books_of_an_old_epoch_stay_good() -> None:
    async with paying_net() as net, buyer(net.payments) as payer:
        old = await purse(payer)
        assert await net.payments.next_epoch() == old.book.epoch_id + 1
        new = await purse(payer)
        assert new.book.epoch_id == old.book.epoch_id + 1
        async with gateway_client(net) as client:
            await client.register()
            for number, tickets in enumerate((old, new), start=1):
                answer = await spend(client, tickets.pay(client.running.identity))
                assert answer["available_total"] == number * TICKET


async def test_tickets_are_cut_down_to_scale() -> None:
    async with paying_net(ticket_scale=0.001) as net, buyer(net.payments) as payer:
        tickets = await purse(payer)
        async with gateway_client(net) as client:
            await client.register()
            answer = await spend(client, tickets.pay(client.running.identity))
            assert answer["available_total"] == 200_000


async def test_five_tickets_back_to_back() -> None:
    async with paying_net() as net, buyer(net.payments) as payer:
        tickets = await purse(payer)
        async with gateway_client(net) as client:
            await client.register()
            here = client.running.identity
            assert client.key is not None
            for _ in range(5):
                await client.say(
                    seal_credential(tickets.pay(here).encode(), client.key, token_bytes(12)).encode()
                )
            totals = [(await client.hear())["available_total"] for _ in range(5)]
            assert totals == [number * TICKET for number in range(1, 6)]


async def test_gateways_that_cheat_and_clocks_that_are_off() -> None:
    async with paying_net() as net, buyer(net.payments) as payer:
        tickets, node = await purse(payer), net.nodes["gateway1"]
        async with gateway_client(net) as client:
            await client.register()
            here = client.running.identity
            node.refuse_tickets = True
            ticket = tickets.pay(here)
            assert text(await spend(client, ticket)) == "the provided ticket failed to get verified"
            node.refuse_tickets = False
            assert (await spend(client, ticket))["available_total"] == TICKET  # it was not put on record
            node.clock_offset_seconds = 60
            assert text(await spend(client, tickets.pay(here))) == "provided payinfo's timestamp is invalid"
            node.clock_offset_seconds = 0
            node.charge_factor = 2
            hop = Hop(loopback(net.nodes["mix1"].plan.mix_port or 1), b"\1" * 32)
            answer = await client.forward(bytes(PacketSize.REGULAR.packet_bytes), hop)
            assert answer["remaining_bandwidth"] == TICKET - 2 * PacketSize.REGULAR.packet_bytes
            node.charge_factor = 1
            node.lose_ticket_answers = True
            lost = tickets.pay(here)
            assert client.key is not None
            await client.say(seal_credential(lost.encode(), client.key, token_bytes(12)).encode())
            assert await client.hear() is None
        node.lose_ticket_answers = False
        gateway = _gateway(net, "gateway1")
        await until(lambda: not gateway.is_active(client.keys.identity_public), "session ended")
        total = 2 * TICKET - 2 * PacketSize.REGULAR.packet_bytes
        assert await authenticated_total(net, client) == total
        assert (await node.counters())["gateway"]["tickets"] == 2


async def test_a_kept_paying_network_forgets_nothing(tmp_path: Path) -> None:
    options = LocalnetOptions(
        pay=True, exits=0, data_dir=tmp_path, payment=PaymentOptions(block_seconds=BLOCK_SECONDS)
    )
    async with Localnet(options) as net:
        async with buyer(net.payments) as payer:
            tickets = await purse(payer)
            wallet = payer.wallet
        async with gateway_client(net) as client:
            await client.register()
            keys, spent = client.keys, tickets.pay(client.running.identity)
            assert (await spend(client, spent))["available_total"] == TICKET
        await settled(net, "gateway1", 1)
        rpc, phrase = net.payments.rpc_url, net.payments.faucet_phrase
        urls = [signer.url for signer in net.payments.signers]
        balance = net.payments.balance(wallet.address)
        assert (tmp_path / "faucet.phrase").read_text().strip() == phrase
        assert oct((tmp_path / "faucet.phrase").stat().st_mode & 0o777) == "0o600"
    async with Localnet(options) as net:
        assert net.payments.rpc_url == rpc
        assert [signer.url for signer in net.payments.signers] == urls
        assert net.payments.balance(wallet.address) == balance
        async with gateway_client(net, keys=keys, key=client.key) as again:
            await asyncio.sleep(1.0)
            assert (await again.authenticate())["bandwidth_remaining"] == TICKET
            assert "already been spent" in text(await spend(again, spent))
            answer = await spend(again, tickets.pay(again.running.identity))
            assert answer["available_total"] == 2 * TICKET
        async with buyer(net.payments, 0, wallet) as payer:
            assert (await payer.pending()).deposit_id == 1
        await settled(net, "gateway1", 2)
        assert (await net.payments.books()).issued == (1, 1, 0)


async def test_a_kept_folder_is_not_taken_up_with_other_signers(tmp_path: Path) -> None:
    def options(**payment: int) -> LocalnetOptions:
        knobs = PaymentOptions(block_seconds=BLOCK_SECONDS, **payment)
        return LocalnetOptions(pay=True, exits=0, data_dir=tmp_path, payment=knobs)

    async with Localnet(options()) as net:
        await net.payments.next_epoch()
    for other in (options(signers=4), options(threshold=3)):
        with pytest.raises(StartFailed, match="other signers"):
            await Localnet(other).start()
    async with Localnet(options()) as net:
        assert net.payments.epoch.epoch_id == net.options.payment.initial_epoch + 1


@pytest.mark.slow
async def test_gateways_in_worker_processes_take_tickets_too() -> None:
    options = LocalnetOptions(
        pay=True, exits=0, mode=Mode.PROCESSES, payment=PaymentOptions(block_seconds=BLOCK_SECONDS)
    )
    async with Localnet(options) as net, buyer(net.payments) as payer:
        tickets = await purse(payer)
        async with gateway_client(net) as client:
            await client.register()
            answer = await spend(client, tickets.pay(client.running.identity))
            assert answer["available_total"] == TICKET
        async with asyncio.timeout(60):
            while not (await net.nodes["gateway1"].counters())["gateway"]["tickets_verified"]:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
