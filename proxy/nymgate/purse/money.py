"""What a configuration says about money: where tickets are kept, with which key, and who pays. No I/O but of names.

``money_io`` opens what this describes. Errors of ``nym_credentials`` are put into words here.
"""

import hashlib
import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from nym_credentials.errors import (
    AccountUnfunded,
    AddressInvalid,
    BackupRestored,
    BookRefused,
    CredentialsError,
    InsufficientFunds,
    InvalidAmount,
    NetworkDescriptionInvalid,
    OutOfTickets,
    PhraseInvalid,
    PriceChanged,
    PurchaseConflict,
    PurchaseDeclined,
    StoreInUse,
    StoreKeyWrong,
    StoreMoved,
    StoreOfAnotherNetwork,
    StoreUnreachable,
    TicketUnavailable,
    WrongChain,
)
from nym_credentials.networks import ChainNetwork
from nym_credentials.topup.budget import Refusal
from nym_credentials.topup.hindrances import WORDS, Hindrance
from nym_credentials.topup.settings import BudgetLimits, TopUpSettings
from nymgate.config import Config
from nymgate.config_layers import environment_name
from nymgate.errors import ConfigError, DependencyFailed, ExitCode, NymgateError
from nymgate.networks import Network
from nymgate.purse.store_place import StorePlace
from nymgate.sections.types import split_address, unix_path
from nymgate.sensitive import Sensitive

STORE_FILE_NAME: Final = "tickets.sqlite"
_FINGERPRINT_DIGITS: Final = 12
_WORD: Final = re.compile(r"(?<=[a-z])(?=[A-Z])")


@dataclass(frozen=True, slots=True)
class StoreKeyChoice:
    """How the store is opened; all empty: by the key file beside it."""

    key_file: str = ""
    key: Sensitive[str] | None = None
    passphrase: Sensitive[str] | None = None


@dataclass(frozen=True, slots=True)
class MoneyPlan:
    """Everything about money that a configuration asks for."""

    network: Network
    folder: Path
    """Of the network, within the data folder."""
    store: StorePlace
    key: StoreKeyChoice
    phrase: Sensitive[str] | None
    """Of the account, if the configuration brings it."""
    proxy: tuple[str, int] | None
    """The SOCKS address that all of this goes through; None: directly."""
    pay: bool
    """Whether gateways are paid with tickets."""
    settings: TopUpSettings
    """When ticketbooks are bought."""
    limits: BudgetLimits
    """What may be spent on them."""
    config: Config = field(repr=False)

    @property
    def tops_up(self) -> bool:
        """Whether a running proxy buys by itself."""
        return self.pay and self.config.tickets.top_up

    @property
    def chain(self) -> ChainNetwork:
        """The network's chain. ConfigError if it has none."""
        if self.network.chain is None:
            raise ConfigError(
                f"The network {self.network.name} has no chain, so nothing can be bought there.",
                "Choose a network with one; `nymgate localnet up --pay` makes one on this machine.",
            )
        return self.network.chain


def money_plan(config: Config, network: Network, folder: Path) -> MoneyPlan:
    """``folder`` is that of the network. ConfigError for what only shows when values are put together."""
    return MoneyPlan(
        network=network,
        folder=folder,
        store=_store_place(config, network, folder),
        key=_key(config),
        phrase=_secret(config.account.phrase.get_secret_value()),
        proxy=_proxy(config),
        pay=config.tickets.enabled and network.chain is not None,
        settings=_settings(config),
        limits=_limits(config),
        config=config,
    )


def _settings(config: Config) -> TopUpSettings:
    tickets = config.tickets
    try:
        return TopUpSettings.parse(tickets.low_water, tickets.high_water, standby=tickets.standby)
    except ValueError as error:
        raise ConfigError(
            f"tickets.low_water and tickets.high_water do not fit together: {error}.",
            'Set both, for instance low_water = "12h" and high_water = "48h", or 20 and 60 (tickets).',
        ) from None


def _limits(config: Config) -> BudgetLimits:
    budget = config.budget
    return BudgetLimits.parse(
        budget.per_day, budget.per_month, budget.max_price, budget.reserve, budget.per_deposit
    )


def _store_place(config: Config, network: Network, folder: Path) -> StorePlace:
    if config.store.url:
        place = StorePlace.of(config.store.url, folder)
        return replace(place, folder=folder) if place.shared else place
    return StorePlace(_store_path(network, folder), folder)


def _store_path(network: Network, folder: Path) -> Path:
    if network.name == "localnet" and network.chain is not None:
        # Every local network has keys and money of its own, and they all have one name: endpoints tell them apart.
        ends = " ".join((*network.chain.rpc_urls, *network.nym_api))
        mark = hashlib.sha256(ends.encode()).hexdigest()[:_FINGERPRINT_DIGITS]
        return folder / f"tickets-{mark}.sqlite"
    return folder / STORE_FILE_NAME


def _key(config: Config) -> StoreKeyChoice:
    store = config.store
    choice = StoreKeyChoice(
        store.key_file, _secret(store.key.get_secret_value()), _secret(store.passphrase.get_secret_value())
    )
    given = [
        name for name, value in zip(("key_file", "key", "passphrase"), _values(choice), strict=True) if value
    ]
    if len(given) > 1:
        raise ConfigError(
            f"Several keys of the ticket store are given: {' and '.join(f'store.{name}' for name in given)}.",
            "Give one of them.",
        )
    return choice


def _values(choice: StoreKeyChoice) -> tuple[object, object, object]:
    return choice.key_file, choice.key, choice.passphrase


def _secret(text: str) -> Sensitive[str] | None:
    return Sensitive(text) if text else None


def _proxy(config: Config) -> tuple[str, int] | None:
    if not config.tickets.through_mixnet:
        return None
    addresses = [address for address in config.listen.mixed if unix_path(address) is None]
    if not addresses:
        raise ConfigError(
            "tickets.through_mixnet is set, but listen.mixed has no address of host and port.",
            "Give it an address: payments go through the mixnet by it.",
        )
    return split_address(addresses[0])


# ---- errors ----------------------------------------------------------------------------------------------------

_BY_CLASS: Final[tuple[tuple[type[CredentialsError], ExitCode], ...]] = (
    (InsufficientFunds, ExitCode.EXHAUSTED),
    (AccountUnfunded, ExitCode.EXHAUSTED),
    (TicketUnavailable, ExitCode.EXHAUSTED),
    (PurchaseDeclined, ExitCode.REFUSED),
    (PriceChanged, ExitCode.REFUSED),
    (StoreInUse, ExitCode.BUSY),
    (PurchaseConflict, ExitCode.BUSY),
    (StoreUnreachable, ExitCode.NETWORK),
    (StoreMoved, ExitCode.USAGE),
    (StoreKeyWrong, ExitCode.USAGE),
    (StoreOfAnotherNetwork, ExitCode.USAGE),
    (BookRefused, ExitCode.FAILED),
    (PhraseInvalid, ExitCode.USAGE),
    (AddressInvalid, ExitCode.USAGE),
    (InvalidAmount, ExitCode.USAGE),
    (NetworkDescriptionInvalid, ExitCode.USAGE),
    (WrongChain, ExitCode.FAILED),
)
_ADVICE: Final = {
    ExitCode.FAILED: "Run again with -vv, and report it if it stays.",
    ExitCode.USAGE: "Correct it; `nymgate config show` tells where each value comes from.",
    ExitCode.REFUSED: "Nothing was paid.",
    ExitCode.NETWORK: "Try again later.",
    ExitCode.EXHAUSTED: "See `nymgate account balance`.",
    ExitCode.BUSY: "Wait for the other one, or stop it.",
}
_MORE_ADVICE: Final[dict[type[CredentialsError], str]] = {
    BackupRestored: "If nothing was spent since and no copy is in use: nymgate tickets accept-backup --trust; else "
    "with --give-up-books.",
    OutOfTickets: "Buy some: nymgate account obtain-ticketbooks --amount 1.",
}


def explain_money(error: CredentialsError) -> NymgateError:
    """An error of ``nym_credentials`` in the terms of this package."""
    refusal = getattr(error, "refusal", None)
    if isinstance(refusal, Refusal):
        return explain_refusal(refusal)
    code = exit_code_of(error)
    todo = _MORE_ADVICE.get(type(error)) or error.to_do or _ADVICE[code]
    if isinstance(error, InsufficientFunds) and "Send" not in todo:
        todo = f"{_sentence(todo)} Send NYM to the account first"
    return DependencyFailed(
        _sentence(error.happened), _sentence(todo), layer=error.layer, code=error_code(error), exit_code=code
    )


def explain_refusal(refusal: Refusal) -> NymgateError:
    """A no of the budget."""
    words = WORDS[refusal.hindrance]
    return DependencyFailed(
        f"{words.happened} {refusal.detail}".rstrip(),
        f"Nothing was signed. {words.to_do}",
        layer=words.layer,
        code=refusal.hindrance.value,
        exit_code=ExitCode.EXHAUSTED if refusal.hindrance is Hindrance.FUNDS else ExitCode.REFUSED,
    )


def exit_code_of(error: CredentialsError) -> ExitCode:
    """By class; what may succeed later is the network's fault."""
    for kind, code in _BY_CLASS:
        if isinstance(error, kind):
            return code
    if error.retryable and error.layer in ("chain", "signers"):
        return ExitCode.NETWORK
    return ExitCode.FAILED


def error_code(error: CredentialsError) -> str:
    """``OutOfTickets`` → ``E_OUT_OF_TICKETS``."""
    return "E_" + _WORD.sub("_", type(error).__name__).upper()


def _sentence(text: str) -> str:
    text = text.strip()
    return text if text.endswith((".", "!", "?")) else f"{text}."


class NoAccount(NymgateError):
    """Nobody pays: no phrase is known."""

    code = "E_NO_ACCOUNT"
    layer = "wallet"
    exit_code = ExitCode.USAGE

    def __init__(self) -> None:
        super().__init__(
            "No account is set.",
            f"Give its recovery phrase with `nymgate account set`, or by {environment_name('account.phrase')}_FILE.",
        )
