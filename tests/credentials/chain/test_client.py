"""The client against the test network's chain: prices, deposits, what refuses them, and what became of them."""

from __future__ import annotations

import json
import secrets
from typing import Any

import pytest

from nym_credentials.chain.client_io import ChainClient
from nym_credentials.chain.dkg import SharesPage, VerificationKeyShare
from nym_credentials.chain.messages import (
    AccountAnswer,
    BalanceAnswer,
    SimulateAnswer,
    SmartAnswer,
    SmartQuery,
    deposit_ids_to_data,
)
from nym_credentials.chain.records import Account, Failed, Included, Price
from nym_credentials.chain.rpc import AbciAnswer, Event, TxAnswer
from nym_credentials.chain.transactions import SignedTransaction, hash_of
from nym_credentials.chain.transport_io import JsonRpcTransport
from nym_credentials.errors import (
    AccountUnfunded,
    ContractRefused,
    DepositIdsUnclear,
    FeeTooHigh,
    InsufficientFunds,
    MalformedChainData,
    PriceChanged,
    QueryRefused,
    SequenceMismatch,
    SignatureRefused,
    TransactionRefused,
    WrongChain,
)
from nym_credentials.money import Coin
from nym_credentials.networks import ChainNetwork, Contracts
from tests.credentials.chain.world import PRICE, STRANGER, WALLET, World, chain_world, node
from zknym import b58encode

FULL_PRICE = Coin("unym", PRICE)


def fresh_key() -> bytes:
    """Stands for an Ed25519 key: the contract looks at its length only."""
    return secrets.token_bytes(32)


async def deposit(world: World, *keys: bytes, price: Coin = FULL_PRICE) -> tuple[Included, int]:
    """Prepares, sends and waits; also returns the fee."""
    prepared = await world.client.prepare_deposit(WALLET, keys, price)
    await world.client.broadcast(prepared.tx_bytes)
    await world.server.included(prepared.tx_hash)
    outcome = await world.client.outcome(prepared.tx_hash, len(keys))
    assert isinstance(outcome, Included)
    return outcome, prepared.fee.amount


async def test_what_the_chain_says_of_accounts() -> None:
    async with chain_world(balance=123) as world:
        assert await world.client.balance(WALLET.address) == Coin("unym", 123)
        account = await world.client.account(WALLET.address)
        assert account is not None
        assert (account.address, account.sequence, account.public_key) == (WALLET.address, 0, None)
        assert await world.client.balance(STRANGER.address) == Coin("unym", 0)
        assert await world.client.account(STRANGER.address) is None
        status = await world.client.status()
        assert status.chain_id == "nyx"
        assert not status.catching_up


async def test_a_deposit_and_the_next_one() -> None:
    async with chain_world() as world:
        key, more = fresh_key(), [fresh_key() for _ in range(3)]
        first, fee = await deposit(world, key)
        assert first.deposit_ids == (0,)
        second, second_fee = await deposit(world, *more)
        assert second.deposit_ids == (1, 2, 3)
        assert world.balance(WALLET.address) == 1_000_000_000 - 4 * PRICE - fee - second_fee
        account = await world.client.account(WALLET.address)
        assert account is not None
        assert (account.sequence, account.public_key) == (2, WALLET.public_key)
        for number, each in enumerate([key, *more]):
            assert world.nyx.ecash.deposit_key(number) == each
            found = await world.client.deposit(number)
            assert found is not None
            assert (found.deposit_id, found.public_key) == (number, each)
        assert await world.client.deposit(4) is None
        found_again = await world.client.find_deposits([more[0], more[2], fresh_key()])
        assert [each.deposit_id for each in found_again] == [1, 3]
        assert await world.client.find_deposits([more[0]], from_id=2) == []
        transactions = await world.client.transactions_of(WALLET.address)
        assert [SignedTransaction.decode(tx.tx).sequence for tx in transactions] == [0, 1]
        paid = await world.client.deposits_of(WALLET.address)
        assert [(each.deposit_id, each.price.amount if each.price else None) for each in paid] == [
            (number, PRICE) for number in range(4)
        ]
        assert [each.tx_hash for each in paid] == [transactions[0].tx_hash, *[transactions[1].tx_hash] * 3]
        assert [each.height for each in paid] == [transactions[0].height, *[transactions[1].height] * 3]


async def test_a_long_list_of_deposits_is_walked() -> None:
    async with chain_world() as world:
        keys = [fresh_key() for _ in range(205)]
        for number, key in enumerate(keys):
            world.nyx.ecash.put_deposit(number, key)
        found = await world.client.find_deposits([keys[3], keys[204]])
        assert [each.deposit_id for each in found] == [3, 204]
        assert [each.deposit_id for each in await world.client.find_deposits([keys[3], keys[204]], 4)] == [
            204
        ]


async def test_a_prepared_deposit_says_everything_about_itself() -> None:
    async with chain_world() as world:
        prepared = await world.client.prepare_deposit(WALLET, [fresh_key()], FULL_PRICE)
        assert prepared.tx_hash == hash_of(prepared.tx_bytes)
        found = SignedTransaction.decode(prepared.tx_bytes)
        assert found.is_signed_by(WALLET.public_key, prepared.chain_id, prepared.account_number)
        assert (found.sequence, found.gas_limit, found.fee) == (
            prepared.sequence,
            prepared.gas_limit,
            (prepared.fee,),
        )
        assert found.memo == "Ecash::Deposit"
        assert world.server.requests.get("broadcast_tx_sync", 0) == 0
        assert await world.client.outcome(prepared.tx_hash) is None
        with pytest.raises(ValueError, match="at least one"):
            await world.client.prepare_deposit(WALLET, [], FULL_PRICE)
        with pytest.raises(ValueError, match="32 bytes"):
            await world.client.prepare_deposit(WALLET, [b"short"], FULL_PRICE)


async def test_the_same_bytes_twice_are_one_deposit() -> None:
    async with chain_world() as world:
        prepared = await world.client.prepare_deposit(WALLET, [fresh_key()], FULL_PRICE)
        for _ in range(3):
            await world.client.broadcast(prepared.tx_bytes)
        await world.server.included(prepared.tx_hash)
        assert world.nyx.ecash.deposits == 1


async def test_prices() -> None:
    async with chain_world(reduced=PRICE // 3) as world:
        price = await world.client.price_for(WALLET.address)
        assert price == Price(FULL_PRICE, Coin("unym", PRICE // 3))
        assert price.best == Coin("unym", PRICE // 3)
        assert await world.client.price_for(STRANGER.address) == Price(FULL_PRICE)
        included, _ = await deposit(world, fresh_key(), price=price.best)
        assert included.deposit_ids == (0,)
        included, _ = await deposit(world, fresh_key(), price=price.default)
        assert included.deposit_ids == (1,)


async def test_a_price_that_changed_is_refused_before_anything_is_signed() -> None:
    async with chain_world() as world:
        world.nyx.faults.price_after_query = Coin("unym", PRICE + 1)
        price = await world.client.price_for(WALLET.address)
        with pytest.raises(PriceChanged, match=str(PRICE + 1)) as caught:
            await world.client.prepare_deposit(WALLET, [fresh_key()], price.best)
        assert caught.value.retryable
        assert world.balance(WALLET.address) == 1_000_000_000


async def test_no_account_and_too_little_money() -> None:
    async with chain_world(balance=None) as world:
        with pytest.raises(AccountUnfunded, match=WALLET.address):
            await world.client.prepare_deposit(WALLET, [fresh_key()], FULL_PRICE)
    async with chain_world(balance=PRICE - 1) as world:
        with pytest.raises(InsufficientFunds, match=r"74\.999999 NYM"):
            await world.client.prepare_deposit(WALLET, [fresh_key()], FULL_PRICE)
        assert world.server.requests.get("broadcast_tx_sync", 0) == 0
    async with chain_world(balance=PRICE + 10) as world:  # enough for the deposit, not for the fee
        with pytest.raises(InsufficientFunds, match="for the fee"):
            await world.client.prepare_deposit(WALLET, [fresh_key()], FULL_PRICE)
    async with chain_world(balance=3 * PRICE) as world:
        with pytest.raises(InsufficientFunds):
            await world.client.prepare_deposit(WALLET, [fresh_key() for _ in range(4)], FULL_PRICE)


async def test_a_wrong_chain_id_is_noticed_before_or_at_the_latest_by_the_chain() -> None:
    async with chain_world(chain_id="nyx") as world:
        world.nyx.faults.reported_chain_id = "other"
        with pytest.raises(WrongChain):
            await world.client.prepare_deposit(WALLET, [fresh_key()], FULL_PRICE)
    async with chain_world() as world:
        world.nyx.faults.reported_chain_id = "other"  # and nothing to compare it with
        prepared = await world.client.prepare_deposit(WALLET, [fresh_key()], FULL_PRICE)
        with pytest.raises(SignatureRefused) as caught:
            await world.client.broadcast(prepared.tx_bytes)
        assert caught.value.code == 4
        assert world.balance(WALLET.address) == 1_000_000_000


async def test_a_network_that_names_another_chain() -> None:
    async with chain_world() as world:
        client = ChainClient(
            ChainNetwork(
                "x", world.network.contracts, world.network.rpc_urls, ("http://a/",), chain_id="other"
            ),
            world.transport,
        )
        with pytest.raises(WrongChain, match="other"):
            await client.prepare_deposit(WALLET, [fresh_key()], FULL_PRICE)


async def test_a_used_sequence_is_refused() -> None:
    async with chain_world() as world:
        early = await world.client.prepare_deposit(WALLET, [fresh_key()], FULL_PRICE)
        await deposit(world, fresh_key())
        with pytest.raises(SequenceMismatch) as caught:
            await world.client.broadcast(early.tx_bytes)
        assert caught.value.code == 32
        assert caught.value.retryable
        assert await world.client.outcome(early.tx_hash) is None


@pytest.mark.parametrize("code, kind", [(5, InsufficientFunds), (3, TransactionRefused)])
async def test_other_refusals(code: int, kind: type[Exception]) -> None:
    async with chain_world() as world:
        prepared = await world.client.prepare_deposit(WALLET, [fresh_key()], FULL_PRICE)
        world.nyx.faults.refuse_broadcast = (code, "for a reason")
        with pytest.raises(kind, match="for a reason"):
            await world.client.broadcast(prepared.tx_bytes)


async def test_a_failure_inside_the_block() -> None:
    async with chain_world() as world:
        prepared = await world.client.prepare_deposit(WALLET, [fresh_key()], FULL_PRICE)
        world.nyx.faults.fail_in_block = "Unauthorized: execute wasm contract failed"
        await world.client.broadcast(prepared.tx_bytes)
        await world.server.included(prepared.tx_hash)
        outcome = await world.client.outcome(prepared.tx_hash)
        assert isinstance(outcome, Failed)
        assert outcome.code != 0
        assert "Unauthorized" in outcome.log
        assert world.balance(WALLET.address) == 1_000_000_000 - prepared.fee.amount


async def test_a_contract_that_is_none() -> None:
    async with chain_world() as world:
        elsewhere = Contracts(world.network.contracts.coconut_dkg, STRANGER.address)
        client = ChainClient(
            ChainNetwork("x", elsewhere, world.network.rpc_urls, ("http://a/",)), world.transport
        )
        with pytest.raises(QueryRefused):
            await client.price_for(WALLET.address)
        with pytest.raises(QueryRefused):
            await client.epoch_state()
        with pytest.raises((ContractRefused, QueryRefused)):
            await client.prepare_deposit(WALLET, [fresh_key()], FULL_PRICE)


# --- answers that no honest node gives --------------------------------------------------------------------------

CONTRACTS = Contracts(*(WALLET.address,) * 2)


def client_of(url: str, transport: JsonRpcTransport) -> ChainClient:
    """A client of one node."""
    return ChainClient(ChainNetwork("x", CONTRACTS, (url,), ("http://a/",)), transport)


def smart(answers: dict[str, Any]) -> Any:
    """A handler of contract queries by name; a text is a refusal."""

    def handle(call: dict[str, Any]) -> dict[str, Any]:
        query = SmartQuery.decode(bytes.fromhex(call["params"]["data"]))
        name, arguments = next(iter(json.loads(query.query).items()))
        answer = answers[name]
        if callable(answer):
            answer = answer(arguments)
        if isinstance(answer, str):
            return AbciAnswer(code=6, codespace="sdk", log=answer).to_result()
        data = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        return AbciAnswer(SmartAnswer(data).encode()).to_result()

    return handle


OLD = "Error parsing into type: unknown variant: query wasm contract failed"


async def test_old_contracts_know_one_price_by_another_name() -> None:
    answers = {
        "get_default_deposit_amount": OLD,
        "get_required_deposit_amount": {"denom": "unym", "amount": "5"},
        "get_reduced_deposit_amount": OLD,
    }
    async with node(abci_query=smart(answers)) as old, JsonRpcTransport([old.url]) as transport:
        assert await client_of(old.url, transport).price_for(WALLET.address) == Price(Coin("unym", 5))


async def test_a_reduced_price_in_another_denomination() -> None:
    answers = {
        "get_default_deposit_amount": {"denom": "unym", "amount": "5"},
        "get_reduced_deposit_amount": {"denom": "ufoo", "amount": "1"},
    }
    async with node(abci_query=smart(answers)) as odd, JsonRpcTransport([odd.url]) as transport:
        with pytest.raises(MalformedChainData, match="reduced price"):
            await client_of(odd.url, transport).price_for(WALLET.address)


def test_a_larger_reduced_price_is_not_paid() -> None:
    assert Price(Coin("unym", 5), Coin("unym", 6)).best == Coin("unym", 5)


async def test_a_node_that_lies_about_gas_cannot_spend_the_balance() -> None:
    async with chain_world() as world:
        lying = world.transport.abci_query

        async def query(path: str, data: bytes) -> AbciAnswer:
            if path.endswith("Simulate"):
                return AbciAnswer(SimulateAnswer(10**9).encode())
            return await lying(path, data)

        world.transport.abci_query = query  # type: ignore[method-assign]
        with pytest.raises(FeeTooHigh, match=r"37\.5 NYM"):
            await world.client.prepare_deposit(WALLET, [fresh_key()], FULL_PRICE)


async def test_lists_that_never_end() -> None:
    page = {"deposits": [], "start_next_after": 5}
    shares = {"shares": [], "per_page": 10, "start_next_after": "n1"}
    answers = {"get_deposits_paged": page, "get_verification_keys": shares}
    async with node(abci_query=smart(answers)) as odd, JsonRpcTransport([odd.url]) as transport:
        client = client_of(odd.url, transport)
        with pytest.raises(MalformedChainData, match="start_next_after"):
            await client.find_deposits([bytes(32)])
        with pytest.raises(MalformedChainData, match="start_next_after"):
            await client.shares(1)


async def test_shares_that_cannot_be_used_are_left_out() -> None:
    def share(
        index: int, owner: str, key: str = b58encode(b"key"), epoch: int = 5, verified: bool = True
    ) -> Any:
        return VerificationKeyShare(key, f"http://{owner}/", index, owner, epoch, verified)

    first = SharesPage(
        (share(3, "a"), share(1, "b", verified=False), share(0, "c"), share(2, "d", "0OIl")), 4, "d"
    )
    second = SharesPage((share(2, "e"), share(2, "f"), share(4, "g", epoch=4), share(5, "h", "")), 4, "h")
    pages = {None: first, "d": second, "h": SharesPage((), 4)}
    answers = {"get_verification_keys": lambda arguments: pages[arguments["start_after"]].to_json()}
    async with node(abci_query=smart(answers)) as odd, JsonRpcTransport([odd.url]) as transport:
        found = await client_of(odd.url, transport).shares(5)
        assert [(each.node_index, each.owner, each.verified) for each in found] == [
            (1, "b", False),
            (2, "e", True),
            (3, "a", True),
        ]
        assert found[0].key == b"key"
        assert found[0].url == "http://b/"


async def test_epochs_and_thresholds() -> None:
    state = {"state": "waiting_initialisation", "epoch_id": 0}
    answers = {
        "get_current_epoch_threshold": b"2",
        "get_epoch_threshold": b"null",
        "get_current_epoch_state": state,
    }
    async with node(abci_query=smart(answers)) as odd, JsonRpcTransport([odd.url]) as transport:
        client = client_of(odd.url, transport)
        assert await client.threshold() == 2
        assert await client.threshold(7) is None
        with pytest.raises(MalformedChainData, match="state_progress"):
            await client.epoch_state()
    async with chain_world() as world:
        assert not (await world.client.epoch_state()).issuing
        assert await world.client.threshold() is None
        assert await world.client.shares(0) == []


TX = b"tx"
HASH = hash_of(TX)


def event(text: str, contract: str = WALLET.address) -> Event:
    """The contract's event."""
    return Event("wasm-deposited-funds", (("_contract_address", contract), ("deposit-id", text)))


@pytest.mark.parametrize(
    "answer, ids",
    [
        (TxAnswer(HASH, 5, TX, data=deposit_ids_to_data([7])), (7,)),
        (TxAnswer(HASH, 5, TX, events=(event("7"),)), (7,)),
        (TxAnswer(HASH, 5, TX, data=b"\xff", events=(event("7"),)), (7,)),
        (TxAnswer(HASH, 5, TX, data=deposit_ids_to_data([1, 2]), events=(event("7"),)), (7,)),
        (TxAnswer(HASH, 5, TX), None),
        (TxAnswer(HASH, 5, TX, data=deposit_ids_to_data([1, 2])), None),
        (TxAnswer(HASH, 5, TX, events=(event("7"), event("8"))), None),
        (TxAnswer(HASH, 5, TX, events=(event("7", "n1other"),)), None),
        (TxAnswer(HASH, 5, TX, events=(event("-7"),)), None),
    ],
)
async def test_ids_of_one_deposit(answer: TxAnswer, ids: tuple[int, ...] | None) -> None:
    async with node(tx=answer.to_result()) as only, JsonRpcTransport([only.url]) as transport:
        client = client_of(only.url, transport)
        if ids is None:
            with pytest.raises(DepositIdsUnclear, match=HASH):
                await client.outcome(HASH, 1)
        else:
            assert await client.outcome(HASH, 1) == Included(5, ids, 0)


async def test_answers_about_somebody_else() -> None:
    answer = {"value": AbciAnswer(AccountAnswer(Account("n1other", 1, 1)).encode()).to_result()}
    async with node(abci_query=lambda _: answer["value"]) as odd, JsonRpcTransport([odd.url]) as transport:
        client = client_of(odd.url, transport)
        with pytest.raises(MalformedChainData, match=r"account\.address"):
            await client.account(WALLET.address)
        answer["value"] = AbciAnswer(BalanceAnswer(Coin("ufoo", 5)).encode()).to_result()
        with pytest.raises(MalformedChainData, match="denom"):
            await client.balance(WALLET.address)
        answer["value"] = AbciAnswer(code=1, log="no").to_result()
        for call in (client.balance, client.account):
            with pytest.raises(QueryRefused, match="no"):
                await call(WALLET.address)
