"""What pays for traffic, and where it is kept."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, SecretStr

from nymgate.sections.types import SIZE_FORM, Section, Size, setting
from nymgate.units import format_size


def _store_place(text: str) -> str:
    scheme, separator, _rest = text.partition("://")
    if separator and scheme != "sqlite+aiosqlite":
        raise ValueError("this version keeps tickets in SQLite files only")
    return text


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
    through_mixnet: bool = setting(
        False,
        "Send all traffic with the chain, the signers of tickets and the nym-api through the mixnet itself, by the "
        "first address of `listen.mixed`: `nymgate run` has to be running for `nymgate account` and `nymgate tickets` "
        "then. What cannot go there fails. One thing is asked directly, the list of nodes, while there is no way "
        "into the mixnet: at the start, after hours of sleep, and when it could not be had through it three times "
        "in a row.",
        "true or false",
    )


class Store(Section):
    """Where tickets, purchases and the phrase are kept. All of it is sealed with a key."""

    url: Annotated[str, AfterValidator(_store_place)] = setting(
        "",
        "The database. Empty: tickets.sqlite in the folder of the network, within the data folder.",
        "the path of a file, sqlite+aiosqlite:///path, or empty",
    )
    key_file: str = setting(
        "",
        "The file that holds the key, 64 hex digits. Empty: one beside the database, made with it; keep it "
        "elsewhere if others can read the backups.",
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
