"""Codecs of queries, contracts and JSON-RPC: round trips, truncation, and what is refused."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nym_credentials.chain import cosmos
from nym_credentials.chain.contracts import (
    DepositData,
    DepositsPage,
    DepositTicketBookFunds,
    GetDeposit,
    coin_from_json,
    optional_coin_from_json,
    parse_ecash_execute,
    parse_ecash_query,
)
from nym_credentials.chain.dkg import (
    EpochState,
    Phase,
    PhaseState,
    SharesPage,
    TimeConfiguration,
    threshold_from_json,
)
from nym_credentials.chain.gas import GasPrice, gas_limit
from nym_credentials.chain.messages import (
    BASE_ACCOUNT_TYPE,
    AccountAnswer,
    AccountQuery,
    AllBalancesAnswer,
    AllBalancesQuery,
    BalanceAnswer,
    BankSend,
    ExecuteContract,
    OtherMessage,
    SimulateAnswer,
    SmartAnswer,
    SmartQuery,
    deposit_ids_from_data,
    deposit_ids_to_data,
    read_message,
    write,
)
from nym_credentials.chain.records import Account
from nym_credentials.chain.rpc import (
    AbciAnswer,
    AbciQueryCall,
    BroadcastAnswer,
    Event,
    Request,
    RpcError,
    TxAnswer,
    TxCall,
    TxSearchAnswer,
    TxSearchCall,
    decode_answer,
    encode_answer,
    read_status,
    tx_query,
)
from nym_credentials.chain.rpc_scalars import read_time, write_time
from nym_credentials.chain.transactions import SignedTransaction, sign_transaction
from nym_credentials.chain.wallet import Wallet
from nym_credentials.errors import InvalidAmount, MalformedChainData
from nym_credentials.money import MAX_AMOUNT, Coin
from tests.credentials.chain.world import status_now

COINS = st.builds(Coin, st.just("unym"), st.integers(0, MAX_AMOUNT))
TEXTS = st.text(max_size=30)
HASHES = st.binary(min_size=32, max_size=32).map(lambda digest: digest.hex().upper())
U64 = st.integers(0, 2**64 - 1)


@given(TEXTS, U64, U64, st.none() | st.binary(min_size=33, max_size=33))
def test_accounts(address: str, number: int, sequence: int, key: bytes | None) -> None:
    answer = AccountAnswer(Account(address, number, sequence, key))
    assert AccountAnswer.decode(answer.encode()) == answer


@pytest.mark.parametrize(
    "kind, nested",
    [
        ("cosmos.auth.v1beta1.ModuleAccount", "base_account"),
        ("cosmos.vesting.v1beta1.BaseVestingAccount", "base_account"),
        ("cosmos.vesting.v1beta1.ContinuousVestingAccount", "base_vesting_account.base_account"),
        ("cosmos.vesting.v1beta1.DelayedVestingAccount", "base_vesting_account.base_account"),
        ("cosmos.vesting.v1beta1.PeriodicVestingAccount", "base_vesting_account.base_account"),
        ("cosmos.vesting.v1beta1.PermanentLockedAccount", "base_vesting_account.base_account"),
    ],
)
def test_other_account_types_are_unwrapped(kind: str, nested: str) -> None:
    outer = getattr(cosmos, kind.rpartition(".")[2])()
    base = outer
    for name in nested.split("."):
        base = getattr(base, name)
    base.address, base.account_number, base.sequence = "n1x", 5, 6
    wrapped = cosmos.ProtoAny(type_url=f"/{kind}", value=write(outer))
    data = write(cosmos.QueryAccountResponse(account=wrapped))
    assert AccountAnswer.decode(data).account == Account("n1x", 5, 6)


def test_unknown_accounts_and_keys_are_refused() -> None:
    for type_url, value in (("/ethermint.EthAccount", b""), (BASE_ACCOUNT_TYPE, b"\xff")):
        data = write(cosmos.QueryAccountResponse(account=cosmos.ProtoAny(type_url=type_url, value=value)))
        with pytest.raises(MalformedChainData):
            AccountAnswer.decode(data)
    base = cosmos.BaseAccount(address="n1", pub_key=cosmos.ProtoAny(type_url="/cosmos.crypto.ed25519.PubKey"))
    for key in (base.pub_key, cosmos.ProtoAny(type_url="/cosmos.crypto.secp256k1.PubKey", value=b"")):
        base.pub_key.CopyFrom(key)
        wrapped = cosmos.ProtoAny(type_url=BASE_ACCOUNT_TYPE, value=write(base))
        with pytest.raises(MalformedChainData, match="public_key"):
            AccountAnswer.decode(write(cosmos.QueryAccountResponse(account=wrapped)))


@given(COINS)
def test_balances(coin: Coin) -> None:
    assert BalanceAnswer.decode(BalanceAnswer(coin).encode()).coin == coin
    for coins in ((), (coin,), (coin, coin)):
        assert AllBalancesAnswer.decode(AllBalancesAnswer(coins).encode()).coins == coins
    query = AllBalancesQuery("n1")
    assert AllBalancesQuery.decode(query.encode()) == query


@pytest.mark.parametrize("amount", ["", "-1", "1.5", "x", "9" * 40])
def test_odd_balances_are_refused(amount: str) -> None:
    data = write(cosmos.QueryBalanceResponse(balance=cosmos.Coin(denom="unym", amount=amount)))
    with pytest.raises(MalformedChainData, match="balance"):
        BalanceAnswer.decode(data)


@given(TEXTS, st.binary(max_size=50), st.binary(max_size=50), U64)
def test_contract_queries_and_simulations(contract: str, query: bytes, data: bytes, gas: int) -> None:
    assert SmartQuery.decode(SmartQuery(contract, query).encode()) == SmartQuery(contract, query)
    assert SmartAnswer.decode(SmartAnswer(data).encode()).data == data
    assert SimulateAnswer.decode(SimulateAnswer(gas, 1).encode()) == SimulateAnswer(gas, 1)


def test_a_simulation_has_to_say_its_gas() -> None:
    with pytest.raises(MalformedChainData, match="gas_info"):
        SimulateAnswer.decode(b"")


@given(st.binary(max_size=60))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    for decode in (
        AccountQuery.decode,
        AccountAnswer.decode,
        BalanceAnswer.decode,
        SmartQuery.decode,
        SimulateAnswer.decode,
        SignedTransaction.decode,
        deposit_ids_from_data,
        ExecuteContract.decode,
        BankSend.decode,
    ):
        try:
            decode(data)
        except MalformedChainData:
            continue


@given(st.lists(st.integers(0, 2**32 - 1), max_size=5))
def test_deposit_ids(ids: list[int]) -> None:
    assert deposit_ids_from_data(deposit_ids_to_data(ids)) == tuple(ids)


def test_data_that_is_not_of_deposits() -> None:
    for type_url, inner in (("/x", b""), ("/cosmwasm.wasm.v1.MsgExecuteContractResponse", b"\x0a\x03abc")):
        wrapped = cosmos.ProtoAny(type_url=type_url, value=inner)
        with pytest.raises(MalformedChainData, match="tx_result"):
            deposit_ids_from_data(write(cosmos.TxMsgData(msg_responses=[wrapped])))


@given(st.lists(COINS, max_size=2), st.binary(max_size=40))
def test_messages_of_transactions(coins: list[Coin], msg: bytes) -> None:
    for message in (
        ExecuteContract("a", "b", msg, tuple(coins)),
        BankSend("a", "b", tuple(coins)),
        OtherMessage("/cosmos.gov.v1.MsgVote", msg),
    ):
        assert read_message(message.to_any()) == message


def test_a_truncated_transaction_is_refused_or_different() -> None:
    wallet = Wallet(bytes([1] * 32))
    raw = sign_transaction(
        wallet,
        [BankSend(wallet.address, "n1", (Coin("unym", 5),))],
        memo="m",
        fee=Coin("unym", 0),
        gas_limit=10,
        chain_id="c",
        account_number=1,
        sequence=2,
    )
    whole = SignedTransaction.decode(raw)
    assert whole.is_signed_by(wallet.public_key, "c", 1)
    assert whole.fee == ()
    for end in range(len(raw)):
        try:
            cut = SignedTransaction.decode(raw[:end])
        except MalformedChainData:
            continue
        assert not cut.is_signed_by(wallet.public_key, "c", 1)


# --- contracts --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text, field",
    [
        ("", "JSON"),
        ("[" * 100_000, "JSON"),
        ("[]", "message"),
        ('{"a":{},"b":{}}', "message"),
        ('{"unknown":{}}', "message"),
        ('{"get_deposit":{}}', "get_deposit.deposit_id"),
        ('{"get_deposit":{"deposit_id":-1}}', "get_deposit.deposit_id"),
        ('{"get_deposit":{"deposit_id":4294967296}}', "get_deposit.deposit_id"),
        ('{"get_deposit":{"deposit_id":true}}', "get_deposit.deposit_id"),
        ('{"get_deposit":{"deposit_id":1,"more":1}}', "get_deposit.more"),
        ('{"get_deposit":1}', "get_deposit"),
    ],
)
def test_odd_queries_are_refused_by_name(text: str, field: str) -> None:
    with pytest.raises(MalformedChainData) as caught:
        parse_ecash_query(text)
    assert field in str(caught.value)


def test_optional_members_may_be_left_out() -> None:
    assert parse_ecash_query('{"get_deposits_paged":{}}').to_json() == (
        b'{"get_deposits_paged":{"limit":null,"start_after":null}}'
    )
    assert GetDeposit.from_json('{"get_deposit":{"deposit_id":7}}') == GetDeposit(7)


@given(st.binary(max_size=40))
def test_deposits_take_keys_of_32_bytes(key: bytes) -> None:
    if len(key) != 32:
        with pytest.raises(ValueError, match="32 bytes"):
            DepositTicketBookFunds.for_key(key)
        with pytest.raises(MalformedChainData):
            _ = DepositData.for_key(key).public_key
    else:
        message = DepositTicketBookFunds.for_key(key)
        assert parse_ecash_execute(message.to_json()) == message
        assert DepositData(message.identity_key).public_key == key
    with pytest.raises(MalformedChainData):
        _ = DepositData("0OIl").public_key


@pytest.mark.parametrize(
    "text",
    [
        "null",
        "5",
        "{}",
        '{"denom":"unym"}',
        '{"denom":"unym","amount":5}',
        '{"denom":"unym","amount":"-5"}',
        '{"denom":"","amount":"5"}',
        '{"denom":5,"amount":"5"}',
        f'{{"denom":"unym","amount":"{2**128}"}}',
    ],
)
def test_odd_prices_are_refused(text: str) -> None:
    with pytest.raises(MalformedChainData):
        coin_from_json(text)


def test_no_reduced_price_is_null() -> None:
    assert optional_coin_from_json("null") is None
    assert threshold_from_json("null") is None


def test_answers_name_the_member_inside_of_lists() -> None:
    page = '{"deposits":[{"id":1,"deposit":{"bs58_encoded_ed25519_pubkey":5}}],"start_next_after":null}'
    with pytest.raises(MalformedChainData) as caught:
        DepositsPage.from_json(page)
    assert caught.value.field == "deposits.0.deposit.bs58_encoded_ed25519_pubkey"
    assert "https://x" in str(caught.value.at("https://x"))


def test_answers_may_have_more_members() -> None:
    assert SharesPage.from_json('{"shares":[],"per_page":10,"more":{}}') == SharesPage((), 10)


@pytest.mark.parametrize(
    "state",
    [
        "x",
        5,
        None,
        {"in_progress": {"resharing": True}},
        "dealing_exchange",
        {"dealing_exchange": {}},
        {"x": {}},
        {"dealing_exchange": {"resharing": 1}},
        {"dealing_exchange": {"resharing": True}, "b": 1},
    ],
)
def test_odd_phases_are_refused(state: Any) -> None:
    with pytest.raises(MalformedChainData, match="state"):
        EpochState.from_json(
            json.dumps({"state": state, "epoch_id": 1, "state_progress": {}, "time_configuration": {}})
        )


def epoch(phase: Phase, deadline: int | None) -> EpochState:
    """An epoch in that phase; ``deadline`` in seconds."""
    inside = phase not in (Phase.IN_PROGRESS, Phase.WAITING_INITIALISATION)
    return EpochState(PhaseState(phase, False if inside else None), 1, deadline=deadline and deadline * 10**9)


def test_when_to_look_again() -> None:
    times = TimeConfiguration()
    assert epoch(Phase.IN_PROGRESS, 50).issuing
    assert epoch(Phase.IN_PROGRESS, 50).seconds_until_issuing(100.0) == 0
    assert epoch(Phase.WAITING_INITIALISATION, None).seconds_until_issuing(100.0) == 300
    assert epoch(Phase.WAITING_INITIALISATION, 150).seconds_until_issuing(100.0) == 51
    assert epoch(Phase.VERIFICATION_KEY_FINALIZATION, 150).seconds_until_issuing(100.0) == 51
    assert epoch(Phase.VERIFICATION_KEY_FINALIZATION, 50).seconds_until_issuing(100.0) == 1
    later = times.dealing_exchange_time_secs + times.verification_key_submission_time_secs
    later += times.verification_key_validation_time_secs + times.verification_key_finalization_time_secs
    assert epoch(Phase.PUBLIC_KEY_SUBMISSION, 150).seconds_until_issuing(100.0) == 51 + later


@given(st.sampled_from(Phase), st.none() | U64, st.booleans())
def test_epochs_are_read_back(phase: Phase, deadline: int | None, resharing: bool) -> None:
    inside = phase not in (Phase.IN_PROGRESS, Phase.WAITING_INITIALISATION)
    state = EpochState(PhaseState(phase, resharing if inside else None), 5, deadline=deadline)
    assert EpochState.from_json(state.to_json()) == state
    assert state.time_configuration.of(phase) >= 0


# --- gas --------------------------------------------------------------------------------------------------------


@given(st.integers(0, 2**40), st.sampled_from([1.0, 1.3, 1.5, 2.0]))
def test_the_limit_is_never_below_what_was_used(used: int, multiplier: float) -> None:
    assert gas_limit(used, multiplier) >= used


@pytest.mark.parametrize("text", ["", "unym", "0.025", "-1unym", "1.2.3unym", "x unym"])
def test_odd_gas_prices_are_refused(text: str) -> None:
    with pytest.raises(InvalidAmount):
        GasPrice.parse(text)


def test_gas_prices_may_have_spaces() -> None:
    assert GasPrice.parse(" 0.025 unym ").fee(105_000 * 3 // 2) == Coin("unym", 3938)


# --- JSON-RPC ---------------------------------------------------------------------------------------------------


@given(
    HASHES,
    U64,
    st.binary(max_size=20),
    st.binary(max_size=20),
    TEXTS,
    st.lists(st.tuples(TEXTS, TEXTS), max_size=2),
)
def test_results_are_read_back(
    tx_hash: str, number: int, tx: bytes, data: bytes, text: str, pairs: list[tuple[str, str]]
) -> None:
    tx_answer = TxAnswer(
        tx_hash, number, tx, 5, text, text, data, number, number, (Event(text, tuple(pairs)),), 3
    )
    assert TxAnswer.from_result(json.loads(json.dumps(tx_answer.to_result()))) == tx_answer
    found = TxSearchAnswer((tx_answer,), number)
    assert TxSearchAnswer.from_result(found.to_result()) == found
    abci = AbciAnswer(data, 5, text, text, number)
    assert AbciAnswer.from_result(abci.to_result()) == abci
    sent = BroadcastAnswer(tx_hash, 5, text, text)
    assert BroadcastAnswer.from_result(sent.to_result()) == sent


@given(TEXTS, st.binary(max_size=20), HASHES, st.integers(1, 1000), st.integers(1, 100))
def test_calls_are_read_back(path: str, data: bytes, tx_hash: str, page: int, per_page: int) -> None:
    assert AbciQueryCall.from_params(AbciQueryCall(path, data).params()) == AbciQueryCall(path, data)
    assert TxCall.from_params(TxCall(tx_hash).params()) == TxCall(tx_hash)
    search = TxSearchCall(path, page, per_page)
    assert TxSearchCall.from_params(search.params()) == search


def test_members_that_may_be_absent() -> None:
    assert AbciAnswer.from_result({"response": {}}) == AbciAnswer()
    assert AbciAnswer.from_result({"response": {"value": None, "code": None}}) == AbciAnswer()
    tx_hash = "AB" * 32
    assert BroadcastAnswer.from_result({"code": 0, "hash": tx_hash.lower()}) == BroadcastAnswer(tx_hash)
    assert TxAnswer.from_result({"hash": tx_hash, "height": "5", "tx_result": {}}) == TxAnswer(
        tx_hash, 5, b""
    )
    assert TxSearchCall.from_params({"query": "q"}) == TxSearchCall("q", 1, 30)


STATUS = status_now()


@pytest.mark.parametrize(
    "change, field",
    [
        ({"node_info": None}, "node_info"),
        ({"node_info": {"network": ""}}, "node_info.network"),
        ({"node_info": {"network": 5}}, "node_info.network"),
        ({"sync_info": {}}, "sync_info.catching_up"),
        ({"sync_info": STATUS["sync_info"] | {"latest_block_height": "x"}}, "sync_info.latest_block_height"),
        ({"sync_info": STATUS["sync_info"] | {"latest_block_height": "-1"}}, "sync_info.latest_block_height"),
        (
            {"sync_info": STATUS["sync_info"] | {"latest_block_time": "yesterday"}},
            "sync_info.latest_block_time",
        ),
        (
            {"sync_info": STATUS["sync_info"] | {"latest_block_time": "2026-01-01T00:00:00"}},
            "latest_block_time",
        ),
    ],
)
def test_a_malformed_status_names_the_member(change: dict[str, Any], field: str) -> None:
    with pytest.raises(MalformedChainData) as caught:
        read_status(STATUS | change)
    assert field in caught.value.field


@pytest.mark.parametrize(
    "result",
    [
        {"code": "x", "hash": "AB"},
        {"hash": "AB"},
        {"code": 0},
        {"code": 0, "hash": "zz"},
        {"code": 0, "hash": "AB", "log": 5},
    ],
)
def test_a_malformed_broadcast_answer(result: dict[str, Any]) -> None:
    with pytest.raises(MalformedChainData):
        BroadcastAnswer.from_result(result)


@pytest.mark.parametrize(
    "result",
    [
        {"response": {"value": "***"}},
        {"response": {"value": 5}},
        {"response": {"code": -1}},
        {"response": {"height": "1" * 30}},
        {},
    ],
)
def test_a_malformed_query_answer(result: dict[str, Any]) -> None:
    with pytest.raises(MalformedChainData):
        AbciAnswer.from_result(result)


@pytest.mark.parametrize(
    "change", [{"events": 5}, {"events": [5]}, {"events": [{"type": "x", "attributes": [{}]}]}, {"data": "*"}]
)
def test_a_malformed_transaction(change: dict[str, Any]) -> None:
    with pytest.raises(MalformedChainData):
        TxAnswer.from_result({"hash": "AB" * 32, "height": "1", "tx_result": change})
    with pytest.raises(MalformedChainData):
        TxCall.from_params({"hash": "AAAA"})


def test_envelopes() -> None:
    request = Request("a", "status", None)
    assert Request.decode(request.encode()) == request
    assert Request.decode(b'{"jsonrpc":"2.0","id":1,"method":"x"}') == Request(1, "x", None)
    assert decode_answer(encode_answer("a", {"x": 1}), "a") == {"x": 1}
    assert decode_answer(encode_answer("a", RpcError(1, "m", "d")), "a") == RpcError(1, "m", "d")
    other = decode_answer(b'{"jsonrpc":"2.0","id":"a","error":{"code":1,"message":"m","data":{"x":1}}}', "a")
    assert other == RpcError(1, "m", '{"x": 1}')


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b'{"jsonrpc":"1.0","id":"a","result":{}}',
        b'{"jsonrpc":"2.0","id":"b","result":{}}',
        b'{"jsonrpc":"2.0","id":"a"}',
        b'{"jsonrpc":"2.0","id":"a","result":[]}',
        b'{"jsonrpc":"2.0","id":"a","error":5}',
        b'{"jsonrpc":"2.0","id":"a","error":{"code":"x","message":"m"}}',
        b"\xff\xfe",
    ],
)
def test_malformed_answers(body: bytes) -> None:
    with pytest.raises(MalformedChainData):
        decode_answer(body, "a")


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b'{"id":1,"method":"x"}',
        b'{"jsonrpc":"2.0","id":1,"method":5}',
        b'{"jsonrpc":"2.0","id":null,"method":"x"}',
        b'{"jsonrpc":"2.0","id":1,"method":"x","params":[1]}',
    ],
)
def test_malformed_requests(body: bytes) -> None:
    with pytest.raises(MalformedChainData):
        Request.decode(body)


@given(st.datetimes(min_value=datetime(1970, 1, 1), timezones=st.just(UTC)))
def test_times(when: datetime) -> None:
    assert read_time(write_time(when), "x") == when


def test_nanoseconds_are_cut() -> None:
    when = datetime(2026, 11, 22, 13, 42, 39, 973192, UTC)
    assert read_time("2026-11-22T13:42:39.973192555Z", "x") == when
    assert read_time("2026-11-22T13:42:39.9Z", "x") == when.replace(microsecond=900_000)
    assert read_time("2026-11-22T14:42:39.973192+01:00", "x") - when == timedelta(0)


def test_search_texts() -> None:
    assert tx_query(message__sender="n1x") == "message.sender='n1x'"
    assert tx_query(a__b="1", c___d="2") == "a.b='1' AND c._d='2'"
