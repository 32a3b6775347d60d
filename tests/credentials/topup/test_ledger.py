"""The account book: sums, checks, exports, and the chain's side of it."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace

import pytest

from nym_credentials.purchase.states import PurchaseState
from nym_credentials.store.records import BookSource, BookState, Settlement, TicketState
from nym_credentials.topup.ledger import BookLine, DepositLine, Ledger, TicketLine
from nym_credentials.topup.reconcile import ChainDeposit, reconcile

NYM = 1_000_000


def deposit(number: int, state: PurchaseState = PurchaseState.ISSUED, **more: object) -> DepositLine:
    line = DepositLine(
        purchase_id=f"p{number}",
        begun_unix=1_790_000_000 + number,
        state=state,
        ticket_type="v1-mixnet-entry",
        network="mini",
        account="n1me",
        price_unym=75 * NYM,
        fee_unym=4_000,
        tx_hash=f"{number:064X}",
        deposit_id=number if state.paid else None,
        height=100 + number if state.paid else None,
        problem="",
    )
    return replace(line, **more)  # type: ignore[arg-type]


def book(number: int, **more: object) -> BookLine:
    line = BookLine(
        book_id=number,
        purchase_id=f"p{number}",
        source=BookSource.BOUGHT,
        ticket_type="v1-mixnet-entry",
        added_unix=1_790_000_000,
        expiration="2026-09-27",
        state=BookState.ACTIVE,
        tickets=50,
        fresh=47,
        in_use=0,
        accepted=2,
        given_up=1,
        reverted=0,
    )
    return replace(line, **more)  # type: ignore[arg-type]


def tickets(number: int) -> tuple[TicketLine, ...]:
    return (
        TicketLine(number, 0, TicketState.ACCEPTED, Settlement.ACCEPTED, 1_790_000_100, 1_790_000_101),
        TicketLine(number, 1, TicketState.ACCEPTED, Settlement.ACCEPTED, 1_790_000_200, 1_790_000_201),
        TicketLine(number, 2, TicketState.GIVEN_UP, Settlement.UNKNOWN, 1_790_000_300, 1_790_000_301),
    )


GOOD = Ledger(
    (deposit(1), deposit(2), deposit(3, PurchaseState.BROADCAST), deposit(4, PurchaseState.FAILED)),
    (book(1), book(2, state=BookState.EXPIRED)),
    tickets(1) + tickets(2),
)


def test_sums() -> None:
    totals = GOOD.totals()
    assert (totals.deposits, totals.paid_unym, totals.fees_unym, totals.open_unym) == (
        2,
        150 * NYM,
        8_000,
        75 * NYM,
    )
    assert (totals.books, totals.tickets, totals.accepted, totals.given_up, totals.expired) == (
        2,
        100,
        4,
        2,
        47,
    )
    assert totals.unym_per_accepted == (150 * NYM + 8_000) / 4
    assert Ledger().totals().unym_per_accepted is None
    assert GOOD.problems() == []


@pytest.mark.parametrize(
    "change, said",
    [
        ({"books": (book(1),), "tickets": ()}, "Purchase p2 is issued and has no book"),
        ({"books": (book(1), book(2), book(3, purchase_id="p2")), "tickets": ()}, "Purchase p2 has 2 books"),
        ({"books": (book(1), book(2), book(3, purchase_id="p3")), "tickets": ()}, "p3, which is not issued"),
        ({"deposits": (deposit(1), deposit(2, deposit_id=1))}, "Deposit 1 belongs to 2 purchases"),
        ({"books": (book(1), book(2, accepted=3)), "tickets": ()}, "Book 2 has 50 tickets, and 51"),
        ({"tickets": tickets(1)}, "listed of book 2"),
        ({"tickets": tickets(1) + tickets(2) + tickets(2)[:1]}, "Ticket 0 of book 2 is listed 2 times"),
        ({"tickets": tickets(1) + tickets(2) + tickets(9)}, "book 9, which is not"),
    ],
)
def test_what_does_not_add_up(change: dict, said: str) -> None:
    assert said in "\n".join(replace(GOOD, **change).problems())


def test_csv_is_for_spreadsheets() -> None:
    ledger = replace(GOOD, deposits=(deposit(1, problem='=HYPERLINK("http://evil")'),))
    (row,) = csv.DictReader(io.StringIO(ledger.to_csv()))
    assert row["begun_utc"] == "2026-09-21T14:13:21Z"
    assert (row["price_unym"], row["price_nym"]) == ("75000000", "75")
    assert row["fee_nym"] == "0.004"
    assert row["problem"].startswith("'=")
    assert len(list(csv.reader(io.StringIO(GOOD.to_csv("books"))))) == 3
    rows = list(csv.DictReader(io.StringIO(GOOD.to_csv("tickets"))))
    assert [row["state"] for row in rows[:3]] == ["accepted", "accepted", "given_up"]
    with pytest.raises(ValueError, match="deposits, books or tickets"):
        GOOD.to_csv("secrets")


COLUMNS = {
    "deposits": "purchase_id begun_utc state ticket_type network account price_unym price_nym fee_unym fee_nym tx_hash "
    "deposit_id height problem",
    "books": "book_id purchase_id source ticket_type added_utc expiration state tickets fresh in_use accepted given_up "
    "reverted",
    "tickets": "book_id index state settlement taken_utc settled_utc",
}


@pytest.mark.parametrize("table", COLUMNS)
def test_columns_stay(table: str) -> None:
    """Spreadsheets and programs read them: new ones come last, and none changes its name."""
    for ledger in (GOOD, Ledger()):
        head, *lines = csv.reader(io.StringIO(ledger.to_csv(table)))
        assert head == COLUMNS[table].split()
        assert all(len(line) == len(head) for line in lines)
    value = json.loads(GOOD.to_json())
    assert list(value) == ["totals", "problems", "deposits", "books", "tickets"]
    names = [name.removesuffix("_utc") for name in COLUMNS[table].split() if not name.endswith("_nym")]
    assert [name.removesuffix("_unix") for name in value[table][0]] == names


def test_json_has_everything() -> None:
    value = json.loads(GOOD.to_json())
    assert len(value["deposits"]) == 4
    assert value["deposits"][3]["state"] == "failed"
    assert value["tickets"][2]["settlement"] == "unknown"
    assert value["problems"] == []


def on_chain(number: int, **more: object) -> ChainDeposit:
    return replace(ChainDeposit(number, f"{number:064X}", 75 * NYM, 100 + number), **more)  # type: ignore[arg-type]


def test_both_sides_agree() -> None:
    found = reconcile(GOOD, [on_chain(1), on_chain(2)], account="n1me")
    assert found.balanced
    assert found.matched == 2
    by_list = [ChainDeposit(1, ""), ChainDeposit(2, "")]
    assert reconcile(GOOD, by_list, account="n1me").balanced


def test_both_sides_differ() -> None:
    chain = [on_chain(1, price_unym=80 * NYM), on_chain(7), on_chain(8, tx_hash=f"{3:064X}")]
    found = reconcile(GOOD, chain, account="n1me")
    assert found.missing == ("p2",)
    assert found.settled == ("p3",)
    assert [item.deposit_id for item in found.unknown] == [7]
    assert "75 NYM here and 80 NYM there" in found.differing[0]
    assert not found.balanced
    assert len(found.lines()) == 5
    other = reconcile(GOOD, [on_chain(1, tx_hash="F" * 64), on_chain(2), on_chain(2)], account="n1me")
    assert any("its transaction" in text for text in other.differing)
    assert any("2 times" in text for text in other.differing)
    assert reconcile(GOOD, [], account="n1other").balanced
