"""Codes and logs of nodes, and the error tree."""

from __future__ import annotations

import inspect

import pytest

from nym_credentials import errors
from nym_credentials.chain.refusals import (
    block_error,
    check_tx_error,
    contract_error,
    is_missing_account,
    is_waiting_already,
    query_error,
    simulation_error,
)
from nym_credentials.chain.rpc import AbciAnswer, BroadcastAnswer
from nym_credentials.errors import (
    ContractRefused,
    CredentialsError,
    FeeTooLow,
    InsufficientFunds,
    MempoolFull,
    OutOfGas,
    PriceChanged,
    QueryRefused,
    RpcRefused,
    SequenceMismatch,
    SignatureRefused,
    TransactionRefused,
)


@pytest.mark.parametrize(
    "codespace, code, kind",
    [
        ("sdk", 4, SignatureRefused),
        ("sdk", 5, InsufficientFunds),
        ("sdk", 11, OutOfGas),
        ("sdk", 13, FeeTooLow),
        ("sdk", 20, MempoolFull),
        ("sdk", 32, SequenceMismatch),
        ("sdk", 99, TransactionRefused),
        ("other", 32, TransactionRefused),
    ],
)
def test_refusals_by_code(codespace: str, code: int, kind: type[CredentialsError]) -> None:
    error = check_tx_error(BroadcastAnswer("00" * 32, code, codespace, "the log"))
    assert type(error) is kind


def test_the_same_bytes_in_the_mempool_are_no_refusal() -> None:
    assert is_waiting_already(BroadcastAnswer("00" * 32, 19, "sdk"))
    assert not is_waiting_already(BroadcastAnswer("00" * 32, 19, "wasm"))


WRONG = (
    "rpc error: failed to execute message; message index: 0: received wrong amount for deposit. got: 1unym."
)


@pytest.mark.parametrize(
    "log, kind",
    [
        (f"{WRONG} required: 2unym: execute wasm contract failed with gas used: 5", PriceChanged),
        (f"{WRONG} required: 2unym", PriceChanged),
        ("Invalid deposit: execute wasm contract failed", ContractRefused),
        ("spendable balance 0unym is smaller than 5unym: insufficient funds", InsufficientFunds),
        ("out of gas in location: wasm contract; gasWanted: 5", OutOfGas),
        ("account sequence mismatch, expected 9, got 8: incorrect account sequence", SequenceMismatch),
        ("something else", QueryRefused),
    ],
)
def test_simulations_by_their_log(log: str, kind: type[CredentialsError]) -> None:
    error = simulation_error(AbciAnswer(code=6, codespace="sdk", log=log))
    assert type(error) is kind


@pytest.mark.parametrize(
    "codespace, code, log, kind",
    [
        ("sdk", 11, "out of gas", OutOfGas),
        ("sdk", 5, "insufficient funds", InsufficientFunds),
        ("wasm", 5, f"{WRONG} required: 2unym: execute wasm contract failed", PriceChanged),
        ("wasm", 5, "Unauthorized: execute wasm contract failed", ContractRefused),
    ],
)
def test_failures_in_blocks(codespace: str, code: int, log: str, kind: type[CredentialsError]) -> None:
    assert type(block_error(code, codespace, log)) is kind


def test_the_amounts_of_a_changed_price_are_named() -> None:
    error = contract_error(f"{WRONG} required: 2unym: execute wasm contract failed")
    assert "1unym" in str(error)
    assert "2unym" in str(error)
    assert contract_error("nothing of a contract") is None


def test_accounts_that_do_not_exist() -> None:
    log = "rpc error: code = NotFound desc = account n1 not found: key not found"
    assert is_missing_account(AbciAnswer(code=22, codespace="sdk", log=log))
    assert not is_missing_account(AbciAnswer(code=0, log=log))
    assert not is_missing_account(AbciAnswer(code=1, log="other"))
    assert isinstance(query_error(AbciAnswer(code=1, log="other"), "x"), QueryRefused)


def test_peers_cannot_write_into_our_log() -> None:
    nasty = "line\nanother\x1b[31m" + "x" * 10_000
    for error in (
        check_tx_error(BroadcastAnswer("00" * 32, 1, "sdk", nasty)),
        simulation_error(AbciAnswer(code=1, log=nasty)),
        RpcRefused("http://x", "tx", 1, nasty, nasty),
        block_error(5, "wasm", nasty),
    ):
        text = str(error)
        assert text.isprintable()
        assert len(text) < 2_000


def test_every_error_has_a_layer_and_is_in_the_tree() -> None:
    tree = inspect.getdoc(errors)
    assert tree is not None
    found = [
        kind
        for _, kind in inspect.getmembers(errors, inspect.isclass)
        if issubclass(kind, CredentialsError) and not kind.__name__.startswith("_")
    ]
    assert len(found) > 20
    for kind in found:
        assert kind.layer in ("wallet", "chain", "signers", "tickets")
        assert isinstance(kind.retryable, bool)
        assert kind.__doc__
        lines = [line for line in tree.splitlines() if f"─ {kind.__name__} " in f"{line} "]
        assert kind is CredentialsError or len(lines) == 1, f"{kind.__name__} is missing from the tree"
        assert not lines or kind.retryable == (" retry " in lines[0]), kind.__name__
