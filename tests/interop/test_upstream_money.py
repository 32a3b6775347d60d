"""Our half of the money against the reference's own programs: books and tickets go both ways.

Needs programs that nobody has by default: NYM_CLI_PROGRAM, NYM_NODE_PROGRAM and NYM_SOCKS5_CLIENT_PROGRAM name them.
What they insist on is in docs/protocol/08 §10, 09 §10, 10 §4.2 and 03 §9.
"""

from __future__ import annotations

import pytest

from tests.interop.money import CLI_VARIABLE, NYM, TICKET
from tests.interop.test_upstream import require_program, scenario
from tests.interop.upstream import NODE_VARIABLE, SOCKS_CLIENT_VARIABLE

pytestmark = [pytest.mark.interop, pytest.mark.timeout(600)]

MARK = 40_000_000
"""Bytes that are left when the client pays the next ticket."""
BOOKS = 6
PRICE_NYM = 75
EPOCH = 5
TICKET_BYTES = {
    "MIXNET_ENTRY": 200_000_000,
    "MIXNET_EXIT": 100_000_000,
    "WIREGUARD_ENTRY": 500_000_000,
    "WIREGUARD_EXIT": 500_000_000,
}


def test_upstreams_tool_buys_books_that_we_spend():
    require_program(CLI_VARIABLE)
    report = scenario("tests.interop.scenario_books")
    assert report["poor"]["code"] == 1
    assert "not found: key not found" in report["poor"]["output"]
    assert report["wallet"] == {"balance": "1000 nym", "send": 0, "received": 2_000_000}
    assert report["deposits"] == BOOKS
    assert report["issued"] == [BOOKS, BOOKS - 1, BOOKS], "one signer was down for one of the books"
    assert 0 < report["spent"] - BOOKS * PRICE_NYM < 1, "books and fees, and nothing else"
    assert report["bare_refused"], "a book without its public data cannot be spent"
    assert sorted(report["books"]) == sorted(
        [
            *(["MIXNET_ENTRY", EPOCH, 50] for _ in range(3)),
            ["MIXNET_EXIT", EPOCH, 50],
            *([kind, EPOCH + 1, 50] for kind in ("WIREGUARD_ENTRY", "WIREGUARD_EXIT")),
        ]
    )
    assert report["traffic"]["claims"] == 1
    assert report["traffic"]["failed"] == 0
    assert {kind: answer["available_total"] for kind, answer in report["raw"].items()} == TICKET_BYTES
    assert report["verified"] == [True, True], "all signers know all tickets"
    first, second = report["gateways"]
    assert (first["tickets_verified"], first["granted_bytes"]) == (1, TICKET)
    assert (second["tickets_verified"], second["granted_bytes"]) == (4, sum(TICKET_BYTES.values()))
    for counts in report["gateways"]:
        assert counts["tickets_refused"] == counts["tickets_rejected"] == 0
    assert report["lost"] == 0


def test_upstreams_tool_understands_our_chain_in_trouble():
    """Its own words show that it read ours; what it loses and what it does not is in docs/protocol/08 §10.4."""
    require_program(CLI_VARIABLE)
    report = scenario("tests.interop.scenario_trouble")
    for name in ("garbage_share", "other_share", "wrong_key_share", "reduced price"):
        seen = report[name]
        assert (seen["code"], seen["tickets"]) == (0, 50), name
        assert PRICE_NYM <= seen["spent"] / NYM < PRICE_NYM + 0.1, "it does not ask for reduced prices"
    for name, words in (
        ("poor", "spendable balance 10000000unym is smaller than 75000000unym: insufficient funds"),
        ("price raised", "received wrong amount for deposit. got: 75000000unym. required: 80000000unym"),
        ("failed in the block", "required: 2unym: execute wasm contract failed"),
        ("other chain", "signature verification failed; please verify account number"),
    ):
        seen = report[name]
        assert seen["code"] == 1, name
        assert words in seen["text"]
        assert "tickets" not in seen
        fee_only = name == "failed in the block"
        assert (0 < seen["spent"] < 100_000) if fee_only else seen["spent"] == 0


@pytest.mark.parametrize("source", ["exported", "base58", "standalone", "issued", "recovered"])
def test_upstreams_client_pays_our_gateway(source):
    require_program(CLI_VARIABLE)
    require_program(SOCKS_CLIENT_VARIABLE)
    report = scenario("tests.interop.scenario_paying_client", source)
    assert report["alive"]
    assert report["errors"] == []
    if source in ("exported", "base58", "standalone"):
        assert report["left_here"] == 0
        assert report["out_of_tickets"], "what was exported is not spent here any more"
        assert report["again"] != 0, "the same book cannot be imported twice"
    if source == "recovered":
        assert report["nothing"]
        assert report["one"]
    assert report["verified"], "all signers know both tickets"
    counts = report["counters"]
    assert (counts["tickets_verified"], counts["tickets_refused"], counts["tickets_rejected"]) == (2, 0, 0)
    assert counts["charged_bytes"] > counts["granted_bytes"] / 2 - MARK, "the second came when it was needed"
    assert ["v1-mixnet-entry", 2, 50] in report["books"]
    assert [used for kind, used, _ in report["books"] if kind != "v1-mixnet-entry"] in ([], [0])
    assert report["moved"] == {
        "books": [[2, 48]],
        "answer": "bandwidth",
        "verified": True,
        "rejected": 0,
        "left_there": 0,
    }


def test_upstreams_node_takes_our_tickets_and_each_only_once():
    require_program(NODE_VARIABLE)
    report = scenario("tests.interop.scenario_paying_node")
    assert report["without_money"] == {"code": 1, "says_why": True}
    traffic = report["traffic"]
    assert traffic["complete"]
    assert (traffic["claims"], traffic["claims_failed"], traffic["refused"]) == (1, 0, 0)
    assert traffic["after_restart"], "it meters what we count, and still knows after a restart"
    assert traffic["charged"] > 600_000
    assert traffic["sessions"] == 2
    assert report["verified"], "all signers know the ticket"
    assert report["store"] == 1

    rest = report["whole_book"]
    assert rest["totals"] == [number * TICKET for number in range(1, 50)]
    assert rest["over"]
    assert report["all_verified"], "all signers know all fifty"

    ours = report["at_theirs"]  # spent there first, then at our gateway
    assert ours["first"]["available_total"] == TICKET
    assert ours["second"]["available_total"] in (TICKET, TICKET - 10 * TICKET), "the signers may be faster"
    assert ours["seen"]
    assert ours["punished"]
    assert ours["total"] == TICKET - 10 * TICKET

    theirs = report["at_ours"]  # spent at our gateway first, then there
    assert theirs["first"]["available_total"] == TICKET
    assert theirs["second"]["available_total"] in (TICKET, TICKET - 10 * TICKET), "the signers may be faster"
    assert theirs["seen"]
    assert theirs["punished"]
    assert theirs["honest"]["available_total"] in (2 * TICKET, 2 * TICKET - 10 * TICKET)
    assert theirs["total"] == 2 * TICKET - 10 * TICKET, "an honest ticket only pays off a part"
    assert "already been spent before at this gateway" in theirs["replay"]["message"]
    assert theirs["held_back"], "our client gives that gateway no more tickets"
    assert report["alive"]


def test_nymgate_pays_upstreams_node_and_exchanges_books_with_upstreams_tool():
    for variable in (CLI_VARIABLE, NODE_VARIABLE):
        require_program(variable)
    report = scenario("tests.interop.scenario_paying_proxy")
    (bought,) = report["bought"]
    assert (bought["remaining"], bought["state"], bought["source"]) == (50, "active", "bought")
    assert report["exported"] == [["v1-mixnet-entry", 0, 50]], "in the store of upstream's tool"
    assert report["verified"], "all signers know the ticket that was spent at upstream's node"
    ours, theirs = report["listed"]["books"]
    assert (ours["state"], ours["remaining"]) == ("exported", 0)
    assert (theirs["source"], theirs["accepted"], theirs["remaining"]) == ("imported", 1, 49)
    assert report["listed"]["tickets"] == {"accepted": 1, "given_up": 0}


@pytest.mark.soak
def test_upstreams_node_asks_our_signers_again():
    """It does so after 300 seconds. It takes a lost answer for a replay then, see docs/protocol/03 §9.5."""
    require_program(NODE_VARIABLE)
    report = scenario("tests.interop.scenario_retries")
    assert report["counted"] == [True, True]
    assert report["before"] == [TICKET, TICKET], "pending tickets are good"
    assert report["settled"], "the signer that was away has been asked again"
    assert report["after"][0] == TICKET
    assert report["after"][1] in (TICKET, TICKET - 10 * TICKET)
