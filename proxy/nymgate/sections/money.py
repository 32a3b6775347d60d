"""What pays for traffic, and where it is kept."""

from typing import Annotated, Final, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr

from nym_credentials.errors import InvalidAmount
from nym_credentials.money import parse_nym
from nym_credentials.topup.settings import Mark
from nymgate.sections.types import SIZE_FORM, Section, Size, setting
from nymgate.units import format_size

STORE_SCHEMES: Final = ("sqlite+aiosqlite", "sqlite", "postgresql+asyncpg", "postgresql", "postgres")
MARK_FORM: Final = 'a time such as "12h" or "1d12h", at most 6d, or a number of tickets'
AMOUNT_FORM: Final = 'an amount such as "150 NYM" or "0.5 NYM"'
CAP_FORM: Final = AMOUNT_FORM + ', or "none" for no cap'
NO_AMOUNT: Final = ("none", "")


def store_place(text: str) -> str:
    """A path or a URL as it is. ValueError, without the text, for what cannot be a ticket store."""
    scheme, separator, _rest = text.partition("://")
    if separator:
        if scheme not in STORE_SCHEMES:
            raise ValueError("tickets can be kept in SQLite or PostgreSQL only")
        try:
            path = urlsplit(text).path
        except ValueError:
            raise ValueError("the URL cannot be read") from None  # its own text may quote a password
        if len(path) < 2:
            raise ValueError("the URL names no database")
    return text


def _mark(value: object) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise ValueError("not a mark")
    Mark.parse(value)
    return str(value).strip()


def _amount(value: object) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise ValueError("not an amount")
    text = str(value).strip()
    if text.lower() in NO_AMOUNT:
        return ""
    try:
        parse_nym(text)
    except InvalidAmount as error:
        raise ValueError(error.happened.rstrip(".")) from None
    return text


Amount = Annotated[str, BeforeValidator(_amount)]
Level = Annotated[str, BeforeValidator(_mark)]


class Account(Section):
    """The account that pays for tickets. `nymgate account set` keeps its phrase in the ticket store, sealed; here
    it can be brought by other means."""

    phrase: SecretStr = setting(
        SecretStr(""),
        "The recovery phrase of the account. It is used instead of a stored one.",
        "a recovery phrase of 12 to 24 words",
        secret=True,
    )


class Tickets(Section):
    """What pays for traffic."""

    enabled: bool = setting(
        True,
        "Pay gateways with tickets. With false they are asked for their free allowance, which most do not give; "
        "that is also done on networks that have no chain.",
        "true or false",
    )
    source: Literal["smartcontract"] = setting(
        "smartcontract",
        "What tickets are paid with: a deposit of NYM in the e-cash contract.",
        "smartcontract",
    )
    ticket_size: Annotated[Size, Field(ge=100_000, le=1 << 40)] = setting(
        200_000_000,
        "What a ticket is worth at a gateway. The next one goes there when a fifth of that is left, so that traffic "
        "never waits for a payment. Only test networks need another value.",
        SIZE_FORM + ", from 100kB to 1TiB",
        write=format_size,
    )
    top_up: bool = setting(
        True,
        "Buy ticketbooks by itself while `nymgate run` runs, within the limits of `[budget]`. With false only commands "
        "buy: `nymgate topup now`, `nymgate account obtain-ticketbooks`.",
        "true or false",
    )
    low_water: Level = setting(
        "12h",
        "A ticketbook is bought when the tickets in hand last no longer than this at the projected use, or are no "
        "more than this. Use is measured, cover traffic included.",
        MARK_FORM,
    )
    high_water: Level = setting(
        "48h",
        "No ticketbook is bought when the tickets in hand last at least so long, or are at least so many. Of the same "
        "kind as `low_water`, and not below it. Between the two a book is bought only if all of it will be used up "
        "before it expires.",
        MARK_FORM,
    )
    standby: bool = setting(
        True,
        "Keep a ticketbook in hand although nobody uses it, so that the first use does not wait for a purchase: one "
        "book a week. With false none is bought after a week without use.",
        "true or false",
    )
    through_mixnet: bool = setting(
        False,
        "Send all traffic with the chain, the signers of tickets and the nym-api through the mixnet itself, by the "
        "first address of `listen.mixed`: `nymgate run` has to be running for `nymgate account` and `nymgate tickets` "
        "then. What cannot go there fails. One thing is asked directly, the list of nodes, while there is no way "
        "into the mixnet: at the start, after hours of sleep, and when it could not be had through it three times "
        "in a row.",
        "true or false",
    )


class Budget(Section):
    """What may be spent on ticketbooks. It holds for everything that buys with the ticket store: `nymgate run`, every
    command and every replica, whatever a gateway or the chain asks. A purchase that would exceed it is refused before
    anything is signed. The chain's fee, thousandths of a NYM for each purchase, comes on top of the caps."""

    per_day: Amount = setting(
        "150 NYM", "At most so much a day, from 00:00 to 24:00 UTC.", CAP_FORM, aloud=True
    )
    per_month: Amount = setting(
        "1500 NYM", "At most so much a month of the calendar, UTC.", CAP_FORM, aloud=True
    )
    per_deposit: Amount = setting(
        "",
        "At most so much in one payment, its fee included. One payment is one ticketbook.",
        CAP_FORM,
        aloud=True,
    )
    max_price: Amount = setting(
        "100 NYM",
        "The highest price of one ticketbook, which is read from the contract before each payment.",
        CAP_FORM,
        aloud=True,
    )
    reserve: Amount = setting(
        "1 NYM",
        "So much stays in the account whatever happens.",
        AMOUNT_FORM + ', or "none" for nothing',
        aloud=True,
    )


class Store(Section):
    """Where tickets, purchases and the phrase are kept. All of it is sealed with a key."""

    url: Annotated[str, AfterValidator(store_place), Field(repr=False)] = setting(
        "",
        "The database. Empty: tickets.sqlite in the folder of the network, within the data folder. PostgreSQL is for "
        "several replicas, on any number of machines; they need the same key. A password within it is never shown; it "
        "is better brought by NYMGATE_STORE__URL_FILE or as credential nymgate.store.url than in the file.",
        "the path of a file, sqlite+aiosqlite:///path, postgresql+asyncpg://user:password@host/database, or empty",
        private=True,
    )
    key_file: str = setting(
        "",
        "The file that holds the key, 64 hex digits. Empty: one beside the database, made with it, or for PostgreSQL "
        "shared-tickets.key in the folder of the network; keep it elsewhere if others can read the backups.",
        "the path of a file, or empty",
    )
    key: SecretStr = setting(
        SecretStr(""), "The key itself, for those who cannot give a file.", "64 hex digits", secret=True
    )
    passphrase: SecretStr = setting(
        SecretStr(""),
        "A passphrase that the key is made from, instead of a key.",
        "8 characters or more",
        secret=True,
    )
