"""Known answers of the reference for accounts, gas, transactions, queries and JSON-RPC: tests/vectors/chain.json.

Contracts' messages are in `test_vectors_chain_tx_contracts`, recorded exchanges in `test_vectors_chain_tx_recorded`.
"""

from __future__ import annotations

import base64
import hashlib
import json
from typing import Any

import pytest

from nym_credentials.chain.contracts import DepositTicketBookFunds, coin_from_json
from nym_credentials.chain.gas import GasPrice, gas_limit
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
    deposit_ids_to_data,
)
from nym_credentials.chain.records import Account
from nym_credentials.chain.rpc import AbciQueryCall, BroadcastCall, Request, TxCall
from nym_credentials.chain.transactions import SignedTransaction, hash_of, sign_transaction, simulation_bytes
from nym_credentials.chain.wallet import Wallet
from nym_credentials.money import Coin
from tests.vector_files import is_foreign_set, load, unhex
from zknym import TicketType, b58decode

pytestmark = pytest.mark.vectors

VECTORS = load("chain")
CHECKED_HERE = {"wallets", "gas", "ticket_types", "transactions", "abci", "jsonrpc_requests"}
CHECKED_ELSEWHERE = {
    "ecash_execute": "test_vectors_chain_tx_contracts",
    "ecash_query": "test_vectors_chain_tx_contracts",
    "ecash_query_responses": "test_vectors_chain_tx_contracts",
    "dkg": "test_vectors_chain_tx_contracts",
    "blind_sign": "test_vectors_signers",
    "global_data": "test_vectors_signers",
    "verify_ticket_responses": "test_vectors_signers",
    "batch_redeem": "test_vectors_signers",
    "signed_responses": "test_vectors_signers",
    "storage": "test_vectors_storage",
    "spends": "test_vectors_storage",
}
NOT_APPLICABLE = {"meta": "says where the file comes from"}


def entries(section: str) -> list[Any]:
    """The entries of a list, as parameters; a set of others may lack the section."""
    found = VECTORS.get(section, [])
    if found:
        return [pytest.param(entry, id=str(entry.get("label", number))) for number, entry in enumerate(found)]
    assert is_foreign_set(), f"chain.json has no {section}"
    return [pytest.param({}, id=f"no-{section}", marks=pytest.mark.skip(reason=f"no {section} in this set"))]


def section(name: str) -> dict[str, Any]:
    """An object of the file; a set of others may lack it."""
    found = VECTORS.get(name)
    if found is None:
        assert is_foreign_set(), f"chain.json has no {name}"
        pytest.skip(f"no {name} in this set")
    assert isinstance(found, dict)
    return found


def test_every_section_is_checked_somewhere() -> None:
    assert set(VECTORS) <= CHECKED_HERE | CHECKED_ELSEWHERE.keys() | NOT_APPLICABLE.keys()


@pytest.mark.parametrize("entry", entries("wallets"))
def test_wallets(entry: dict[str, Any]) -> None:
    assert entry["hd_path"] == "m/44'/118'/0'/0/0"
    wallet = Wallet.from_phrase(entry["mnemonic"], entry["prefix"], entry["bip39_passphrase"])
    assert wallet.address == entry["address"]
    assert wallet.public_key == unhex(entry["public_key_compressed_hex"])
    same = Wallet(unhex(entry["private_key_hex"]), entry["prefix"])
    assert same.address == entry["address"]
    assert same.sign(b"x") == wallet.sign(b"x")


@pytest.mark.parametrize("entry", entries("gas"))
def test_gas(entry: dict[str, Any]) -> None:
    limit = gas_limit(entry["gas_used"], entry["multiplier"])
    assert limit == entry["gas_limit"]
    assert GasPrice.parse(entry["gas_price"]).fee(limit) == Coin(entry["fee_denom"], int(entry["fee_amount"]))


@pytest.mark.parametrize("entry", entries("ticket_types"))
def test_ticket_types(entry: dict[str, Any]) -> None:
    kind = TicketType.from_label(entry["name"])
    assert (kind.label, int(kind), kind.bytes_per_ticket) == (
        json.loads(entry["serde_json"]),
        entry["encoded"],
        entry["bytes_per_ticket"],
    )


def messages_of(entry: dict[str, Any]) -> list[ExecuteContract]:
    """The deposits of a transaction, made from its description."""
    return [
        ExecuteContract(
            entry["sender"],
            entry["contract"],
            DepositTicketBookFunds.for_key(b58decode(key)).to_json(),
            (Coin.parse(entry["funds"]),),
        )
        for key in entry["identity_keys"]
    ]


@pytest.mark.parametrize("entry", entries("transactions"))
def test_transactions_are_built_and_signed(entry: dict[str, Any]) -> None:
    account = VECTORS["wallets"][entry["mnemonic_index"]]
    wallet = Wallet.from_phrase(account["mnemonic"], account["prefix"], account["bip39_passphrase"])
    messages = messages_of(entry)
    wrapped = [message.to_any() for message in messages]
    assert [(each.type_url, each.value.hex()) for each in wrapped] == [
        (each["type_url"], each["value_hex"]) for each in entry["message_any"]
    ]
    tx_bytes = sign_transaction(
        wallet,
        messages,
        memo=entry["memo"],
        fee=Coin(entry["fee_denom"], int(entry["fee_amount"])),
        gas_limit=entry["gas_limit"],
        chain_id=entry["chain_id"],
        account_number=entry["account_number"],
        sequence=entry["sequence"],
    )
    assert tx_bytes.hex() == entry["tx_raw_bytes_hex"]
    assert hash_of(tx_bytes) == entry["tx_hash"]
    simulated = simulation_bytes(wallet.public_key, entry["sequence"], messages, entry["memo"])
    assert simulated.hex() == entry["simulate_tx_bytes_hex"]
    assert SimulateQuery(simulated).encode().hex() == entry["simulate_request_hex"]


@pytest.mark.parametrize("entry", entries("transactions"))
def test_transactions_are_read(entry: dict[str, Any]) -> None:
    account = VECTORS["wallets"][entry["mnemonic_index"]]
    public_key = unhex(account["public_key_compressed_hex"])
    found = SignedTransaction.decode(unhex(entry["tx_raw_bytes_hex"]))
    assert found.messages == tuple(messages_of(entry))
    assert (found.memo, found.timeout_height, found.sequence, found.gas_limit) == (
        entry["memo"],
        entry["timeout_height"],
        entry["sequence"],
        entry["gas_limit"],
    )
    assert found.fee == (Coin(entry["fee_denom"], int(entry["fee_amount"])),)
    assert found.body_bytes.hex() == entry["body_bytes_hex"]
    assert found.auth_info_bytes.hex() == entry["auth_info_bytes_hex"]
    assert found.signature.hex() == entry["signature_hex"]
    document = found.sign_bytes(entry["chain_id"], entry["account_number"])
    assert document.hex() == entry["sign_doc_bytes_hex"]
    assert hashlib.sha256(document).hexdigest() == entry["sign_doc_sha256_hex"]
    assert found.public_key == public_key
    assert found.signer_address(account["prefix"]) == entry["sender"]
    assert found.is_signed_by(public_key, entry["chain_id"], entry["account_number"])
    assert not found.is_signed_by(public_key, entry["chain_id"] + "x", entry["account_number"])
    assert not found.is_signed_by(public_key, entry["chain_id"], entry["account_number"] + 1)
    simulated = SimulateQuery.decode(unhex(entry["simulate_request_hex"])).tx_bytes
    assert simulated.hex() == entry["simulate_tx_bytes_hex"]
    assert SignedTransaction.decode(simulated).messages == found.messages


def abci_account(entry: dict[str, Any]) -> None:
    assert entry["path"] == AccountQuery.PATH
    query = AccountQuery(entry["address"])
    assert query.encode().hex() == entry["request_hex"]
    assert AccountQuery.decode(unhex(entry["request_hex"])) == query
    found = AccountAnswer.decode(unhex(entry["response_hex"]))
    account = found.account
    assert (account.address, account.number, account.sequence) == (
        entry["address"],
        entry["account_number"],
        entry["sequence"],
    )
    assert account.public_key is not None
    assert found.encode().hex() == entry["response_hex"]
    bare = AccountAnswer.decode(unhex(entry["response_without_pubkey_hex"]))
    assert bare.account == Account(entry["address"], entry["account_number"], 0)
    assert bare.encode().hex() == entry["response_without_pubkey_hex"]


def abci_balance(entry: dict[str, Any]) -> None:
    assert entry["path"] == BalanceQuery.PATH
    query = BalanceQuery.decode(unhex(entry["request_hex"]))
    assert query.encode().hex() == entry["request_hex"]
    answer = BalanceAnswer(Coin(query.denom, int(entry["amount"])))
    assert answer.encode().hex() == entry["response_hex"]
    assert BalanceAnswer.decode(unhex(entry["response_hex"])) == answer


def abci_simulate(entry: dict[str, Any]) -> None:
    assert entry["path"] == SimulateQuery.PATH
    answer = SimulateAnswer.decode(unhex(entry["response_hex"]))
    assert answer.gas_used == entry["gas_used"]
    assert answer.encode().hex() == entry["response_hex"]


def abci_smart_query_default_deposit(entry: dict[str, Any]) -> None:
    assert entry["path"] == SmartQuery.PATH
    query = SmartQuery(entry["contract"], entry["query_json"].encode())
    assert query.encode().hex() == entry["request_hex"]
    assert SmartQuery.decode(unhex(entry["request_hex"])) == query
    answer = SmartAnswer(entry["response_json"].encode())
    assert answer.encode().hex() == entry["response_hex"]
    assert SmartAnswer.decode(unhex(entry["response_hex"])) == answer
    assert coin_from_json(answer.data).amount > 0


def abci_tx_result_data(entry: dict[str, Any]) -> None:
    data = unhex(entry["tx_msg_data_hex"])
    assert base64.b64encode(data).decode() == entry["data_base64"]
    assert deposit_ids_from_data(data) == tuple(entry["deposit_ids"])
    assert deposit_ids_to_data(entry["deposit_ids"]) == data


ABCI = {
    "account": abci_account,
    "balance": abci_balance,
    "simulate": abci_simulate,
    "smart_query_default_deposit": abci_smart_query_default_deposit,
    "tx_result_data_single": abci_tx_result_data,
    "tx_result_data_batch": abci_tx_result_data,
}


@pytest.mark.parametrize("name", sorted(VECTORS.get("abci", {"missing": None})))
def test_abci(name: str) -> None:
    entry = section("abci")[name]
    ABCI[name](entry)


CALLS: dict[str, type[AbciQueryCall] | type[BroadcastCall] | type[TxCall]] = {
    "abci_query": AbciQueryCall,
    "broadcast_tx_sync": BroadcastCall,
    "tx": TxCall,
}


@pytest.mark.parametrize("name", sorted(VECTORS.get("jsonrpc_requests", {"missing": None})))
def test_jsonrpc_requests(name: str) -> None:
    entry = section("jsonrpc_requests")[name]
    request = Request(entry["id"], entry["method"], entry["params"])
    assert json.loads(request.encode()) == entry
    assert Request.decode(json.dumps(entry).encode()) == request
    if entry["method"] == "status":
        assert entry["params"] is None
        return
    call = CALLS[entry["method"]].from_params(entry["params"])
    assert call.params() == entry["params"]
    if isinstance(call, BroadcastCall):
        assert SignedTransaction.decode(call.tx).messages
    if isinstance(call, AbciQueryCall):
        assert SmartQuery.decode(call.data).query
