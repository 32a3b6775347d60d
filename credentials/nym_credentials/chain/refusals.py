"""What a node's codes and logs mean (docs/protocol/08 §4.5, §5): a table, and errors that say what to do.

Codes of codespace ``sdk`` are those of cosmos-sdk 0.50; the contract's words stand inside of the log.
"""

from __future__ import annotations

import re
from enum import IntEnum
from typing import Final, TypedDict

from nym_credentials.chain.rpc import AbciAnswer, BroadcastAnswer
from nym_credentials.errors import (
    ChainError,
    ContractRefused,
    CredentialsError,
    FeeTooLow,
    InsufficientFunds,
    MempoolFull,
    OutOfGas,
    PriceChanged,
    QueryRefused,
    SequenceMismatch,
    SignatureRefused,
    TransactionRefused,
    printable,
)

SDK: Final = "sdk"
WASM: Final = "wasm"


class SdkCode(IntEnum):
    """Codes of codespace ``sdk`` that a payer meets."""

    UNAUTHORIZED = 4
    INSUFFICIENT_FUNDS = 5
    UNKNOWN_REQUEST = 6
    OUT_OF_GAS = 11
    INSUFFICIENT_FEE = 13
    IN_MEMPOOL = 19
    MEMPOOL_FULL = 20
    WRONG_SEQUENCE = 32


WASM_EXECUTE_FAILED: Final = 5
"""Codespace ``wasm``: the contract returned an error."""

_WRONG_AMOUNT: Final = re.compile(
    r"received wrong amount for deposit\. got: (\S+?)\. required: (\S+?)(?:[:\s]|$)"
)
_CONTRACT: Final = re.compile(r"(?:execute|query) wasm contract failed")


def is_waiting_already(answer: BroadcastAnswer) -> bool:
    """Whether the refusal only means that the same bytes are in the mempool."""
    return answer.codespace == SDK and answer.code == SdkCode.IN_MEMPOOL


_REFUSED: Final[dict[int, tuple[type[TransactionRefused], str, str]]] = {
    SdkCode.UNAUTHORIZED: (
        SignatureRefused,
        "The node refused the signature of the transaction.",
        "Chain id or account number may have changed: prepare the deposit again.",
    ),
    SdkCode.INSUFFICIENT_FEE: (
        FeeTooLow,
        "The node asks for a higher fee than this network's gas price.",
        "Use another RPC endpoint.",
    ),
    SdkCode.MEMPOOL_FULL: (MempoolFull, "The node's mempool is full.", "Try again later."),
    SdkCode.WRONG_SEQUENCE: (
        SequenceMismatch,
        "Another transaction of this account came first.",
        "Look whether this one is on the chain before signing it again; use one wallet per program.",
    ),
}


def check_tx_error(answer: BroadcastAnswer) -> CredentialsError:
    """The error for a transaction that CheckTx refused (``code`` is not 0). Nothing was spent by it."""
    coded = _words(answer)
    if answer.codespace == SDK:
        if answer.code == SdkCode.INSUFFICIENT_FUNDS:
            return _funds(answer.log)
        if answer.code == SdkCode.OUT_OF_GAS:
            return OutOfGas("The gas limit was too low for the node.", "Prepare the deposit again.", **coded)
        if answer.code in _REFUSED:
            kind, happened, to_do = _REFUSED[answer.code]
            return kind(f"{happened} ({printable(answer.log)})", to_do, **coded)
    happened = (
        f"The node refused the transaction: {printable(answer.log)} (code {answer.code}, {answer.codespace})."
    )
    return TransactionRefused(happened, "Nothing was spent.", **coded)


def simulation_error(answer: AbciAnswer) -> CredentialsError:
    """The error for a simulation that failed. Nothing was spent."""
    lowered = answer.log.lower()
    if "insufficient funds" in lowered or "is smaller than" in lowered:
        return _funds(answer.log)
    if "out of gas" in lowered:
        return OutOfGas("The simulation ran out of gas.", "Try another RPC endpoint.", **_words(answer))
    if "account sequence mismatch" in lowered:
        return SequenceMismatch(
            "Another transaction of this account came first.", "Prepare the deposit again.", **_words(answer)
        )
    return contract_error(answer.log, answer.code, answer.codespace) or QueryRefused(
        f"The simulation failed: {printable(answer.log)}", "Nothing was spent.", **_words(answer)
    )


def contract_error(log: str, code: int = 0, codespace: str = "") -> ChainError | None:
    """The error if a contract's words are in the log."""
    wrong = _WRONG_AMOUNT.search(log)
    if wrong is not None:
        return PriceChanged(
            f"The price of a ticketbook changed: {printable(wrong[1])} was offered, the contract now wants"
            f" {printable(wrong[2])}.",
            "Nothing was spent. Ask for the price again.",
            code=code,
            codespace=codespace,
            log=log,
        )
    if _CONTRACT.search(log):
        return ContractRefused(
            f"The contract refused: {printable(log)}", "", code=code, codespace=codespace, log=log
        )
    return None


def query_error(answer: AbciAnswer, what: str) -> QueryRefused:
    """The error for any other query that was refused."""
    return QueryRefused(
        f"The chain refused the query for {what}: {printable(answer.log)}", "", **_words(answer)
    )


def is_missing_account(answer: AbciAnswer) -> bool:
    """Whether an account query failed because the address never received coins."""
    lowered = answer.log.lower()
    return answer.code != 0 and ("not found" in lowered or "notfound" in lowered)


def block_error(code: int, codespace: str, log: str) -> CredentialsError:
    """The error for a transaction that failed inside a block: the fee is spent, nothing was deposited."""
    coded: _Words = {"code": code, "codespace": codespace, "log": log}
    if codespace == SDK and code == SdkCode.OUT_OF_GAS:
        return OutOfGas(
            "The deposit ran out of gas inside its block: the fee is spent, the deposit is not.",
            "Try again.",
            **coded,
        )
    if codespace == SDK and code == SdkCode.INSUFFICIENT_FUNDS:
        return _funds(log)
    wrong = _WRONG_AMOUNT.search(log)
    if wrong is not None:
        return PriceChanged(
            f"The price changed to {printable(wrong[2])} while the deposit was on its way: the fee is spent, the"
            " deposit is not.",
            "Ask for the price again.",
            **coded,
        )
    return ContractRefused(
        f"The deposit failed inside its block: {printable(log)} (code {code}, {codespace}). The fee is spent, the"
        " deposit is not.",
        "",
        **coded,
    )


def _funds(log: str) -> InsufficientFunds:
    return InsufficientFunds(
        f"The account does not have enough money: {printable(log)}", "Send NYM to it; nothing was deposited."
    )


class _Words(TypedDict):
    """A node's words, as the errors keep them."""

    code: int
    codespace: str
    log: str


def _words(answer: AbciAnswer | BroadcastAnswer) -> _Words:
    return {"code": answer.code, "codespace": answer.codespace, "log": answer.log}
