"""The chain of the test network: what it checks, in the codes and words of the real one (docs/protocol/08 §3–§6)."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nym_credentials.addresses import check_address
from nym_credentials.chain.contracts import (
    DepositsPage,
    DepositsStatistics,
    WhitelistedAccounts,
)
from nym_credentials.chain.dkg import DealersPage, EpochState, SharesPage
from nym_credentials.chain.messages import BankSend, ExecuteContract, deposit_ids_from_data
from nym_credentials.chain.transactions import hash_of, sign_transaction, simulation_bytes
from nym_credentials.chain.wallet import Wallet
from nym_credentials.money import Coin
from nym_localnet.chain.accounts import phrase_for, wallet_for
from nym_localnet.chain.chain import AlreadyKnown, Chain
from nym_localnet.chain.contract import QueryContext, contract_address, page
from nym_localnet.chain.dkg_contract import PHASES, DkgEpoch, KeyShare, default_threshold
from nym_localnet.chain.errors import QueryRejected, Rejected
from nym_localnet.chain.faucet import BadRequest, Wish
from nym_localnet.chain.gas import minimum_fee
from nym_localnet.chain.genesis import Nyx, new_chain
from nym_localnet.chain.ledger import Ledger
from nym_localnet.chain.rpc import Rpc
from nym_localnet.chain.search import BadQuery, parse_query
from zknym import b58encode

PRICE = 75_000_000
NOW = 1_795_354_980.0
ALICE = Wallet(b"\1" * 32)
BOB = Wallet(b"\2" * 32)
ADMIN = Wallet(b"\3" * 32)
KEY = b58encode(bytes(range(1, 33)))
GAS = 300_000


def world(**options: Any) -> Nyx:
    balances = {ALICE.address: 10 * PRICE, ADMIN.address: PRICE}
    return new_chain(
        **{
            "chain_id": "nyx",
            "prefix": "n",
            "denom": "unym",
            "price": PRICE,
            "admin": ADMIN.address,
            "signers": (ALICE.address, BOB.address),
            "genesis_unix": NOW,
            "balances": balances,
            **options,
        }
    )


def execute(nyx: Nyx, message: Any, *, sender: Wallet = ALICE, funds: Sequence[Coin] = ()) -> ExecuteContract:
    body = json.dumps(message).encode()
    return ExecuteContract(sender.address, nyx.ecash.address, body, tuple(funds))


def deposit(nyx: Nyx, amount: int = PRICE, key: str = KEY, sender: Wallet = ALICE) -> ExecuteContract:
    message = {"deposit_ticket_book_funds": {"identity_key": key}}
    return execute(nyx, message, sender=sender, funds=[Coin("unym", amount)])


def signed(nyx: Nyx, *messages: Any, wallet: Wallet = ALICE, **changes: Any) -> bytes:
    account = nyx.chain.ledger.account(wallet.address)
    number, sequence = (account.number, account.sequence) if account else (0, 0)
    gas = changes.get("gas_limit", GAS * len(messages))
    options = {
        "memo": "",
        "fee": Coin("unym", minimum_fee(gas)),
        "gas_limit": gas,
        "chain_id": nyx.chain.chain_id,
        "account_number": number,
        "sequence": sequence + nyx.chain.waiting_of(wallet.address),
        **changes,
    }
    return sign_transaction(wallet, messages, **options)


def include(nyx: Nyx, raw: bytes) -> Any:
    submission = nyx.chain.submit(raw)
    assert submission.code == 0, submission.log
    (result,) = nyx.chain.make_block(NOW)
    assert result.hash == submission.hash == hash_of(raw)
    return result


def query(nyx: Nyx, contract: Any, message: Any) -> Any:
    return contract.query(message, QueryContext(nyx.chain.height, NOW))


# Transactions


def test_a_deposit_moves_money_and_gets_a_number() -> None:
    nyx = world()
    for number in range(2):
        result = include(nyx, signed(nyx, deposit(nyx)))
        assert (result.code, result.log, result.codespace) == (0, "", "")
        assert deposit_ids_from_data(result.data) == (number,)
        kinds = [event.type for event in result.events]
        assert kinds == ["message", "execute", "wasm-deposited-funds"]
        assert ("deposit-id", str(number)) in result.events[-1].attributes
        assert ("_contract_address", nyx.ecash.address) in result.events[-1].attributes
    fees = 2 * minimum_fee(GAS)
    ledger = nyx.chain.ledger
    assert ledger.balance(ALICE.address, "unym") == 8 * PRICE - fees
    assert ledger.balance(nyx.ecash.address, "unym") == 2 * PRICE
    account = ledger.account(ALICE.address)
    assert account is not None
    assert (account.sequence, account.public_key) == (2, ALICE.public_key)
    assert nyx.ecash.deposit_key(1) == bytes(range(1, 33))
    assert nyx.ecash.deposit_key(2) is None


def test_a_batch_is_all_or_nothing() -> None:
    nyx = world()
    result = include(nyx, signed(nyx, *[deposit(nyx)] * 3))
    assert deposit_ids_from_data(result.data) == (0, 1, 2)
    assert [
        value for event in result.events for name, value in event.attributes if name == "msg_index"
    ] == list("000111222")
    before = nyx.chain.ledger.balance(ALICE.address, "unym")
    result = include(nyx, signed(nyx, deposit(nyx), deposit(nyx, PRICE - 1)))
    assert (result.code, result.codespace, result.data) == (5, "wasm", b"")
    assert result.log == (
        "failed to execute message; message index: 1: received wrong amount for deposit. got: 74999999unym. "
        "required: 75000000unym: execute wasm contract failed"
    )
    assert result.events == ()
    assert nyx.ecash.deposits == 3
    assert nyx.chain.ledger.balance(ALICE.address, "unym") == before - minimum_fee(2 * GAS)


REFUSED_AT_ONCE = {
    "another chain": (
        {"chain_id": "other"},
        4,
        "signature verification failed; please verify account number",
    ),
    "another account": ({"account_number": 77}, 4, "signature verification failed"),
    "a used sequence": (
        {"sequence": 9},
        32,
        "account sequence mismatch, expected 0, got 9: incorrect account",
    ),
    "too small a fee": (
        {"fee": Coin("unym", 7_499)},
        13,
        "insufficient fees; got: 7499unym required: 7500unym",
    ),
    "no fee": ({"fee": Coin("unym", 0)}, 13, "insufficient fees; got:  required: 7500unym: insufficient fee"),
    "a fee in other coins": ({"fee": Coin("unyx", 7_500)}, 13, "insufficient fees"),
    "a fee above the balance": ({"fee": Coin("unym", 11 * PRICE)}, 5, "insufficient funds"),
    "no gas": ({"gas_limit": 0, "fee": Coin("unym", 1)}, 18, "must provide positive gas"),
}


@pytest.mark.parametrize("name", REFUSED_AT_ONCE)
def test_check_tx_refuses(name: str) -> None:
    nyx = world()
    changes, code, log = REFUSED_AT_ONCE[name]
    submission = nyx.chain.submit(signed(nyx, deposit(nyx), **changes))
    assert (submission.code, submission.codespace) == (code, "sdk")
    assert submission.log.startswith(log) or log in submission.log
    assert nyx.chain.make_block(NOW) == []
    assert nyx.chain.ledger.balance(ALICE.address, "unym") == 10 * PRICE


def test_accounts_that_do_not_exist_or_belong_to_others() -> None:
    nyx = world()
    submission = nyx.chain.submit(signed(nyx, deposit(nyx, sender=BOB), wallet=BOB))
    assert (submission.code, submission.log) == (
        9,
        f"fee payer address: {BOB.address} does not exist: unknown address",
    )
    submission = nyx.chain.submit(signed(nyx, deposit(nyx), wallet=BOB))
    assert (submission.code, "pubKey does not match signer address" in submission.log) == (8, True)
    mixed = signed(nyx, deposit(nyx), deposit(nyx, sender=BOB))
    assert nyx.chain.submit(mixed).code == 15


def test_bytes_that_are_no_transaction() -> None:
    nyx = world()
    for raw in (b"", b"\xff\xff", signed(nyx, deposit(nyx))[:-3]):
        submission = nyx.chain.submit(raw)
        assert (submission.code, submission.log.endswith("tx parse error")) == (2, True)
    unknown = signed(nyx, deposit(nyx)).replace(b"MsgExecuteContract", b"MsgExecuteSomebody")
    submission = nyx.chain.submit(unknown)
    assert submission.log == (
        "unable to resolve type URL /cosmwasm.wasm.v1.MsgExecuteSomebody: tx parse error"
    )
    assert nyx.chain.submit(signed(nyx)).code == 18


@given(st.binary(max_size=200))
def test_rubbish_is_refused_and_never_breaks_the_chain(raw: bytes) -> None:
    assert world().chain.submit(raw).code != 0


def test_the_same_bytes_are_taken_once() -> None:
    nyx = world()
    raw = signed(nyx, deposit(nyx))
    assert nyx.chain.submit(raw).code == 0
    with pytest.raises(AlreadyKnown, match="tx already exists in cache"):
        nyx.chain.submit(raw)
    nyx.chain.make_block(NOW)
    with pytest.raises(AlreadyKnown):
        nyx.chain.submit(raw)
    assert nyx.ecash.deposits == 1


def test_several_transactions_of_an_account_in_one_block() -> None:
    nyx = world()
    for _ in range(3):
        assert nyx.chain.submit(signed(nyx, deposit(nyx))).code == 0
    assert [result.code for result in nyx.chain.make_block(NOW)] == [0, 0, 0]
    assert nyx.ecash.deposits == 3


def test_too_little_gas_costs_the_fee_and_does_nothing() -> None:
    nyx = world()
    result = include(nyx, signed(nyx, deposit(nyx), gas_limit=100_000))
    assert (result.code, result.codespace) == (11, "sdk")
    assert "gasWanted: 100000, gasUsed: 179321: out of gas" in result.log
    assert nyx.ecash.deposits == 0
    assert nyx.chain.ledger.balance(ALICE.address, "unym") == 10 * PRICE - minimum_fee(100_000)


def test_sending_coins() -> None:
    nyx = world()
    transfer = BankSend(ALICE.address, BOB.address, (Coin("unym", 5),))
    assert include(nyx, signed(nyx, transfer)).code == 0
    assert nyx.chain.ledger.balance(BOB.address, "unym") == 5
    assert nyx.chain.ledger.account(BOB.address) is not None
    much = BankSend(ALICE.address, BOB.address, (Coin("unym", 10 * PRICE),))
    result = include(nyx, signed(nyx, much))
    assert (result.code, result.codespace) == (5, "sdk")
    assert "is smaller than 750000000unym: insufficient funds" in result.log
    wrong = BankSend(ALICE.address, "n1nothing", (Coin("unym", 1),))
    assert include(nyx, signed(nyx, wrong)).code == 7


def test_simulations_find_out_before_anything_is_spent() -> None:
    nyx = world()
    account = nyx.chain.ledger.account(ALICE.address)
    assert account is not None

    def simulate(*messages: Any, sequence: int = 0) -> int:
        return nyx.chain.simulate(simulation_bytes(ALICE.public_key, sequence, messages, ""))

    assert simulate(deposit(nyx)) == 181_234
    assert simulate(deposit(nyx), deposit(nyx)) > 181_234
    refusals = {
        "received wrong amount for deposit. got: 1unym. required: 75000000unym: execute wasm": deposit(
            nyx, 1
        ),
        "the provided ed25519 identity was malformed: execute wasm": deposit(
            nyx, key=b58encode(bytes(range(1, 34)))
        ),
        "Invalid deposit": execute(nyx, {"deposit_ticket_book_funds": {"identity_key": KEY}}),
        "spendable balance": deposit(nyx, 11 * PRICE),
        "no such contract": replace(deposit(nyx), contract=BOB.address),
    }
    for text, message in refusals.items():
        with pytest.raises(QueryRejected, match=text) as refused:
            simulate(message)
        assert refused.value.code == 6
        assert (
            "rpc error: code = Unknown desc = failed to execute message; message index: 0: "
            in refused.value.log
        )
        assert refused.value.log.endswith("with gas used: '131000': unknown request")
    with pytest.raises(QueryRejected, match="expected 0, got 3"):
        simulate(deposit(nyx), sequence=3)
    assert nyx.ecash.deposits == 0
    assert nyx.chain.ledger.account(ALICE.address) == account


# Contracts


def test_prices() -> None:
    nyx = world()
    reduced = {
        "set_reduced_deposit_price": {"address": ALICE.address, "deposit": {"denom": "unym", "amount": "60"}}
    }
    assert "Caller is not admin" in include(nyx, signed(nyx, execute(nyx, reduced))).log
    assert include(nyx, signed(nyx, execute(nyx, reduced, sender=ADMIN), wallet=ADMIN)).code == 0
    answer = query(nyx, nyx.ecash, {"get_reduced_deposit_amount": {"address": ALICE.address}})
    assert answer == {"denom": "unym", "amount": "60"}
    assert query(nyx, nyx.ecash, {"get_reduced_deposit_amount": {"address": BOB.address}}) is None
    assert include(nyx, signed(nyx, deposit(nyx, 60))).code == 0
    assert include(nyx, signed(nyx, deposit(nyx))).code == 0
    assert "required: 60unym" in include(nyx, signed(nyx, deposit(nyx, 61))).log
    listed = query(nyx, nyx.ecash, {"get_all_whitelisted_accounts": {}})
    assert WhitelistedAccounts.from_object(listed).to_object() == listed
    counted = query(nyx, nyx.ecash, {"get_deposits_statistics": {}})
    statistics = DepositsStatistics.from_object(counted)
    assert statistics.to_object() == counted
    assert (counted["total_deposits_made"], counted["total_deposits_made_with_custom_price"]) == (2, 1)
    assert counted["deposits_made_with_custom_price"] == {ALICE.address: 1}
    assert nyx.ecash.deposited == PRICE + 60
    admin = {
        "above the default": (
            {"set_reduced_deposit_price": {"address": BOB.address, "deposit": {"denom": "unym", "amount": str(PRICE)}}},
            "must be strictly less than the default (75000000)",
        ),
        "below a book": ({"update_default_deposit_value": {"new_deposit": {"denom": "unym", "amount": "49"}}},
                         "deposit amount (49) must be at least the ticket book size (50)"),
        "of nobody": ({"remove_reduced_deposit_price": {"address": BOB.address}},
                      f"address '{BOB.address}' does not have a custom reduced deposit price set"),
    }  # fmt: skip
    for message, text in admin.values():
        assert text in include(nyx, signed(nyx, execute(nyx, message, sender=ADMIN), wallet=ADMIN)).log
    change = {"update_default_deposit_value": {"new_deposit": {"denom": "unym", "amount": "80"}}}
    assert include(nyx, signed(nyx, execute(nyx, change, sender=ADMIN), wallet=ADMIN)).code == 0
    for name in ("get_default_deposit_amount", "get_required_deposit_amount"):
        assert query(nyx, nyx.ecash, {name: {}}) == {"denom": "unym", "amount": "80"}


def test_keys_are_padded_and_never_cut() -> None:
    nyx = world()
    include(nyx, signed(nyx, deposit(nyx, key=b58encode(b"\7\7"))))
    assert nyx.ecash.deposit_key(0) == b"\7\7" + bytes(30)


def test_deposits_by_page() -> None:
    nyx = world()
    nyx.ecash.put_deposit(119, bytes(32))
    seen: list[int] = []
    after = None
    for _ in range(4):
        answer = query(nyx, nyx.ecash, {"get_deposits_paged": {"limit": None, "start_after": after}})
        found = DepositsPage.from_object(answer)
        seen += [each.id for each in found.deposits]
        after = found.start_next_after
        if after is None:
            break
    assert seen == list(range(120))
    assert after is None
    most = query(nyx, nyx.ecash, {"get_deposits_paged": {"limit": 1000, "start_after": 3}})
    assert (len(most["deposits"]), most["deposits"][0]["id"]) == (100, 4)
    assert query(nyx, nyx.ecash, {"get_deposit": {"deposit_id": 500}}) == {"id": 500, "deposit": None}
    assert query(nyx, nyx.ecash, {"get_latest_deposit": {}}) == {"deposit": None}


def test_unknown_queries_are_refused_like_by_old_contracts() -> None:
    nyx = world()
    for contract in (nyx.ecash, nyx.dkg, nyx.multisig, nyx.group):
        for asked in ({"get_the_moon": {}}, {}, {"a": {}, "b": {}}):
            with pytest.raises(QueryRejected, match="query wasm contract failed"):
                query(nyx, contract, asked)
    with pytest.raises(QueryRejected):
        query(nyx, nyx.ecash, {"get_deposit": {}})


def dkg_world(signers: int = 35) -> Nyx:
    nyx = world()
    shares = tuple(
        KeyShare(Wallet(bytes([7, number]) * 16).address, number, KEY, f"http://127.0.0.1:{number}/", KEY)
        for number in range(1, signers + 1)
    )
    nyx.dkg.begin_epoch(DkgEpoch(5, default_threshold(signers), shares), NOW)
    return nyx


def test_signers_by_page() -> None:
    nyx = dkg_world()
    for name, kind, member, most in (
        ("get_verification_keys", SharesPage, "shares", 30),
        ("get_epoch_dealers", DealersPage, "dealers", 25),
    ):
        owners: list[str] = []
        after = None
        while True:
            answer = query(nyx, nyx.dkg, {name: {"epoch_id": 5, "limit": None, "start_after": after}})
            assert kind.from_object(answer).to_object() == answer  # type: ignore[attr-defined]
            assert answer["per_page"] == 10
            owners += [each.get("owner") or each["address"] for each in answer[member]]
            after = answer["start_next_after"]
            if after is None:
                assert answer[member] == []
                break
        assert len(owners) == 35
        assert owners == sorted(owners)
        answer = query(nyx, nyx.dkg, {name: {"epoch_id": 5, "limit": 99, "start_after": None}})
        assert len(answer[member]) == most
    share = nyx.dkg._sorted_shares(5)[0]
    one = query(nyx, nyx.dkg, {"get_verification_key": {"epoch_id": 5, "owner": share.owner}})
    assert one["share"]["node_index"] == share.node_index
    nobody = query(nyx, nyx.dkg, {"get_verification_key": {"epoch_id": 5, "owner": ALICE.address}})
    assert nobody["share"] is None


def test_phases_and_thresholds() -> None:
    nyx = dkg_world(3)
    state = query(nyx, nyx.dkg, {"get_current_epoch_state": {}})
    assert EpochState.from_object(state).to_object() == state
    assert (state["state"], state["epoch_id"]) == ("in_progress", 5)
    assert state["state_progress"]["verified_keys"] == 3
    assert query(nyx, nyx.dkg, {"get_current_epoch_threshold": {}}) == 2
    assert query(nyx, nyx.dkg, {"get_epoch_threshold": {"epoch_id": 6}}) is None
    nyx.dkg.set_threshold(5, None)
    assert query(nyx, nyx.dkg, {"get_epoch_threshold": {"epoch_id": 5}}) is None
    for phase in PHASES:
        nyx.dkg.set_phase(phase, NOW, resharing=True)
        state = query(nyx, nyx.dkg, {"get_current_epoch_state": {}})
        assert EpochState.from_object(state).to_object() == state
        assert state["state"] == {phase: {"resharing": True}}
        assert int(state["deadline"]) > NOW * 1e9
        assert not nyx.dkg.in_progress
    with pytest.raises(ValueError, match="no phase"):
        nyx.dkg.set_phase("resting", NOW)
    nyx.dkg.set_phase("waiting_initialisation", NOW)
    assert query(nyx, nyx.dkg, {"get_current_epoch_state": {}})["deadline"] is None
    assert query(nyx, nyx.multisig, {"threshold": {}}) == {
        "absolute_percentage": {"percentage": "0.67", "total_weight": 2}
    }


def test_addresses_of_contracts_are_the_same_everywhere() -> None:
    # What the real module gives to the first contract of a chain, known from every Cosmos test network.
    assert contract_address("wasm", 1) == "wasm14hj2tavq8fpesdwxxcu44rty3hh90vhujrvcmstl4zr3txmfvw9s0phg4d"
    contracts = world().contracts
    addresses = {contracts.ecash, contracts.coconut_dkg, contracts.multisig, contracts.group}
    assert len(addresses) == 4
    for address in addresses:
        check_address(address, "n")


# State, ledger, pages


def test_a_chain_comes_back_from_what_was_kept() -> None:
    nyx = dkg_world(3)
    include(nyx, signed(nyx, deposit(nyx), deposit(nyx)))
    include(nyx, signed(nyx, BankSend(ALICE.address, BOB.address, (Coin("unym", 5),))))
    nyx.ecash.set_reduced_price(BOB.address, Coin("unym", 99))
    request = {"request_redemption": {"commitment_bs58": KEY, "number_of_tickets": 3}}
    include(nyx, signed(nyx, execute(nyx, request)))
    kept = json.loads(json.dumps(nyx.chain.to_json()))
    back = world(balances={})
    back.chain.load_json(kept)
    assert back.chain.to_json() == nyx.chain.to_json()
    assert back.multisig.proposal(1) == nyx.multisig.proposal(1)
    assert back.chain.submit(signed(back, deposit(back))).code == 0


def test_transfers_are_undone_when_a_later_one_fails() -> None:
    ledger = Ledger()
    ledger.mint("a", Coin("unym", 10))
    before = ledger.to_json()
    undo = ledger.snapshot()
    ledger.move("a", "b", [Coin("unym", 4)])
    with pytest.raises(Rejected):
        ledger.move("a", "b", [Coin("unym", 7)])
    ledger.restore(undo)
    assert ledger.to_json() == before
    assert ledger.balances("a") == [Coin("unym", 10)]


@given(st.integers(0, 50), st.integers(1, 12), st.integers(1, 12))
def test_pages_show_everything_once(items: int, limit: int, most: int) -> None:
    seen: list[int] = []
    after = None
    while True:
        found, after = page(range(items), lambda item: item, after, limit, 10, most)
        assert len(found) <= min(limit, most)
        seen += found
        if after is None:
            break
    assert seen == list(range(items))


def test_the_networks_own_wallets_follow_from_its_seed() -> None:
    seed = bytes(32)
    assert phrase_for(seed, "faucet") == phrase_for(seed, "faucet") != phrase_for(seed, "gateway1")
    wallet = wallet_for(seed, "faucet", "n")
    assert wallet.address == Wallet.from_phrase(phrase_for(seed, "faucet")).address


def test_wishes_to_the_faucet() -> None:
    def wish(value: Any) -> Wish:
        return Wish.parse(json.dumps(value).encode(), prefix="n", default=7)

    assert wish({"address": BOB.address}) == Wish(BOB.address, 7)
    for amount, expected in ((5, 5), ("12", 12), ("2 NYM", 2_000_000), ("3unym", 3)):
        assert wish({"address": BOB.address, "amount": amount}).amount == expected
    for wrong in (
        [],
        {},
        {"address": "n1x"},
        *({"address": BOB.address, "amount": amount} for amount in (0, -1, True, "", "many", "0", 1.5, [])),
    ):
        with pytest.raises(BadRequest):
            wish(wrong)
    with pytest.raises(BadRequest):
        Wish.parse(b"{", prefix="n", default=7)


# JSON-RPC


def rpc(nyx: Nyx) -> Rpc:
    return Rpc(nyx.chain, clock=lambda: NOW)


def ask(nyx: Nyx, method: str, params: Any = None) -> Any:
    body = {"jsonrpc": "2.0", "id": "x", "method": method, "params": params}
    answer = json.loads(rpc(nyx).handle(json.dumps(body).encode()))
    assert (answer["jsonrpc"], answer["id"]) == ("2.0", "x")
    return answer


def test_json_rpc_errors() -> None:
    nyx = world()
    assert ask(nyx, "no_such_method")["error"]["code"] == -32601
    assert ask(nyx, "abci_query", {})["error"]["code"] == -32602
    assert ask(nyx, "abci_query", [1])["error"]["code"] == -32602
    assert ask(nyx, "broadcast_tx_sync", {"tx": "?"})["error"]["code"] == -32602
    assert json.loads(rpc(nyx).handle(b"{"))["error"]["code"] == -32700
    assert json.loads(rpc(nyx).handle(b"7"))["error"]["code"] == -32600
    batch = json.dumps([{"id": number, "method": "health"} for number in range(2)]).encode()
    assert [each["id"] for each in json.loads(rpc(nyx).handle(batch))] == [0, 1]
    missing = ask(nyx, "tx", {"hash": base64.b64encode(bytes(32)).decode(), "prove": False})
    assert missing["error"] == {
        "code": -32603, "message": "Internal error", "data": f"tx ({'00' * 32}) not found",
    }  # fmt: skip
    unknown = ask(nyx, "abci_query", {"path": "/x", "data": "", "prove": False})["result"]["response"]
    assert (unknown["code"], unknown["codespace"]) == (6, "sdk")


def test_faults_of_the_node() -> None:
    nyx = world()
    nyx.faults.reported_chain_id, nyx.faults.age_seconds, nyx.faults.catching_up = "other", 900, True
    status = ask(nyx, "status")["result"]
    assert status["node_info"]["network"] == "other"
    assert status["sync_info"]["catching_up"] is True
    assert status["sync_info"]["latest_block_time"] < "2026-11-22T13:30"
    raw = base64.b64encode(signed(nyx, deposit(nyx))).decode()
    nyx.faults.unreadable_broadcast = True
    assert "hash" not in ask(nyx, "broadcast_tx_sync", {"tx": raw})["result"]
    assert ask(nyx, "broadcast_tx_sync", {"tx": raw})["error"]["data"] == "tx already exists in cache"
    nyx.faults.hold_mempool = True
    assert nyx.chain.make_block(NOW) == []
    nyx.faults.hold_mempool = False
    assert len(nyx.chain.make_block(NOW)) == 1
    nyx.faults.lose_transactions = True
    assert nyx.chain.submit(signed(nyx, deposit(nyx))).code == 0
    assert nyx.chain.make_block(NOW) == []


def search(nyx: Nyx, text: str, **more: str) -> Any:
    return ask(nyx, "tx_search", {"query": text, "prove": False, "page": "1", "per_page": "100", **more})


def test_searching_transactions() -> None:
    nyx = world()
    results = [include(nyx, signed(nyx, deposit(nyx))) for _ in range(3)]
    for text, expected in {
        "wasm-deposited-funds.deposit-id='1'": [1],
        f"message.sender='{ALICE.address}'": [0, 1, 2],
        f"message.sender='{ALICE.address}' AND tx.height>{results[0].height}": [1, 2],
        f"tx.height>={results[1].height} AND tx.height<={results[1].height}": [1],
        f"tx.hash='{results[2].hash}'": [2],
        "wasm-deposited-funds.deposit-id EXISTS": [0, 1, 2],
        f"execute._contract_address CONTAINS '{nyx.ecash.address[5:30]}'": [0, 1, 2],
        "message.sender='nobody'": [],
    }.items():
        answer = search(nyx, text)["result"]
        assert [each["hash"] for each in answer["txs"]] == [results[i].hash for i in expected], text
        assert answer["total_count"] == str(len(expected))
    paged = search(nyx, "tx.height>0", page="2", per_page="2", order_by="asc")["result"]
    assert [each["hash"] for each in paged["txs"]] == [results[2].hash]
    newest = search(nyx, "tx.height>0", order_by="desc")["result"]["txs"][0]
    assert newest["hash"] == results[2].hash
    assert (
        "page should be within [1, 2] range"
        in search(nyx, "tx.height>0", page="3", per_page="2")["error"]["data"]
    )
    assert "order_by" in search(nyx, "tx.height>0", order_by="up")["error"]["data"]
    for wrong in ("", "message.sender", "a.b='c' OR d.e='f'", "a.b CONTAINS 3", "tx.height>1 AND"):
        assert "failed to parse query" in search(nyx, wrong)["error"]["data"]
        with pytest.raises(BadQuery):
            parse_query(wrong)


def test_blocks_without_transactions_still_pass() -> None:
    chain: Chain = world().chain
    before = chain.height
    assert chain.make_block(NOW + 1) == []
    assert (chain.height, chain.block_unix) == (before + 1, NOW + 1)


def test_other_messages_of_the_contract() -> None:
    nyx = world()

    def done(message: Any, sender: Wallet = ADMIN) -> Any:
        return include(nyx, signed(nyx, execute(nyx, message, sender=sender), wallet=sender))

    blacklisted = "the account blacklisting hasn't been fully implemented yet: execute wasm contract failed"
    for name in ("propose_to_blacklist", "add_to_blacklist"):
        assert done({name: {"public_key": KEY}}).log.endswith(blacklisted)
    for wrong in ({}, {"no_such_message": {}}, {"deposit_ticket_book_funds": {}}, {"update_admin": 7}, [1]):
        assert "Error parsing into type" in done(wrong).log
    assert "Caller is not admin" in done({"redeem_tickets": {"n": 3, "gw": BOB.address}}).log
    digest_of_the_wrong_length = {"request_redemption": {"commitment_bs58": "abc", "number_of_tickets": 1}}
    for message in (
        digest_of_the_wrong_length,
        {"request_redemption": {"commitment_bs58": "0", "number_of_tickets": 1}},
    ):
        assert "the provided tickets redemption commitment is malformed" in done(message).log
    wrong_denom = {"address": BOB.address, "deposit": {"denom": "unyx", "amount": "60"}}
    assert "(expected 'unym', got 'unyx')" in done({"set_reduced_deposit_price": wrong_denom}).log
    nobody = {"address": "n1x", "deposit": {"denom": "unym", "amount": "60"}}
    assert "Error decoding bech32" in done({"set_reduced_deposit_price": nobody}).log
    cheap = {"address": BOB.address, "deposit": {"denom": "unym", "amount": "60"}}
    assert done({"set_reduced_deposit_price": cheap}).code == 0
    assert done({"remove_reduced_deposit_price": {"address": BOB.address}}).code == 0
    assert query(nyx, nyx.ecash, {"get_reduced_deposit_amount": {"address": BOB.address}}) is None
    assert done({"update_admin": {"admin": ALICE.address}}).code == 0
    assert "Caller is not admin" in done({"update_admin": {"admin": ALICE.address}}).log
    for contract in (nyx.dkg, nyx.group, nyx.multisig):
        message = replace(execute(nyx, {"anything": {}}), contract=contract.address)
        assert "Unauthorized: execute wasm contract failed" in include(nyx, signed(nyx, message)).log
    assert query(nyx, nyx.ecash, {"get_blacklisted_account": {"public_key": KEY}}) == {"account": None}
    blacklist = query(nyx, nyx.ecash, {"get_blacklist_paged": {"limit": None, "start_after": None}})
    assert blacklist == {"accounts": [], "per_page": 50, "start_next_after": None}


def test_voters_and_proposals() -> None:
    nyx = world()
    request = {"request_redemption": {"commitment_bs58": KEY, "number_of_tickets": 3}}
    result = include(nyx, signed(nyx, execute(nyx, request)))
    assert result.code == 0
    assert ("proposal_id", "1") in result.events[-1].attributes
    found = query(nyx, nyx.multisig, {"proposal": {"proposal_id": 1}})
    assert (found["title"], found["description"], found["proposer"]) == (
        "ecash-redemption", KEY, nyx.ecash.address,
    )  # fmt: skip
    with pytest.raises(QueryRejected, match="not found"):
        query(nyx, nyx.multisig, {"proposal": {"proposal_id": 2}})
    members = sorted([ALICE.address, BOB.address])
    assert [each["addr"] for each in query(nyx, nyx.group, {"list_members": {}})["members"]] == members
    assert [each["addr"] for each in query(nyx, nyx.multisig, {"list_voters": {}})["voters"]] == members
    assert query(nyx, nyx.group, {"total_weight": {}}) == {"weight": 2}
    assert query(nyx, nyx.group, {"member": {"addr": ADMIN.address}}) == {"weight": None}
    assert query(nyx, nyx.multisig, {"voter": {"address": BOB.address}}) == {"weight": 1}
    assert query(nyx, nyx.group, {"admin": {}}) == {"admin": None}
    nyx.multisig.threshold_answer = {"absolute_count": {"weight": 2, "total_weight": 3}}
    assert "absolute_count" in query(nyx, nyx.multisig, {"threshold": {}})


def test_what_the_key_generation_tells_about_itself() -> None:
    nyx = dkg_world(3)
    state = query(nyx, nyx.dkg, {"get_state": {}})
    assert state["multisig_addr"] == nyx.multisig.address
    assert query(nyx, nyx.dkg, {"get_cw2_contract_version": {}}).keys() == {"contract", "version"}
    advance = query(nyx, nyx.dkg, {"can_advance_state": {}})
    assert (advance["is_complete"], advance["reached_deadline"]) == (True, False)
    nyx.dkg.set_deadline(NOW - 1)
    assert query(nyx, nyx.dkg, {"can_advance_state": {}})["reached_deadline"] is True
    height = nyx.chain.height
    assert query(nyx, nyx.dkg, {"get_epoch_state_at_height": {"height": height}})["epoch_id"] == 5
    assert query(nyx, nyx.dkg, {"get_epoch_state_at_height": {"height": height + 1}}) is None
    dealers = query(nyx, nyx.dkg, {"get_current_dealers": {"limit": 2, "start_after": None}})
    assert len(dealers["dealers"]) == 2
    nyx.dkg.announce(5, 1, "http://127.0.0.1:9/")
    epoch = nyx.dkg.epoch(5)
    assert epoch is not None
    assert [share.announce_address for share in epoch.shares].count("http://127.0.0.1:9/") == 1


def test_a_transaction_that_came_too_late() -> None:
    from nym_credentials.chain import cosmos
    from nym_credentials.chain.messages import parse, write

    nyx = world()
    envelope = parse("TxRaw", signed(nyx, deposit(nyx)), "tx")
    body = parse("TxBody", envelope.body_bytes, "body")
    body.timeout_height = 1
    late = write(
        cosmos.TxRaw(
            body_bytes=write(body),
            auth_info_bytes=envelope.auth_info_bytes,
            signatures=list(envelope.signatures),
        )
    )
    assert nyx.chain.submit(late).code == 30


def test_a_full_mempool(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nym_localnet.chain.chain.MAX_MEMPOOL", 1)
    nyx = world()
    assert nyx.chain.submit(signed(nyx, deposit(nyx))).code == 0
    submission = nyx.chain.submit(signed(nyx, deposit(nyx)))
    assert (submission.code, submission.log) == (20, "mempool is full")
