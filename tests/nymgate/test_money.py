"""What a configuration says about money, errors of the money side in words, and tickets for the gateway link."""

import asyncio
import contextlib
import re
from pathlib import Path

import pytest

from nym_credentials import errors as money_errors
from nym_credentials.errors import (
    BackupRestored,
    ChainUnreachable,
    ClockSkewed,
    CredentialsError,
    InsufficientFunds,
    NearMidnight,
    OutOfTickets,
    PhraseInvalid,
    PriceChanged,
    PurchaseDeclined,
    QuorumMissing,
    StoreInUse,
    StoreKeyWrong,
)
from nym_credentials.networks import MAINNET
from nym_credentials.store.store_io import TicketStore
from nym_credentials.topup.budget import Refusal
from nym_credentials.topup.hindrances import Hindrance
from nym_credentials.topup.settings import BudgetLimits, TopUpSettings
from nym_credentials.topup.topup_io import BudgetRefused
from nym_mixnet.errors import NoTickets
from nym_mixnet.link_state import LinkOptions
from nymgate import wiring
from nymgate.cli.app import as_ours
from nymgate.config_layers import load
from nymgate.errors import ConfigError, ExitCode
from nymgate.networks import Network
from nymgate.purse.money import explain_money, money_plan
from nymgate.purse.money_io import Money
from nymgate.sensitive import Sensitive
from tests.nymgate.paid_world import new_phrase

CHAIN = Network("mainnet", MAINNET.nym_api_urls, MAINNET)
SENTENCE = re.compile(r"[A-Z0-9].*[.!?]", re.DOTALL)


def plan(tmp_path, network=CHAIN, **flags):
    config = load(environ={"HOME": str(tmp_path)}, flags=flags).config
    return money_plan(config, network, tmp_path / network.name)


def classes(root):
    yield root
    for child in root.__subclasses__():
        yield from classes(child)


PUBLIC = [
    cls
    for cls in classes(CredentialsError)
    if cls.__module__ == money_errors.__name__ and not cls.__name__.startswith("_")
]


@pytest.mark.parametrize("kind", sorted(PUBLIC, key=lambda cls: cls.__name__))
def test_every_error_becomes_two_sentences_a_code_and_an_exit_code(kind):
    error = kind.__new__(kind)
    CredentialsError.__init__(error, "something happened", "")
    ours = explain_money(error)
    assert ours.what == "something happened."
    assert SENTENCE.fullmatch(ours.todo)
    assert re.fullmatch(r"E(_[A-Z]+)+", ours.code)
    assert ours.exit_code in ExitCode
    assert ours.layer in ("wallet", "chain", "signers", "tickets")
    assert as_ours(error).code == ours.code


@pytest.mark.parametrize(
    "error, code",
    [
        (InsufficientFunds("x", "It is enough for 1."), ExitCode.EXHAUSTED),
        (OutOfTickets("x"), ExitCode.EXHAUSTED),
        (NearMidnight(30.0), ExitCode.EXHAUSTED),
        (PurchaseDeclined("x"), ExitCode.REFUSED),
        (PriceChanged("x"), ExitCode.REFUSED),
        (ChainUnreachable("x"), ExitCode.NETWORK),
        (QuorumMissing(1, 2, {}), ExitCode.NETWORK),
        (StoreInUse("x"), ExitCode.BUSY),
        (StoreKeyWrong("x"), ExitCode.USAGE),
        (PhraseInvalid("x"), ExitCode.USAGE),
        (BackupRestored("x"), ExitCode.FAILED),
    ],
)
def test_exit_codes_are_those_of_the_reference_page(error, code):
    assert explain_money(error).exit_code is code


def test_advice_names_the_command():
    assert "obtain-ticketbooks" in explain_money(OutOfTickets("x")).todo
    assert "accept-backup" in explain_money(BackupRestored("x")).todo
    assert explain_money(InsufficientFunds("x", "It is enough for 1.")).todo == (
        "It is enough for 1. Send NYM to the account first."
    )


def test_each_network_has_its_store_and_each_local_network_its_own(tmp_path):
    assert plan(tmp_path).store.where == tmp_path / "mainnet" / "tickets.sqlite"
    local = [
        plan(tmp_path, Network("localnet", (f"http://127.0.0.1:{port}/",), MAINNET)).store.where
        for port in (1, 2, 1)
    ]
    assert local[0] == local[2] != local[1]
    assert {path.parent for path in local} == {tmp_path / "localnet"}
    assert plan(tmp_path, **{"store.url": "/x/y"}).store.where == Path("/x/y")
    assert plan(tmp_path, **{"store.url": "sqlite+aiosqlite:////x/y"}).store.where == Path("/x/y")


def test_a_shared_store_is_named_without_its_password(tmp_path):
    place = plan(tmp_path, **{"store.url": "postgresql+asyncpg://u:hunter2@db.example:5433/tickets"}).store
    assert (place.shared, place.has_password, place.path) == (True, True, None)
    assert (str(place), place.folder) == ("tickets on db.example:5433", tmp_path / "mainnet")
    assert "hunter2" not in repr(place)
    local = plan(tmp_path, **{"store.url": "postgresql://u@/tickets?host=/run/postgresql"}).store
    assert (str(local), local.has_password) == ("tickets on /run/postgresql", False)


def test_marks_have_to_fit_together(tmp_path):
    assert plan(tmp_path).settings == TopUpSettings()
    assert plan(tmp_path).limits == BudgetLimits()
    for flags in ({"tickets.low_water": "60h"}, {"tickets.low_water": 30}):
        with pytest.raises(ConfigError, match="low_water"):
            plan(tmp_path, **flags)
    assert plan(tmp_path, **{"tickets.low_water": 30, "tickets.high_water": 60}).settings.high.tickets == 60
    assert plan(tmp_path, **{"budget.per_day": "", "budget.per_deposit": "1"}).limits == BudgetLimits(
        per_day=None, per_deposit=1_000_000
    )


@pytest.mark.parametrize(
    "hindrance, code", [(Hindrance.DAY_CAP, 3), (Hindrance.RESERVE, 3), (Hindrance.FUNDS, 5)]
)
def test_a_no_of_the_budget_has_its_own_code(hindrance, code):
    ours = explain_money(BudgetRefused(Refusal(hindrance, "So many are spent.")))
    assert (ours.code, ours.exit_code, ours.layer) == (hindrance.value, code, "wallet")
    assert "So many are spent." in ours.what
    assert ours.todo.startswith("Nothing was signed. ")


def test_tickets_are_used_where_there_is_a_chain_and_nobody_said_no(tmp_path):
    assert plan(tmp_path).pay
    assert not plan(tmp_path, **{"tickets.enabled": False}).pay
    bare = plan(tmp_path, Network("bare", ("http://a/",)))
    assert not bare.pay
    with pytest.raises(ConfigError, match="no chain"):
        _ = bare.chain


def test_payments_go_through_the_first_listener(tmp_path):
    assert plan(tmp_path).proxy is None
    through = {"tickets.through_mixnet": True, "listen.mixed": ["[::1]:7", "127.0.0.1:8"]}
    assert plan(tmp_path, **through).proxy == ("::1", 7)


def test_secrets_stay_covered(tmp_path):
    config = load(
        environ={
            "HOME": str(tmp_path),
            "NYMGATE_ACCOUNT__PHRASE": "seven secret words",
            "NYMGATE_STORE__PASSPHRASE": "open sesame",
        }
    ).config
    made = money_plan(config, CHAIN, tmp_path)
    assert made.phrase == Sensitive("seven secret words")
    assert made.key.passphrase == Sensitive("open sesame")
    for text in ("seven", "sesame"):
        assert text not in repr(made) + str(made) + repr(config)


def test_the_link_claims_when_a_fifth_is_left(tmp_path):
    def made(**flags):
        return wiring.make_plan(load(environ={"HOME": str(tmp_path)}, flags=flags).config, tmp_path)

    assert wiring.link_options(made()).claim_threshold_bytes == 40_000_000
    assert wiring.link_options(made(**{"tickets.ticket_size": "10MB"})).claim_threshold_bytes == 2_000_000
    assert wiring.link_options(made(**{"tickets.enabled": False})) == LinkOptions()


class Stock:
    """Stored tickets that are what a test says."""

    def __init__(self, result):
        self.result, self.heard = result, []

    async def prepare(self, _gateway):
        if isinstance(self.result, Exception):
            raise self.result
        return self.result

    async def stated(self, gateway, remaining):
        self.heard.append((gateway, remaining))


async def test_troubles_of_the_store_are_told_to_the_link_in_its_words():
    stock = Stock(OutOfTickets("There is no book with tickets left."))
    remaining = [None]
    tickets = wiring.LinkTickets(stock, lambda: remaining[0])
    with pytest.raises(NoTickets, match=r"no book with tickets left\. Buy some"):
        await tickets.prepare(b"g")
    assert tickets.trouble.code == "E_OUT_OF_TICKETS"
    assert stock.heard == [], "nobody knows the allowance yet"
    for error in (ClockSkewed("x"), StoreInUse("y")):
        stock.result = error
        with pytest.raises(NoTickets):
            await tickets.prepare(b"g")
    stock.result, remaining[0] = object(), -5
    assert await tickets.prepare(b"g") is stock.result
    assert tickets.trouble is None
    assert stock.heard == [(b"g", -5)]


async def test_of_accounts_that_are_set_at_the_same_moment_one_is_kept(tmp_path, monkeypatch):
    secret = TicketStore.secret

    async def look_and_wait(store, name):
        found = await secret(store, name)
        await asyncio.sleep(0.2)  # the others look as well
        return found

    monkeypatch.setattr(TicketStore, "secret", look_and_wait)
    phrases = [new_phrase() for _ in range(4)]
    async with contextlib.AsyncExitStack() as stack:
        processes = [await stack.enter_async_context(Money(plan(tmp_path))) for _ in phrases]
        results = await asyncio.gather(
            *(money.keep_phrase(Sensitive(phrase)) for money, phrase in zip(processes, phrases, strict=True)),
            return_exceptions=True,
        )
        [address] = [result.address for result in results if not isinstance(result, ConfigError)]
        assert {(await money.wallet()).address for money in processes} == {address}
