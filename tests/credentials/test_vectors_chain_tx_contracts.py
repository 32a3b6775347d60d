"""Known answers of the reference for the messages of contracts: tests/vectors/chain.json (docs/protocol/08 §5, §6)."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from nym_credentials.chain.contracts import (
    BlacklistedAccount,
    DepositAnswer,
    DepositsPage,
    DepositsStatistics,
    DepositTicketBookFunds,
    InstantiateEcash,
    LatestDeposit,
    WhitelistedAccounts,
    coin_from_json,
    coin_to_json,
    optional_coin_from_json,
    parse_ecash_execute,
    parse_ecash_query,
)
from nym_credentials.chain.dkg import (
    DealersPage,
    EpochState,
    OneShare,
    SharesPage,
    parse_dkg_query,
    threshold_from_json,
    threshold_to_json,
)
from tests.vector_files import is_foreign_set, load
from zknym import b58decode

pytestmark = pytest.mark.vectors

VECTORS = load("chain")


def texts(*path: str) -> list[Any]:
    """The named JSON texts of a part of the file, as parameters."""
    found: Any = VECTORS
    for name in path:
        found = found.get(name, {})
    if found:
        return [pytest.param(name, text, id=name) for name, text in found.items()]
    assert is_foreign_set(), f"chain.json has no {path}"
    return [pytest.param("", "", id=f"no-{path[-1]}", marks=pytest.mark.skip(reason="not in this set"))]


def round_trip(record: Any) -> Callable[[str], bytes]:
    """Reads and writes again."""
    return lambda text: record.from_json(text).to_json()


ANSWERS: dict[str, Callable[[str], bytes]] = {
    "blacklisted_account_none": round_trip(BlacklistedAccount),
    "default_deposit_amount": lambda text: coin_to_json(coin_from_json(text)),
    "deposit_found": round_trip(DepositAnswer),
    "deposit_missing": round_trip(DepositAnswer),
    "deposits_paged": round_trip(DepositsPage),
    "latest_deposit": round_trip(LatestDeposit),
    "latest_deposit_none": round_trip(LatestDeposit),
    "reduced_deposit_amount_none": lambda text: coin_to_json(optional_coin_from_json(text)),
    "reduced_deposit_amount_some": lambda text: coin_to_json(optional_coin_from_json(text)),
    "statistics": round_trip(DepositsStatistics),
    "whitelisted": round_trip(WhitelistedAccounts),
}
DKG_ANSWERS: dict[str, Callable[[str], bytes]] = {
    "dealers_page": round_trip(DealersPage),
    "epoch_dealing": round_trip(EpochState),
    "epoch_default": round_trip(EpochState),
    "epoch_in_progress": round_trip(EpochState),
    "threshold_none": lambda text: threshold_to_json(threshold_from_json(text)),
    "threshold_some": lambda text: threshold_to_json(threshold_from_json(text)),
    "vk_share": round_trip(OneShare),
    "vk_shares_last_page": round_trip(SharesPage),
    "vk_shares_page": round_trip(SharesPage),
}


@pytest.mark.parametrize(("name", "text"), texts("ecash_execute"))
def test_executes(name: str, text: str) -> None:
    if name == "instantiate":
        assert InstantiateEcash.from_json(text).to_json().decode() == text
        return
    message = parse_ecash_execute(text)
    assert name == message.NAME
    assert message.to_json().decode() == text
    if isinstance(message, DepositTicketBookFunds):
        assert DepositTicketBookFunds.for_key(b58decode(message.identity_key)) == message


@pytest.mark.parametrize(("name", "text"), texts("ecash_query"))
def test_queries(name: str, text: str) -> None:
    message = parse_ecash_query(text)
    assert name.startswith(message.NAME)
    assert message.to_json().decode() == text


@pytest.mark.parametrize(("name", "text"), texts("ecash_query_responses"))
def test_answers(name: str, text: str) -> None:
    assert ANSWERS[name](text).decode() == text


@pytest.mark.parametrize(("name", "text"), texts("dkg", "queries"))
def test_dkg_queries(name: str, text: str) -> None:
    message = parse_dkg_query(text)
    assert name.startswith(message.NAME)
    assert message.to_json().decode() == text


@pytest.mark.parametrize(("name", "text"), texts("dkg", "responses"))
def test_dkg_answers(name: str, text: str) -> None:
    assert DKG_ANSWERS[name](text).decode() == text


def test_the_older_name_of_the_deadline() -> None:
    answers = VECTORS.get("dkg", {}).get("responses", {})
    epochs = {name: text for name, text in answers.items() if name.startswith("epoch_")}
    assert epochs or is_foreign_set()
    for text in epochs.values():
        older = {
            "finish_timestamp" if key == "deadline" else key: inner for key, inner in json.loads(text).items()
        }
        assert EpochState.from_json(json.dumps(older)) == EpochState.from_json(text)


def test_every_part_is_known() -> None:
    assert set(VECTORS.get("dkg", {})) <= {"queries", "responses"}
