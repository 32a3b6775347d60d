"""What can be configured. The texts of the fields below are the reference page (``config_docs`` renders it).

Only what has an effect is here: a key that a later version will know is an error in this one, because a
limit that is read and then ignored is worse than none. Where values come from, and in which order, is in
``config_layers``.
"""

import ipaddress
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, SecretStr
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from nymgate.networks import checked_url
from nymgate.units import format_duration, format_size, parse_duration, parse_size

DEFAULT_SOCKS_PORT: Final = 1080
IDENTITY_BYTES: Final = 32


def _duration(value: object) -> float:
    if isinstance(value, str):
        return parse_duration(value)
    raise ValueError("not a duration")


def _size(value: object) -> int:
    if isinstance(value, str):
        return parse_size(value)
    raise ValueError("not a size")


def _positive(value: float) -> float:
    if value <= 0:
        raise ValueError("not above zero")
    return value


def _finite(value: float) -> float:
    if value == float("inf"):
        raise ValueError("has to end some time")
    return value


def split_address(text: str) -> tuple[str, int]:
    """``127.0.0.1:1080``, ``[::1]:1080``, ``localhost:1080`` → host and port. ValueError otherwise."""
    host, separator, port = text.rpartition(":")
    if not separator or not host or not (port.isascii() and port.isdigit()) or int(port) > 65535:
        raise ValueError("not host:port")
    if host.startswith("[") and host.endswith("]"):
        return str(ipaddress.IPv6Address(host[1:-1])), int(port)
    if host == "localhost":
        return "127.0.0.1", int(port)
    return str(ipaddress.IPv4Address(host)), int(port)


def _loopback(text: str) -> str:
    host, _port = split_address(text)
    if not ipaddress.ip_address(host).is_loopback:
        # Whoever reaches the port uses the owner's bandwidth and name: without access rules that is nobody
        # else.
        raise ValueError(
            "reachable from other machines, which needs access rules that this version does not have"
        )
    return text


def _entry(text: str) -> str:
    if text != "auto":
        _identity(text)
    return text


def _identity(text: str) -> bytes:
    from nym_sphinx import (
        b58decode,
    )  # here because loading the packet library costs more than all of this module

    identity = b58decode(text)
    if len(identity) != IDENTITY_BYTES:
        raise ValueError("not 32 bytes")
    return identity


def _exit(text: str) -> str:
    if text != "auto":
        from nym_sphinx import Recipient

        try:
            Recipient.parse(text)
        except Exception as error:
            raise ValueError("not an address") from error
    return text


def _store_place(text: str) -> str:
    scheme, separator, _rest = text.partition("://")
    if separator and scheme != "sqlite+aiosqlite":
        raise ValueError("this version keeps tickets in SQLite files only")
    return text


Duration = Annotated[float, BeforeValidator(_duration)]
PositiveDuration = Annotated[Duration, AfterValidator(_positive)]
BoundedDuration = Annotated[PositiveDuration, AfterValidator(_finite)]
Size = Annotated[int, BeforeValidator(_size)]
Url = Annotated[str, AfterValidator(checked_url)]
ListenAddress = Annotated[str, AfterValidator(_loopback)]

DURATION_FORM: Final = 'a duration such as "500ms", "10s", "10m" or "1h30m"'
SIZE_FORM: Final = 'a size such as "64KiB" or "1MB"'


def setting(
    default: Any, doc: str, allowed: str, *, flag: str = "", secret: bool = False, write: Any = None
) -> Any:
    """A documented field. ``allowed`` completes "it has to be …"; ``write`` is the inverse of parsing."""
    extra: dict[str, Any] = {"allowed": allowed, "flag": flag, "secret": secret}
    if write is not None:
        extra["write"] = write
    factory: dict[str, Any] = {"default_factory": lambda: list(default)} if isinstance(default, list) else {}
    if not factory:
        factory = {"default": default}
    return Field(description=doc, json_schema_extra=extra, **factory)


def _duration_setting(default: float, doc: str, *, never: bool = False, flag: str = "") -> Any:
    allowed = DURATION_FORM + (', or "never"' if never else "")
    return setting(default, doc, allowed, flag=flag, write=format_duration)


class Section(BaseModel):
    """A table of the file."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=False)


class Listen(Section):
    """Where applications connect to. Loopback addresses only."""

    mixed: list[ListenAddress] = setting(
        [f"127.0.0.1:{DEFAULT_SOCKS_PORT}"],
        "Addresses that take connections of applications. SOCKS4, 4a, 5 and HTTP (CONNECT and plain requests) are "
        "told apart by their first bytes. Port 0 takes any free port and the first lines of `nymgate run` name it.",
        'a list of loopback addresses such as ["127.0.0.1:1080", "[::1]:1080"]',
        flag="--listen",
    )
    socks: list[ListenAddress] = setting(
        [],
        "Addresses that take SOCKS4, 4a and 5 only. HTTP gets an answer that says so.",
        'a list of loopback addresses such as ["127.0.0.1:1081"]',
    )
    http: list[ListenAddress] = setting(
        [],
        "Addresses that take HTTP only, as a proxy: CONNECT and plain requests. SOCKS gets a refusal.",
        'a list of loopback addresses such as ["127.0.0.1:8118"]',
    )


class Mixnet(Section):
    """How traffic gets into the mixnet and out of it."""

    entry: Annotated[str, AfterValidator(_entry)] = setting(
        "auto",
        "The entry gateway: it sees this machine's address and when it is awake, and is kept from start to "
        "start. "
        '"auto" picks one at the first start.',
        '"auto" or the identity of a gateway (base58, see `nymgate gateways`)',
        flag="--entry",
    )
    exit: Annotated[str, AfterValidator(_exit)] = setting(
        "auto",
        "The network requester that opens the connections to the destinations and sees them. "
        '"auto" takes one that answers, never at the gateway that is the entry.',
        '"auto" or the full address of a network requester (identity.encryption@gateway)',
        flag="--exit",
    )
    profile: Literal["standard", "fast", "thrifty", "uncovered"] = setting(
        "standard",
        "The traffic pattern, which decides speed, cost and what an observer of this machine learns; "
        "`nymgate run` prints the cost of the one in use.",
        "standard, fast, thrifty or uncovered",
        flag="--profile",
    )
    sleep_after: PositiveDuration = _duration_setting(
        600.0,
        "After this long without open streams all sending stops, cover traffic included, until the next "
        "stream: no traffic, no cost. An observer of this machine then learns when it is in use, as from "
        "switching it on and "
        'off. "never" keeps cover traffic (and its cost) going day and night.',
        never=True,
    )
    surb_bank: Annotated[int, Field(ge=0, le=10_000)] = setting(
        1000,
        "Reply packets that the exit is given ahead of need, in slots that would have been cover: what makes "
        "downloads fast without changing the send pattern. 0 turns it off.",
        "a whole number from 0 to 10000",
    )
    data_in_cover_slots: bool = setting(
        False,
        "Also use the slots of the loop cover stream for data when there is some: about a tenth more "
        "upload, but then fewer of this client's own packets come back to it, which an observer of both "
        "ends can count.",
        "true or false",
    )
    replies: Literal["anonymous", "own-address"] = setting(
        "anonymous",
        "How the exit answers. With anonymous replies it never learns this client's mixnet address. With "
        "own-address it does, and can link everything this client ever does until its keys change; answers "
        "then need no reply packets.",
        "anonymous or own-address",
    )
    topology_file: str = setting(
        "",
        "A network.json with the nodes of the network, to use instead of asking a nym-api.",
        "the path of a file, or empty",
        flag="--topology-file",
    )
    nym_api: list[Url] = setting(
        [],
        "Base URLs of nym-api servers, tried in order; they replace those of the network.",
        'a list of URLs such as ["https://validator.nymtech.net/api/"]',
        flag="--nym-api",
    )


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


class Streams(Section):
    """What one connection of an application may take."""

    early_success: bool = setting(
        False,
        "Answer success to the application before the exit has connected. Saves a round trip; refusals "
        "then end the connection and no longer say why.",
        "true or false",
    )
    connect_timeout: BoundedDuration = _duration_setting(
        30.0,
        "How long it may take until a destination is connected, waking up and lost packets included.",
    )
    gap_limit: BoundedDuration = _duration_setting(
        15.0,
        "How long a stream waits for a lost piece while later pieces are already here; then it ends with "
        "an error instead of standing still.",
    )
    idle_limit: BoundedDuration = _duration_setting(
        300.0,
        "How long a stream stays open when nothing at all comes from the exit, not even one of the "
        "keep-alives that exits send every minute; then it ends with an error. An exit of nymgate's own is "
        "known to keep to its minute and gets two and a half of them at most.",
    )
    handshake_timeout: BoundedDuration = _duration_setting(
        10.0, "How long an application may take to say where it wants to go."
    )
    limit: Annotated[int, Field(ge=1, le=100_000)] = setting(
        1000, "Connections at once; further ones are refused at once.", "a whole number from 1 to 100000"
    )
    buffer: Annotated[Size, Field(ge=4096, le=64 << 20)] = setting(
        128 << 10,
        "Bytes held for a stream in each direction before the faster side is made to wait.",
        SIZE_FORM + ", from 4KiB to 64MiB",
        write=format_size,
    )
    drain: Annotated[Duration, AfterValidator(_finite)] = _duration_setting(
        10.0, "How long open streams may go on after SIGTERM or Ctrl-C; a second signal ends them at once."
    )


class Log(Section):
    """What is said on standard error."""

    level: Literal["debug", "info", "warning", "error"] = setting(
        "info",
        "The least important kind of message that is shown.",
        "debug, info, warning or error",
        flag="-v / -q",
    )
    format: Literal["auto", "text", "json"] = setting(
        "auto",
        "auto is text on a terminal and one JSON object a line otherwise.",
        "auto, text or json",
        flag="--json",
    )
    destinations: bool = setting(
        False,
        "Show where streams go. Off, no log line of any level names a destination.",
        "true or false",
    )


SourceFactory = Callable[[type[BaseSettings]], PydanticBaseSettingsSource]
LAYERS: ContextVar[Sequence[SourceFactory]] = ContextVar("LAYERS", default=())
"""Where ``Config()`` takes its values from, the strongest first; ``config_layers.load`` sets it."""


class Config(BaseSettings):
    """The whole configuration. Keys at the top stand before the first [table] of the file."""

    model_config = SettingsConfigDict(frozen=True, extra="forbid", validate_default=False)

    network: Annotated[str, Field(min_length=1)] = setting(
        "mainnet",
        "Which Nym network. localnet is the one that `nymgate localnet up` keeps running on this machine; "
        "a path names a network file (TOML with `name`, `nym_api` and `[chain]`) or one of upstream's .env files.",
        "mainnet, sandbox, localnet or the path of a network file",
        flag="--network",
    )
    data_dir: str = setting(
        "",
        "Folder of keys and state, made with mode 0700. Empty: $XDG_DATA_HOME/nymgate, which is "
        "~/.local/share/nymgate where that variable is unset. One running instance per folder.",
        "the path of a folder, or empty",
        flag="--data-dir",
    )
    listen: Listen = Field(default_factory=Listen)
    mixnet: Mixnet = Field(default_factory=Mixnet)
    tickets: Tickets = Field(default_factory=Tickets)
    account: Account = Field(default_factory=Account)
    store: Store = Field(default_factory=Store)
    streams: Streams = Field(default_factory=Streams)
    log: Log = Field(default_factory=Log)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The layers instead of the library's own environment source, which has no way to tell origins."""
        return (init_settings, *(source(settings_cls) for source in LAYERS.get()))
