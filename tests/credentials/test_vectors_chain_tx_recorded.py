"""Exchanges recorded between upstream's programs and a chain: tests/vectors/recorded-chain.json, the part of the chain.

Requests are read and written as upstream sent them, answers as they came; the queries inside are read as well.
Exchanges with signers are in `test_vectors_signers`.
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from nym_credentials.chain.contracts import (
    AbsolutePercentage,
    coin_from_json,
    coin_to_json,
    parse_ecash_query,
)
from nym_credentials.chain.dkg import (
    EpochState,
    SharesPage,
    parse_dkg_query,
    threshold_from_json,
    threshold_to_json,
)
from nym_credentials.chain.gas import gas_limit
from nym_credentials.chain.messages import (
    AccountAnswer,
    AccountQuery,
    BalanceAnswer,
    BalanceQuery,
    ExecuteContract,
    SimulateAnswer,
    SimulateQuery,
    SmartAnswer,
    SmartQuery,
    deposit_ids_from_data,
)
from nym_credentials.chain.refusals import block_error, check_tx_error, simulation_error
from nym_credentials.chain.rpc import (
    AbciAnswer,
    AbciQueryCall,
    BroadcastAnswer,
    BroadcastCall,
    Request,
    RpcError,
    TxAnswer,
    TxCall,
    decode_answer,
    encode_answer,
    read_status,
    status_result,
    tx_not_found,
)
from nym_credentials.chain.transactions import SignedTransaction, hash_of, sign_transaction
from nym_credentials.chain.wallet import Wallet
from nym_credentials.errors import PriceChanged, SequenceMismatch
from nym_credentials.networks import network_from_env
from tests.vector_files import is_foreign_set, load

pytestmark = pytest.mark.vectors

RECORDED = load("recorded-chain")
METHODS = {"status", "abci_query", "broadcast_tx_sync", "tx"}
ERROR_KINDS = {
    "simulate refused (price changed between query and simulation)",
    "CheckTx refused",
    "failed inside the block",
    "transaction not found yet",
}


def exchanges() -> list[Any]:
    """Every exchange with the chain, of flows and of error answers."""
    found = [
        pytest.param(step, id=f"{flow['name'][:2].strip()}-{number}")
        for flow in RECORDED.get("flows", [])
        for number, step in enumerate(flow["steps"])
        if step["to"] == "rpc"
    ]
    found += [
        pytest.param(step, id=f"{name}-{number}")
        for name, steps in RECORDED.get("error_answers", {}).items()
        for number, step in enumerate(steps)
        if step["to"] == "rpc"
    ]
    if found:
        return found
    assert is_foreign_set(), "recorded-chain.json has no exchange with the chain"
    return [pytest.param({}, id="none", marks=pytest.mark.skip(reason="none in this set"))]


@pytest.mark.parametrize("step", exchanges())
def test_envelopes_both_ways(step: dict[str, Any]) -> None:
    request = Request.decode(json.dumps(step["request"]).encode())
    assert json.loads(request.encode()) == step["request"]
    answer = decode_answer(json.dumps(step["response"]).encode(), request.id)
    assert json.loads(encode_answer(request.id, answer)) == step["response"]


@pytest.mark.parametrize("step", exchanges())
def test_calls_and_results_both_ways(step: dict[str, Any]) -> None:
    request = Request.decode(json.dumps(step["request"]).encode())
    answer = decode_answer(json.dumps(step["response"]).encode(), request.id)
    assert request.method in METHODS
    if request.method == "status":
        assert request.params is None
        assert not isinstance(answer, RpcError)
        status = read_status(answer)
        again = status_result(status)
        assert read_status(again) == status
        assert set(again) == set(answer)
        for part, members in again.items():
            assert set(members) == set(answer[part])
    if request.method == "abci_query":
        query = AbciQueryCall.from_params(request.params)
        assert query.params() == request.params
        assert not isinstance(answer, RpcError)
        found = AbciAnswer.from_result(answer)
        assert found.to_result() == answer
        check_query(query, found, step)
    if request.method == "broadcast_tx_sync":
        call = BroadcastCall.from_params(request.params)
        assert call.params() == request.params
        assert not isinstance(answer, RpcError)
        sent = BroadcastAnswer.from_result(answer)
        assert sent.to_result() == answer
        assert sent.tx_hash == hash_of(call.tx)
    if request.method == "tx":
        wanted = TxCall.from_params(request.params)
        assert wanted.params() == request.params
        if isinstance(answer, RpcError):
            assert answer == tx_not_found(wanted.tx_hash)
        else:
            included = TxAnswer.from_result(answer)
            assert included.to_result() == answer
            assert included.tx_hash == wanted.tx_hash == hash_of(included.tx)


def check_query(query: AbciQueryCall, answer: AbciAnswer, step: dict[str, Any]) -> None:
    """What is inside of a query and its answer, both ways."""
    decoded = step.get("decoded") or {}
    if query.path == AccountQuery.PATH:
        account_query = AccountQuery.decode(query.data)
        assert account_query.encode() == query.data
        account = AccountAnswer.decode(answer.value)
        assert account.account.address == account_query.address == decoded["address"]
        assert account.encode() == answer.value
    elif query.path == BalanceQuery.PATH:
        balance_query = BalanceQuery.decode(query.data)
        assert balance_query.encode() == query.data
        balance = BalanceAnswer.decode(answer.value)
        assert balance.coin.denom == balance_query.denom
        assert balance.encode() == answer.value
    elif query.path == SimulateQuery.PATH:
        simulation = SimulateQuery.decode(query.data)
        assert simulation.encode() == query.data
        assert SignedTransaction.decode(simulation.tx_bytes).signature == b""
        if answer.code == 0:
            assert SimulateAnswer.decode(answer.value).gas_used > 0
    else:
        smart = SmartQuery.decode(query.data)
        assert query.path == SmartQuery.PATH
        assert smart.encode() == query.data
        assert smart.query.decode() == decoded["query_json"]
        found = SmartAnswer.decode(answer.value)
        assert found.encode() == answer.value
        assert found.data.decode() == decoded["answer_json"]
        check_contract(decoded["contract"], smart.query, found.data)


def check_contract(contract: str, query: bytes, answer: bytes) -> None:
    """A contract's question and answer, both ways."""
    if contract == "ecash":
        assert parse_ecash_query(query).to_json() == query
        assert coin_to_json(coin_from_json(answer)) == answer
        return
    if contract == "multisig":
        assert AbsolutePercentage.from_json(answer).to_json() == answer
        return
    assert contract == "dkg"
    message = parse_dkg_query(query)
    assert message.to_json() == query
    written = {
        "get_current_epoch_state": lambda: EpochState.from_json(answer).to_json(),
        "get_verification_keys": lambda: SharesPage.from_json(answer).to_json(),
        "get_current_epoch_threshold": lambda: threshold_to_json(threshold_from_json(answer)),
        "get_epoch_threshold": lambda: threshold_to_json(threshold_from_json(answer)),
    }[message.NAME]()
    assert written == answer


def test_the_recorded_deposit_is_what_we_would_sign() -> None:
    buyer = RECORDED.get("state", {}).get("buyer")
    steps = [step for flow in RECORDED.get("flows", []) for step in flow["steps"] if step["to"] == "rpc"]
    sent = [step for step in steps if step["request"]["method"] == "broadcast_tx_sync"]
    if buyer is None or not sent:
        assert is_foreign_set()
        pytest.skip("no deposit in this set")
    simulated = [
        s
        for s in steps
        if s["request"].get("params") and s["request"]["params"].get("path") == SimulateQuery.PATH
    ]
    assert simulated
    gas_used = SimulateAnswer.decode(
        AbciAnswer.from_result(simulated[0]["response"]["result"]).value
    ).gas_used
    wallet = Wallet.from_phrase(buyer["mnemonic"])
    assert wallet.address == buyer["address"]
    raw = BroadcastCall.from_params(sent[0]["request"]["params"]).tx
    found = SignedTransaction.decode(raw)
    messages = [message for message in found.messages if isinstance(message, ExecuteContract)]
    assert messages
    assert found.gas_limit == gas_limit(gas_used)
    again = sign_transaction(
        wallet,
        messages,
        memo=found.memo,
        fee=found.fee[0],
        gas_limit=found.gas_limit,
        chain_id=RECORDED["state"]["chain_id"],
        account_number=buyer["account_number"],
        sequence=buyer["sequence_at_start"],
    )
    assert again == raw
    included = [
        TxAnswer.from_result(step["response"]["result"])
        for step in steps
        if step["request"]["method"] == "tx" and "result" in step["response"]
    ]
    assert len(deposit_ids_from_data(included[0].data)) == len(messages)


def result_of(name: str) -> dict[str, Any]:
    """The answer of a recorded error."""
    steps = RECORDED.get("error_answers", {}).get(name)
    if steps is None:
        assert is_foreign_set(), f"no recorded {name}"
        pytest.skip(f"no recorded {name} in this set")
    found = steps[0]["response"]["result"]
    assert isinstance(found, dict)
    return found


def test_a_changed_price_is_recognised() -> None:
    answer = AbciAnswer.from_result(
        result_of("simulate refused (price changed between query and simulation)")
    )
    error = simulation_error(answer)
    assert isinstance(error, PriceChanged)
    assert error.code == answer.code


def test_a_wrong_sequence_is_recognised() -> None:
    answer = BroadcastAnswer.from_result(result_of("CheckTx refused"))
    assert answer.code != 0
    error = check_tx_error(answer)
    if answer.code == 32:
        assert isinstance(error, SequenceMismatch)


def test_a_failure_inside_a_block_says_that_the_fee_is_spent() -> None:
    answer = TxAnswer.from_result(result_of("failed inside the block"))
    assert answer.code != 0
    assert "fee is spent" in str(block_error(answer.code, answer.codespace, answer.log))


def test_every_recorded_error_of_the_chain_is_known() -> None:
    for name, steps in RECORDED.get("error_answers", {}).items():
        if any(step["to"] == "rpc" for step in steps):
            assert name in ERROR_KINDS


def test_the_recorded_environment_describes_its_network() -> None:
    variables = RECORDED.get("state", {}).get("environment_variables")
    if variables is None:
        assert is_foreign_set()
        pytest.skip("no variables in this set")
    network = network_from_env(variables)
    contracts = RECORDED["state"]["contracts"]
    assert network.contracts.ecash == contracts["ecash"]
    assert network.contracts.coconut_dkg == contracts["dkg"]
    assert network.rpc_urls == (variables["NYXD"],)
    assert network.exponent == int(variables["DENOMS_EXPONENT"])
