"""Paying the gateway: tickets accepted, refused, spent, lost, over a real websocket."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from datetime import date
from typing import Any

import pytest

from nym_mixnet.allowance import ORDINARY_PACKET_BYTES, Allowance
from nym_mixnet.errors import NoTickets
from nym_mixnet.gateway_wire import BandwidthResponse, Credential, ErrorResponse, make_pay_info
from nym_mixnet.link_state import LinkState
from nym_mixnet.tickets import TicketOutcome
from tests.mixnet.mini_gateway import TICKET_BYTES, MiniGateway
from tests.mixnet.test_gateway_link import PACKET, linked, quick


@dataclass
class Ticket:
    purse: Purse
    credential: bytes

    async def settle(self, outcome: TicketOutcome, available_total: int | None, reason: str) -> None:
        await asyncio.sleep(0)  # a store would be written here
        self.purse.settled.append((outcome, available_total))
        self.purse.reasons.append(reason)
        if self.purse.settling_fails:
            raise RuntimeError("the ticket store is full")


@dataclass
class Purse:
    """A ticket source with a number of tickets."""

    tickets: int = 100
    prepared: int = 0
    settled: list[tuple[TicketOutcome, int | None]] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)
    slow: asyncio.Event | None = None
    error: Exception | None = None
    settling_fails: bool = False

    async def prepare(self, gateway_identity: bytes) -> Ticket:
        if self.error is not None:
            raise self.error
        if not self.tickets:
            raise NoTickets("the last ticketbook is used up")
        self.tickets -= 1
        self.prepared += 1
        if self.slow is not None:
            await self.slow.wait()
        info = make_pay_info(bytes(32), 0, gateway_identity)
        return Ticket(self, Credential(b"payment %d" % self.prepared, info, date(2026, 1, 1), 0).encode())

    @property
    def outcomes(self) -> list[TicketOutcome]:
        return [outcome for outcome, _ in self.settled]


ACCEPTED, UNSPENT = TicketOutcome.ACCEPTED, TicketOutcome.REFUSED_UNSPENT
SPENT, UNKNOWN = TicketOutcome.SPENT, TicketOutcome.UNKNOWN


async def test_a_ticket_is_paid_at_the_start_and_one_is_enough() -> None:
    purse = Purse()
    async with MiniGateway() as gateway, linked(gateway, tickets=purse) as h:
        await h.ready()
        await h.until(lambda: bool(purse.settled))
        assert purse.settled == [(ACCEPTED, TICKET_BYTES)]
        assert [ticket.payment for ticket in gateway.tickets] == [b"payment 1"]
        assert gateway.tickets[0].gateway_identity == gateway.identity.public
        await h.link.send([PACKET])
        await h.until(lambda: bool(gateway.packets))
    assert purse.prepared == 1


async def test_nothing_is_paid_while_enough_is_left() -> None:
    purse = Purse()
    async with MiniGateway() as gateway:
        gateway.allowance = 40_000_000
        async with linked(gateway, tickets=purse) as h:
            await h.until(lambda: h.link.stats.claims == 1)  # a registration does not tell what is left
        assert purse.prepared == 1
        gateway.allowance = 40_000_000
        async with linked(gateway, tickets=purse, store=h.store) as h:
            await h.ready()
            assert h.link.stats.remaining_bandwidth == 40_000_000
            assert purse.prepared == 1
            await h.link.send([PACKET])  # now it falls below the mark
            await h.until(lambda: purse.outcomes == [ACCEPTED, ACCEPTED])


async def test_several_tickets_one_after_another_until_the_mark_is_reached() -> None:
    purse = Purse()
    async with MiniGateway() as gateway:
        gateway.allowance = -2 * TICKET_BYTES
        async with linked(gateway, tickets=purse) as h:
            await h.ready()
            await h.until(lambda: len(purse.settled) == 3)
            assert purse.outcomes == [ACCEPTED] * 3
            assert h.link.stats.claims == 3
            assert h.link.stats.bytes_claimed == 2 * TICKET_BYTES, (
                "nobody knows what there was before the first"
            )


@pytest.mark.parametrize(
    ("text", "outcome"),
    [
        ("the provided ticket failed to get verified", UNSPENT),
        ("received payinfo is a duplicate", UNSPENT),
        ("the provided bandwidth credential has already been spent before at this gateway", SPENT),
        ("Internal gateway storage error", UNKNOWN),
    ],
)
async def test_a_refused_ticket_is_settled_and_the_next_one_tried(text: str, outcome: TicketOutcome) -> None:
    purse = Purse()
    async with MiniGateway() as gateway:
        accept = gateway.ticket_answer
        gateway.ticket_answer = lambda ticket: ErrorResponse(text)
        async with linked(gateway, tickets=purse) as h:
            await h.until(lambda: len(purse.settled) == 2)
            assert purse.settled == [(outcome, None)] * 2
            assert purse.reasons == [text] * 2
            assert h.link.state is LinkState.OUT_OF_BANDWIDTH or h.link.stats.remaining_bandwidth is None
            assert h.link.stats.last_error == f"the gateway did not take a ticket: {text}"
            gateway.ticket_answer = accept
            await h.until(lambda: ACCEPTED in purse.outcomes)
            await h.ready()
            assert h.link.stats.sessions == 1
            assert h.link.stats.last_error is None


async def test_a_ticket_without_an_answer_counts_as_spent() -> None:
    purse = Purse()
    async with MiniGateway() as gateway:
        accept = gateway.ticket_answer
        gateway.ticket_answer = lambda ticket: None
        async with linked(gateway, tickets=purse, options=quick(claim_timeout_seconds=0.05)) as h:
            await h.until(lambda: bool(purse.settled))
            assert purse.settled[0] == (UNKNOWN, None)
            gateway.ticket_answer = accept
            await h.ready()
            await h.until(lambda: ACCEPTED in purse.outcomes)
            assert h.link.stats.failures["GatewayProtocolError"] >= 1


async def test_a_connection_that_breaks_after_paying_counts_as_spent() -> None:
    purse = Purse()
    async with MiniGateway() as gateway:

        async def cut(socket: Any) -> None:
            gateway.on_claim = None
            gateway.cut()

        gateway.on_claim = cut
        async with linked(gateway, tickets=purse) as h:
            await h.ready()
            await h.until(lambda: len(purse.settled) == 2)
            assert purse.settled == [(UNKNOWN, None), (ACCEPTED, TICKET_BYTES)]
            assert h.link.stats.sessions == 2


async def test_a_credited_ticket_whose_answer_was_lost_shows_at_the_next_authentication() -> None:
    purse = Purse()
    async with MiniGateway() as gateway:

        async def credit_and_cut(socket: Any) -> None:
            gateway.on_claim = None
            gateway.allowance += TICKET_BYTES
            gateway.cut()

        gateway.on_claim = credit_and_cut
        async with linked(gateway, tickets=purse) as h:
            await h.ready()
            assert h.link.stats.remaining_bandwidth == TICKET_BYTES
        assert purse.outcomes == [UNKNOWN]
        assert purse.prepared == 1


async def test_a_ticket_that_was_prepared_for_a_broken_connection_stays_unspent() -> None:
    purse = Purse(slow=asyncio.Event())
    async with MiniGateway() as gateway, linked(gateway, tickets=purse) as h:
        await h.until(lambda: purse.prepared == 1)
        socket = h.link._socket
        assert socket is not None
        assert purse.slow is not None
        socket.abort()  # the reader has not noticed yet when the ticket is ready
        purse.slow.set()
        await h.until(lambda: ACCEPTED in purse.outcomes)
        assert purse.outcomes[0] is TicketOutcome.NEVER_SENT
        assert UNKNOWN not in purse.outcomes
        assert len(gateway.tickets) == 1


async def test_closing_in_the_middle_of_a_payment_settles_it() -> None:
    purse = Purse()
    async with MiniGateway() as gateway:
        gateway.ticket_answer = lambda ticket: None
        async with linked(gateway, tickets=purse, options=quick(last_claim_seconds=0.05)) as h:
            await h.until(lambda: bool(gateway.tickets))
        assert purse.settled == [(UNKNOWN, None)]


async def test_closing_waits_for_the_answer_to_a_ticket_and_pays_no_other() -> None:
    purse, asked = Purse(), asyncio.Event()
    async with MiniGateway() as gateway:

        async def answer_late(socket: Any) -> None:
            await asked.wait()
            await socket.send_str(BandwidthResponse(1_000).encode())

        gateway.on_claim = answer_late
        async with linked(gateway, tickets=purse) as h:
            await h.until(lambda: bool(gateway.tickets))
            assert h.link.stats.claiming
            async with asyncio.TaskGroup() as tasks:
                closing = tasks.create_task(h.link.close())
                await asyncio.sleep(0.05)
                assert not closing.done()
                asked.set()
        assert purse.settled == [(ACCEPTED, 1_000)], "so little is left that it would have claimed again"
        assert not h.link.stats.claiming


async def test_the_last_answer_is_read_even_if_reading_was_held_back() -> None:
    purse, asked = Purse(), asyncio.Event()
    async with MiniGateway() as gateway:
        async with linked(gateway) as h:
            await h.ready()
        gateway.allowance = 1_000_000

        async def answer_late(socket: Any) -> None:
            await asked.wait()
            await socket.send_str(BandwidthResponse(TICKET_BYTES).encode())

        gateway.on_claim = answer_late
        async with linked(gateway, tickets=purse, store=h.store) as h:
            await h.ready()
            await h.until(lambda: bool(gateway.tickets))
            h.link.hold_reading()
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(h.link.close())
                await asyncio.sleep(0.05)
                h.link.hold_reading()
                asked.set()
        assert purse.settled == [(ACCEPTED, TICKET_BYTES)]


@pytest.mark.parametrize("turns", range(12))
async def test_a_ticket_that_is_ready_in_the_moment_of_closing_is_not_lost(turns: int) -> None:
    purse = Purse(slow=asyncio.Event())
    async with MiniGateway() as gateway:
        async with linked(gateway, tickets=purse) as h:
            await h.until(lambda: purse.prepared == 1)
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(h.link.close())
                for _ in range(turns):
                    await asyncio.sleep(0)
                assert purse.slow is not None
                purse.slow.set()
        # A source that is cancelled while it prepares puts its ticket back by itself.
        assert purse.outcomes in ([[ACCEPTED]] if gateway.tickets else [[], [TicketOutcome.NEVER_SENT]])


async def test_slow_preparation_does_not_hold_packets_up() -> None:
    purse = Purse(slow=asyncio.Event())
    async with MiniGateway() as gateway:
        gateway.allowance = 1_000_000
        async with linked(gateway) as h:
            await h.ready()
        gateway.allowance = 1_000_000
        async with linked(gateway, tickets=purse, store=h.store) as h:
            await h.ready()
            await h.until(lambda: purse.prepared == 1)
            await h.link.send([PACKET] * 5)
            await h.until(lambda: len(gateway.packets) == 5)
            assert not purse.settled
            assert purse.slow is not None
            purse.slow.set()
            await h.until(lambda: purse.outcomes == [ACCEPTED])


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (NoTickets("the last ticketbook is used up"), "the last ticketbook is used up"),
        (RuntimeError("secret detail"), "RuntimeError"),
    ],
)
async def test_no_tickets_is_a_state_that_ends_with_new_ones(error: Exception, said: str) -> None:
    purse = Purse(error=error)
    async with MiniGateway() as gateway, linked(gateway, tickets=purse) as h:
        await h.until(lambda: h.link.stats.claims_failed >= 2)
        assert said in str(h.link.stats.last_error)
        assert "secret" not in str(h.link.stats.last_error)
        purse.error = None
        await h.until(lambda: purse.outcomes == [ACCEPTED])
        await h.ready()
        assert h.link.stats.sessions == 1


async def test_tickets_that_have_come_are_not_waited_for() -> None:
    purse = Purse(error=NoTickets("the last ticketbook is used up"))
    never = quick(claim_retry_first_seconds=3_600.0, claim_retry_limit_seconds=3_600.0)
    async with MiniGateway() as gateway, linked(gateway, tickets=purse, options=never) as h:
        await h.until(lambda: h.link.stats.claims_failed == 1)
        purse.error = None
        h.link.retry_claim()
        await h.until(lambda: purse.outcomes == [ACCEPTED])
        await h.ready()


async def test_tickets_that_come_while_they_are_asked_for_are_not_waited_for() -> None:
    class Late(Purse):
        async def prepare(self, gateway_identity: bytes) -> Ticket:
            if self.error is not None:
                error, self.error = self.error, None
                h.link.retry_claim()  # the store was looked into, and then they came
                raise error
            return await super().prepare(gateway_identity)

    purse = Late(error=NoTickets("the last ticketbook is used up"))
    never = quick(claim_retry_first_seconds=3_600.0, claim_retry_limit_seconds=3_600.0)
    async with MiniGateway() as gateway, linked(gateway, tickets=purse, options=never) as h:
        await h.until(lambda: purse.outcomes == [ACCEPTED])
        await h.ready()


async def test_a_gateway_that_refused_is_left_alone_even_if_tickets_come() -> None:
    purse = Purse()
    never = quick(claim_retry_first_seconds=3_600.0, claim_retry_limit_seconds=3_600.0)
    async with MiniGateway() as gateway:
        gateway.ticket_answer = lambda ticket: ErrorResponse("Internal gateway storage error")
        async with linked(gateway, tickets=purse, options=never) as h:
            await h.until(lambda: h.link.stats.claims_failed == 1)
            h.link.retry_claim()
            await asyncio.sleep(0.2)
            assert purse.prepared == 1


async def test_a_gateway_that_takes_tickets_for_nothing_is_not_fed_with_them() -> None:
    purse = Purse()
    never = quick(claim_retry_first_seconds=3_600.0, claim_retry_limit_seconds=3_600.0)
    async with MiniGateway() as gateway:
        gateway.ticket_answer = lambda ticket: BandwidthResponse(-1)
        async with linked(gateway, tickets=purse, options=never) as h:
            await h.until(lambda: h.link.stats.claims_failed == 1)
            await asyncio.sleep(0.2)
            assert purse.prepared == 2, "the first told how much there is"
            assert h.link.stats.last_error == "the gateway took a ticket and gave nothing for it"


async def test_a_source_that_cannot_settle_does_not_end_the_link() -> None:
    purse = Purse(settling_fails=True)
    async with MiniGateway() as gateway, linked(gateway, tickets=purse) as h:
        await h.ready()
        gateway.allowance = 5_000
        await h.link.send([PACKET])
        await h.until(lambda: len(purse.settled) == 2)  # claiming goes on, too
        assert h.link.stats.sessions == 1


async def test_a_source_that_never_settles_does_not_keep_the_link_from_closing() -> None:
    class Stuck(Purse):
        async def prepare(self, gateway_identity: bytes) -> Any:
            ticket = await super().prepare(gateway_identity)
            ticket.settle = lambda outcome, total, reason: asyncio.Event().wait()  # type: ignore[assignment]
            return ticket

    options = quick(settle_timeout_seconds=0.05)
    async with MiniGateway() as gateway, linked(gateway, tickets=Stuck(), options=options) as h:
        await h.ready()


async def test_the_mock_answer_that_credits_nothing_is_corrected_by_the_next_packet() -> None:
    purse = Purse()
    async with MiniGateway() as gateway:
        gateway.ticket_answer = lambda ticket: BandwidthResponse(2_122_317_824)
        async with linked(gateway, tickets=purse) as h:
            await h.ready()
            await h.link.send([PACKET])
            await h.until(lambda: h.link.stats.packets_refused == 1)
            await h.until(lambda: len(purse.settled) >= 2)


# ---- the allowance by itself ----------------------------------------------------------------------------


def test_an_unknown_allowance_waits_for_a_claim_and_is_then_tried() -> None:
    allowance = Allowance(40_000_000)
    allowance.session_started(None, upgrade_mode=False)
    assert allowance.wants_claim
    assert not allowance.covers_packets
    allowance.claim_failed()
    assert allowance.covers_packets
    allowance.packet_refused(2413, 0)
    assert not allowance.covers_packets
    allowance.claim_failed()
    assert not allowance.covers_packets


def test_the_mark_and_the_end_of_the_allowance() -> None:
    allowance = Allowance(40_000_000)
    allowance.session_started(40_000_000, upgrade_mode=False)
    assert not allowance.wants_claim
    allowance.stated(39_999_999, upgrade_mode=False)
    assert allowance.wants_claim
    assert allowance.covers_packets
    allowance.stated(ORDINARY_PACKET_BYTES - 1, upgrade_mode=False)
    assert not allowance.covers_packets
    allowance.stated(-5, upgrade_mode=True)
    assert allowance.covers_packets
    assert not allowance.wants_claim


def test_packets_on_their_way_count_but_never_more_than_the_mark() -> None:
    allowance = Allowance(40_000_000)
    allowance.session_started(50_000_000, upgrade_mode=False)
    allowance.unanswered_packets = 10_000_000 // ORDINARY_PACKET_BYTES
    assert not allowance.wants_claim
    allowance.unanswered_packets += 1
    assert allowance.wants_claim
    assert allowance.covers_packets
    allowance.stated(80_000_000, upgrade_mode=False)
    allowance.unanswered_packets = 1_000_000
    assert not allowance.wants_claim, "a gateway that answers nothing is not paid for ever"


def test_a_big_packet_that_was_refused_sets_the_bar() -> None:
    allowance = Allowance(0)
    allowance.session_started(10_000, upgrade_mode=False)
    allowance.packet_refused(33_133, 10_000)
    assert not allowance.covers_packets
    assert allowance.wants_claim
    allowance.stated(40_000, upgrade_mode=False)
    assert allowance.covers_packets
